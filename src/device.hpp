// A device: BOs, VMs and timelines of one GPU, whoever stands behind it.
//
//     Device             what every one of them has; what one cannot, it says: kNotSupported, and `properties` beforehand
//       SoftDevice         a whole Mali in this process (soft_device.hpp)
//       DrmDevice          an open file of panthor or panfrost (drm/drm_device.hpp)
//
// Lifetime: VMs, timelines and BOs end before their device.
// Thread-safety: all members, any thread.
// Failure: typed; `call` of an OsError names the call of the OS that failed. On failure nothing changed, in a kernel
// neither.
#pragma once

#include <cstdint>
#include <span>

#include "allocator/node_memory.hpp"
#include "allocator/plan.hpp"
#include "mali/address.hpp"
#include "mali/gpu_model.hpp"
#include "mali/result.hpp"
#include "src/bo.hpp"
#include "src/memory_budget.hpp"
#include "src/owned.hpp"
#include "src/status.hpp"
#include "src/timeline.hpp"
#include "src/vm.hpp"

namespace granule {

struct KernelFacts;

// What a device is and can. Nothing of it changes.
struct DeviceProperties {
    enum class Kind : std::uint8_t { kSoft, kPanthor, kPanfrost };

    Kind kind = Kind::kSoft;
    const mali::GpuModel* gpu = nullptr;  // nullptr: one that we do not know
    std::uint32_t gpu_id = 0;             // GPU_ID and GPU_MMU_FEATURES; the soft device's: as the model has them
    std::uint32_t mmu_features = 0;
    unsigned va_bits = 0;
    unsigned pa_bits = 0;
    LeafSizes leaf_sizes = kLeaves4K2M;
    KernelBehaviour behaviour = KernelBehaviour::kOopses;
    const KernelFacts* kernel_facts = nullptr;  // nullptr: there is no kernel behind it. As long as the device

    VaRange vm_space;              // the widest that a VM may have
    VaRange default_vm_space;      // what an empty VmConfig::space gets
    std::uint64_t heap_bytes = 0;  // memory for BOs: the soft device's own; else the machine's RAM

    bool coherent = false;           // the GPU snoops the CPU's caches: cached BOs need no sync_caches
    bool cpu_cached_bos = false;     // BoRequest::cpu_cached is known
    bool sparse = false;             // VMs take sparse mappings ...
    bool native_sparse = false;      // ... which cost no BO of ours (panthor before MAP_SPARSE: one of 2 MiB a VM)
    bool huge_pages = false;         // BOs of 2 MiB and more get blocks by right, not by luck
    bool kernel_queue = false;       // Vm::submit: the kernel carries binds out later
    bool kernel_places_bos = false;  // ... shows a BO where it likes, all its life, in the one VM there is (show_bo)
    bool labels = false;             // whoever keeps the memory learns the BOs' labels
    bool evictable_bos = false;      // set_evictable
    bool bo_wait = false;            // wait_bo
};

[[nodiscard]] const char* to_string(DeviceProperties::Kind kind) noexcept;

class Device {
public:
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;
    virtual ~Device() = default;

    [[nodiscard]] const DeviceProperties& properties() const noexcept { return properties_; }
    [[nodiscard]] NodeMemory nodes() const noexcept { return nodes_; }
    [[nodiscard]] virtual BoTable& bos() noexcept = 0;
    [[nodiscard]] virtual const BoTable& bos() const noexcept = 0;
    [[nodiscard]] TimelineTable& timelines() noexcept { return timelines_; }

    // `space` lies in `properties().vm_space`; empty: `default_vm_space`. kBadArgument, kOutOfRange: it does not. What a
    // kernel refuses arrives with its errno: EBUSY is panthor's 33rd VM of a file. kNotSupported: panfrost's second.
    [[nodiscard]] virtual Result<Owned<Vm>, OsError> create_vm(VmConfig config) noexcept = 0;

