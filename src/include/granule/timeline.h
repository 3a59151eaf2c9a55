/**
 * @file timeline.h
 * Timelines: 64-bit values that only go up, and those who wait for them. What a timeline syncobj is to a driver, and on
 * panthor that is what they are.
 */
#ifndef GRANULE_TIMELINE_H
#define GRANULE_TIMELINE_H

#include <granule/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A point of a timeline: reached once its value is at least `point`. Never grows. */
typedef struct granule_sync {
    granule_timeline* timeline; /**< whose point */
    uint64_t point;             /**< a value of it */
} granule_sync;

/** Fences that one release may wait for. */
#define GRANULE_MAX_FENCES 6

/** The longest time to wait: for ever. */
#define GRANULE_WAIT_FOREVER UINT64_MAX

/**
 * A timeline of value 0. panthor: a timeline syncobj.
 * @param[out] timeline give it back with granule_timeline_unref(); NULL on failure
 * @return OK; BAD_ARGUMENT; OUT_OF_HOST_MEMORY; OS_FAILED
 * @par On failure
 * `*timeline` is NULL.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API GRANULE_NODISCARD granule_status granule_timeline_create(granule_device* device,
                                                                     granule_timeline** timeline, granule_error* error);

/**
 * A timeline for a timeline syncobj of the device's open file, which stays the caller's and outlives it: a Vulkan
 * application's semaphore. BO caches, pools and granule_va_release() wait for it as for their own.
 * @return OK; BAD_ARGUMENT: handle 0; NOT_SUPPORTED: soft, and panfrost, whose syncobjs have no points;
 *         OUT_OF_HOST_MEMORY; OS_FAILED: no such syncobj
 * @par On failure
 * `*timeline` is NULL.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API GRANULE_NODISCARD granule_status granule_timeline_from_syncobj(granule_device* device, uint32_t syncobj,
                                                                           granule_timeline** timeline,
                                                                           granule_error* error);

/** One more holder. @return `timeline`. Any thread. */
GRANULE_API granule_timeline* granule_timeline_ref(granule_timeline* timeline);
/**
 * One holder less. With the last one it ends; what is queued holds it until it has run. What still waited for it counts as
 * signalled, because nobody can signal it any more. Any thread.
 */
GRANULE_API void granule_timeline_unref(granule_timeline* timeline);

/** The value that it has reached. 0 for NULL. Any thread. */
GRANULE_API uint64_t granule_timeline_value(const granule_timeline* timeline);

/**
 * The first failure that a queued bind left on it by signalling: GRANULE_STATUS_OK where all were well. A kernel's queue
 * leaves none: granule_vm_check(). Any thread.
 */
GRANULE_API granule_status granule_timeline_status(const granule_timeline* timeline);

/**
 * The value becomes at least `value`. From the CPU, at once.
 * @return OK; BAD_ARGUMENT; OS_FAILED: the kernel refused, and nothing changed
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API granule_status granule_timeline_signal(granule_timeline* timeline, uint64_t value, granule_error* error);

/**
 * Waits until the value is at least `value`, `timeout_ns` at most; 0 asks.
 * @return OK; TIMED_OUT; BAD_ARGUMENT; OS_FAILED: it cannot be waited for
 * @par Thread-safety
 * Any thread. Blocks without a lock.
 */
GRANULE_API granule_status granule_timeline_wait(const granule_timeline* timeline, uint64_t value, uint64_t timeout_ns);

/** Its syncobj's handle in the device's file; 0 where it has none. Any thread. */
GRANULE_API uint32_t granule_timeline_syncobj(const granule_timeline* timeline);

#ifdef __cplusplus
}
#endif

#endif
