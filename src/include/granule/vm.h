/**
 * @file vm.h
 * GPU address spaces: their VA, their state, what they come to. What is mapped in them: bind.h, inspect.h.
 */
#ifndef GRANULE_VM_H
#define GRANULE_VM_H

#include <granule/base.h>
#include <granule/timeline.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The heaps of a VM. They do not overlap. */
typedef enum granule_va_zone {
    GRANULE_ZONE_MAIN = 0,  /**< above 4 GiB; where the VM has nothing there, LOW */
    GRANULE_ZONE_LOW = 1,   /**< 32 MiB to 4 GiB: what 32-bit pointers reach */
    GRANULE_ZONE_REPLAY = 2 /**< the upper half of what is above 4 GiB: for addresses that a capture wants again */
} granule_va_zone;

/** What a VM has besides. */
typedef enum granule_vm_flags {
    GRANULE_VM_TRACK_ACTIVITY = 1u << 0 /**< has an activity timeline: granule_vm_activity(), GRANULE_BIND_DEFERRED */
} granule_vm_flags;

/** Something appeared at a VA, or goes from there. */
typedef struct granule_binding {
    uint32_t struct_size; /**< sizeof it */
    uint8_t bound;        /**< 1: the GPU sees it from now on; 0: it does not any more */
    uint8_t sparse;       /**< 1: no BO */
    uint8_t reserved[2];  /**< zero */
    granule_range va;     /**< where */
    granule_bo* bo;       /**< borrowed, for the time of the call; NULL: sparse, or gone with its last holder */
    uint32_t bo_id;       /**< 0: sparse */
    uint32_t flags;       /**< granule_map_flags */
    uint64_t bo_offset;   /**< that `va.start` shows */
} granule_binding;

/**
 * Called for every mapping, or part of one, that appears or goes, in the order in which that happens, after it is done,
 * under the VM's lock: it must not call functions of this VM, nor let go of BOs. What a failed bind did and undid is not
 * told. Queued binds are told when the library's state follows: at once with a kernel's queue, else when they run.
 */
typedef void (*granule_binding_function)(void* data, const granule_binding* binding);

/** What VM is wanted. */
typedef struct granule_vm_info {
    uint32_t struct_size;   /**< sizeof it */
    uint32_t flags;         /**< granule_vm_flags */
    granule_range space;    /**< inside granule_device_properties::vm_space; empty: default_vm_space */
    granule_range zones[3]; /**< by granule_va_zone, inside the space; all empty: as described at granule_va_zone */
    uint32_t history;       /**< removed mappings that stay known; 0: 32768; UINT32_MAX: none */
    uint32_t reserved;      /**< zero */
    const char* label;      /**< for logs; copied, cut to 48 bytes; NULL: none */
    granule_binding_function on_binding; /**< NULL: none */
    void* on_binding_data;               /**< yours */
} granule_vm_info;

/**
 * @param info NULL: the default
 * @param[out] vm end it with granule_vm_destroy(); NULL on failure
 * @return OK; BAD_ARGUMENT; OUT_OF_RANGE; OUT_OF_HOST_MEMORY; OUT_OF_TABLE_MEMORY; NOT_SUPPORTED: panfrost, which has
 *         one; OS_FAILED: os_error EBUSY: panthor's 32 are there
 * @par On failure
 * `*vm` is NULL.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API GRANULE_NODISCARD granule_status granule_vm_create(granule_device* device, const granule_vm_info* info,
                                                               granule_vm** vm, granule_error* error);
/**
 * Unmaps everything. The GPU must be done with it. Its caches and pools end before it.
 *
 * Queued binds are waited for, but no longer than a second, so that a driver whose device is lost gets rid of its VMs: those
 * that have not begun by then are cancelled, and the points that they signal are reached with GRANULE_STATUS_CANCELLED
 * (a kernel's queue: are the kernel's to signal). Who wants to wait longer calls granule_vm_drain() before.
 * @par Thread-safety
 * No other call on this VM may be under way.
 */
GRANULE_API void granule_vm_destroy(granule_vm* vm);

/** @name VA
 * @{ */
/** Where in a zone. */
typedef enum granule_va_flags {
    GRANULE_VA_BOTTOM_UP = 1u << 0 /**< from the low end of the zone; otherwise from the high end */
} granule_va_flags;

/**
 *         guard      size       guard
 *      |---------|===========|---------|      start mod alignment == phase
 *                ^ start                      no multiple of `boundary` strictly inside the whole of it
 */
typedef struct granule_va_info {
    uint32_t struct_size; /**< sizeof it */
    uint32_t flags;       /**< granule_va_flags */
    uint32_t zone;        /**< granule_va_zone */
    uint32_t fixed; /**< 1: exactly `address`, in whichever zone that is; alignment, phase and boundary do not count */
    uint64_t size;  /**< a multiple of 4 KiB */
    uint64_t alignment; /**< a power of two; 0: 2 MiB where the size is that much, else 4 KiB */
    uint64_t phase;     /**< a multiple of 4 KiB below the alignment */
    uint64_t boundary;  /**< 0, or a power of two that is not crossed: 4 GiB, or 16 MiB for shaders */
    uint64_t guard;     /**< bytes before and after that nobody gets; a multiple of 4 KiB */
    uint64_t address;   /**< where `fixed` is 1 */
} granule_va_info;

