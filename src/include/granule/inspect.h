/**
 * @file inspect.h
 * What is, or was, at a VA (P6); everything that is mapped, and every VA that is reserved.
 */
#ifndef GRANULE_INSPECT_H
#define GRANULE_INSPECT_H

#include <granule/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A run of VA that shows a run of one BO, or nothing (sparse). Never grows. */
typedef struct granule_mapping {
    granule_range va;   /**< where */
    uint64_t bo_offset; /**< that `va.start` shows */
    uint32_t bo_id;     /**< 0: sparse */
    uint32_t flags;     /**< granule_map_flags */
    uint32_t serial;    /**< of the bind that made it: granule_bind_report::serial */
    uint32_t reserved;  /**< zero */
} granule_mapping;

/**
 * The BO that `va` shows.
 * @param[out] bo a reference, give it back with granule_bo_unref(); NULL where there is none, or a sparse mapping
 * @param[out] bo_offset of that very byte; may be NULL
 * @return OK: also where nothing is mapped; BAD_ARGUMENT
 * @par Thread-safety
 * Any thread. O(log mappings).
 */
GRANULE_API granule_status granule_vm_lookup(const granule_vm* vm, uint64_t va, granule_bo** bo, uint64_t* bo_offset);

/** What is at a VA. */
typedef enum granule_address_condition {
    GRANULE_ADDRESS_NEVER_USED = 0, /**< nothing is here, and nothing was, as far as is remembered */
    GRANULE_ADDRESS_MAPPED = 1,     /**< a BO is shown */
    GRANULE_ADDRESS_SPARSE = 2,     /**< a sparse mapping */
    GRANULE_ADDRESS_UNMAPPED = 3,   /**< something was here: granule_address_report::removed */
    GRANULE_ADDRESS_RESERVED = 4,   /**< reserved, nothing mapped yet */
    GRANULE_ADDRESS_WAITING = 5,    /**< released, waits for fences */
    GRANULE_ADDRESS_OUTSIDE = 6     /**< not in the VM's space */
} granule_address_condition;

/** What is known about one VA. */
typedef struct granule_address_report {
    uint32_t struct_size;     /**< sizeof it */
    uint32_t condition;       /**< granule_address_condition */
    uint64_t va;              /**< that was asked about */
    granule_mapping mapping;  /**< MAPPED, SPARSE: of it */
    granule_range granule;    /**< ... what an unmap takes whole: the leaf; where a kernel wants more, that */
    granule_mapping below;    /**< not mapped: the nearest mapping below; its `va` is empty if there is none */
    granule_mapping above;    /**< ... and above */
    granule_mapping removed;  /**< what was removed here last; its `va` is empty if nothing was */
    uint64_t removed_ns;      /**< when: CLOCK_MONOTONIC */
    uint64_t asked_ns;        /**< when this was asked: CLOCK_MONOTONIC */
    uint32_t removed_by;      /**< serial of the bind that removed it */
    uint8_t removed_by_map;   /**< 1: it was mapped over */
    uint8_t history_complete; /**< 0: granule_vm_info::history was exceeded, and older removals are forgotten */
    uint8_t reserved_waiting; /**< 1: `reserved_range` was released, and waits for fences */
    uint8_t cached;           /**< MAPPED: 1: the BO is in a BO cache, used by nobody: an access is a use after free */
    granule_range reserved_range;                  /**< what it was reserved with; empty: it was not */
    char label[GRANULE_SHORT_LABEL_BYTES];         /**< MAPPED: the BO's */
    char removed_label[GRANULE_SHORT_LABEL_BYTES]; /**< the label that the removed BO had then */
    char below_label[GRANULE_SHORT_LABEL_BYTES];   /**< of the BO below */
    char above_label[GRANULE_SHORT_LABEL_BYTES];   /**< ... and above */
} granule_address_report;

/**
 * What a driver asks when its GPU reported a fault.
 * @return OK; BAD_ARGUMENT
 * @par On failure
 * `*report` is as it was.
 * @par Thread-safety
 * Any thread. O(log mappings + history).
 */
GRANULE_API granule_status granule_vm_describe(const granule_vm* vm, uint64_t va, granule_address_report* report);
/** The report in words, several lines. As snprintf. Any thread. */
GRANULE_API size_t granule_address_report_text(const granule_address_report* report, char* text, size_t size);

/**
 * Calls `visit` for every mapping that overlaps `range`, by ascending VA, under the VM's lock: `visit` must not call
 * functions of this VM. It returns 0 to go on; anything else ends the walk.
 * @return OK; BAD_ARGUMENT
 * @par Thread-safety
 * Any thread. O(log mappings + visited).
 */
GRANULE_API granule_status granule_vm_walk(const granule_vm* vm, granule_range range,
                                           int (*visit)(void* data, const granule_mapping* mapping), void* data);

/** A run of leaves of one size. Never grows. */
typedef struct granule_leaves {
    granule_range va;   /**< a multiple of `leaf_size` */
    uint64_t leaf_size; /**< 4096, 2097152 or 1073741824 */
} granule_leaves;

/** As granule_vm_walk(), for the leaves: `[start, end)` of one mapping and one leaf size each. */
GRANULE_API granule_status granule_vm_walk_leaves(const granule_vm* vm, granule_range range,
                                                  int (*visit)(void* data, const granule_leaves* leaves), void* data);

/** A reserved range of VA. Never grows. */
typedef struct granule_reservation {
    granule_range va;          /**< as its owner has it */
    granule_range with_guards; /**< what nobody else gets */
    uint32_t zone;             /**< granule_va_zone */
    uint32_t waiting;          /**< 1: released, waits for fences */
} granule_reservation;

/** As granule_vm_walk(), for the reserved ranges that overlap `range` with their guards. O(reserved ranges). */
GRANULE_API granule_status granule_vm_walk_reservations(const granule_vm* vm, granule_range range,
                                                        int (*visit)(void* data,
                                                                     const granule_reservation* reservation),
                                                        void* data);

/** A live BO, for lists and leak reports. */
typedef struct granule_bo_entry {
    uint32_t struct_size;                  /**< sizeof it */
    uint32_t id;                           /**< granule_bo_id() */
    uint64_t size;                         /**< granule_bo_size() */
    uint64_t mark;                         /**< granule_bo_info::mark */
    uint64_t holders;                      /**< of granule_bo_ref() */
    uint64_t mapped_bytes;                 /**< shown, over all VMs */
    uint8_t imported;                      /**< 1: from a dma-buf */
    uint8_t cached;                        /**< 1: in a BO cache, used by nobody */
    uint8_t reserved[6];                   /**< zero */
    char label[GRANULE_SHORT_LABEL_BYTES]; /**< its beginning */
} granule_bo_entry;

/**
 * Calls `visit` for every live BO, under the lock of the device's BOs: it must not create, import or let go of any.
 * It returns 0 to go on.
 * @return OK; BAD_ARGUMENT
 * @par Thread-safety
 * Any thread. O(BOs).
 */
GRANULE_API granule_status granule_device_walk_bos(const granule_device* device,
                                                   int (*visit)(void* data, const granule_bo_entry* entry), void* data);

#ifdef __cplusplus
}
#endif

#endif
