// The layout of what drivers read and write, held against the kernel's at compile time: sizes, offsets and ioctl numbers as
// Linux include/uapi/drm/panthor_drm.h (1.9) and panfrost_drm.h (1.6) have them on every architecture.
//
// Nothing here runs. Being a source of the library, it is checked by every build, a cross build too.
#include <cstddef>

#include "src/drm/panfrost_uapi.hpp"
#include "src/drm/panthor_uapi.hpp"

namespace granule {

static_assert(sizeof(drm_panthor_obj_array) == 16);
static_assert(offsetof(drm_panthor_obj_array, stride) == 0);
static_assert(offsetof(drm_panthor_obj_array, count) == 4);
static_assert(offsetof(drm_panthor_obj_array, array) == 8);

static_assert(sizeof(drm_panthor_sync_op) == 16);
static_assert(offsetof(drm_panthor_sync_op, flags) == 0);
static_assert(offsetof(drm_panthor_sync_op, handle) == 4);
static_assert(offsetof(drm_panthor_sync_op, timeline_value) == 8);

static_assert(sizeof(drm_panthor_dev_query) == 16);
static_assert(offsetof(drm_panthor_dev_query, type) == 0);
static_assert(offsetof(drm_panthor_dev_query, size) == 4);
static_assert(offsetof(drm_panthor_dev_query, pointer) == 8);

static_assert(sizeof(drm_panthor_gpu_info) == 112);
static_assert(offsetof(drm_panthor_gpu_info, gpu_id) == 0);
static_assert(offsetof(drm_panthor_gpu_info, gpu_rev) == 4);
static_assert(offsetof(drm_panthor_gpu_info, csf_id) == 8);
static_assert(offsetof(drm_panthor_gpu_info, l2_features) == 12);
static_assert(offsetof(drm_panthor_gpu_info, tiler_features) == 16);
static_assert(offsetof(drm_panthor_gpu_info, mem_features) == 20);
static_assert(offsetof(drm_panthor_gpu_info, mmu_features) == 24);
static_assert(offsetof(drm_panthor_gpu_info, thread_features) == 28);
static_assert(offsetof(drm_panthor_gpu_info, max_threads) == 32);
static_assert(offsetof(drm_panthor_gpu_info, thread_max_workgroup_size) == 36);
static_assert(offsetof(drm_panthor_gpu_info, thread_max_barrier_size) == 40);
static_assert(offsetof(drm_panthor_gpu_info, coherency_features) == 44);
static_assert(offsetof(drm_panthor_gpu_info, texture_features) == 48);
static_assert(offsetof(drm_panthor_gpu_info, as_present) == 64);
static_assert(offsetof(drm_panthor_gpu_info, selected_coherency) == 68);
static_assert(offsetof(drm_panthor_gpu_info, shader_present) == 72);
static_assert(offsetof(drm_panthor_gpu_info, l2_present) == 80);
static_assert(offsetof(drm_panthor_gpu_info, tiler_present) == 88);
static_assert(offsetof(drm_panthor_gpu_info, core_features) == 96);
static_assert(offsetof(drm_panthor_gpu_info, pad) == 100);
static_assert(offsetof(drm_panthor_gpu_info, gpu_features) == 104);

static_assert(sizeof(drm_panthor_csif_info) == 24);
static_assert(offsetof(drm_panthor_csif_info, csg_slot_count) == 0);
static_assert(offsetof(drm_panthor_csif_info, cs_slot_count) == 4);
static_assert(offsetof(drm_panthor_csif_info, cs_reg_count) == 8);
static_assert(offsetof(drm_panthor_csif_info, scoreboard_slot_count) == 12);
static_assert(offsetof(drm_panthor_csif_info, unpreserved_cs_reg_count) == 16);
static_assert(offsetof(drm_panthor_csif_info, pad) == 20);

static_assert(sizeof(drm_panthor_timestamp_info) == 56);
static_assert(offsetof(drm_panthor_timestamp_info, timestamp_frequency) == 0);
static_assert(offsetof(drm_panthor_timestamp_info, current_timestamp) == 8);
static_assert(offsetof(drm_panthor_timestamp_info, timestamp_offset) == 16);
static_assert(offsetof(drm_panthor_timestamp_info, flags) == 24);
static_assert(offsetof(drm_panthor_timestamp_info, duration_nsec) == 28);
static_assert(offsetof(drm_panthor_timestamp_info, cycle_count) == 32);
static_assert(offsetof(drm_panthor_timestamp_info, cpu_timestamp_sec) == 40);
static_assert(offsetof(drm_panthor_timestamp_info, cpu_timestamp_nsec) == 48);

static_assert(sizeof(drm_panthor_group_priorities_info) == 4);
static_assert(offsetof(drm_panthor_group_priorities_info, allowed_mask) == 0);
static_assert(offsetof(drm_panthor_group_priorities_info, pad) == 1);

static_assert(sizeof(drm_panthor_mmu_info) == 8);
static_assert(offsetof(drm_panthor_mmu_info, page_size_bitmap) == 0);

static_assert(sizeof(drm_panthor_vm_create) == 16);
static_assert(offsetof(drm_panthor_vm_create, flags) == 0);
static_assert(offsetof(drm_panthor_vm_create, id) == 4);
static_assert(offsetof(drm_panthor_vm_create, user_va_range) == 8);

static_assert(sizeof(drm_panthor_vm_destroy) == 8);
static_assert(offsetof(drm_panthor_vm_destroy, id) == 0);
static_assert(offsetof(drm_panthor_vm_destroy, pad) == 4);

static_assert(sizeof(drm_panthor_vm_bind_op) == 48);
static_assert(offsetof(drm_panthor_vm_bind_op, flags) == 0);
static_assert(offsetof(drm_panthor_vm_bind_op, bo_handle) == 4);
static_assert(offsetof(drm_panthor_vm_bind_op, bo_offset) == 8);
static_assert(offsetof(drm_panthor_vm_bind_op, va) == 16);
static_assert(offsetof(drm_panthor_vm_bind_op, size) == 24);
static_assert(offsetof(drm_panthor_vm_bind_op, syncs) == 32);

static_assert(sizeof(drm_panthor_vm_bind) == 24);
static_assert(offsetof(drm_panthor_vm_bind, vm_id) == 0);
static_assert(offsetof(drm_panthor_vm_bind, flags) == 4);
static_assert(offsetof(drm_panthor_vm_bind, ops) == 8);

static_assert(sizeof(drm_panthor_vm_get_state) == 8);
static_assert(offsetof(drm_panthor_vm_get_state, vm_id) == 0);
static_assert(offsetof(drm_panthor_vm_get_state, state) == 4);

static_assert(sizeof(drm_panthor_bo_create) == 24);
static_assert(offsetof(drm_panthor_bo_create, size) == 0);
static_assert(offsetof(drm_panthor_bo_create, flags) == 8);
static_assert(offsetof(drm_panthor_bo_create, exclusive_vm_id) == 12);
static_assert(offsetof(drm_panthor_bo_create, handle) == 16);
static_assert(offsetof(drm_panthor_bo_create, pad) == 20);

static_assert(sizeof(drm_panthor_bo_mmap_offset) == 16);
static_assert(offsetof(drm_panthor_bo_mmap_offset, handle) == 0);
static_assert(offsetof(drm_panthor_bo_mmap_offset, pad) == 4);
static_assert(offsetof(drm_panthor_bo_mmap_offset, offset) == 8);

static_assert(sizeof(drm_panthor_queue_create) == 8);
static_assert(offsetof(drm_panthor_queue_create, priority) == 0);
static_assert(offsetof(drm_panthor_queue_create, pad) == 1);
static_assert(offsetof(drm_panthor_queue_create, ringbuf_size) == 4);

static_assert(sizeof(drm_panthor_group_create) == 56);
static_assert(offsetof(drm_panthor_group_create, queues) == 0);
static_assert(offsetof(drm_panthor_group_create, max_compute_cores) == 16);
static_assert(offsetof(drm_panthor_group_create, max_fragment_cores) == 17);
static_assert(offsetof(drm_panthor_group_create, max_tiler_cores) == 18);
static_assert(offsetof(drm_panthor_group_create, priority) == 19);
static_assert(offsetof(drm_panthor_group_create, pad) == 20);
static_assert(offsetof(drm_panthor_group_create, compute_core_mask) == 24);
static_assert(offsetof(drm_panthor_group_create, fragment_core_mask) == 32);
static_assert(offsetof(drm_panthor_group_create, tiler_core_mask) == 40);
static_assert(offsetof(drm_panthor_group_create, vm_id) == 48);
static_assert(offsetof(drm_panthor_group_create, group_handle) == 52);

static_assert(sizeof(drm_panthor_group_destroy) == 8);
static_assert(offsetof(drm_panthor_group_destroy, group_handle) == 0);
static_assert(offsetof(drm_panthor_group_destroy, pad) == 4);

static_assert(sizeof(drm_panthor_queue_submit) == 40);
static_assert(offsetof(drm_panthor_queue_submit, queue_index) == 0);
static_assert(offsetof(drm_panthor_queue_submit, stream_size) == 4);
static_assert(offsetof(drm_panthor_queue_submit, stream_addr) == 8);
static_assert(offsetof(drm_panthor_queue_submit, latest_flush) == 16);
static_assert(offsetof(drm_panthor_queue_submit, pad) == 20);
static_assert(offsetof(drm_panthor_queue_submit, syncs) == 24);

static_assert(sizeof(drm_panthor_group_submit) == 24);
static_assert(offsetof(drm_panthor_group_submit, group_handle) == 0);
static_assert(offsetof(drm_panthor_group_submit, pad) == 4);
static_assert(offsetof(drm_panthor_group_submit, queue_submits) == 8);

static_assert(sizeof(drm_panthor_group_get_state) == 16);
static_assert(offsetof(drm_panthor_group_get_state, group_handle) == 0);
static_assert(offsetof(drm_panthor_group_get_state, state) == 4);
static_assert(offsetof(drm_panthor_group_get_state, fatal_queues) == 8);
static_assert(offsetof(drm_panthor_group_get_state, pad) == 12);

static_assert(sizeof(drm_panthor_tiler_heap_create) == 40);
static_assert(offsetof(drm_panthor_tiler_heap_create, vm_id) == 0);
static_assert(offsetof(drm_panthor_tiler_heap_create, initial_chunk_count) == 4);
static_assert(offsetof(drm_panthor_tiler_heap_create, chunk_size) == 8);
static_assert(offsetof(drm_panthor_tiler_heap_create, max_chunks) == 12);
static_assert(offsetof(drm_panthor_tiler_heap_create, target_in_flight) == 16);
static_assert(offsetof(drm_panthor_tiler_heap_create, handle) == 20);
static_assert(offsetof(drm_panthor_tiler_heap_create, tiler_heap_ctx_gpu_va) == 24);
static_assert(offsetof(drm_panthor_tiler_heap_create, first_heap_chunk_gpu_va) == 32);

static_assert(sizeof(drm_panthor_tiler_heap_destroy) == 8);
static_assert(offsetof(drm_panthor_tiler_heap_destroy, handle) == 0);
static_assert(offsetof(drm_panthor_tiler_heap_destroy, pad) == 4);

static_assert(sizeof(drm_panthor_bo_set_label) == 16);
static_assert(offsetof(drm_panthor_bo_set_label, handle) == 0);
static_assert(offsetof(drm_panthor_bo_set_label, pad) == 4);
static_assert(offsetof(drm_panthor_bo_set_label, label) == 8);

static_assert(sizeof(drm_panthor_set_user_mmio_offset) == 8);
static_assert(offsetof(drm_panthor_set_user_mmio_offset, offset) == 0);

static_assert(sizeof(drm_panthor_bo_sync_op) == 24);
static_assert(offsetof(drm_panthor_bo_sync_op, handle) == 0);
static_assert(offsetof(drm_panthor_bo_sync_op, type) == 4);
static_assert(offsetof(drm_panthor_bo_sync_op, offset) == 8);
static_assert(offsetof(drm_panthor_bo_sync_op, size) == 16);

static_assert(sizeof(drm_panthor_bo_sync) == 16);
static_assert(offsetof(drm_panthor_bo_sync, ops) == 0);

static_assert(sizeof(drm_panthor_bo_query_info) == 16);
static_assert(offsetof(drm_panthor_bo_query_info, handle) == 0);
static_assert(offsetof(drm_panthor_bo_query_info, extra_flags) == 4);
static_assert(offsetof(drm_panthor_bo_query_info, create_flags) == 8);
static_assert(offsetof(drm_panthor_bo_query_info, pad) == 12);

static_assert(panthor::kDevQuery == 0xc0106440);
static_assert(panthor::kVmCreate == 0xc0106441);
static_assert(panthor::kVmDestroy == 0xc0086442);
static_assert(panthor::kVmBind == 0xc0186443);
static_assert(panthor::kVmGetState == 0xc0086444);
static_assert(panthor::kBoCreate == 0xc0186445);
static_assert(panthor::kBoMmapOffset == 0xc0106446);
static_assert(panthor::kGroupCreate == 0xc0386447);
static_assert(panthor::kGroupDestroy == 0xc0086448);
static_assert(panthor::kGroupSubmit == 0xc0186449);
static_assert(panthor::kGroupGetState == 0xc010644a);
static_assert(panthor::kTilerHeapCreate == 0xc028644b);
static_assert(panthor::kTilerHeapDestroy == 0xc008644c);
static_assert(panthor::kBoSetLabel == 0xc010644d);
static_assert(panthor::kSetUserMmioOffset == 0xc008644e);
static_assert(panthor::kBoSync == 0xc010644f);
static_assert(panthor::kBoQueryInfo == 0xc0106450);

static_assert(sizeof(drm_panfrost_submit) == 48);
static_assert(offsetof(drm_panfrost_submit, jc) == 0);
static_assert(offsetof(drm_panfrost_submit, in_syncs) == 8);
static_assert(offsetof(drm_panfrost_submit, in_sync_count) == 16);
static_assert(offsetof(drm_panfrost_submit, out_sync) == 20);
static_assert(offsetof(drm_panfrost_submit, bo_handles) == 24);
static_assert(offsetof(drm_panfrost_submit, bo_handle_count) == 32);
static_assert(offsetof(drm_panfrost_submit, requirements) == 36);
static_assert(offsetof(drm_panfrost_submit, jm_ctx_handle) == 40);
static_assert(offsetof(drm_panfrost_submit, pad) == 44);

static_assert(sizeof(drm_panfrost_wait_bo) == 16);
static_assert(offsetof(drm_panfrost_wait_bo, handle) == 0);
static_assert(offsetof(drm_panfrost_wait_bo, pad) == 4);
static_assert(offsetof(drm_panfrost_wait_bo, timeout_ns) == 8);

static_assert(sizeof(drm_panfrost_create_bo) == 24);
static_assert(offsetof(drm_panfrost_create_bo, size) == 0);
static_assert(offsetof(drm_panfrost_create_bo, flags) == 4);
static_assert(offsetof(drm_panfrost_create_bo, handle) == 8);
static_assert(offsetof(drm_panfrost_create_bo, pad) == 12);
static_assert(offsetof(drm_panfrost_create_bo, offset) == 16);

static_assert(sizeof(drm_panfrost_mmap_bo) == 16);
static_assert(offsetof(drm_panfrost_mmap_bo, handle) == 0);
static_assert(offsetof(drm_panfrost_mmap_bo, flags) == 4);
static_assert(offsetof(drm_panfrost_mmap_bo, offset) == 8);

static_assert(sizeof(drm_panfrost_get_param) == 16);
static_assert(offsetof(drm_panfrost_get_param, param) == 0);
static_assert(offsetof(drm_panfrost_get_param, pad) == 4);
static_assert(offsetof(drm_panfrost_get_param, value) == 8);

static_assert(sizeof(drm_panfrost_get_bo_offset) == 16);
static_assert(offsetof(drm_panfrost_get_bo_offset, handle) == 0);
static_assert(offsetof(drm_panfrost_get_bo_offset, pad) == 4);
static_assert(offsetof(drm_panfrost_get_bo_offset, offset) == 8);

static_assert(sizeof(drm_panfrost_perfcnt_enable) == 8);
static_assert(offsetof(drm_panfrost_perfcnt_enable, enable) == 0);
static_assert(offsetof(drm_panfrost_perfcnt_enable, counterset) == 4);

static_assert(sizeof(drm_panfrost_perfcnt_dump) == 8);
static_assert(offsetof(drm_panfrost_perfcnt_dump, buf_ptr) == 0);

static_assert(sizeof(drm_panfrost_madvise) == 12);
static_assert(offsetof(drm_panfrost_madvise, handle) == 0);
static_assert(offsetof(drm_panfrost_madvise, madv) == 4);
static_assert(offsetof(drm_panfrost_madvise, retained) == 8);

static_assert(sizeof(drm_panfrost_set_label_bo) == 16);
static_assert(offsetof(drm_panfrost_set_label_bo, handle) == 0);
static_assert(offsetof(drm_panfrost_set_label_bo, pad) == 4);
static_assert(offsetof(drm_panfrost_set_label_bo, label) == 8);

static_assert(sizeof(drm_panfrost_jm_ctx_create) == 8);
static_assert(offsetof(drm_panfrost_jm_ctx_create, handle) == 0);
static_assert(offsetof(drm_panfrost_jm_ctx_create, priority) == 4);

static_assert(sizeof(drm_panfrost_jm_ctx_destroy) == 8);
static_assert(offsetof(drm_panfrost_jm_ctx_destroy, handle) == 0);
static_assert(offsetof(drm_panfrost_jm_ctx_destroy, pad) == 4);

static_assert(sizeof(drm_panfrost_bo_sync_op) == 16);
static_assert(offsetof(drm_panfrost_bo_sync_op, handle) == 0);
static_assert(offsetof(drm_panfrost_bo_sync_op, type) == 4);
static_assert(offsetof(drm_panfrost_bo_sync_op, offset) == 8);
static_assert(offsetof(drm_panfrost_bo_sync_op, size) == 12);

static_assert(sizeof(drm_panfrost_sync_bo) == 16);
static_assert(offsetof(drm_panfrost_sync_bo, ops) == 0);
static_assert(offsetof(drm_panfrost_sync_bo, op_count) == 8);
static_assert(offsetof(drm_panfrost_sync_bo, pad) == 12);

static_assert(sizeof(drm_panfrost_query_bo_info) == 16);
static_assert(offsetof(drm_panfrost_query_bo_info, handle) == 0);
static_assert(offsetof(drm_panfrost_query_bo_info, extra_flags) == 4);
static_assert(offsetof(drm_panfrost_query_bo_info, create_flags) == 8);
static_assert(offsetof(drm_panfrost_query_bo_info, pad) == 12);

static_assert(panfrost::kSubmit == 0x40306440);
static_assert(panfrost::kWaitBo == 0x40106441);
static_assert(panfrost::kCreateBo == 0xc0186442);
static_assert(panfrost::kMmapBo == 0xc0106443);
static_assert(panfrost::kGetParam == 0xc0106444);
static_assert(panfrost::kGetBoOffset == 0xc0106445);
static_assert(panfrost::kPerfcntEnable == 0x40086446);
static_assert(panfrost::kPerfcntDump == 0x40086447);
static_assert(panfrost::kMadvise == 0xc00c6448);
static_assert(panfrost::kSetLabelBo == 0xc0106449);
static_assert(panfrost::kJmCtxCreate == 0xc008644a);
static_assert(panfrost::kJmCtxDestroy == 0xc008644b);
static_assert(panfrost::kSyncBo == 0xc010644c);
static_assert(panfrost::kQueryBoInfo == 0xc010644d);

}  // namespace granule
