/*
 * kmod: the layer of a Mesa-style driver that talks to the kernel, on granule.
 *
 * In Mesa each kernel driver has a backend of this layer with a table of functions (device, BO, VM, bind). Here granule is
 * that table for panthor, panfrost and the soft device at once: what a driver above calls stays as it is, and
 * what differs between kernels is not the driver's business any more.
 *
 * Conventions are Mesa's: functions return NULL or -1 on failure and log why; BOs are counted.
 */
#ifndef KMOD_H
#define KMOD_H

#include <granule/granule.h>
#include <stdbool.h>
#include <stdint.h>

struct kmod_bo;
struct kmod_vm;

/* As a driver asks for host memory: zeroed. `transient` memory lives for one call only. */
struct kmod_allocator {
    void* (*zalloc)(const struct kmod_allocator* self, uint64_t size, bool transient);
    void (*free)(const struct kmod_allocator* self, void* data);
};

struct kmod_props {
    uint32_t gpu_id;
    uint64_t pgsize_bitmap;
    uint64_t va_start, va_size; /* what the user may have */
    bool is_io_coherent;
    bool has_cached_bos;
    bool kernel_places_bos; /* panfrost: only KMOD_VM_AUTO_VA */
};

struct kmod_dev {
    granule_device* granule;
    struct kmod_props props;
    const struct kmod_allocator* allocator;
    void* user_priv;
};

enum kmod_bo_flags {
    KMOD_BO_EXECUTABLE = 1 << 0,
    KMOD_BO_ALLOC_ON_FAULT = 1 << 1,
    KMOD_BO_NO_MMAP = 1 << 2,
    KMOD_BO_GPU_UNCACHED = 1 << 3,
    KMOD_BO_WB_MMAP = 1 << 4,
    /* Set by kmod only. */
    KMOD_BO_EXPORTED = 1 << 5,
    KMOD_BO_IMPORTED = 1 << 6,
};

struct kmod_bo {
    struct kmod_dev* dev;
    granule_bo* granule;
    uint64_t size;
    uint32_t handle;
    uint32_t flags;
    struct kmod_vm* exclusive_vm; /* NULL: any VM may show it, and it may be exported */
    int32_t references;
};

enum kmod_vm_flags {
    KMOD_VM_AUTO_VA = 1 << 0,        /* kmod chooses VAs: op.va.start is KMOD_VM_MAP_AUTO_VA */
    KMOD_VM_TRACK_ACTIVITY = 1 << 1, /* KMOD_VM_OP_MODE_DEFER_TO_NEXT_IDLE_POINT */
};
#define KMOD_VM_MAP_AUTO_VA GRANULE_VA_AUTO

struct kmod_vm {
    struct kmod_dev* dev;
    granule_vm* granule;
    uint32_t flags;
};

enum kmod_vm_op_mode {
    KMOD_VM_OP_MODE_IMMEDIATE,
    KMOD_VM_OP_MODE_ASYNC,
    KMOD_VM_OP_MODE_DEFER_TO_NEXT_IDLE_POINT,
};

enum kmod_vm_op_type {
    KMOD_VM_OP_TYPE_MAP,
    KMOD_VM_OP_TYPE_MAP_SPARSE,
    KMOD_VM_OP_TYPE_UNMAP,
    KMOD_VM_OP_TYPE_SYNC_ONLY,
};

struct kmod_vm_op {
    enum kmod_vm_op_type type;
    struct {
        uint64_t start, size;
    } va;
    struct {
        struct kmod_bo* bo;
        uint64_t bo_offset;
    } map;
    struct {
        const granule_sync *waits, *signals;
        uint32_t wait_count, signal_count;
    } syncs;
};

enum kmod_vm_state { KMOD_VM_USABLE, KMOD_VM_FAULTY };

/* kmod.c. `path` NULL: the soft device. `allocator` NULL: calloc and free. */
struct kmod_dev* kmod_dev_create(const char* path, const struct kmod_allocator* allocator);
void kmod_dev_destroy(struct kmod_dev* dev);

struct kmod_bo* kmod_bo_alloc(struct kmod_dev* dev, struct kmod_vm* exclusive_vm, uint64_t size, uint32_t flags,
                              const char* label);
/* The same dma-buf twice is the same kmod_bo. */
struct kmod_bo* kmod_bo_import(struct kmod_dev* dev, int fd);
int kmod_bo_export(struct kmod_bo* bo);
struct kmod_bo* kmod_bo_get(struct kmod_bo* bo);
void kmod_bo_put(struct kmod_bo* bo);
void* kmod_bo_mmap(struct kmod_bo* bo);

/* kmod_vm.c */
struct kmod_vm* kmod_vm_create(struct kmod_dev* dev, uint32_t flags, uint64_t va_start, uint64_t va_size);
void kmod_vm_destroy(struct kmod_vm* vm);
/* All ops or none. A MAP writes the VA that was chosen into its op. */
int kmod_vm_bind(struct kmod_vm* vm, enum kmod_vm_op_mode mode, struct kmod_vm_op* ops, uint32_t op_count);
enum kmod_vm_state kmod_vm_query_state(struct kmod_vm* vm);

/* Says on stderr why a call of granule's failed. */
void kmod_log(const char* what, const granule_error* error);

#endif
