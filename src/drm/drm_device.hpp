// A Mali behind a DRM driver: panthor (CSF GPUs) or panfrost (job-manager GPUs).
//
// The same face as the soft device's: BOs, VMs, timelines. What differs is who keeps the page tables.
//
//     panthor    we choose VAs, the kernel the leaves: a window that could be a block is taken for one (conservative)
//     panfrost   the kernel chooses the VA when a BO's handle is made, and maps it whole until the handle is closed. One
//                VM a device file, in which `show_bo` puts each BO where the kernel put it; other binds are refused
//                (panfrost_address_space.hpp).
//
// Lifetime: VMs, timelines and BOs end before their device.
// Thread-safety: all members, any thread.
// Failure: typed; `call` of an OsError names the ioctl. On failure nothing changed, in the kernel neither.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "mali/export.hpp"
#include "src/bo.hpp"
#include "src/drm/drm_bo.hpp"
#include "src/drm/drm_calls.hpp"
#include "src/drm/drm_file.hpp"
#include "src/drm/kernel_facts.hpp"
#include "src/timeline.hpp"
#include "src/vm.hpp"

namespace granule {

struct DrmDeviceConfig {
    std::optional<KernelBehaviour> kernel;  // overrides what was found
    bool probe = true;
    DrmCalls* calls = nullptr;  // nullptr: libdrm's. Outlives the device
    NodeMemory nodes = NodeMemory::process();
};

class GRANULE_API DrmDevice {
public:
    [[nodiscard]] static Result<Owned<DrmDevice>, OsError> open(const char* path,
                                                                const DrmDeviceConfig& config) noexcept;
    // Works on a duplicate of `fd`: the same open file, so the same GEM handles and VM ids. To ask panthor how much VA
    // there is takes a VM for a moment: EBUSY where the file has all the 32 that it may have.
    [[nodiscard]] static Result<Owned<DrmDevice>, OsError> adopt(int fd, const DrmDeviceConfig& config) noexcept;
    DrmDevice(const DrmDeviceConfig& config, DrmFile file, const KernelFacts& facts) noexcept;

    // `space` lies in `vm_space`. Empty: all of it on panfrost; on panthor the lower half of what the GPU translates, so
    // that the kernel has room for the heaps and ring buffers that it puts above. panfrost: kNotSupported while there is
    // another VM.
    [[nodiscard]] Result<Owned<Vm>, Status> create_vm(VmConfig config) noexcept;
    // As much as the driver gives. panfrost: 32 MiB to 4 GiB.
    [[nodiscard]] VaRange vm_space() const noexcept { return facts_.vm_space; }

    [[nodiscard]] Result<BoId, Status> create_bo(const BoRequest& request) noexcept { return bos_.create(request); }
    // panfrost: a BO of the caller's, reserved and mapped in `vm` where the kernel shows it. kVaOccupied: it is there
    // already. kNotSupported: a BO that no kernel shows anywhere.
    [[nodiscard]] Result<BindReport, BindError> show_bo(Vm& vm, BoId bo) noexcept;
    // ... what `show_bo` did is gone, and one reference of the caller's. The kernel unmaps when the handle is closed, with
    // the last reference.
    void free_mapped_bo(Vm& vm, BoId bo) noexcept;
    // panfrost: create_bo and show_bo.
    [[nodiscard]] Result<BoId, BindError> create_mapped_bo(Vm& vm, const BoRequest& request) noexcept;

    // PRIME. The same dma-buf twice is the same BO, with one more reference. The fd stays the caller's.
    [[nodiscard]] Result<BoId, OsError> import_bo(int dma_buf, std::uint64_t made_by = 0) noexcept {
        return bo_backend_.import(bos_, dma_buf, made_by);
    }
    // A dma-buf, the caller's.
    [[nodiscard]] Result<int, OsError> export_bo(const Bo& bo) noexcept { return bo_backend_.export_dma_buf(bo); }

    // A timeline that is a syncobj of this file. kNotSupported: panfrost, whose syncobjs have no points.
    [[nodiscard]] Result<Owned<Timeline>, Status> create_timeline() noexcept;
    // Of a timeline that this device created.
    [[nodiscard]] static std::uint32_t syncobj_of(const Timeline& timeline) noexcept;

    [[nodiscard]] BoTable& bos() noexcept { return bos_; }
    [[nodiscard]] TimelineTable& timelines() noexcept { return timelines_; }
    [[nodiscard]] const DrmDeviceConfig& config() const noexcept { return config_; }
    [[nodiscard]] const KernelFacts& facts() const noexcept { return facts_; }
    [[nodiscard]] DrmFile& file() noexcept { return file_; }
    [[nodiscard]] DrmBoBackend& bo_backend() noexcept { return bo_backend_; }

private:
    const DrmDeviceConfig config_;
    DrmFile file_;
    const KernelFacts facts_;
    DrmBoBackend bo_backend_;
    BoTable bos_;
    TimelineTable timelines_;
    std::atomic<bool> has_vm_{false};  // panfrost
};

}  // namespace granule
