// Our declarations of the drivers' uAPI beside the system's, where its headers have the driver. Those may be older than
// ours: a struct that has grown since is compared as far as it goes.
//
// That ours are what kernels have is asserted in src/drm/uapi_layout.cpp; this finds a mistake in both.
#include <doctest/doctest.h>

#include <cstddef>

#include "src/drm/panfrost_uapi.hpp"
#include "src/drm/panthor_uapi.hpp"

#if __has_include(<drm/panfrost_drm.h>)
#include <drm/panfrost_drm.h>
#define GRANULE_HAS_PANFROST_HEADER 1
#endif
#if __has_include(<drm/panthor_drm.h>)
#include <drm/panthor_drm.h>
#define GRANULE_HAS_PANTHOR_HEADER 1
#endif

namespace granule::test {
namespace {

// Is this the driver's own number of the call, whatever the size of its argument?
constexpr bool same_call(unsigned long ours, unsigned long theirs) {
    constexpr unsigned long kSize = 0x3fffUL << 16;
    return (ours & ~kSize) == (theirs & ~kSize) && (ours & kSize) >= (theirs & kSize);
}

TEST_CASE("ioctl numbers are built of direction, size, type and id") {
    CHECK(drm_ioctl_number<drm_panthor_vm_bind>(IoctlDirection::kBoth, 3) == 0xc0186443);
    CHECK(drm_ioctl_number<drm_panfrost_wait_bo>(IoctlDirection::kWrite, 1) == 0x40106441);
    CHECK(same_call(panfrost::kSubmit, 0x40286440));  // as it was before 1.5
    CHECK_FALSE(same_call(panfrost::kSubmit, 0x40286441));
}

#define GRANULE_SAME_FIELD(type, field)                      \
    CHECK(offsetof(type, field) == offsetof(::type, field)); \
    CHECK(sizeof(type::field) == sizeof(::type::field))

#ifdef GRANULE_HAS_PANFROST_HEADER
TEST_CASE("panfrost as the system's header has it") {
    GRANULE_SAME_FIELD(drm_panfrost_submit, jc);
    GRANULE_SAME_FIELD(drm_panfrost_submit, in_syncs);
    GRANULE_SAME_FIELD(drm_panfrost_submit, in_sync_count);
    GRANULE_SAME_FIELD(drm_panfrost_submit, out_sync);
    GRANULE_SAME_FIELD(drm_panfrost_submit, bo_handles);
    GRANULE_SAME_FIELD(drm_panfrost_submit, bo_handle_count);
    GRANULE_SAME_FIELD(drm_panfrost_submit, requirements);
    GRANULE_SAME_FIELD(drm_panfrost_wait_bo, handle);
    GRANULE_SAME_FIELD(drm_panfrost_wait_bo, timeout_ns);
    GRANULE_SAME_FIELD(drm_panfrost_create_bo, size);
    GRANULE_SAME_FIELD(drm_panfrost_create_bo, flags);
    GRANULE_SAME_FIELD(drm_panfrost_create_bo, handle);
    GRANULE_SAME_FIELD(drm_panfrost_create_bo, offset);
    GRANULE_SAME_FIELD(drm_panfrost_mmap_bo, handle);
    GRANULE_SAME_FIELD(drm_panfrost_mmap_bo, flags);
    GRANULE_SAME_FIELD(drm_panfrost_mmap_bo, offset);
    GRANULE_SAME_FIELD(drm_panfrost_get_param, param);
    GRANULE_SAME_FIELD(drm_panfrost_get_param, value);
    GRANULE_SAME_FIELD(drm_panfrost_get_bo_offset, handle);
    GRANULE_SAME_FIELD(drm_panfrost_get_bo_offset, offset);
    GRANULE_SAME_FIELD(drm_panfrost_madvise, handle);
    GRANULE_SAME_FIELD(drm_panfrost_madvise, madv);
    GRANULE_SAME_FIELD(drm_panfrost_madvise, retained);

    CHECK(same_call(panfrost::kSubmit, DRM_IOCTL_PANFROST_SUBMIT));
    CHECK(panfrost::kWaitBo == DRM_IOCTL_PANFROST_WAIT_BO);
    CHECK(panfrost::kCreateBo == DRM_IOCTL_PANFROST_CREATE_BO);
    CHECK(panfrost::kMmapBo == DRM_IOCTL_PANFROST_MMAP_BO);
    CHECK(panfrost::kGetParam == DRM_IOCTL_PANFROST_GET_PARAM);
    CHECK(panfrost::kGetBoOffset == DRM_IOCTL_PANFROST_GET_BO_OFFSET);
    CHECK(panfrost::kMadvise == DRM_IOCTL_PANFROST_MADVISE);

    CHECK(panfrost::kBoNoexec == PANFROST_BO_NOEXEC);
    CHECK(panfrost::kBoHeap == PANFROST_BO_HEAP);
    CHECK(panfrost::kJobFragment == PANFROST_JD_REQ_FS);
    CHECK(panfrost::kMadviseWillNeed == PANFROST_MADV_WILLNEED);
    CHECK(panfrost::kMadviseDontNeed == PANFROST_MADV_DONTNEED);
    CHECK(panfrost::kParamGpuProdId == DRM_PANFROST_PARAM_GPU_PROD_ID);
    CHECK(panfrost::kParamGpuRevision == DRM_PANFROST_PARAM_GPU_REVISION);
    CHECK(panfrost::kParamMmuFeatures == DRM_PANFROST_PARAM_MMU_FEATURES);
    CHECK(panfrost::kParamCoherencyFeatures == DRM_PANFROST_PARAM_COHERENCY_FEATURES);
    CHECK(panfrost::kParamJsFeatures0 == DRM_PANFROST_PARAM_JS_FEATURES0);
    CHECK(panfrost::kParamNrCoreGroups == DRM_PANFROST_PARAM_NR_CORE_GROUPS);
    CHECK(panfrost::kParamThreadTlsAlloc == DRM_PANFROST_PARAM_THREAD_TLS_ALLOC);
}
#endif

#ifdef GRANULE_HAS_PANTHOR_HEADER
TEST_CASE("panthor as the system's header has it") {
    GRANULE_SAME_FIELD(drm_panthor_obj_array, stride);
    GRANULE_SAME_FIELD(drm_panthor_obj_array, count);
    GRANULE_SAME_FIELD(drm_panthor_obj_array, array);
    GRANULE_SAME_FIELD(drm_panthor_sync_op, flags);
    GRANULE_SAME_FIELD(drm_panthor_sync_op, handle);
    GRANULE_SAME_FIELD(drm_panthor_sync_op, timeline_value);
    GRANULE_SAME_FIELD(drm_panthor_dev_query, type);
    GRANULE_SAME_FIELD(drm_panthor_dev_query, size);
    GRANULE_SAME_FIELD(drm_panthor_dev_query, pointer);
    GRANULE_SAME_FIELD(drm_panthor_gpu_info, gpu_id);
    GRANULE_SAME_FIELD(drm_panthor_gpu_info, mmu_features);
    GRANULE_SAME_FIELD(drm_panthor_gpu_info, coherency_features);
    GRANULE_SAME_FIELD(drm_panthor_gpu_info, as_present);
    GRANULE_SAME_FIELD(drm_panthor_gpu_info, shader_present);
    GRANULE_SAME_FIELD(drm_panthor_gpu_info, core_features);
    GRANULE_SAME_FIELD(drm_panthor_csif_info, csg_slot_count);
    GRANULE_SAME_FIELD(drm_panthor_csif_info, unpreserved_cs_reg_count);
    GRANULE_SAME_FIELD(drm_panthor_vm_create, flags);
    GRANULE_SAME_FIELD(drm_panthor_vm_create, id);
    GRANULE_SAME_FIELD(drm_panthor_vm_create, user_va_range);
    GRANULE_SAME_FIELD(drm_panthor_vm_destroy, id);
    GRANULE_SAME_FIELD(drm_panthor_vm_bind_op, flags);
    GRANULE_SAME_FIELD(drm_panthor_vm_bind_op, bo_handle);
    GRANULE_SAME_FIELD(drm_panthor_vm_bind_op, bo_offset);
    GRANULE_SAME_FIELD(drm_panthor_vm_bind_op, va);
    GRANULE_SAME_FIELD(drm_panthor_vm_bind_op, size);
    GRANULE_SAME_FIELD(drm_panthor_vm_bind_op, syncs);
    GRANULE_SAME_FIELD(drm_panthor_vm_bind, vm_id);
    GRANULE_SAME_FIELD(drm_panthor_vm_bind, flags);
    GRANULE_SAME_FIELD(drm_panthor_vm_bind, ops);
    GRANULE_SAME_FIELD(drm_panthor_vm_get_state, vm_id);
    GRANULE_SAME_FIELD(drm_panthor_vm_get_state, state);
    GRANULE_SAME_FIELD(drm_panthor_bo_create, size);
    GRANULE_SAME_FIELD(drm_panthor_bo_create, flags);
    GRANULE_SAME_FIELD(drm_panthor_bo_create, exclusive_vm_id);
    GRANULE_SAME_FIELD(drm_panthor_bo_create, handle);
    GRANULE_SAME_FIELD(drm_panthor_bo_mmap_offset, handle);
    GRANULE_SAME_FIELD(drm_panthor_bo_mmap_offset, offset);
    GRANULE_SAME_FIELD(drm_panthor_queue_create, priority);
    GRANULE_SAME_FIELD(drm_panthor_queue_create, ringbuf_size);
    GRANULE_SAME_FIELD(drm_panthor_group_create, queues);
    GRANULE_SAME_FIELD(drm_panthor_group_create, priority);
    GRANULE_SAME_FIELD(drm_panthor_group_create, compute_core_mask);
    GRANULE_SAME_FIELD(drm_panthor_group_create, group_handle);
    GRANULE_SAME_FIELD(drm_panthor_queue_submit, latest_flush);
    GRANULE_SAME_FIELD(drm_panthor_queue_submit, syncs);
    GRANULE_SAME_FIELD(drm_panthor_group_submit, queue_submits);
    GRANULE_SAME_FIELD(drm_panthor_group_get_state, fatal_queues);
    GRANULE_SAME_FIELD(drm_panthor_tiler_heap_create, handle);
    GRANULE_SAME_FIELD(drm_panthor_tiler_heap_create, first_heap_chunk_gpu_va);
    GRANULE_SAME_FIELD(drm_panthor_tiler_heap_destroy, handle);

    CHECK(panthor::kDevQuery == DRM_IOCTL_PANTHOR_DEV_QUERY);
    CHECK(panthor::kVmCreate == DRM_IOCTL_PANTHOR_VM_CREATE);
    CHECK(panthor::kVmDestroy == DRM_IOCTL_PANTHOR_VM_DESTROY);
    CHECK(panthor::kVmBind == DRM_IOCTL_PANTHOR_VM_BIND);
    CHECK(panthor::kVmGetState == DRM_IOCTL_PANTHOR_VM_GET_STATE);
    CHECK(panthor::kBoCreate == DRM_IOCTL_PANTHOR_BO_CREATE);
    CHECK(panthor::kBoMmapOffset == DRM_IOCTL_PANTHOR_BO_MMAP_OFFSET);
    CHECK(panthor::kGroupCreate == DRM_IOCTL_PANTHOR_GROUP_CREATE);
    CHECK(panthor::kGroupDestroy == DRM_IOCTL_PANTHOR_GROUP_DESTROY);
    CHECK(panthor::kGroupSubmit == DRM_IOCTL_PANTHOR_GROUP_SUBMIT);
    CHECK(panthor::kGroupGetState == DRM_IOCTL_PANTHOR_GROUP_GET_STATE);
    CHECK(panthor::kTilerHeapCreate == DRM_IOCTL_PANTHOR_TILER_HEAP_CREATE);
    CHECK(panthor::kTilerHeapDestroy == DRM_IOCTL_PANTHOR_TILER_HEAP_DESTROY);

    CHECK(panthor::kQueryGpuInfo == DRM_PANTHOR_DEV_QUERY_GPU_INFO);
    CHECK(panthor::kQueryCsifInfo == DRM_PANTHOR_DEV_QUERY_CSIF_INFO);
    CHECK(panthor::kSyncTimeline == DRM_PANTHOR_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ);
    CHECK(panthor::kSyncSignal == static_cast<std::uint32_t>(DRM_PANTHOR_SYNC_OP_SIGNAL));
    CHECK(panthor::kOpReadonly == DRM_PANTHOR_VM_BIND_OP_MAP_READONLY);
    CHECK(panthor::kOpNoexec == DRM_PANTHOR_VM_BIND_OP_MAP_NOEXEC);
    CHECK(panthor::kOpUncached == DRM_PANTHOR_VM_BIND_OP_MAP_UNCACHED);
    CHECK(panthor::kOpTypeMask == static_cast<std::uint32_t>(DRM_PANTHOR_VM_BIND_OP_TYPE_MASK));
    CHECK(panthor::kOpMap == DRM_PANTHOR_VM_BIND_OP_TYPE_MAP);
    CHECK(panthor::kOpUnmap == DRM_PANTHOR_VM_BIND_OP_TYPE_UNMAP);
    CHECK(panthor::kOpSyncOnly == DRM_PANTHOR_VM_BIND_OP_TYPE_SYNC_ONLY);
    CHECK(panthor::kBindAsync == DRM_PANTHOR_VM_BIND_ASYNC);
    CHECK(panthor::kVmUnusable == DRM_PANTHOR_VM_STATE_UNUSABLE);
    CHECK(panthor::kBoNoMmap == DRM_PANTHOR_BO_NO_MMAP);
    CHECK(panthor::kGroupTimedOut == DRM_PANTHOR_GROUP_STATE_TIMEDOUT);
    CHECK(panthor::kGroupFatalFault == DRM_PANTHOR_GROUP_STATE_FATAL_FAULT);
}
#endif

}  // namespace
}  // namespace granule::test
