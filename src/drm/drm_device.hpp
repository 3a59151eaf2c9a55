// A Mali behind a DRM driver: panthor (CSF GPUs) or panfrost (job-manager GPUs).
//
// A Device (src/device.hpp): what differs from the soft one is who keeps the page tables.
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
#include <span>

#include "src/bo.hpp"
#include "src/device.hpp"
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

class DrmDevice final : public Device {
public:
    [[nodiscard]] static Result<Owned<DrmDevice>, OsError> open(const char* path,
                                                                const DrmDeviceConfig& config) noexcept;
    // Works on a duplicate of `fd`: the same open file, so the same GEM handles and VM ids. To ask panthor how much VA
    // there is takes a VM for a moment: EBUSY where the file has all the 32 that it may have.
    [[nodiscard]] static Result<Owned<DrmDevice>, OsError> adopt(int fd, const DrmDeviceConfig& config) noexcept;
    DrmDevice(const DrmDeviceConfig& config, DrmFile file, const KernelFacts& facts) noexcept;

    // What a device with these facts is, without opening it; its `kernel_facts` are left out.
    [[nodiscard]] static DeviceProperties properties_of(const KernelFacts& facts) noexcept;

    // By default a VM has all that it may have on panfrost; on panthor the lower half of what the GPU translates, so that
    // the kernel has room for the heaps and ring buffers that it puts above.
    [[nodiscard]] Result<Owned<Vm>, OsError> create_vm(VmConfig config) noexcept override;

    // PRIME. Who may be exported follows BoRequest::shareable, though the kernel would export any but one VM's own.
    [[nodiscard]] Result<BoId, OsError> import_bo(int dma_buf, std::uint64_t made_by = 0) noexcept override {
        return bo_backend_.import(bos_, dma_buf, made_by);
    }
    [[nodiscard]] Result<void, OsError> sync_caches(std::span<const CacheSync> parts) noexcept override {
        return bo_backend_.sync(parts);
    }
    [[nodiscard]] Result<void, OsError> wait_bo(const Bo& bo, std::int64_t until_ns) noexcept override {
        return bo_backend_.wait(bo, until_ns);
    }
    [[nodiscard]] Result<bool, OsError> set_evictable(const Bo& bo, bool evictable) noexcept override {
        return bo_backend_.set_evictable(bo, evictable);
    }

    [[nodiscard]] Result<Owned<Timeline>, OsError> create_timeline() noexcept override;
    // Over a syncobj of this file that stays its maker's, who destroys it after the timeline. kNotSupported: as above;
    // ENOENT: there is no such syncobj.
    [[nodiscard]] Result<Owned<Timeline>, OsError> adopt_timeline(std::uint32_t syncobj) noexcept;
    // Of a timeline that this device created or adopted.
    [[nodiscard]] static std::uint32_t syncobj_of(const Timeline& timeline) noexcept;

    [[nodiscard]] BoTable& bos() noexcept override { return bos_; }
    [[nodiscard]] const BoTable& bos() const noexcept override { return bos_; }
    [[nodiscard]] const DrmDeviceConfig& config() const noexcept { return config_; }
    [[nodiscard]] const KernelFacts& facts() const noexcept { return facts_; }
    [[nodiscard]] DrmFile& file() noexcept { return file_; }
    [[nodiscard]] const DrmFile& file() const noexcept { return file_; }
    [[nodiscard]] DrmBoBackend& bo_backend() noexcept { return bo_backend_; }

private:
    [[nodiscard]] Result<int, OsError> export_shareable(const Bo& bo) noexcept override {
        return bo_backend_.export_dma_buf(bo);
    }

    const DrmDeviceConfig config_;
    DrmFile file_;
    const KernelFacts facts_;
    DrmBoBackend bo_backend_;
    BoTable bos_;
    std::atomic<bool> has_vm_{false};  // panfrost
};

}  // namespace granule
