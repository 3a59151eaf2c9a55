#include "tests/kernel/cases/raw_panthor.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <xf86drm.h>

#include <cerrno>
#include <ctime>

namespace granule::kernel_test {

RawPanthor::RawPanthor() : fd_(::open(kRenderNode, O_RDWR | O_CLOEXEC)) {}

RawPanthor::~RawPanthor() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

int RawPanthor::call(unsigned long request, void* argument) const {
    return ::drmIoctl(fd_, request, argument) < 0 ? -errno : 0;
}

int RawPanthor::create_vm(std::uint32_t& vm, std::uint64_t user_va_range) const {
    drm_panthor_vm_create create{};
    create.user_va_range = user_va_range;
    const int result = call(panthor::kVmCreate, &create);
    vm = create.id;
    return result;
}

int RawPanthor::destroy_vm(std::uint32_t vm) const {
    drm_panthor_vm_destroy destroy{};
    destroy.id = vm;
    return call(panthor::kVmDestroy, &destroy);
}

int RawPanthor::vm_state(std::uint32_t vm, std::uint32_t& state) const {
    drm_panthor_vm_get_state get{};
    get.vm_id = vm;
    const int result = call(panthor::kVmGetState, &get);
    state = get.state;
    return result;
}

int RawPanthor::create_bo(std::uint64_t bytes, std::uint32_t& handle, std::uint32_t flags,
                          std::uint32_t only_for_vm) const {
    drm_panthor_bo_create create{};
    create.size = bytes;
    create.flags = flags;
    create.exclusive_vm_id = only_for_vm;
    const int result = call(panthor::kBoCreate, &create);
    handle = create.handle;
    return result;
}

int RawPanthor::close_bo(std::uint32_t handle) const {
    return ::drmCloseBufferHandle(fd_, handle) == 0 ? 0 : -errno;
}

int RawPanthor::bind(std::uint32_t vm, std::span<const drm_panthor_vm_bind_op> ops, bool async,
                     std::uint32_t* done) const {
    drm_panthor_vm_bind bind{};
    bind.vm_id = vm;
    bind.flags = async ? panthor::kBindAsync : 0;
    bind.ops.stride = sizeof(drm_panthor_vm_bind_op);
    bind.ops.count = static_cast<std::uint32_t>(ops.size());
    bind.ops.array = reinterpret_cast<std::uintptr_t>(ops.data());
    const int result = call(panthor::kVmBind, &bind);
    if (done != nullptr) {
        *done = bind.ops.count;
    }
    return result;
}

int RawPanthor::create_syncobj(std::uint32_t& syncobj) const {
    return ::drmSyncobjCreate(fd_, 0, &syncobj) == 0 ? 0 : -errno;
}

int RawPanthor::destroy_syncobj(std::uint32_t syncobj) const {
    return ::drmSyncobjDestroy(fd_, syncobj) == 0 ? 0 : -errno;
}

int RawPanthor::wait(std::uint32_t syncobj, std::uint64_t point, unsigned milliseconds) const {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const std::int64_t until =
        std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec + std::int64_t{milliseconds} * 1'000'000;
    // libdrm returns -1 or a negative errno, by version.
    const int result =
        ::drmSyncobjTimelineWait(fd_, &syncobj, &point, 1, until, DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT, nullptr);
    return result == 0 ? 0 : (result == -1 ? -errno : result);
}

int RawPanthor::signal(std::uint32_t syncobj, std::uint64_t point) const {
    const int result =
        point == 0 ? ::drmSyncobjSignal(fd_, &syncobj, 1) : ::drmSyncobjTimelineSignal(fd_, &syncobj, &point, 1);
    return result == 0 ? 0 : -errno;
}

drm_panthor_vm_bind_op map_op(std::uint32_t handle, std::uint64_t offset, std::uint64_t va, std::uint64_t bytes,
                              std::uint32_t flags) {
    drm_panthor_vm_bind_op op{};
    op.flags = panthor::kOpMap | flags;
    op.bo_handle = handle;
    op.bo_offset = offset;
    op.va = va;
    op.size = bytes;
    return op;
}

drm_panthor_vm_bind_op unmap_op(std::uint64_t va, std::uint64_t bytes) {
    drm_panthor_vm_bind_op op{};
    op.flags = panthor::kOpUnmap;
    op.va = va;
    op.size = bytes;
    return op;
}

drm_panthor_vm_bind_op with_syncs(drm_panthor_vm_bind_op op, std::span<const drm_panthor_sync_op> syncs) {
    op.syncs.stride = sizeof(drm_panthor_sync_op);
    op.syncs.count = static_cast<std::uint32_t>(syncs.size());
    op.syncs.array = reinterpret_cast<std::uintptr_t>(syncs.data());
    return op;
}

drm_panthor_sync_op wait_for(std::uint32_t syncobj, std::uint64_t point) {
    drm_panthor_sync_op sync{};
    sync.flags = panthor::kSyncWait | (point == 0 ? panthor::kSyncBinary : panthor::kSyncTimeline);
    sync.handle = syncobj;
    sync.timeline_value = point;
    return sync;
}

drm_panthor_sync_op then_signal(std::uint32_t syncobj, std::uint64_t point) {
    drm_panthor_sync_op sync = wait_for(syncobj, point);
    sync.flags |= panthor::kSyncSignal;
    return sync;
}

}  // namespace granule::kernel_test