    // BOs. The caller gets a reference (BoTable::release). kBadArgument: no bytes; shareable and for one VM only.
    // kOverBudget: more than the memory limit.
    [[nodiscard]] Result<BoId, OsError> create_bo(const BoRequest& request) noexcept { return bos().create(request); }
    // The memory behind a file: a dma-buf on DRM; on the soft device any file that can be mapped shared and written, as
    // another soft device's export is. The same memory twice, or back from an export, is the same BO with one more
    // reference. The fd stays the caller's.
    [[nodiscard]] virtual Result<BoId, OsError> import_bo(int file, std::uint64_t made_by = 0) noexcept = 0;
    // A file that `import_bo` of a device of this kind takes, here or in another process; the caller's, close-on-exec.
    // kBadArgument: a BO that was neither made shareable nor imported.
    [[nodiscard]] Result<int, OsError> export_bo(const Bo& bo) noexcept;
    // Keeps the CPU's caches and the GPU apart or together, for parts of BOs that the CPU sees cached. One ioctl for 64
    // of them on DRM, none on the soft device, whose GPU sees what the CPU writes. All arguments are checked before the
    // first is carried out. kNotSupported: a driver without BO_SYNC; imported BOs, which are their exporter's to keep
    // coherent. kOutOfRange: not inside its BO. Should a kernel fail, some may have been carried out, which does no harm.
    [[nodiscard]] virtual Result<void, OsError> sync_caches(std::span<const CacheSync> parts) noexcept = 0;
    // Until no job uses the BO; `until_ns` is absolute, CLOCK_MONOTONIC. kTimedOut. kNotSupported where nobody knows
    // which BOs a job uses (panthor, soft): wait for the fences of the jobs on its VM.
    [[nodiscard]] virtual Result<void, OsError> wait_bo(const Bo& bo, std::int64_t until_ns) noexcept;
    // Whether the kernel may take the pages of the BO while it is idle, and with them all that was in it. Returns whether
    // they are still there. kNotSupported: panthor, soft.
    [[nodiscard]] virtual Result<bool, OsError> set_evictable(const Bo& bo, bool evictable) noexcept;

    // All of a BO of the caller's, mapped in `vm` at a VA as `place` says but for the size, which is the BO's. Where the kernel
    // places BOs it is shown there (show_bo), whatever `place` and `flags` say. On failure nothing is reserved or mapped.
    [[nodiscard]] Result<VaRange, OsError> map_bo(Vm& vm, const Bo& bo, const MapFlags& flags,
                                                  VaRequest place) noexcept;
    // Where the kernel places BOs. A BO of the caller's, reserved and mapped in `vm` where the kernel shows it.
    // kVaOccupied: it is there already. kNotSupported: a BO that no kernel shows anywhere.
    [[nodiscard]] Result<BindReport, BindError> show_bo(Vm& vm, BoId bo) noexcept;
    // ... what `show_bo` did is gone, and one reference of the caller's. The kernel unmaps when the handle is closed, with
    // the last reference.
    void free_mapped_bo(Vm& vm, BoId bo) noexcept;
    // create_bo and show_bo.
    [[nodiscard]] Result<BoId, BindError> create_mapped_bo(Vm& vm, const BoRequest& request) noexcept;

    // On DRM a syncobj of the file, which kernel queues can wait for and signal. kNotSupported: panfrost, whose syncobjs
    // have no points.
    [[nodiscard]] virtual Result<Owned<Timeline>, OsError> create_timeline() noexcept = 0;

    // The budget (memory_budget.hpp). 0: no limit.
    void set_memory_limit(std::uint64_t bytes) noexcept { bos().budget().set_limit(bytes); }
    [[nodiscard]] MemoryUsage memory_usage() const noexcept;

protected:
    Device(const DeviceProperties& properties, NodeMemory nodes) noexcept
        : properties_(properties), nodes_(nodes), timelines_(nodes) {}

private:
    // Of a BO that may be exported.
    [[nodiscard]] virtual Result<int, OsError> export_shareable(const Bo& bo) noexcept = 0;

    const DeviceProperties properties_;
    const NodeMemory nodes_;
    TimelineTable timelines_;
};

}  // namespace granule
