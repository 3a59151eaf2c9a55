// Replays a trace, on the soft device or on a driver of the kernel: every call that concerns memory is made again through
// the library. What differs between the two is in replayed_device.hpp and README.md.
//
//     Replay replay(options);
//     while (reader.next(call)) { if (!replay.play(call)) { ... replay.error() ... } }
//     replay.finish();  // what is left, and the last checks
//
// panthor's VM_BINDs become transactions; asynchronous ones go through a queue, whose fence is waited for: GPU
// time is not replayed, and what an operation waited for has happened. On panfrost, where the kernel chooses the VA, a
// BO is mapped when it is made and unmapped when its handle is closed; heap BOs grow on faults, and nothing faults
// here. The program's VA heap is not in a trace. What it must have been follows from the calls: a range is reserved
// when something is first mapped there, and given back when it is unmapped.
//
// With `verify`, after every call the oracle (oracle.hpp) is asked about every page that the call touched, about the
// rest of the 2 MiB windows they are in and the pages next to those, and the GPU's answer is compared (where there is none
// to ask: the VM's view); when a VM ends, all of it. Of the promises, a replay checks:
//
//     P1  soft device  no leaf was cleared in part (`granules_cut`); a kernel that is asked to says so itself
//     P2  with verify  every translation is the oracle's, and none comes from a stale TLB entry
//     P4  always       commits of a single unmap allocate nothing, on whichever thread they run
//     P6  with verify  what was at the first and the last page that an operation took is named, and rightly
//
// P3 and P5 are not a replay's to check: a trace has no bind that fails halfway, and its fences are not replayed. The
// tests of src/ have them: failures injected at every operation, and timelines signalled late.
//
// Thread-safety: none. Uses exceptions nowhere, but the standard library's containers: it is a program, not the
// library.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mali/gpu_model.hpp"
#include "mali/result.hpp"
#include "src/drm/kernel_facts.hpp"
#include "src/replay/options.hpp"
#include "src/replay/result.hpp"
#include "src/replay/stop.hpp"
#include "src/soft_device.hpp"
#include "src/trace/call.hpp"

namespace granule::replay {

class Player;

// A VM of the trace while it lives, for explain and dump.
struct VmView {
    std::uint32_t process = 0;
    std::uint32_t file = 0;
    std::uint32_t vm = 0;    // the trace's id; panfrost files have one VM, 0
    std::uint64_t line = 0;  // that made it
    Vm* object = nullptr;
};

// A BO of the trace, by the library's id.
struct BoView {
    std::uint32_t process = 0;
    std::uint32_t file = 0;
    std::uint32_t handle = 0;
    std::uint64_t line = 0;
    std::uint64_t bytes = 0;
    std::string label;
};

class Replay {
public:
    [[nodiscard]] static Result<Replay, Stop> create(const Options& options, const trace::Meta& meta);
    Replay(Replay&&) noexcept;
    Replay& operator=(Replay&&) noexcept;
    Replay(const Replay&) = delete;
    Replay& operator=(const Replay&) = delete;
    ~Replay();

    // One call. One that the device refused (Stop::Kind::kRefused) has changed nothing and may be played again; after any
    // other Stop only `finish` and the looks may be called.
    [[nodiscard]] Result<void, Stop> play(const trace::Call& call);
    // Ends what is still open, as the end of the processes would.
    [[nodiscard]] ReplayResult finish();

    // Looks at the state between two calls.
    [[nodiscard]] const Counts& counts() const noexcept;
    [[nodiscard]] std::vector<VmView> vms() const;
    [[nodiscard]] std::optional<BoView> bo(BoId id) const;
    [[nodiscard]] std::optional<BoId> find_bo(std::uint32_t process, std::uint32_t file, std::uint32_t handle) const;
    // The line of the trace behind a bind's serial number.
    [[nodiscard]] std::uint64_t line_of(const Vm& vm, BindSerial serial) const;
    // What it is replayed on. `soft_device` is for replays on one; the others have kernel facts.
    [[nodiscard]] SoftDevice& soft_device() noexcept;
    [[nodiscard]] const KernelFacts* kernel_facts() const noexcept;  // nullptr: the soft device
    [[nodiscard]] const mali::GpuModel* gpu() const noexcept;        // nullptr: one that is not known
    [[nodiscard]] KernelBehaviour kernel() const noexcept;

private:
    explicit Replay(std::unique_ptr<Player> player) noexcept;
    std::unique_ptr<Player> player_;
};

}  // namespace granule::replay
