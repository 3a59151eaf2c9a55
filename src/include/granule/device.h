/**
 * @file device.h
 * A Mali: behind a kernel (panthor, panfrost), or in this process (soft).
 *
 * | | panthor | panfrost | soft |
 * | --- | --- | --- | --- |
 * | who chooses VAs | you, or the library | the kernel, when the BO is made | you, or the library |
 * | who writes page tables | the kernel | the kernel | the library |
 * | VMs of an open device | 32 | 1 | as many as you like |
 * | async binds | in the kernel | none | on a thread of the VM |
 */
#ifndef GRANULE_DEVICE_H
#define GRANULE_DEVICE_H

#include <granule/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Who keeps the page tables. */
typedef enum granule_device_kind {
    GRANULE_DEVICE_SOFT = 0,
    GRANULE_DEVICE_PANTHOR = 1,
    GRANULE_DEVICE_PANFROST = 2
} granule_device_kind;

/** What the kernel at hand does when it is asked to unmap a part of a 2 MiB leaf. */
typedef enum granule_kernel_behaviour {
    GRANULE_KERNEL_FIND_OUT = 0, /**< in granule_device_info: from the release, and a probe where that is safe */
    GRANULE_KERNEL_SPLITS = 1,   /**< up to 6.12: splits the leaf */
    GRANULE_KERNEL_REFUSES = 2,  /**< 6.13 to 6.19: EINVAL, the leaf stays mapped; queued: the VM is lost */
    GRANULE_KERNEL_OOPSES = 3,   /**< as REFUSES, and a NULL dereference for an unmap inside a mapping */
    GRANULE_KERNEL_REALIGNS = 4  /**< from 7.0: unmaps the leaf whole and maps the rest again */
} granule_kernel_behaviour;

/** What the soft device is. Zero is good for all of it. */
typedef struct granule_soft_info {
    uint32_t struct_size; /**< sizeof it */
    uint32_t kernel;      /**< which behaviour it plays: a granule_kernel_behaviour; FIND_OUT: SPLITS */
    const char* gpu;      /**< "G610", "T860", ...: a name of granule_gpu_name(); NULL: "G610" */
    uint64_t memory_size; /**< bytes of device memory, a multiple of 2 MiB; taken from the machine as it is touched;
                                0: 64 GiB */
    uint32_t scatter;     /**< 1: BOs of single 4 KiB pages, so that no 2 MiB leaf is possible */
    uint32_t reserved;    /**< zero */
} granule_soft_info;

/** How a device is opened. */
typedef enum granule_device_flags {
    /** Only look at the kernel's release; see granule_device_properties::kernel_from. */
    GRANULE_DEVICE_NO_PROBE = 1u << 0
} granule_device_flags;

/** What to open: `path`; or `fd`; or, where both are not given, the soft device. */
typedef struct granule_device_info {
    uint32_t struct_size;          /**< sizeof it */
    uint32_t flags;                /**< granule_device_flags */
    const char* path;              /**< a render node: "/dev/dri/renderD128" */
    int32_t fd;                    /**< an open one, where `use_fd` is 1: duplicated, and yours all the while */
    uint32_t use_fd;               /**< 1: open `fd` */
    uint32_t kernel;               /**< a granule_kernel_behaviour: what you know better; FIND_OUT: find out */
    uint32_t reserved;             /**< zero */
    const granule_soft_info* soft; /**< NULL: the default one; must be NULL with `path` or `fd` */
    uint64_t memory_limit;         /**< granule_device_set_memory_limit(); 0: none */
    granule_allocator allocator;   /**< for all of the device's objects */
    granule_logger logger;         /**< for all of the device's objects */
} granule_device_info;

/**
 * Opens a device. Takes some ten ioctls on a kernel's, and probes it with a VM and a BO of its own for a moment, unless
 * told not to.
 * @param[out] device give it back with granule_device_close(); NULL on failure
 * @return OK; BAD_ARGUMENT; NOT_SUPPORTED: not a Mali's driver, or an unknown version of it; OS_FAILED; OUT_OF_HOST_MEMORY
 * @par On failure
 * Nothing is open, `*device` is NULL.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API GRANULE_NODISCARD granule_status granule_device_open(const granule_device_info* info,
                                                                 granule_device** device, granule_error* error);

/**
 * The caller is done with the device. What is still there of it (BOs, VMs, timelines, caches, pools) is told to the
 * logger, each with its label, and stays good: the device ends with the last of them.
 * @return how many that are; 0 is what a program wants to see
 * @par Thread-safety
 * Any thread, once.
 */
GRANULE_API uint32_t granule_device_close(granule_device* device);

/** Who says what a kernel does with a part of a leaf. */
typedef enum granule_kernel_from {
    GRANULE_KERNEL_FROM_RELEASE = 0, /**< its release is known */
    GRANULE_KERNEL_FROM_UNKNOWN = 1, /**< it is not, so that the safest is assumed */
    GRANULE_KERNEL_FROM_PROBE = 2,   /**< a probe found something else than the release says */
    GRANULE_KERNEL_FROM_OVERRIDE = 3 /**< you, or granule_soft_info */
} granule_kernel_from;

