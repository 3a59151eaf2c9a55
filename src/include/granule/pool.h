/**
 * @file pool.h
 * Small buffers inside BOs: descriptors, uniforms, vertices. A pool has slabs, each one BO that is mapped in one VM, and
 * cuts buffers out of them.
 *
 * All of a pool is of one kind. Buffers of different CPU caching are never in one slab, because they are never in one pool.
 */
#ifndef GRANULE_POOL_H
#define GRANULE_POOL_H

#include <granule/base.h>
#include <granule/timeline.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What a pool cuts its buffers from. */
typedef struct granule_pool_info {
    uint32_t struct_size; /**< sizeof it */
    uint32_t bo_flags;    /**< granule_bo_flags of the slabs, without SHAREABLE and GROWS_ON_FAULT */
    uint32_t map_flags;   /**< granule_map_flags */
    uint32_t zone;        /**< granule_va_zone */
    uint64_t
        slab_size; /**< of the largest: a power of two, 64 KiB to 64 MiB; 0: 1 MiB. The first has 256 KiB at most */
    uint64_t alignment; /**< the least of any buffer: a power of two, 64 (a GPU cache line) to 2 MiB; 0: 64 */
    granule_bo_cache*
        cache;         /**< where slabs come from and go to, of the same VM; outlives the pool; NULL: the device */
    const char* label; /**< of the slabs; copied, cut to 48 bytes; NULL: "pool" */
} granule_pool_info;

/**
 * @param info NULL: the default
 * @param[out] pool end it with granule_pool_destroy(); NULL on failure
 * @return OK; BAD_ARGUMENT; OUT_OF_HOST_MEMORY; NOT_SUPPORTED: bo_flags
 * @par On failure
 * `*pool` is NULL.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API GRANULE_NODISCARD granule_status granule_pool_create(granule_vm* vm, const granule_pool_info* info,
                                                                 granule_pool** pool, granule_error* error);
/** With all its buffers; the GPU must be done with them. Before its VM and its cache. Not while another call is under way. */
GRANULE_API void granule_pool_destroy(granule_pool* pool);

/** A buffer. Never grows. */
typedef struct granule_buffer {
    uint64_t va;        /**< where the GPU sees it */
    void* cpu;          /**< NULL: GRANULE_BO_NO_CPU_ACCESS */
    uint64_t size;      /**< as asked for */
    granule_bo* bo;     /**< borrowed from the pool: good until the buffer is freed */
    uint64_t bo_offset; /**< where it begins in the BO */
    uint64_t handle;    /**< the pool's */
} granule_buffer;

/**
 * A buffer of `size` bytes; one of more than half a slab has a BO of its own.
 * @param alignment a power of two up to 2 MiB; 0, or less than the pool's: the pool's
 * @return OK; BAD_ARGUMENT; OVER_BUDGET; OUT_OF_DEVICE_MEMORY; OUT_OF_HOST_MEMORY; OUT_OF_VA; as granule_bo_create(),
 *         granule_vm_bind()
 * @par On failure
 * `*buffer` is zero, the pool as before.
 * @par Thread-safety
 * Any thread. O(1), but for a slab that has to be made.
 */
GRANULE_API GRANULE_NODISCARD granule_status granule_pool_alloc(granule_pool* pool, uint64_t size, uint64_t alignment,
                                                                granule_buffer* buffer, granule_error* error);
/**
 * Its place is free for others once all `fences` are reached: at most GRANULE_MAX_FENCES, of different timelines (P5).
 * @return OK; BAD_ARGUMENT: not a buffer of this pool, or a bad list of fences; nothing was freed
 * @par Thread-safety
 * Any thread. O(1); allocates nothing.
 */
GRANULE_API granule_status granule_pool_free(granule_pool* pool, const granule_buffer* buffer,
                                             const granule_sync* fences, uint32_t fence_count);
/** Gives back the slabs that nobody uses; one of them stays otherwise. @return bytes given back. Any thread. */
GRANULE_API uint64_t granule_pool_trim(granule_pool* pool);

/** What a pool holds. */
typedef struct granule_pool_statistics {
    uint32_t struct_size;   /**< sizeof it */
    uint32_t slabs;         /**< BOs of their own included */
    uint64_t buffers;       /**< that are out, or wait for fences */
    uint64_t slab_bytes;    /**< BOs of their own included */
    uint64_t used_bytes;    /**< by buffers, as rounded up */
    uint64_t asked_bytes;   /**< by buffers, as asked for */
    uint64_t waiting_bytes; /**< of `used_bytes`: freed, and when last looked at, waiting for fences: where there is
                                 no other room, or to trim */
} granule_pool_statistics;

/** @return OK; BAD_ARGUMENT: `*statistics` is as it was. Any thread. */
GRANULE_API granule_status granule_pool_get_statistics(const granule_pool* pool, granule_pool_statistics* statistics);

#ifdef __cplusplus
}
#endif

#endif
