// BOs of a DRM driver: GEM objects, by handle, of one device file.
//
// A handle is made by BO_CREATE (CREATE_BO on panfrost) or by an import, and closed when the BO table lets go of the last
// reference. A file has one handle for an object, however often it is imported, and the handle is open or closed, not
// counted: closing it once takes it from everybody. So there is one BO for a handle, and an import that is given a handle
// that a BO has is one more reference on that BO. What if that BO's last reference is just being given back?
//
//     release                            import
//     count becomes 0
//                                        lock: FD_TO_HANDLE says h, by_gem_[h] is the BO: its count stays 0
//                                              a new BO takes the handle over: by_gem_[h] = new BO      unlock
//     lock: by_gem_[h] is another BO's now: nothing to close                                            unlock
//
// or the other way round: the handle is closed under the lock, and FD_TO_HANDLE makes one after that. Nobody waits, and
// the handle is never closed under a BO that has it.
//
// The CPU's view is the whole BO, once, kept until the BO ends (BoTable). Where it is in the device file is asked for once,
// however many views of their own others make (map_cpu_at).
//
// Thread-safety: all members, any thread. One lock, held over the ioctls of imports and closes; inside it the table's.
// Failure: what creates says what ran out, and leaves no handle; destroy allocates nothing and cannot fail (P4): an error
// of GEM_CLOSE means that the handle was closed behind our back: counted, never hidden.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string_view>

#include "src/array.hpp"
#include "src/backend/bo_backend.hpp"
#include "src/bo.hpp"
#include "src/drm/drm_file.hpp"
#include "src/drm/kernel_facts.hpp"

namespace granule {

class DrmBoBackend final : public BoBackend {
public:
    // `file` and `facts` outlive it.
    DrmBoBackend(DrmFile& file, const KernelFacts& facts, NodeMemory nodes) noexcept;

    [[nodiscard]] Result<void, OsError> create(Bo& bo, const BoRequest& request) noexcept override;
    void destroy(Bo& bo) noexcept override;
    // kNotSupported: made without a CPU view, here or where it comes from.
    [[nodiscard]] Result<std::byte*, Status> map_cpu(Bo& bo) noexcept override;
    void unmap_cpu(Bo& bo, std::byte* cpu) noexcept override;
    [[nodiscard]] Status map_cpu_at(Bo& bo, std::byte* where, CpuAccess access) noexcept override;
    // Cut to what the kernel takes: a byte less than BoTable does.
    void set_label(const Bo& bo, std::string_view label) noexcept override;

    // PRIME. `bos` is the table over this backend. The same dma-buf twice is the same BO, with one more reference.
    [[nodiscard]] Result<BoId, OsError> import(BoTable& bos, int dma_buf, std::uint64_t made_by) noexcept;
    // A dma-buf, the caller's. EINVAL: a BO that is for one VM only.
    [[nodiscard]] Result<int, OsError> export_dma_buf(const Bo& bo) noexcept;

    // For cached CPU views where the GPU does not snoop. kNotSupported: the driver has no BO_SYNC; imported BOs, which
    // are their exporter's to keep coherent. One ioctl for kPartsOfSync parts; all are checked before the first.
    static constexpr std::size_t kPartsOfSync = 64;
    [[nodiscard]] Result<void, OsError> sync(std::span<const CacheSync> parts) noexcept;
    // panfrost: the kernel may take the pages of an idle BO (MADVISE), and with them all that was in it. Returns whether
    // they are still there. panthor: kNotSupported.
    [[nodiscard]] Result<bool, OsError> set_evictable(const Bo& bo, bool evictable) noexcept;
    // panfrost: until no job uses the BO (WAIT_BO); absolute CLOCK_MONOTONIC. kTimedOut. panthor, whose kernel does not
    // know which BOs a job uses: kNotSupported; wait for the fences of the jobs on its VM.
    [[nodiscard]] Result<void, OsError> wait(const Bo& bo, std::int64_t timeout_ns) noexcept;

    [[nodiscard]] std::uint64_t open_handles() const noexcept;
    // Handles that somebody else closed.
    [[nodiscard]] std::uint64_t failed_closes() const noexcept;

private:
    // Where the BO is in the device file, asked for once.
    [[nodiscard]] int find_mmap_offset(Bo& bo) noexcept;
    [[nodiscard]] int create_panthor(Bo& bo, const BoRequest& request) noexcept;
    [[nodiscard]] int create_panfrost(Bo& bo, const BoRequest& request) noexcept;
    // 0 or an errno; at most kPartsOfSync parts.
    [[nodiscard]] int sync_panthor(std::span<const CacheSync> parts) noexcept;
    [[nodiscard]] int sync_panfrost(std::span<const CacheSync> parts) noexcept;
    // What an imported object is, asked of whom knows.
    [[nodiscard]] Result<void, OsError> describe_import(Bo& bo, int dma_buf) const noexcept;
    [[nodiscard]] Result<void, OsError> query_info(Bo& bo) const noexcept;
    // Under the lock: `bo` has the handle bo.gem. False: no memory.
    [[nodiscard]] bool remember(Bo& bo) noexcept;
    [[nodiscard]] Bo* owner_of(std::uint32_t gem) const noexcept;  // under the lock

    DrmFile& file_;
    const KernelFacts& facts_;
    mutable std::mutex mutex_;
    // All below is guarded by mutex_. GEM handles are small numbers: the kernel gives out the least that is free.
    Array<Bo*> by_gem_;
    std::uint64_t open_handles_ = 0;
    std::uint64_t failed_closes_ = 0;
};

}  // namespace granule
