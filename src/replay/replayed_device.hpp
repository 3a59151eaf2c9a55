// What a replay needs of a device, so that the same trace plays on the soft one and on a driver of the kernel.
//
//     ReplayedDevice      the device
//       ReplayedFile        an open file of it: a program's drm.open. BOs and VMs are a file's
//         ReplayedVm          a VM, and what can be asked about it beyond what every Vm says
//       Verifier            compares what it shows with the oracle (verifier.hpp)
//
// Lifetime: VMs end before their file, files before their device.
// Thread-safety: none.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "mali/gpu_model.hpp"
#include "mali/result.hpp"
#include "src/backend/bo_backend.hpp"
#include "src/bo.hpp"
#include "src/drm/kernel_facts.hpp"
#include "src/replay/hash.hpp"
#include "src/replay/options.hpp"
#include "src/replay/result.hpp"
#include "src/replay/stop.hpp"
#include "src/replay/verifier.hpp"
#include "src/soft_device.hpp"
#include "src/trace/call.hpp"
#include "src/transaction.hpp"
#include "src/vm.hpp"

namespace granule::replay {

// What a transaction came to.
struct Bound {
    Result<BindReport, BindError> result;
    std::uint64_t nanoseconds = 0;
    std::uint64_t allocations = 0;  // on the thread that carried it out
};

// How much is mapped, and in what.
struct TableCounts {
    std::uint64_t leaves_2m = 0;
    std::uint64_t leaves_4k = 0;
    std::uint64_t tables = 0;  // 0: only the kernel knows
};

class ReplayedVm {
public:
    ReplayedVm() = default;
    ReplayedVm(const ReplayedVm&) = delete;
    ReplayedVm& operator=(const ReplayedVm&) = delete;
    virtual ~ReplayedVm() = default;

    [[nodiscard]] virtual Vm& vm() noexcept = 0;
    // Both return when the transaction is done, on the VM's queue or at once.
    [[nodiscard]] virtual Bound commit(const Transaction& transaction) = 0;
    [[nodiscard]] virtual Bound commit_queued(const Transaction& transaction) = 0;

    [[nodiscard]] virtual TableCounts tables() = 0;
    // Adds what the tables hold, where they can be seen.
    virtual void add_leaves(Hash& hash) = 0;
    // Leaves that an operation would have cleared in part (P1).
    [[nodiscard]] virtual std::uint64_t leaf_cuts() = 0;
    // What the kernel was asked.
    [[nodiscard]] virtual KernelTraffic traffic() = 0;
};

class ReplayedFile {
public:
    ReplayedFile() = default;
    ReplayedFile(const ReplayedFile&) = delete;
    ReplayedFile& operator=(const ReplayedFile&) = delete;
    virtual ~ReplayedFile() = default;

    [[nodiscard]] virtual BoTable& bos() noexcept = 0;
    [[nodiscard]] virtual int fd() const noexcept { return -1; }
    // What a VM gets whose program asked for no particular space.
    [[nodiscard]] virtual VaRange vm_space() const noexcept = 0;
    [[nodiscard]] virtual Result<std::unique_ptr<ReplayedVm>, OsError> create_vm(const VmConfig& config) = 0;
    // What the device does not know of `request` (caching, heaps) is left out: no memory is looked at.
    [[nodiscard]] virtual Result<BoId, OsError> create_bo(const BoRequest& request) = 0;

    // Whether a kernel shows a BO itself, at a VA of its choice, from its creation to its end (panfrost). Where that is
    // not so, the replay maps it where the trace says.
    [[nodiscard]] virtual bool kernel_maps() const noexcept { return false; }
    [[nodiscard]] virtual Result<BoId, BindError> create_mapped_bo(Vm& vm, const BoRequest& request);
    virtual Bound free_mapped_bo(Vm& vm, BoId bo);
};

class ReplayedDevice {
public:
    ReplayedDevice() = default;
    ReplayedDevice(const ReplayedDevice&) = delete;
    ReplayedDevice& operator=(const ReplayedDevice&) = delete;
    virtual ~ReplayedDevice() = default;

    [[nodiscard]] virtual Result<std::unique_ptr<ReplayedFile>, Stop> open(trace::Driver driver) = 0;
    [[nodiscard]] virtual std::unique_ptr<Verifier> make_verifier(Report report) = 0;
    [[nodiscard]] virtual std::uint64_t most_bo_bytes() const noexcept = 0;
    [[nodiscard]] virtual const mali::GpuModel* gpu() const noexcept = 0;  // nullptr: one that is not known
    [[nodiscard]] virtual KernelBehaviour kernel() const noexcept = 0;
    // Which of the two it is: one of these is not nullptr.
    [[nodiscard]] virtual SoftDevice* soft() noexcept { return nullptr; }
    [[nodiscard]] virtual const KernelFacts* kernel_facts() const noexcept { return nullptr; }
};

}  // namespace granule::replay
