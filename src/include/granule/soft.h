/**
 * @file soft.h
 * The soft device's own: accesses as its GPU makes them, through the software MMU and its TLB, and failures on request. On
 * other devices these functions are NOT_SUPPORTED.
 */
#ifndef GRANULE_SOFT_H
#define GRANULE_SOFT_H

#include <granule/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Why the MMU refused an access. */
typedef enum granule_fault_kind {
    GRANULE_FAULT_NONE = 0,
    GRANULE_FAULT_TRANSLATION = 1, /**< nothing is mapped there */
    GRANULE_FAULT_PERMISSION = 2,  /**< a write to what is read-only */
    GRANULE_FAULT_ADDRESS = 3,     /**< beyond what the GPU translates */
    GRANULE_FAULT_OTHER = 4
} granule_fault_kind;

/** The first fault of an access. */
typedef struct granule_gpu_fault {
    uint32_t struct_size; /**< sizeof it */
    uint32_t kind;        /**< granule_fault_kind */
    uint64_t va;          /**< of the byte that faulted; those before it were transferred */
    uint32_t status;      /**< AS_FAULTSTATUS as the GPU's register has it */
    uint32_t write;       /**< 1: the access was a write */
    const char* name;     /**< static text: what Linux calls it on this GPU: "TRANSLATION_FAULT_3" */
} granule_gpu_fault;

/**
 * `size` bytes at `va`, as a shader core reads them. Waits while a bind has the region locked.
 * @param fault may be NULL
 * @return OK; OUT_OF_RANGE: it faulted, see `fault` and granule_vm_describe(); BAD_ARGUMENT; NOT_SUPPORTED
 * @par On failure
 * Bytes before the fault were transferred.
 * @par Thread-safety
 * Any thread, also while the VM binds.
 */
GRANULE_API granule_status granule_soft_read(granule_vm* vm, uint64_t va, void* to, size_t size,
                                             granule_gpu_fault* fault);
/** As granule_soft_read(), the other way round. */
GRANULE_API granule_status granule_soft_write(granule_vm* vm, uint64_t va, const void* from, size_t size,
                                              granule_gpu_fault* fault);
/** The fault in words, with the GPU's own name for it. As snprintf. Any thread. */
GRANULE_API size_t granule_gpu_fault_text(const granule_gpu_fault* fault, char* text, size_t size);

/** Where a failure can be had. */
typedef enum granule_soft_site {
    GRANULE_SOFT_OPERATION = 0,     /**< an operation of a bind: BACKEND_FAILED, undone */
    GRANULE_SOFT_TABLE_MEMORY = 1,  /**< memory for page tables */
    GRANULE_SOFT_DEVICE_MEMORY = 2, /**< memory for BOs */
    GRANULE_SOFT_SHARED_FILE = 3    /**< a call of the system for a BO that is shared: OS_FAILED */
} granule_soft_site;

/**
 * The next `skip` steps of this kind go well, the one after them fails with `os_error` (not 0), once. `os_error` 0: none
 * does, what was asked for before is forgotten.
 * @return OK; BAD_ARGUMENT; NOT_SUPPORTED
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API granule_status granule_soft_fail(granule_device* device, granule_soft_site site, uint64_t skip,
                                             int os_error);

/** What the GPU did so far. */
typedef struct granule_soft_statistics {
    uint32_t struct_size;     /**< sizeof it */
    uint32_t reserved;        /**< zero */
    uint64_t accesses;        /**< of the GPU */
    uint64_t faults;          /**< of them */
    uint64_t stalls;          /**< accesses that waited for a bind */
    uint64_t stale;           /**< accesses answered by a TLB entry that the tables no longer agree with: 0 is right */
    uint64_t register_writes; /**< of the MMU */
    uint64_t leaf_cuts;       /**< leaves that an operation would have cleared in part: 0 is right (P1) */
} granule_soft_statistics;

/** @return OK; BAD_ARGUMENT; NOT_SUPPORTED: `*statistics` is as it was. Any thread. */
GRANULE_API granule_status granule_soft_get_statistics(const granule_device* device,
                                                       granule_soft_statistics* statistics);

#ifdef __cplusplus
}
#endif

#endif