/** What a device can do. */
typedef struct granule_device_properties {
    uint32_t struct_size;           /**< sizeof it */
    uint32_t kind;                  /**< granule_device_kind */
    uint32_t gpu_id;                /**< GPU_ID as the GPU has it; soft: of the model */
    uint32_t va_bits;               /**< what the GPU translates */
    uint32_t pa_bits;               /**< ... and into what */
    uint32_t kernel;                /**< granule_kernel_behaviour, never FIND_OUT */
    uint32_t kernel_from;           /**< granule_kernel_from */
    int32_t driver_major;           /**< of the DRM driver; soft: 0 */
    int32_t driver_minor;           /**< its minor version */
    uint32_t reserved;              /**< zero */
    uint64_t leaf_sizes;            /**< what leaves there are: sizes or-ed: 0x1000 | 0x200000 | 0x40000000 */
    granule_range vm_space;         /**< what a VM may have at most */
    granule_range default_vm_space; /**< what it has if you do not say */
    char gpu_name[32];              /**< "G610", or "" for one that is not known */
    char kernel_release[64];        /**< "6.18.15+deb14-arm64"; soft: "" */
    uint8_t coherent;               /**< 1: the GPU sees CPU caches */
    uint8_t sparse;                 /**< 1: GRANULE_BIND_MAP_SPARSE works ... */
    uint8_t native_sparse;          /**< 1: ... and costs one operation, whatever its size */
    uint8_t cached_bos;             /**< 1: GRANULE_BO_CPU_CACHED works */
    uint8_t labels;                 /**< 1: the kernel is told labels */
    uint8_t huge_pages;             /**< 1: the kernel backs BOs by 2 MiB pages where it can */
    uint8_t async_binds;            /**< 1: GRANULE_BIND_ASYNC works ... */
    uint8_t kernel_queue;           /**< 1: ... in the kernel's queue; 0: on a thread of the VM */
    uint8_t kernel_places_bos;      /**< 1: panfrost: every map is of a whole BO, with GRANULE_VA_AUTO */
    uint8_t evictable_bos;          /**< 1: granule_bo_set_evictable() works */
    uint8_t bo_wait;                /**< 1: granule_bo_wait() works */
    uint8_t timelines_in_kernel;    /**< 1: granule_timeline_syncobj() is a timeline syncobj's handle */
    uint8_t reserved2[4];           /**< zero */
} granule_device_properties;

/**
 * @param[out] properties with `struct_size` set
 * @return OK; BAD_ARGUMENT
 * @par On failure
 * `*properties` is as it was.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API granule_status granule_device_get_properties(const granule_device* device,
                                                         granule_device_properties* properties);

/**
 * The open file of a kernel's device, the library's own: for ioctls that are not the library's, as those of jobs and of
 * tiler heaps, which name a VM by granule_vm_state::kernel_id. -1: soft. Any thread.
 */
GRANULE_API int granule_device_fd(const granule_device* device);

/** What a device's BOs come to, and what they may. */
typedef struct granule_memory_usage {
    uint32_t struct_size;    /**< sizeof it */
    uint32_t bos;            /**< that are alive, caches and pools included, imported ones too */
    uint64_t bo_bytes;       /**< of them, without the imported ones */
    uint64_t bo_bytes_peak;  /**< the most that it was */
    uint64_t imported_bytes; /**< of imported ones */
    uint64_t cached_bytes;   /**< of `bo_bytes`: in BO caches, used by nobody */
    uint64_t table_bytes;    /**< of page tables (soft; elsewhere the kernel's, which does not tell: 0) */
    uint64_t limit;          /**< 0: none */
    uint64_t heap_bytes;     /**< soft: its memory; else the machine's */
    uint64_t budget;         /**< how much `bo_bytes` may become: `limit`, or `heap_bytes` */
} granule_memory_usage;

/**
 * Cheap: counters, no ioctl and no lock that a bind takes.
 * @return OK; BAD_ARGUMENT
 * @par On failure
 * `*usage` is as it was.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API granule_status granule_device_get_memory_usage(const granule_device* device, granule_memory_usage* usage);

/**
 * BOs that would bring `bo_bytes` above this are refused with OVER_BUDGET. It may be below what is there already: nothing
 * happens to that. 0: none.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API void granule_device_set_memory_limit(granule_device* device, uint64_t limit);

/** A device that is there, or may be. */
typedef struct granule_device_entry {
    uint32_t struct_size;                 /**< sizeof it */
    int32_t status;                       /**< OK; NOT_SUPPORTED: not a Mali's; why else it could not be looked at */
    int32_t os_error;                     /**< errno of that, or 0 */
    uint32_t reserved;                    /**< zero */
    char path[64];                        /**< for granule_device_info */
    char bus[64];                         /**< "platform fb000000.gpu", or "" */
    char driver[32];                      /**< "panthor", or "" */
    granule_device_properties properties; /**< where `status` is OK. Stays the last member */
} granule_device_entry;

/**
 * Calls `visit` for every render node of the machine, those that are no Mali's too. Opens each, and probes none.
 * `entry` is good for the time of the call. That there is no device is no failure.
 * @return OK; BAD_ARGUMENT; OS_FAILED: /dev/dri cannot be read; OUT_OF_HOST_MEMORY
 * @par On failure
 * `visit` was not called.
 * @par Thread-safety
 * Any thread.
 */
GRANULE_API granule_status granule_list_devices(void (*visit)(void* data, const granule_device_entry* entry),
                                                void* data, granule_error* error);

/** The name of the GPU of this index, from 0 on: what granule_soft_info::gpu takes. NULL: there are no more. Any thread. */
GRANULE_API const char* granule_gpu_name(uint32_t index);

#ifdef __cplusplus
}
#endif

#endif
