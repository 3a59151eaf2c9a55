/**
 * @file base.h
 * What every other part needs: status, errors, allocator, logger, versions.
 */
#ifndef GRANULE_BASE_H
#define GRANULE_BASE_H

#include <stddef.h>
#include <stdint.h>

/** The version of these headers; granule_version() says the library's. */
#define GRANULE_VERSION_MAJOR 0
#define GRANULE_VERSION_MINOR 2 /**< see GRANULE_VERSION_MAJOR */
#define GRANULE_VERSION_PATCH 0 /**< see GRANULE_VERSION_MAJOR */

/** @cond */
#if defined(__GNUC__)
#define GRANULE_API __attribute__((visibility("default")))
#define GRANULE_NODISCARD __attribute__((warn_unused_result))
#else
#define GRANULE_API
#define GRANULE_NODISCARD
#endif
/** @endcond */

/**
 * A struct of this type with its `struct_size` set and everything else zero.
 *
 *     granule_bo_info info = GRANULE_SIZED(granule_bo_info);
 *     info.size = 65536;
 */
#ifdef __cplusplus
template <class Struct>
inline Struct granule_sized() noexcept {
    Struct value{};
    value.struct_size = static_cast<uint32_t>(sizeof(Struct));
    return value;
}
#define GRANULE_SIZED(type) ::granule_sized<type>()
#else
#define GRANULE_SIZED(type) ((type){.struct_size = (uint32_t)sizeof(type)})
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** @name Handles
 * @{ */
typedef struct granule_device granule_device;     /**< device.h */
typedef struct granule_bo granule_bo;             /**< bo.h */
typedef struct granule_timeline granule_timeline; /**< timeline.h */
typedef struct granule_vm granule_vm;             /**< vm.h */
typedef struct granule_bo_cache granule_bo_cache; /**< bo_cache.h */
typedef struct granule_pool granule_pool;         /**< pool.h */
/** @} */

/** Why a call failed. The numbers are stable. */
typedef enum granule_status {
    GRANULE_STATUS_OK = 0,
    GRANULE_STATUS_BAD_ARGUMENT = 1,         /**< an argument breaks a rule that its documentation states */
    GRANULE_STATUS_OUT_OF_RANGE = 2,         /**< outside the address space or the BO */
    GRANULE_STATUS_GRANULE_CUT = 3,          /**< policy reject: a granule would be cut */
    GRANULE_STATUS_OUT_OF_VA = 4,            /**< no hole of the VA space fits */
    GRANULE_STATUS_VA_OCCUPIED = 5,          /**< the fixed address is taken */
    GRANULE_STATUS_OUT_OF_HOST_MEMORY = 6,   /**< no memory for granule's own structures */
    GRANULE_STATUS_OUT_OF_TABLE_MEMORY = 7,  /**< no memory for page tables */
    GRANULE_STATUS_OUT_OF_DEVICE_MEMORY = 8, /**< no memory for BOs */
    GRANULE_STATUS_UNKNOWN_BO = 9,           /**< no such BO on this device */
    GRANULE_STATUS_BACKEND_FAILED = 10,      /**< the kernel refused an operation; see granule_error::os_error */
    GRANULE_STATUS_VM_UNUSABLE = 11,         /**< the address space is lost; granule_vm_rebuild() */
    GRANULE_STATUS_KERNEL_OOPS = 12,         /**< the kernel behind the device is gone */
    GRANULE_STATUS_CANCELLED = 13,           /**< the queue was closed before the work was done */
    GRANULE_STATUS_OS_FAILED = 14,           /**< a call of the system failed; see granule_error::call, os_error */
    GRANULE_STATUS_NOT_SUPPORTED = 15,       /**< this device or this kernel cannot do it */
    GRANULE_STATUS_TIMED_OUT = 16,           /**< what had to happen first did not happen in time */
    GRANULE_STATUS_OVER_BUDGET = 17          /**< the device's memory limit would be passed */
} granule_status;

/**
 * The status in words: "a granule would be cut". Static text; for a number that is none, "unknown status".
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API const char* granule_status_text(granule_status status);

/** `[start, end)`, in bytes of VA. Empty where `start == end`. */
typedef struct granule_range {
    uint64_t start; /**< the first byte */
    uint64_t end;   /**< behind the last byte */
} granule_range;

/** granule_error::op where the failure is not of one operation. */
#define GRANULE_NO_OP UINT32_MAX

/** Bytes of a label as reports carry it, with the zero byte: the first 48, cut between UTF-8 characters. */
#define GRANULE_SHORT_LABEL_BYTES 56

/** The detail of a failure. The library fills it in on failure only; what does not apply is zero. */
typedef struct granule_error {
    uint32_t struct_size;   /**< sizeof it */
    int32_t status;         /**< a granule_status: what the call returned */
    int32_t os_error;       /**< errno of what failed in the system, or 0 */
    uint32_t op;            /**< which operation of the array that was given, or GRANULE_NO_OP */
    const char* call;       /**< static text: which call of the system failed, or NULL */
    const char* why;        /**< static text: which rule was broken, or NULL */
    granule_range request;  /**< the VA range that was asked for */
    granule_range granule;  /**< GRANULE_CUT: the granule that would be cut */
    uint64_t leaf_size;     /**< GRANULE_CUT: its leaf: 4096, 2097152 or 1073741824 */
    granule_range mapping;  /**< GRANULE_CUT: the mapping that it belongs to */
    uint64_t bo_offset;     /**< ... and where that begins in its BO */
    granule_range occupant; /**< VA_OCCUPIED: the reservation in the way; on release: what is there instead */
    uint64_t largest_hole;  /**< OUT_OF_VA: bytes of the zone's largest hole */
    uint64_t behind_fences; /**< OUT_OF_VA: bytes of the zone that only wait for fences */
    uint32_t bo_id;         /**< GRANULE_CUT: granule_bo_id() of the BO behind the granule; 0: sparse */
    uint8_t vm_lost;        /**< 1: what was done could not be undone, and the VM is lost (P3) */
    uint8_t partly_done;    /**< 1: what was done could not be undone, and stays done; the VM is usable */
    uint8_t reserved[2];    /**< zero */
    char label[GRANULE_SHORT_LABEL_BYTES]; /**< GRANULE_CUT: that BO's label */
} granule_error;

/**
 * The failure in one line of words: what, where, and what would be right. As snprintf: writes at most `size` bytes with
 * the zero byte, and returns how long the whole text is. `error` as the library filled it.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API size_t granule_error_text(const granule_error* error, char* text, size_t size);

/**
 * Where the library's own memory comes from (not that of BOs). Zero `allocate`: mimalloc.
 *
 * The functions are called from whatever thread calls the library or runs one of its queues, rarely: small structures
 * are cut from blocks. They must not call the library.
 */
typedef struct granule_allocator {
    /** `size` bytes aligned to `alignment` (a power of two), or NULL. */
    void* (*allocate)(void* data, size_t size, size_t alignment);
    /** Takes back what `allocate` returned for the same size and alignment. */
    void (*release)(void* data, void* memory, size_t size, size_t alignment);
    void* data; /**< yours */
} granule_allocator;

/** How bad a message is. */
typedef enum granule_log_level {
    GRANULE_LOG_ERROR = 0,   /**< a VM is lost, an object leaked */
    GRANULE_LOG_WARNING = 1, /**< a kernel that is not known, an undo that was needed */
    GRANULE_LOG_INFO = 2     /**< what was found out about the device */
} granule_log_level;

/**
 * Where messages go. Zero `message`: nowhere. Called from any thread, perhaps under locks of the library: it must not
 * call it. `text` is one line without its end, good for the time of the call.
 */
typedef struct granule_logger {
    void (*message)(void* data, granule_log_level level, const char* text); /**< NULL: messages go nowhere */
    void* data;                                                             /**< yours */
} granule_logger;

/**
 * The library's version: `major << 16 | minor << 8 | patch`.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API uint32_t granule_version(void);

#ifdef __cplusplus
}
#endif

#endif
