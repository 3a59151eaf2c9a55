/**
 * @file bo.h
 * Buffer objects: memory of a device with a size, a label and holders.
 *
 * A BO lives as long as somebody holds it or a VM shows a page of it: its creator may let go of it as soon as it is mapped.
 */
#ifndef GRANULE_BO_H
#define GRANULE_BO_H

#include <granule/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What a BO is for. */
typedef enum granule_bo_flags {
    GRANULE_BO_NO_CPU_ACCESS = 1u << 0, /**< granule_bo_map() is not needed; not with CPU_CACHED */
    GRANULE_BO_CPU_CACHED = 1u << 1,    /**< the CPU sees it cached; granule_bo_sync() where the GPU does not snoop */
    GRANULE_BO_SHAREABLE = 1u << 2,     /**< granule_bo_export() works. soft: costs a file descriptor */
    GRANULE_BO_EXECUTABLE = 1u << 3,    /**< panfrost: the GPU may run it; elsewhere the bind says so */
    GRANULE_BO_GROWS_ON_FAULT =
        1u << 4 /**< only with NO_CPU_ACCESS. panfrost: has pages where the GPU touched it; elsewhere
                                             NOT_SUPPORTED */
} granule_bo_flags;

/** What BO is wanted. */
typedef struct granule_bo_info {
    uint32_t struct_size; /**< sizeof it */
    uint32_t flags;       /**< granule_bo_flags */
    uint64_t size;        /**< rounded up to 4 KiB */
    const char* label;    /**< UTF-8, copied; 4096 bytes at most, the rest is cut off; NULL: none */
    granule_vm*
        only_for;  /**< the only VM that may show it (elsewhere a MAP of it is a BAD_ARGUMENT), which makes jobs on
                               panthor cheaper; not with SHAREABLE; NULL: any */
    uint64_t mark; /**< yours, for reports */
} granule_bo_info;

/**
 * @param[out] bo give it back with granule_bo_unref(); NULL on failure
 * @return OK; BAD_ARGUMENT: no size, flags that exclude each other; NOT_SUPPORTED: flags that this device does not have;
 *         OVER_BUDGET; OUT_OF_DEVICE_MEMORY; OUT_OF_HOST_MEMORY; OS_FAILED
 * @par On failure
 * There is no BO, `*bo` is NULL.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API GRANULE_NODISCARD granule_status granule_bo_create(granule_device* device, const granule_bo_info* info,
                                                               granule_bo** bo, granule_error* error);

/** One more holder. Returns `bo`. Any thread. */
GRANULE_API granule_bo* granule_bo_ref(granule_bo* bo);
/** One holder less; with the last holder and the last page shown it ends. Any thread. */
GRANULE_API void granule_bo_unref(granule_bo* bo);

/**
 * The BO of a dma-buf (soft: of a file that can be mapped: one that another soft device exported, a memfd). Importing what
 * this device has already, imported or its own, gives that same BO, with one more holder. `fd` stays the caller's.
 * @return OK; BAD_ARGUMENT; OS_FAILED: the kernel refused; OUT_OF_HOST_MEMORY; OUT_OF_DEVICE_MEMORY
 * @par On failure
 * `*bo` is NULL.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API GRANULE_NODISCARD granule_status granule_bo_import(granule_device* device, int fd, granule_bo** bo,
                                                               granule_error* error);
/**
 * A dma-buf of it (soft: a memfd), the caller's to close.
 * @return OK; BAD_ARGUMENT: made without GRANULE_BO_SHAREABLE; OS_FAILED
 * @par On failure
 * `*fd` is -1.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API GRANULE_NODISCARD granule_status granule_bo_export(granule_bo* bo, int* fd, granule_error* error);

/**
 * All of it in the CPU's address space, read and write, for as long as it lives; the same place each time. Only the first
 * call asks the kernel.
 * @return OK; BAD_ARGUMENT; NOT_SUPPORTED: made with NO_CPU_ACCESS, or imported from where it has no CPU view; OS_FAILED
 * @par On failure
 * `*cpu` is NULL.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API GRANULE_NODISCARD granule_status granule_bo_map(granule_bo* bo, void** cpu, granule_error* error);
/**
 * All of it at `where`, a multiple of 4 KiB in memory that the caller reserved (mmap's MAP_FIXED: what is there goes). It
 * is the caller's: munmap it, or map over it; it keeps no reference. `writable` 0: reads only.
 * @return, failure and threads as granule_bo_map(); BAD_ARGUMENT too where `where` is not aligned
 */
