/**
 * @file bo_cache.h
 * BOs that are used again: of the same kind, large enough but not much larger, idle; with their mapping and their CPU view,
 * so that taking one from the cache makes no ioctl.
 */
#ifndef GRANULE_BO_CACHE_H
#define GRANULE_BO_CACHE_H

#include <granule/base.h>
#include <granule/timeline.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How much a cache keeps, and for how long. */
typedef struct granule_bo_cache_info {
    uint32_t struct_size; /**< sizeof it */
    uint32_t reserved;    /**< zero */
    uint64_t max_bytes;   /**< of BOs that nobody uses; 0: 64 MiB */
    uint64_t max_age_ns;  /**< a BO that nobody used for so long goes; 0: 2 s */
} granule_bo_cache_info;

/**
 * @param vm where its BOs are mapped; NULL: they are not. The cache ends before it
 * @param info NULL: the default
 * @param[out] cache end it with granule_bo_cache_destroy(); NULL on failure
 * @return OK; BAD_ARGUMENT; OUT_OF_HOST_MEMORY
 * @par On failure
 * `*cache` is NULL.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API GRANULE_NODISCARD granule_status granule_bo_cache_create(granule_device* device, granule_vm* vm,
                                                                     const granule_bo_cache_info* info,
                                                                     granule_bo_cache** cache, granule_error* error);
/** Lets go of all that is in it; VA is free once its fences are reached. BOs that are out must have come back. Not while
    another call on it is under way. */
GRANULE_API void granule_bo_cache_destroy(granule_bo_cache* cache);

/** How a BO is got from a cache. */
typedef enum granule_cache_flags {
    GRANULE_CACHE_ZEROED = 1u << 0,   /**< full of zeros; else a BO from the cache has what was in it */
    GRANULE_CACHE_DONT_WAIT = 1u << 1 /**< where memory is out, fail instead of waiting for one that is still used */
} granule_cache_flags;

/** What kind of BO is wanted. Only one of exactly this kind is used again. */
typedef struct granule_cached_bo_info {
    uint32_t struct_size; /**< sizeof it */
    uint32_t flags;       /**< granule_cache_flags */
    uint64_t size;        /**< in bytes, at least */
    uint32_t bo_flags;    /**< granule_bo_flags, without SHAREABLE and GROWS_ON_FAULT */
    uint32_t map_flags;   /**< granule_map_flags */
    uint32_t zone;        /**< granule_va_zone */
    uint32_t reserved;    /**< zero */
    const char* label;    /**< the kernel is told only where it is another one than before; NULL: stays */
} granule_cached_bo_info;

/** Never grows. */
typedef struct granule_cached_bo {
    granule_bo* bo;  /**< the caller's reference until granule_bo_cache_put() */
    uint64_t va;     /**< 0: a cache without VM */
    void* cpu;       /**< NULL: GRANULE_BO_NO_CPU_ACCESS */
    uint64_t size;   /**< what there is: at least what was asked for, at most an eighth more or, when new, rounded up to
                           its class */
    uint32_t reused; /**< 1: from the cache */
    uint32_t reserved; /**< zero */
} granule_cached_bo;

/**
 * A BO from the cache or, if none fits, a new one. Where memory is out, first gives back what is idle, then waits for what
 * is not (without DONT_WAIT).
 * @return OK; BAD_ARGUMENT; OVER_BUDGET; OUT_OF_DEVICE_MEMORY; OUT_OF_HOST_MEMORY; OUT_OF_VA; as granule_bo_create(),
 *         granule_vm_bind()
 * @par On failure
 * `*out` is zero; the cache may hold less.
 * @par Thread-safety
 * Any thread. Blocks only to wait, without a lock.
 */
GRANULE_API GRANULE_NODISCARD granule_status granule_bo_cache_get(granule_bo_cache* cache,
                                                                  const granule_cached_bo_info* info,
                                                                  granule_cached_bo* out, granule_error* error);
/**
 * The caller is done with a BO that granule_bo_cache_get() gave, the GPU is once all `fences` are reached: at most GRANULE_MAX_FENCES, of
 * different timelines. More holders, an export or another mapping of it: then it is let go of, not kept. With a bad list of
 * fences (BAD_ARGUMENT) it stays the caller's. panfrost, which has no timelines: without fences the kernel is asked whether
 * jobs still use it.
 * @return OK; BAD_ARGUMENT
 * @par Thread-safety
 * Any thread. Allocates nothing.
 */
GRANULE_API granule_status granule_bo_cache_put(granule_bo_cache* cache, granule_bo* bo, const granule_sync* fences,
                                                uint32_t fence_count);
/**
 * Lets go of what has not been used for `max_age_ns`. Happens in get and put too, but an idle program calls neither.
 * @return bytes that were let go of
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API uint64_t granule_bo_cache_trim(granule_bo_cache* cache);
/** Lets go of all that nobody uses. As granule_bo_cache_trim(). */
GRANULE_API uint64_t granule_bo_cache_evict_all(granule_bo_cache* cache);

/** What a cache holds, and what came of it so far. */
typedef struct granule_bo_cache_statistics {
    uint32_t struct_size;        /**< sizeof it */
    uint32_t cached_bos;         /**< that nobody uses */
    uint64_t cached_bytes;       /**< that nobody uses */
    uint64_t busy_bytes;         /**< of them, still used by the GPU */
    uint64_t out_bytes;          /**< that are with callers */
    uint64_t peak_bytes;         /**< of both together */
    uint64_t hits;               /**< BOs used again */
    uint64_t misses;             /**< BOs made */
    uint64_t waits;              /**< for one that was still used */
    uint64_t evicted_by_age;     /**< bytes, older than `max_age_ns` */
    uint64_t evicted_by_size;    /**< bytes, more than `max_bytes` */
    uint64_t evicted_for_memory; /**< bytes, because memory was out */
    uint64_t not_kept;           /**< shared, or otherwise held */
} granule_bo_cache_statistics;

/** @return OK; BAD_ARGUMENT: `*statistics` is as it was. Any thread. */
GRANULE_API granule_status granule_bo_cache_get_statistics(const granule_bo_cache* cache,
                                                           granule_bo_cache_statistics* statistics);

#ifdef __cplusplus
}
#endif

#endif
