// What panthor and user space say to each other: the structs and numbers of Linux include/uapi/drm/panthor_drm.h, declared
// by ourselves, because systems that are older than the kernel they boot lack that header.
//
// Structs and fields have the kernel's names, so that its documentation can be read beside them. Constants are ours:
// DRM_PANTHOR_VM_BIND_OP_TYPE_MAP is panthor::kOpMap. `uapi_layout.cpp` holds sizes, offsets and numbers against the
// kernel's. Fields named `pad` have to be 0. What came with a later version of the driver says with which: an older one
// refuses the ioctl, or the flag.
//
// Sizes and addresses are bytes; handles are GEM handles of the same open file; 0 is no handle.
//
// Plain data: any thread.
#pragma once

#include <array>
#include <cstdint>

#include "src/drm/ioctl_number.hpp"

namespace granule {

// An array of objects in user memory. A stride below the kernel's smallest size for them is EINVAL; what a longer object
// has beyond what the kernel knows must be 0 (E2BIG).
struct drm_panthor_obj_array {
    std::uint32_t stride = 0;
    std::uint32_t count = 0;
    std::uint64_t array = 0;  // the address
};

struct drm_panthor_sync_op {
    std::uint32_t flags = 0;  // panthor::kSync...
    std::uint32_t handle = 0;
    std::uint64_t timeline_value = 0;  // 0 with binary syncobjs
};

// What DEV_QUERY answers, by type. `pointer` 0: the kernel says in `size` how much it has. Else it fills `size` bytes,
// with zeroes beyond what it knows, and leaves `size` as it is.
struct drm_panthor_dev_query {
    std::uint32_t type = 0;  // panthor::kQuery...
    std::uint32_t size = 0;
    std::uint64_t pointer = 0;
};

struct drm_panthor_gpu_info {  // registers of the same names
    std::uint32_t gpu_id = 0;
    std::uint32_t gpu_rev = 0;
    std::uint32_t csf_id = 0;
    std::uint32_t l2_features = 0;
    std::uint32_t tiler_features = 0;
    std::uint32_t mem_features = 0;
    std::uint32_t mmu_features = 0;
    std::uint32_t thread_features = 0;
    std::uint32_t max_threads = 0;
    std::uint32_t thread_max_workgroup_size = 0;
    std::uint32_t thread_max_barrier_size = 0;
    std::uint32_t coherency_features = 0;
    std::array<std::uint32_t, 4> texture_features{};
    std::uint32_t as_present = 0;
    std::uint32_t selected_coherency = 0;  // 1.7: panthor::kCoherency...; before, always 0
    std::uint64_t shader_present = 0;
    std::uint64_t l2_present = 0;
    std::uint64_t tiler_present = 0;
    std::uint32_t core_features = 0;
    std::uint32_t pad = 0;
    std::uint64_t gpu_features = 0;
};

struct drm_panthor_csif_info {
    std::uint32_t csg_slot_count = 0;
    std::uint32_t cs_slot_count = 0;
    std::uint32_t cs_reg_count = 0;
    std::uint32_t scoreboard_slot_count = 0;
    std::uint32_t unpreserved_cs_reg_count = 0;
    std::uint32_t pad = 0;
};

struct drm_panthor_timestamp_info {  // 1.1
    std::uint64_t timestamp_frequency = 0;
    std::uint64_t current_timestamp = 0;
    std::uint64_t timestamp_offset = 0;
    std::uint32_t flags = 0;  // 1.8, as everything below
    std::uint32_t duration_nsec = 0;
    std::uint64_t cycle_count = 0;
    std::uint64_t cpu_timestamp_sec = 0;
    std::uint64_t cpu_timestamp_nsec = 0;
};

struct drm_panthor_group_priorities_info {  // 1.2
    std::uint8_t allowed_mask = 0;          // bit n: priority n
    std::array<std::uint8_t, 3> pad{};
};

struct drm_panthor_mmu_info {  // 1.9
    std::uint64_t page_size_bitmap = 0;
};

struct drm_panthor_vm_create {
    std::uint32_t flags = 0;          // none
    std::uint32_t id = 0;             // out
    std::uint64_t user_va_range = 0;  // in: 0, or at least this much from VA 0 on; out: where the kernel's part begins
};

struct drm_panthor_vm_destroy {
    std::uint32_t id = 0;
    std::uint32_t pad = 0;
};

// All of an operation must be in whole 4 KiB pages.
struct drm_panthor_vm_bind_op {
    std::uint32_t flags = 0;  // panthor::kOp...: one type, and with kOpMap flags
    std::uint32_t bo_handle = 0;
    std::uint64_t bo_offset = 0;
    std::uint64_t va = 0;
    std::uint64_t size = 0;
    drm_panthor_obj_array syncs{};  // of drm_panthor_sync_op; asynchronous arrays only
};

struct drm_panthor_vm_bind {
    std::uint32_t vm_id = 0;
    std::uint32_t flags = 0;      // panthor::kBindAsync
    drm_panthor_obj_array ops{};  // of drm_panthor_vm_bind_op; out, synchronous: `count` is the one that failed
};

struct drm_panthor_vm_get_state {
    std::uint32_t vm_id = 0;
    std::uint32_t state = 0;  // out: panthor::kVm...
};

struct drm_panthor_bo_create {
    std::uint64_t size = 0;             // out: in whole CPU pages
    std::uint32_t flags = 0;            // panthor::kBo...
    std::uint32_t exclusive_vm_id = 0;  // 0, or the one VM that may bind it
    std::uint32_t handle = 0;           // out
    std::uint32_t pad = 0;
};

struct drm_panthor_bo_mmap_offset {
    std::uint32_t handle = 0;
    std::uint32_t pad = 0;
    std::uint64_t offset = 0;  // out: for mmap of the device file
};

struct drm_panthor_queue_create {
    std::uint8_t priority = 0;  // 0 to 15
    std::array<std::uint8_t, 3> pad{};
    std::uint32_t ringbuf_size = 0;  // a power of two, 4 KiB to 64 KiB
};

struct drm_panthor_group_create {
    drm_panthor_obj_array queues{};  // of drm_panthor_queue_create
    std::uint8_t max_compute_cores = 0;
    std::uint8_t max_fragment_cores = 0;
    std::uint8_t max_tiler_cores = 0;
    std::uint8_t priority = 0;  // panthor::kGroupPriority...
    std::uint32_t pad = 0;
    std::uint64_t compute_core_mask = 0;
    std::uint64_t fragment_core_mask = 0;
    std::uint64_t tiler_core_mask = 0;
    std::uint32_t vm_id = 0;
    std::uint32_t group_handle = 0;  // out
};

struct drm_panthor_group_destroy {
    std::uint32_t group_handle = 0;
    std::uint32_t pad = 0;
};

struct drm_panthor_queue_submit {
    std::uint32_t queue_index = 0;
    std::uint32_t stream_size = 0;   // in steps of 8; 0 with stream_addr 0: only the syncs
    std::uint64_t stream_addr = 0;   // a VA, in steps of 64
    std::uint32_t latest_flush = 0;  // what the FLUSH_ID page said when the stream was made
    std::uint32_t pad = 0;
    drm_panthor_obj_array syncs{};  // of drm_panthor_sync_op
};

struct drm_panthor_group_submit {
    std::uint32_t group_handle = 0;
    std::uint32_t pad = 0;
    drm_panthor_obj_array queue_submits{};  // of drm_panthor_queue_submit
};

struct drm_panthor_group_get_state {
    std::uint32_t group_handle = 0;
    std::uint32_t state = 0;         // out: panthor::kGroup... bits
    std::uint32_t fatal_queues = 0;  // out: bit n: queue n
    std::uint32_t pad = 0;
};

struct drm_panthor_tiler_heap_create {
    std::uint32_t vm_id = 0;
    std::uint32_t initial_chunk_count = 0;
    std::uint32_t chunk_size = 0;  // 128 KiB to 8 MiB
    std::uint32_t max_chunks = 0;
    std::uint32_t target_in_flight = 0;
    std::uint32_t handle = 0;                 // out: the VM's id in the upper half
    std::uint64_t tiler_heap_ctx_gpu_va = 0;  // out, as below
    std::uint64_t first_heap_chunk_gpu_va = 0;
};

struct drm_panthor_tiler_heap_destroy {
    std::uint32_t handle = 0;
    std::uint32_t pad = 0;
};

struct drm_panthor_bo_set_label {  // 1.4
    std::uint32_t handle = 0;
    std::uint32_t pad = 0;
    std::uint64_t label = 0;  // address of a string of at most panthor::kMaxLabelBytes, its NUL included; 0: no label
};

struct drm_panthor_set_user_mmio_offset {  // 1.5
    std::uint64_t offset = 0;              // panthor::kMmioOffset32 or kMmioOffset64
};

struct drm_panthor_bo_sync_op {
    std::uint32_t handle = 0;
    std::uint32_t type = 0;  // panthor::kBoSyncFlush...
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
};

struct drm_panthor_bo_sync {      // 1.7
    drm_panthor_obj_array ops{};  // of drm_panthor_bo_sync_op; at an error, those before it are done
};

struct drm_panthor_bo_query_info {  // 1.7
    std::uint32_t handle = 0;
    std::uint32_t extra_flags = 0;   // out: panthor::kBoImported
    std::uint32_t create_flags = 0;  // out: panthor::kBo...
    std::uint32_t pad = 0;
};

namespace panthor {

// The driver's minor version (its major is 1) from which on there is ...
inline constexpr int kMinorTimestampInfo = 1;    // Linux 6.13
inline constexpr int kMinorGroupPriorities = 2;  // 6.13
inline constexpr int kMinorInnocentGroups = 3;   // 6.14
inline constexpr int kMinorBoLabels = 4;         // 6.16
inline constexpr int kMinorUserMmioOffset = 5;   // 6.17
inline constexpr int kMinorCachedBos = 7;        // 7.0: kBoCached, BO_SYNC, BO_QUERY_INFO, selected_coherency
inline constexpr int kMinorTimestampFlags = 8;   // 7.2
inline constexpr int kMinorSparse = 9;           // 7.3: MMU_INFO, kOpSparse. 7.2 has kOpSparse and says 8

inline constexpr unsigned long kDevQuery = drm_ioctl_number<drm_panthor_dev_query>(IoctlDirection::kBoth, 0);
inline constexpr unsigned long kVmCreate = drm_ioctl_number<drm_panthor_vm_create>(IoctlDirection::kBoth, 1);
inline constexpr unsigned long kVmDestroy = drm_ioctl_number<drm_panthor_vm_destroy>(IoctlDirection::kBoth, 2);
inline constexpr unsigned long kVmBind = drm_ioctl_number<drm_panthor_vm_bind>(IoctlDirection::kBoth, 3);
inline constexpr unsigned long kVmGetState = drm_ioctl_number<drm_panthor_vm_get_state>(IoctlDirection::kBoth, 4);
inline constexpr unsigned long kBoCreate = drm_ioctl_number<drm_panthor_bo_create>(IoctlDirection::kBoth, 5);
inline constexpr unsigned long kBoMmapOffset = drm_ioctl_number<drm_panthor_bo_mmap_offset>(IoctlDirection::kBoth, 6);
inline constexpr unsigned long kGroupCreate = drm_ioctl_number<drm_panthor_group_create>(IoctlDirection::kBoth, 7);
inline constexpr unsigned long kGroupDestroy = drm_ioctl_number<drm_panthor_group_destroy>(IoctlDirection::kBoth, 8);
inline constexpr unsigned long kGroupSubmit = drm_ioctl_number<drm_panthor_group_submit>(IoctlDirection::kBoth, 9);
inline constexpr unsigned long kGroupGetState =
    drm_ioctl_number<drm_panthor_group_get_state>(IoctlDirection::kBoth, 10);
inline constexpr unsigned long kTilerHeapCreate =
    drm_ioctl_number<drm_panthor_tiler_heap_create>(IoctlDirection::kBoth, 11);
inline constexpr unsigned long kTilerHeapDestroy =
    drm_ioctl_number<drm_panthor_tiler_heap_destroy>(IoctlDirection::kBoth, 12);
inline constexpr unsigned long kBoSetLabel = drm_ioctl_number<drm_panthor_bo_set_label>(IoctlDirection::kBoth, 13);
inline constexpr unsigned long kSetUserMmioOffset =
    drm_ioctl_number<drm_panthor_set_user_mmio_offset>(IoctlDirection::kBoth, 14);
inline constexpr unsigned long kBoSync = drm_ioctl_number<drm_panthor_bo_sync>(IoctlDirection::kBoth, 15);
inline constexpr unsigned long kBoQueryInfo = drm_ioctl_number<drm_panthor_bo_query_info>(IoctlDirection::kBoth, 16);

// drm_panthor_dev_query.type, and the least `size` that a kernel takes for it.
inline constexpr std::uint32_t kQueryGpuInfo = 0;
inline constexpr std::uint32_t kQueryCsifInfo = 1;
inline constexpr std::uint32_t kQueryTimestampInfo = 2;
inline constexpr std::uint32_t kQueryGroupPrioritiesInfo = 3;
inline constexpr std::uint32_t kQueryMmuInfo = 4;
inline constexpr std::uint32_t kLeastGpuInfoBytes = 96;  // without core_features and what follows it

// drm_panthor_sync_op.flags
inline constexpr std::uint32_t kSyncHandleTypeMask = 0xff;
inline constexpr std::uint32_t kSyncBinary = 0;
inline constexpr std::uint32_t kSyncTimeline = 1;
inline constexpr std::uint32_t kSyncWait = 0;
inline constexpr std::uint32_t kSyncSignal = std::uint32_t{1} << 31;

// drm_panthor_vm_bind_op.flags
inline constexpr std::uint32_t kOpReadonly = 1 << 0;
inline constexpr std::uint32_t kOpNoexec = 1 << 1;
inline constexpr std::uint32_t kOpUncached = 1 << 2;
inline constexpr std::uint32_t kOpSparse = 1 << 3;  // only with kOpNoexec, without BO and offset
inline constexpr std::uint32_t kOpTypeMask = std::uint32_t{0xf} << 28;
inline constexpr std::uint32_t kOpMap = std::uint32_t{0} << 28;
inline constexpr std::uint32_t kOpUnmap = std::uint32_t{1} << 28;
inline constexpr std::uint32_t kOpSyncOnly = std::uint32_t{2} << 28;

inline constexpr std::uint32_t kBindAsync = 1 << 0;  // drm_panthor_vm_bind.flags

// drm_panthor_vm_get_state.state
inline constexpr std::uint32_t kVmUsable = 0;
inline constexpr std::uint32_t kVmUnusable = 1;

// drm_panthor_bo_create.flags
inline constexpr std::uint32_t kBoNoMmap = 1 << 0;
inline constexpr std::uint32_t kBoCached = 1 << 1;  // WB_MMAP: cached CPU mappings; not with kBoNoMmap

inline constexpr std::uint32_t kBoImported = 1 << 0;  // drm_panthor_bo_query_info.extra_flags

// drm_panthor_bo_sync_op.type
inline constexpr std::uint32_t kBoSyncFlush = 0;
inline constexpr std::uint32_t kBoSyncFlushAndInvalidate = 1;

// drm_panthor_gpu_info.selected_coherency
inline constexpr std::uint32_t kCoherencyAceLite = 0;
inline constexpr std::uint32_t kCoherencyAce = 1;
inline constexpr std::uint32_t kCoherencyNone = 31;

// drm_panthor_group_create.priority: HIGH and REALTIME want CAP_SYS_NICE or the DRM master (EACCES).
inline constexpr std::uint8_t kGroupPriorityLow = 0;
inline constexpr std::uint8_t kGroupPriorityMedium = 1;
inline constexpr std::uint8_t kGroupPriorityHigh = 2;
inline constexpr std::uint8_t kGroupPriorityRealtime = 3;  // 1.2

// drm_panthor_group_get_state.state
inline constexpr std::uint32_t kGroupTimedOut = 1 << 0;
inline constexpr std::uint32_t kGroupFatalFault = 1 << 1;
inline constexpr std::uint32_t kGroupInnocent = 1 << 2;  // 1.3

// mmap of the device file: one page, read-only, shared, which holds the FLUSH_ID register.
inline constexpr std::uint64_t kMmioOffset32 = std::uint64_t{1} << 43;  // 32-bit programs
inline constexpr std::uint64_t kMmioOffset64 = std::uint64_t{1} << 56;

// Limits of the driver.
inline constexpr std::uint32_t kMaxVmsPerFile = 32;
inline constexpr std::uint64_t kLeastKernelVa = std::uint64_t{256} << 20;  // of a VM; the rest may be the user's
inline constexpr std::uint64_t kMaxLabelBytes = 4096;

}  // namespace panthor

}  // namespace granule