GRANULE_API GRANULE_NODISCARD granule_status granule_bo_map_at(granule_bo* bo, void* where, int writable,
                                                               granule_error* error);

/** What is done to the CPU's caches. */
typedef enum granule_cpu_cache_op {
    GRANULE_CPU_CACHE_FLUSH = 0,               /**< what the CPU wrote, the GPU sees: flush */
    GRANULE_CPU_CACHE_FLUSH_AND_INVALIDATE = 1 /**< ... and what the GPU wrote, the CPU sees: flush and invalidate */
} granule_cpu_cache_op;

/** A part of a BO whose CPU caches are to be cleaned. Never grows. */
typedef struct granule_bo_part {
    granule_bo* bo;     /**< whose part */
    uint64_t offset;    /**< in the BO */
    uint64_t size;      /**< in bytes */
    uint64_t operation; /**< granule_cpu_cache_op */
} granule_bo_part;

/**
 * For BOs with GRANULE_BO_CPU_CACHED where granule_device_properties::coherent is 0; elsewhere nothing is done. One ioctl
 * for all parts.
 * @return OK; BAD_ARGUMENT; OUT_OF_RANGE; NOT_SUPPORTED: imported BOs; OS_FAILED; OUT_OF_HOST_MEMORY
 * @par On failure
 * Parts before the one that failed may have been cleaned, which does no harm.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API granule_status granule_bo_sync(granule_device* device, const granule_bo_part* parts, uint32_t count,
                                           granule_error* error);

/**
 * A name for people, in reports and, where it takes one, in the kernel. UTF-8, copied, cut to 4096 bytes; NULL: none.
 * @return OK; BAD_ARGUMENT; OUT_OF_HOST_MEMORY
 * @par On failure
 * It has the label that it had.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API granule_status granule_bo_set_label(granule_bo* bo, const char* label);
/** As snprintf: writes at most `size` bytes with the zero byte, returns the length of the whole label. Any thread. */
GRANULE_API size_t granule_bo_get_label(const granule_bo* bo, char* label, size_t size);

/**
 * Until no job uses it, for reading or writing, which kernels do not tell apart; `timeout_ns` at most; 0 asks.
 * @return OK; TIMED_OUT; NOT_SUPPORTED: panthor, whose kernel does not know which jobs use a BO, and soft: wait for their
 *         fences; OS_FAILED
 * @par Thread-safety
 * Any thread. Blocks without a lock.
 */
GRANULE_API granule_status granule_bo_wait(granule_bo* bo, uint64_t timeout_ns, granule_error* error);
/**
 * Whether the kernel may take its pages when memory is short, and all that was in them. `*retained` (may be NULL): 1 if
 * they are still there.
 * @return OK; NOT_SUPPORTED: all but panfrost; OS_FAILED
 * @par On failure
 * Nothing changed.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API granule_status granule_bo_set_evictable(granule_bo* bo, int evictable, int* retained, granule_error* error);

/** In bytes: what was asked for, in whole pages. 0 for NULL. Any thread. */
GRANULE_API uint64_t granule_bo_size(const granule_bo* bo);
/** What reports call it: not 0, and for a long time no other BO's of this device. 0 for NULL. Any thread. */
GRANULE_API uint32_t granule_bo_id(const granule_bo* bo);
/** Its GEM handle in the device's file; 0: soft. The library closes it. Any thread. */
GRANULE_API uint32_t granule_bo_gem_handle(const granule_bo* bo);
/** 1: it came from granule_bo_import(). Any thread. */
GRANULE_API int granule_bo_is_imported(const granule_bo* bo);
/** granule_bo_info::mark. Any thread. */
GRANULE_API uint64_t granule_bo_mark(const granule_bo* bo);

/** A pointer of the caller's, NULL at first. The library does not look at it. Any thread; atomic. */
GRANULE_API void granule_bo_set_user_data(granule_bo* bo, void* data);
/** What was set last. Any thread; atomic. */
GRANULE_API void* granule_bo_get_user_data(const granule_bo* bo);
/** Sets it to `data` if it is `expected`. Returns what it was. Any thread; atomic. */
GRANULE_API void* granule_bo_exchange_user_data(granule_bo* bo, void* expected, void* data);

#ifdef __cplusplus
}
#endif

#endif
