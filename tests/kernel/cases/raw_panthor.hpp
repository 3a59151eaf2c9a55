// panthor's ioctls as they are, for tests that ask what a kernel does: no library between.
//
// Each call returns 0 or a negative errno.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/drm/panthor_uapi.hpp"

namespace granule::kernel_test {

inline constexpr const char* kRenderNode = "/dev/dri/renderD128";

// One open file of panthor.
class RawPanthor {
public:
    RawPanthor();  // opens kRenderNode; `fd` is negative where that failed
    RawPanthor(const RawPanthor&) = delete;
    RawPanthor& operator=(const RawPanthor&) = delete;
    ~RawPanthor();

    [[nodiscard]] int fd() const { return fd_; }
    // Any ioctl, restarted when interrupted.
    [[nodiscard]] int call(unsigned long request, void* argument) const;

    [[nodiscard]] int create_vm(std::uint32_t& vm, std::uint64_t user_va_range = 0) const;
    // NOLINTNEXTLINE(modernize-use-nodiscard): who only cleans up does not ask what came of it
    int destroy_vm(std::uint32_t vm) const;
    [[nodiscard]] int vm_state(std::uint32_t vm, std::uint32_t& state) const;

    [[nodiscard]] int create_bo(std::uint64_t bytes, std::uint32_t& handle, std::uint32_t flags = 0,
                                std::uint32_t only_for_vm = 0) const;
    // NOLINTNEXTLINE(modernize-use-nodiscard): who only cleans up does not ask what came of it
    int close_bo(std::uint32_t handle) const;

    // `done`: how many operations were carried out, where the kernel says so.
    [[nodiscard]] int bind(std::uint32_t vm, std::span<const drm_panthor_vm_bind_op> ops, bool async = false,
                           std::uint32_t* done = nullptr) const;

    [[nodiscard]] int create_syncobj(std::uint32_t& syncobj) const;
    // NOLINTNEXTLINE(modernize-use-nodiscard): who only cleans up does not ask what came of it
    int destroy_syncobj(std::uint32_t syncobj) const;
    // Of a timeline point, or of a binary syncobj (point 0), for at most `milliseconds`.
    [[nodiscard]] int wait(std::uint32_t syncobj, std::uint64_t point, unsigned milliseconds) const;
    [[nodiscard]] int signal(std::uint32_t syncobj, std::uint64_t point) const;

private:
    int fd_;
};

[[nodiscard]] drm_panthor_vm_bind_op map_op(std::uint32_t handle, std::uint64_t offset, std::uint64_t va,
                                            std::uint64_t bytes, std::uint32_t flags = 0);
[[nodiscard]] drm_panthor_vm_bind_op unmap_op(std::uint64_t va, std::uint64_t bytes);
// With these waits and signals, which the caller keeps alive.
[[nodiscard]] drm_panthor_vm_bind_op with_syncs(drm_panthor_vm_bind_op op, std::span<const drm_panthor_sync_op> syncs);
[[nodiscard]] drm_panthor_sync_op wait_for(std::uint32_t syncobj, std::uint64_t point);
[[nodiscard]] drm_panthor_sync_op then_signal(std::uint32_t syncobj, std::uint64_t point);

}  // namespace granule::kernel_test
