// What panfrost and user space say to each other: the structs and numbers of Linux include/uapi/drm/panfrost_drm.h,
// declared by ourselves, because systems that are older than the kernel they boot have an older header or none.
//
// Structs and fields have the kernel's names; constants are ours: PANFROST_BO_NOEXEC is panfrost::kBoNoexec.
// `uapi_layout.cpp` holds sizes, offsets and numbers against the kernel's. Fields named `pad` have to be 0. What came with
// a later version of the driver says with which.
//
// There are no VAs to choose: CREATE_BO maps the whole BO at the VA that `offset` says, for as long as its handle is open.
//
// Plain data: any thread.
#pragma once

#include <cstdint>

#include "src/drm/ioctl_number.hpp"

namespace granule {

struct drm_panfrost_submit {
    std::uint64_t jc = 0;        // VA of the first job; never 0
    std::uint64_t in_syncs = 0;  // address of syncobj handles
    std::uint32_t in_sync_count = 0;
    std::uint32_t out_sync = 0;
    std::uint64_t bo_handles = 0;  // address of GEM handles
    std::uint32_t bo_handle_count = 0;
    std::uint32_t requirements = 0;   // panfrost::kJob...
    std::uint32_t jm_ctx_handle = 0;  // 1.5: 0 is the file's own context
    std::uint32_t pad = 0;
};

struct drm_panfrost_wait_bo {
    std::uint32_t handle = 0;
    std::uint32_t pad = 0;
    std::int64_t timeout_ns = 0;  // absolute, CLOCK_MONOTONIC
};

struct drm_panfrost_create_bo {
    std::uint32_t size = 0;
    std::uint32_t flags = 0;   // panfrost::kBo...
    std::uint32_t handle = 0;  // out
    std::uint32_t pad = 0;
    std::uint64_t offset = 0;  // out: the VA
};

struct drm_panfrost_mmap_bo {
    std::uint32_t handle = 0;
    std::uint32_t flags = 0;   // none
    std::uint64_t offset = 0;  // out: for mmap of the device file
};

struct drm_panfrost_get_param {
    std::uint32_t param = 0;  // panfrost::kParam...
    std::uint32_t pad = 0;
    std::uint64_t value = 0;  // out
};

struct drm_panfrost_get_bo_offset {
    std::uint32_t handle = 0;
    std::uint32_t pad = 0;
    std::uint64_t offset = 0;  // out: the VA
};

struct drm_panfrost_perfcnt_enable {  // with the module's parameter unstable_ioctls; else ENOSYS
    std::uint32_t enable = 0;
    std::uint32_t counterset = 0;
};

struct drm_panfrost_perfcnt_dump {  // as above
    std::uint64_t buf_ptr = 0;
};

struct drm_panfrost_madvise {
    std::uint32_t handle = 0;
    std::uint32_t madv = 0;      // panfrost::kMadvise...
    std::uint32_t retained = 0;  // out: whether the pages are still there
};

struct drm_panfrost_set_label_bo {  // 1.4
    std::uint32_t handle = 0;
    std::uint32_t pad = 0;
    std::uint64_t label = 0;  // address of a string of at most panfrost::kMaxLabelBytes, its NUL included; 0: no label
};

struct drm_panfrost_jm_ctx_create {  // 1.5
    std::uint32_t handle = 0;        // out
    std::uint32_t priority = 0;      // panfrost::kPriority...
};

struct drm_panfrost_jm_ctx_destroy {  // 1.5
    std::uint32_t handle = 0;
    std::uint32_t pad = 0;
};

struct drm_panfrost_bo_sync_op {
    std::uint32_t handle = 0;
    std::uint32_t type = 0;  // panfrost::kBoSyncFlush...
    std::uint32_t offset = 0;
    std::uint32_t size = 0;
};

struct drm_panfrost_sync_bo {  // 1.6
    std::uint64_t ops = 0;     // address of drm_panfrost_bo_sync_op; at an error, those before it are done
    std::uint32_t op_count = 0;
    std::uint32_t pad = 0;
};

struct drm_panfrost_query_bo_info {  // 1.6
    std::uint32_t handle = 0;
    std::uint32_t extra_flags = 0;   // out: panfrost::kBoImported
    std::uint32_t create_flags = 0;  // out: panfrost::kBo...
    std::uint32_t pad = 0;
};

namespace panfrost {

// The driver's minor version (its major is 1) from which on there is ...
inline constexpr int kMinorHeap = 1;        // kBoHeap, kBoNoexec
inline constexpr int kMinorAfbc = 2;        // kParamAfbcFeatures
inline constexpr int kMinorTimestamps = 3;  // Linux 6.13: kJobCycleCount, kParamSystemTimestamp
inline constexpr int kMinorBoLabels = 4;    // 6.17 or 6.18
inline constexpr int kMinorContexts = 5;    // 6.19: JM_CTX_CREATE, JM_CTX_DESTROY
inline constexpr int kMinorCachedBos = 6;   // 7.0: kBoCached, SYNC_BO, QUERY_BO_INFO, kParamSelectedCoherency

inline constexpr unsigned long kSubmit = drm_ioctl_number<drm_panfrost_submit>(IoctlDirection::kWrite, 0);
inline constexpr unsigned long kWaitBo = drm_ioctl_number<drm_panfrost_wait_bo>(IoctlDirection::kWrite, 1);
inline constexpr unsigned long kCreateBo = drm_ioctl_number<drm_panfrost_create_bo>(IoctlDirection::kBoth, 2);
inline constexpr unsigned long kMmapBo = drm_ioctl_number<drm_panfrost_mmap_bo>(IoctlDirection::kBoth, 3);
inline constexpr unsigned long kGetParam = drm_ioctl_number<drm_panfrost_get_param>(IoctlDirection::kBoth, 4);
inline constexpr unsigned long kGetBoOffset = drm_ioctl_number<drm_panfrost_get_bo_offset>(IoctlDirection::kBoth, 5);
inline constexpr unsigned long kPerfcntEnable =
    drm_ioctl_number<drm_panfrost_perfcnt_enable>(IoctlDirection::kWrite, 6);
inline constexpr unsigned long kPerfcntDump = drm_ioctl_number<drm_panfrost_perfcnt_dump>(IoctlDirection::kWrite, 7);
inline constexpr unsigned long kMadvise = drm_ioctl_number<drm_panfrost_madvise>(IoctlDirection::kBoth, 8);
inline constexpr unsigned long kSetLabelBo = drm_ioctl_number<drm_panfrost_set_label_bo>(IoctlDirection::kBoth, 9);
inline constexpr unsigned long kJmCtxCreate = drm_ioctl_number<drm_panfrost_jm_ctx_create>(IoctlDirection::kBoth, 10);
inline constexpr unsigned long kJmCtxDestroy = drm_ioctl_number<drm_panfrost_jm_ctx_destroy>(IoctlDirection::kBoth, 11);
inline constexpr unsigned long kSyncBo = drm_ioctl_number<drm_panfrost_sync_bo>(IoctlDirection::kBoth, 12);
inline constexpr unsigned long kQueryBoInfo = drm_ioctl_number<drm_panfrost_query_bo_info>(IoctlDirection::kBoth, 13);

// drm_panfrost_create_bo.flags
inline constexpr std::uint32_t kBoNoexec = 1 << 0;
inline constexpr std::uint32_t kBoHeap = 1 << 1;    // pages come when the GPU faults on them; only with kBoNoexec
inline constexpr std::uint32_t kBoCached = 1 << 2;  // WB_MMAP: cached CPU mappings; not with kBoHeap

inline constexpr std::uint32_t kBoImported = 1 << 0;  // drm_panfrost_query_bo_info.extra_flags

// drm_panfrost_submit.requirements
inline constexpr std::uint32_t kJobFragment = 1 << 0;
inline constexpr std::uint32_t kJobCycleCount = 1 << 1;

// drm_panfrost_get_param.param
inline constexpr std::uint32_t kParamGpuProdId = 0;
inline constexpr std::uint32_t kParamGpuRevision = 1;
inline constexpr std::uint32_t kParamShaderPresent = 2;
inline constexpr std::uint32_t kParamTilerPresent = 3;
inline constexpr std::uint32_t kParamL2Present = 4;
inline constexpr std::uint32_t kParamStackPresent = 5;
inline constexpr std::uint32_t kParamAsPresent = 6;
inline constexpr std::uint32_t kParamJsPresent = 7;
inline constexpr std::uint32_t kParamL2Features = 8;
inline constexpr std::uint32_t kParamCoreFeatures = 9;
inline constexpr std::uint32_t kParamTilerFeatures = 10;
inline constexpr std::uint32_t kParamMemFeatures = 11;
inline constexpr std::uint32_t kParamMmuFeatures = 12;
inline constexpr std::uint32_t kParamThreadFeatures = 13;
inline constexpr std::uint32_t kParamMaxThreads = 14;
inline constexpr std::uint32_t kParamThreadMaxWorkgroupSize = 15;
inline constexpr std::uint32_t kParamThreadMaxBarrierSize = 16;
inline constexpr std::uint32_t kParamCoherencyFeatures = 17;
inline constexpr std::uint32_t kParamTextureFeatures0 = 18;  // to 21
inline constexpr std::uint32_t kParamJsFeatures0 = 22;       // to 37
inline constexpr std::uint32_t kParamNrCoreGroups = 38;
inline constexpr std::uint32_t kParamThreadTlsAlloc = 39;
inline constexpr std::uint32_t kParamAfbcFeatures = 40;
inline constexpr std::uint32_t kParamSystemTimestamp = 41;
inline constexpr std::uint32_t kParamSystemTimestampFrequency = 42;
inline constexpr std::uint32_t kParamAllowedContextPriorities = 43;  // bit n: priority n
inline constexpr std::uint32_t kParamSelectedCoherency = 44;         // panfrost::kCoherency...

inline constexpr std::uint64_t kCoherencyAceLite = 0;
inline constexpr std::uint64_t kCoherencyAce = 1;
inline constexpr std::uint64_t kCoherencyNone = 31;

// drm_panfrost_madvise.madv
inline constexpr std::uint32_t kMadviseWillNeed = 0;
inline constexpr std::uint32_t kMadviseDontNeed = 1;

// drm_panfrost_jm_ctx_create.priority: HIGH wants CAP_SYS_NICE or the DRM master (EACCES).
inline constexpr std::uint32_t kPriorityLow = 0;
inline constexpr std::uint32_t kPriorityMedium = 1;
inline constexpr std::uint32_t kPriorityHigh = 2;

// drm_panfrost_bo_sync_op.type
inline constexpr std::uint32_t kBoSyncFlush = 0;
inline constexpr std::uint32_t kBoSyncFlushAndInvalidate = 1;

// Where the driver maps BOs.
inline constexpr std::uint64_t kFirstVa = std::uint64_t{32} << 20;
inline constexpr std::uint64_t kEndVa = std::uint64_t{4} << 30;

inline constexpr std::uint64_t kMaxLabelBytes = 4096;

}  // namespace panfrost

}  // namespace granule
