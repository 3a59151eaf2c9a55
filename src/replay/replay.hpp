// Replays a trace on a soft device: every call that concerns memory is made again through the library.
//
//     Replay replay(options);
//     while (reader.next(call)) { if (!replay.play(call)) { ... replay.error() ... } }
//     replay.finish();  // what is left, and the last checks
//
// panthor's VM_BINDs become transactions; asynchronous ones go through a bind queue, whose fence is waited for: GPU
// time is not replayed, and what an operation waited for has happened. On panfrost, where the kernel chooses the VA, a
// BO is mapped when it is made and unmapped when its handle is closed; heap BOs grow on faults, and nothing faults
// here. The program's VA heap is not in a trace. What it must have been follows from the calls: a range is reserved
// when something is first mapped there, and given back when it is unmapped.
//
// With `verify`, after every call the oracle (oracle.hpp) is asked about every page that the call touched, about the
// rest of the 2 MiB windows they are in and the pages next to those, and the GPU's answer is compared; when a VM ends,
// all of it. Of the promises, a replay checks:
//
//     P1  always       no leaf was cleared in part (`granules_cut`, counted by the soft address space)
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
#include "src/device.hpp"
#include "src/replay/result.hpp"
#include "src/trace/call.hpp"

namespace granule::replay {

struct Options {
    const mali::GpuModel* gpu = nullptr;  // nullptr: the one that the trace names
    KernelBehaviour kernel = KernelBehaviour::kRefuses;
    UnmapPolicy policy = UnmapPolicy::kSplit;
    LeafPolicy leaves = LeafPolicy::kLargest;
    BoMemory memory = BoMemory::kHuge;
    bool verify = false;
};

// Why a replay stopped.
struct Stop {
    enum class Kind : std::uint8_t {
        kBadTrace,  // a call that makes no sense after those before it, or on this GPU
        kRefused,   // the library refused a bind: policy reject, or a failure of the device
    };
    Kind kind = Kind::kBadTrace;
    std::uint64_t line = 0;
    std::string what;
    std::string would_be_right;  // kBadTrace
    BindError error;             // kRefused
};

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

    // One call. After a Stop only `finish` and the looks may be called.
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
    [[nodiscard]] SoftDevice& device() noexcept;

private:
    class State;
    explicit Replay(std::unique_ptr<State> state) noexcept;
    std::unique_ptr<State> state_;
};

// What a BindError says, in a sentence: which granule, whose BO, what to do.
[[nodiscard]] std::string describe(const BindError& error);
[[nodiscard]] std::string describe(const VaRange& range);

}  // namespace granule::replay
