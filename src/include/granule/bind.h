/**
 * @file bind.h
 * Binds: what a VM shows, changed. Each array of operations is planned, then carried out, all or nothing (P3).
 */
#ifndef GRANULE_BIND_H
#define GRANULE_BIND_H

#include <granule/base.h>
#include <granule/timeline.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What an operation does. */
typedef enum granule_bind_type {
    GRANULE_BIND_MAP = 0,        /**< shows a part of a BO; replaces what is mapped there */
    GRANULE_BIND_MAP_SPARSE = 1, /**< shows nothing, without faults: reads are harmless, writes vanish; replaces too */
    GRANULE_BIND_UNMAP = 2,      /**< of any range: of many mappings, parts of mappings, and holes */
    GRANULE_BIND_SYNC_ONLY = 3   /**< async and deferred: only its waits and signals */
} granule_bind_type;

/** What the GPU may do with a mapping. */
typedef enum granule_map_flags {
    GRANULE_MAP_READ_ONLY = 1u << 0,
    GRANULE_MAP_NO_EXEC = 1u << 1,
    GRANULE_MAP_UNCACHED = 1u << 2,
    /** UNMAP: and release [va, va + size), which was reserved so: free for others once it is unmapped (P5), queued or not;
        reserved as before where that fails. panfrost: nothing is reserved. */
    GRANULE_UNMAP_RELEASE_VA = 1u << 8
} granule_map_flags;

/** What to do where an operation would cut a granule: a 2 MiB leaf of which it wants a part. */
typedef enum granule_cut_policy {
    GRANULE_CUT_REJECT = 0, /**< fail with GRANULE_CUT, which names the granule and its BO */
    GRANULE_CUT_SPLIT = 1,  /**< as kernels up to 6.12: unmap the granule whole, map the residuals again */
    GRANULE_CUT_ENLARGE = 2 /**< take the granule whole; granule_bind_report::enlarged_bytes says how much that was */
} granule_cut_policy;

/** Which leaves a map makes. */
typedef enum granule_leaf_policy {
    GRANULE_LEAVES_LARGEST = 0, /**< the largest that fit */
    GRANULE_LEAVES_PAGES = 1    /**< 4 KiB: for what will be rebound in pieces, so that nothing is ever cut */
} granule_leaf_policy;

/**
 * granule_bind_op::va of a MAP or MAP_SPARSE: the library reserves it, so that it agrees with the BO's offset modulo 2 MiB
 * where the size is that much, and writes it there. panfrost: where the kernel has put the BO; nothing is reserved, and of
 * the flags the BO has its own.
 */
#define GRANULE_VA_AUTO UINT64_MAX

/** In an array all have the same `struct_size`, which is also how far apart they are. */
typedef struct granule_bind_op {
    uint32_t struct_size;        /**< sizeof it */
    uint32_t type;               /**< granule_bind_type */
    uint32_t flags;              /**< granule_map_flags */
    uint16_t cut;                /**< granule_cut_policy */
    uint16_t leaves;             /**< granule_leaf_policy */
    uint64_t va;                 /**< a multiple of 4 KiB, or GRANULE_VA_AUTO */
    uint64_t size;               /**< a multiple of 4 KiB, not 0 */
    granule_bo* bo;              /**< MAP; NULL otherwise. May be let go of after the call */
    uint64_t bo_offset;          /**< MAP: a multiple of 4 KiB */
    uint32_t zone;               /**< GRANULE_VA_AUTO: a granule_va_zone */
    uint32_t wait_count;         /**< of `waits` */
    uint32_t signal_count;       /**< of `signals` */
    uint32_t reserved;           /**< zero */
    const granule_sync* waits;   /**< async: reached before this operation begins */
    const granule_sync* signals; /**< async: reached when this operation and all before it in the array are done */
} granule_bind_op;

/** When an array happens. */
typedef enum granule_bind_mode {
    /** Done when the call returns; does not wait for what is queued; no waits, no signals. */
    GRANULE_BIND_IMMEDIATE = 0,
    GRANULE_BIND_ASYNC = 1, /**< queued, in order; with the waits and signals of each operation */
    /** Queued for the next point at which the VM is idle: waits for its activity timeline's current point, and adds one.
        GRANULE_VM_TRACK_ACTIVITY; no waits, no signals. */
    GRANULE_BIND_DEFERRED = 2
} granule_bind_mode;

/** What a bind did. */
typedef struct granule_bind_report {
    uint32_t struct_size;    /**< sizeof it */
    uint32_t serial;         /**< of the bind; what inspect.h calls it by; 0: not known yet */
    uint64_t operations;     /**< given to the kernel, or carried out */
    uint64_t granules;       /**< taken whole because an operation cut them */
    uint64_t kernel_cuts;    /**< cut by the kernel, where it can */
    uint64_t residual_bytes; /**< mapped again */
    uint64_t exposed_bytes;  /**< of these, for a moment without translation that the GPU can see */
    uint64_t enlarged_bytes; /**< GRANULE_CUT_ENLARGE: taken beyond what was asked for */
    uint64_t unmapped_bytes; /**< what was mapped there before and is not any more */
    granule_range touched;   /**< the hull of all of it */
} granule_bind_report;