/**
 * Nobody else is given these addresses until they are released.
 * @param[out] va where it begins; 0 on failure
 * @return OK; BAD_ARGUMENT: granule_error::why; OUT_OF_VA: the largest hole, and what only waits for fences; VA_OCCUPIED:
 *         by what; OUT_OF_RANGE; OUT_OF_HOST_MEMORY; NOT_SUPPORTED: panfrost, whose kernel chooses VAs
 * @par On failure
 * Nothing is reserved.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API GRANULE_NODISCARD granule_status granule_va_reserve(granule_vm* vm, const granule_va_info* info,
                                                                uint64_t* va, granule_error* error);
/**
 * The addresses are free for others once all `fences` are reached (P5): at most GRANULE_MAX_FENCES, of different timelines. `va`, `size`: as
 * reserved. What is mapped there stays mapped.
 * @return OK; BAD_ARGUMENT: not reserved so: granule_error::occupant is what is there
 * @par On failure
 * They are reserved as before.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API granule_status granule_va_release(granule_vm* vm, uint64_t va, uint64_t size, const granule_sync* fences,
                                              uint32_t fence_count, granule_error* error);
/** @} */

/** @name Activity: GRANULE_VM_TRACK_ACTIVITY
 * The VM is idle once its activity timeline has reached its last point. A driver adds a point with each job:
 *
 *     granule_sync idle = granule_vm_activity_begin(vm);   point n: what was before
 *     ...submit a job that signals (idle.timeline, n + 1)...
 *     granule_vm_activity_end(vm, n + 1);                  or n, if it came to nothing
 * @{ */
/**
 * The current point, and the activity's lock until granule_vm_activity_end(): no GRANULE_BIND_DEFERRED in between by the same
 * thread. A NULL timeline: not tracked. Any thread.
 */
GRANULE_API granule_sync granule_vm_activity_begin(granule_vm* vm);
/** The current point is `point` from now on. By the thread that began. */
GRANULE_API void granule_vm_activity_end(granule_vm* vm, uint64_t point);
/** The current point, without the lock. The timeline is borrowed from the VM. Any thread. */
GRANULE_API granule_sync granule_vm_activity(granule_vm* vm);
/** @} */

/** How a VM is. */
typedef struct granule_vm_state {
    uint32_t struct_size;  /**< sizeof it */
    uint8_t usable;        /**< 0: it is lost; granule_vm_rebuild() */
    uint8_t reserved[3];   /**< zero */
    int32_t lost_because;  /**< granule_status: BACKEND_FAILED: an undo failed; VM_UNUSABLE: the kernel dropped it */
    int32_t os_error;      /**< errno of that, or 0 */
    uint32_t kernel_id;    /**< the kernel's VM id, for whoever submits jobs; 0: none */
    uint32_t queued;       /**< async binds that wait on the VM's thread; 0 with a kernel's queue */
    uint64_t failed_binds; /**< async binds that failed there ... */
    granule_error
        last_failed_bind; /**< ... and why the last one did. Stays the last member: this struct grows with it */
} granule_vm_state;

/**
 * What is known; asks nobody.
 * @return OK; BAD_ARGUMENT
 * @par On failure
 * `*state` is as it was.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API granule_status granule_vm_get_state(const granule_vm* vm, granule_vm_state* state);
/**
 * Asks the kernel whether the address space is still there: the only way to learn that something queued has failed, because
 * fences signal all the same.
 * @return OK; VM_UNUSABLE: it is lost; OS_FAILED: the question failed, and nothing is known
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API granule_status granule_vm_check(granule_vm* vm, granule_error* error);

/** What a rebuild did. */
typedef struct granule_rebuild_report {
    uint32_t struct_size; /**< sizeof it */
    uint32_t kernel_id;   /**< the new one: jobs name it from now on */
    uint64_t mappings;    /**< bound again */
    uint64_t bytes;       /**< bound again */
} granule_rebuild_report;

/**
 * For a VM that is lost: a new address space with every mapping again, at the same VA. BOs that are only for this VM cannot
 * be shown in it on panthor.
 * @param report may be NULL
 * @return OK; BAD_ARGUMENT: it is not lost; NOT_SUPPORTED: panfrost; why else it failed
 * @par On failure
 * It is as lost as before, and may be rebuilt again.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API granule_status granule_vm_rebuild(granule_vm* vm, granule_rebuild_report* report, granule_error* error);

/** Never grows. */
typedef struct granule_zone_statistics {
    granule_range range;     /**< where the zone is */
    uint64_t reserved_bytes; /**< with guards */
    uint64_t waiting_bytes;  /**< of them, only waiting for fences */
    uint64_t largest_hole;   /**< in bytes */
    uint64_t holes;          /**< how many */
} granule_zone_statistics;

/** What is in a VM, and what came of its binds so far. */
typedef struct granule_vm_statistics {
    uint32_t struct_size;             /**< sizeof it */
    uint32_t reserved;                /**< zero */
    uint64_t mappings;                /**< that there are */
    uint64_t mapped_bytes;            /**< that they show */
    uint64_t mapped_bytes_peak;       /**< the most that it was */
    uint64_t binds;                   /**< arrays carried out */
    uint64_t blocks_2m;               /**< leaves of 2 MiB, as far as the library knows */
    uint64_t blocks_1g;               /**< ... and of 1 GiB */
    uint64_t granules_remapped;       /**< taken whole because a bind cut them */
    uint64_t residual_bytes;          /**< mapped again for that */
    uint64_t exposed_bytes;           /**< of these, for a moment without translation */
    uint64_t host_bytes;              /**< of the library's own structures */
    uint64_t table_bytes;             /**< of page tables; 0: the kernel's, which does not tell */
    granule_zone_statistics zones[3]; /**< by granule_va_zone */
} granule_vm_statistics;

/**
 * @return OK; BAD_ARGUMENT
 * @par On failure
 * `*statistics` is as it was.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API granule_status granule_vm_get_statistics(const granule_vm* vm, granule_vm_statistics* statistics);

#ifdef __cplusplus
}
#endif

#endif