/**
 * Carries out `ops` in order, all or nothing. Neighbours that go on where the last one ended become one.
 *
 * An array without waits and signals inside it is one transaction, and one ioctl on a kernel's device. With them, ASYNC, each
 * run of operations from a wait to a signal is a transaction; all of them are queued, or none.
 *
 * ASYNC and DEFERRED on a kernel's queue: a point to wait for must be one that somebody has signalled or submitted the
 * signal of, else the kernel takes nothing (BACKEND_FAILED). The library's state follows at once. What then fails in the
 * kernel makes it drop the VM, and fences signal all the same: granule_vm_check(). On the soft device a thread of the VM
 * carries them out; a transaction that fails has changed nothing, leaves its failure on the timelines that it signals, and
 * does not keep those behind it from being carried out. A VA that GRANULE_VA_AUTO chose stays reserved then.
 *
 * @param ops the `va` of those with GRANULE_VA_AUTO is filled in on success; on failure they are as before
 * @param report may be NULL; serial 0 and zeros where it is queued on a thread
 * @return OK; BAD_ARGUMENT; OUT_OF_RANGE; UNKNOWN_BO: another device's; GRANULE_CUT; OUT_OF_VA; OUT_OF_HOST_MEMORY;
 *         OUT_OF_TABLE_MEMORY; BACKEND_FAILED: what the kernel refused, undone; VM_UNUSABLE; TIMED_OUT: what is queued at
 *         the same addresses was not done within 2 s; OS_FAILED: no thread; NOT_SUPPORTED: ASYNC and DEFERRED on panfrost,
 *         which also wants whole BOs at GRANULE_VA_AUTO
 * @par On failure
 * Nothing changed; granule_error::op says which operation. Where a kernel makes that impossible, granule_error::vm_lost
 * or partly_done is 1.
 * @par Thread-safety
 * Any thread; binds of one VM happen one after the other.
 */
GRANULE_API GRANULE_NODISCARD granule_status granule_vm_bind(granule_vm* vm, granule_bind_mode mode,
                                                             granule_bind_op* ops, uint32_t op_count,
                                                             granule_bind_report* report, granule_error* error);

/** An unmap of `[va, va + size)` at once: granule_vm_bind() with one operation. */
GRANULE_API GRANULE_NODISCARD granule_status granule_vm_unmap(granule_vm* vm, uint64_t va, uint64_t size,
                                                              granule_cut_policy cut, granule_bind_report* report,
                                                              granule_error* error);

/**
 * Returns when nothing is queued on the VM's thread any more. With a kernel's queue: waits for what was submitted through
 * this VM, `timeout_ns` at most.
 * @return OK; TIMED_OUT; OS_FAILED
 * @par Thread-safety
 * Any thread. Blocks without a lock.
 */
GRANULE_API granule_status granule_vm_drain(granule_vm* vm, uint64_t timeout_ns, granule_error* error);

/** @name Plans
 * @{ */
/** Why a step is in a plan. */
typedef enum granule_plan_purpose {
    GRANULE_PLAN_REQUESTED = 0, /**< what was asked for */
    GRANULE_PLAN_GRANULE = 1,   /**< unmap of whole granules that the request cuts */
    GRANULE_PLAN_RESIDUAL = 2,  /**< map of what was not asked for */
    GRANULE_PLAN_ISOLATE = 3    /**< map of a range over itself, so that a kernel sees a mapping of its own there */
} granule_plan_purpose;

/** One step of a plan. Never grows. */
typedef struct granule_plan_op {
    granule_range va;   /**< where */
    uint64_t bo_offset; /**< of a map: that `va.start` will show */
    uint32_t bo_id;     /**< of a map; 0: sparse */
    uint32_t flags;     /**< of a map: granule_map_flags */
    uint16_t type;      /**< GRANULE_BIND_MAP, MAP_SPARSE or UNMAP */
    uint16_t purpose;   /**< granule_plan_purpose */
    uint16_t leaves;    /**< of a map: granule_leaf_policy */
    uint16_t reserved;  /**< zero */
} granule_plan_op;

/** No plan has more steps. */
#define GRANULE_PLAN_MAX_OPS 5

/** What an operation would do now, and what it costs. */
typedef struct granule_plan {
    uint32_t struct_size;                      /**< sizeof it */
    uint32_t op_count;                         /**< of `ops`; 0: nothing is to be done */
    granule_plan_op ops[GRANULE_PLAN_MAX_OPS]; /**< in the order in which they happen */
    uint64_t tables;                           /**< pages of page tables to set aside, at most */
    uint64_t granules;                         /**< as in granule_bind_report, from here to `enlarged_bytes` */
    uint64_t kernel_cuts;                      /**< left to a kernel that can */
    uint64_t residual_bytes;                   /**< mapped again */
    uint64_t exposed_bytes;                    /**< of these, for a moment without translation */
    uint64_t enlarged_bytes;                   /**< taken beyond what was asked for */
    granule_range locked; /**< what the GPU would be kept from for the moment; empty: nothing is done */
} granule_plan;

/**
 * The plan that granule_vm_bind() would carry out now for `op`, without doing anything; its waits and signals do not count.
 * Not for SYNC_ONLY and GRANULE_VA_AUTO.
 * @return as granule_vm_bind()
 * @par On failure
 * `*plan` is as it was.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API GRANULE_NODISCARD granule_status granule_vm_explain(const granule_vm* vm, const granule_bind_op* op,
                                                                granule_plan* plan, granule_error* error);
/** The plan in words, a line for each step and one for its costs. As snprintf. Any thread. */
GRANULE_API size_t granule_plan_text(const granule_plan* plan, char* text, size_t size);
/** @} */

#ifdef __cplusplus
}
#endif

#endif
