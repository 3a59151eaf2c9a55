/* kmod: devices and BOs. */
#include "kmod.h"

#include <stdio.h>
#include <stdlib.h>

static void* default_zalloc(const struct kmod_allocator* self, uint64_t size, bool transient) {
    (void)self;
    (void)transient;
    return calloc(1, (size_t)size);
}

static void default_free(const struct kmod_allocator* self, void* data) {
    (void)self;
    free(data);
}

static const struct kmod_allocator default_allocator = {default_zalloc, default_free};

void kmod_log(const char* what, const granule_error* error) {
    char text[512];
    granule_error_text(error, text, sizeof text);
    (void)fprintf(stderr, "kmod: %s: %s\n", what, text);
}

static void log_message(void* data, granule_log_level level, const char* text) {
    static const char* const names[] = {"error", "warning", "info"};
    (void)data;
    if (level <= GRANULE_LOG_WARNING) {
        (void)fprintf(stderr, "granule: %s: %s\n", names[level], text);
    }
}

struct kmod_dev* kmod_dev_create(const char* path, const struct kmod_allocator* allocator) {
    granule_error error = GRANULE_SIZED(granule_error);
    granule_device_info info = GRANULE_SIZED(granule_device_info);
    granule_device_properties props = GRANULE_SIZED(granule_device_properties);
    granule_device* device;
    struct kmod_dev* dev;

    info.path = path;
    info.logger.message = log_message;
    if (granule_device_open(&info, &device, &error) != GRANULE_STATUS_OK) {
        kmod_log("open the device", &error);
        return NULL;
    }
    allocator = allocator ? allocator : &default_allocator;
    dev = allocator->zalloc(allocator, sizeof *dev, false);
    if (!dev || granule_device_get_properties(device, &props) != GRANULE_STATUS_OK) {
        if (dev) {
            allocator->free(allocator, dev);
        }
        granule_device_close(device);
        return NULL;
    }
    dev->granule = device;
    dev->allocator = allocator;
    dev->props.gpu_id = props.gpu_id;
    dev->props.pgsize_bitmap = props.leaf_sizes;
    dev->props.va_start = props.default_vm_space.start;
    dev->props.va_size = props.default_vm_space.end - props.default_vm_space.start;
    dev->props.is_io_coherent = props.coherent;
    dev->props.has_cached_bos = props.cached_bos;
    dev->props.kernel_places_bos = props.kernel_places_bos;
    return dev;
}

void kmod_dev_destroy(struct kmod_dev* dev) {
    const struct kmod_allocator* const allocator = dev->allocator;

    granule_device_close(dev->granule);
    allocator->free(allocator, dev);
}

/* Takes over the caller's reference on `granule`. */
static struct kmod_bo* wrap(struct kmod_dev* dev, granule_bo* granule, struct kmod_vm* exclusive_vm, uint32_t flags) {
    struct kmod_bo* const bo = dev->allocator->zalloc(dev->allocator, sizeof *bo, false);

    if (!bo) {
        granule_bo_unref(granule);
        return NULL;
    }
    bo->dev = dev;
    bo->granule = granule;
    bo->size = granule_bo_size(granule);
    bo->handle = granule_bo_gem_handle(granule);
    bo->flags = flags;
    bo->exclusive_vm = exclusive_vm;
    bo->references = 1;
    granule_bo_set_user_data(granule, bo);
    return bo;
}

struct kmod_bo* kmod_bo_alloc(struct kmod_dev* dev, struct kmod_vm* exclusive_vm, uint64_t size, uint32_t flags,
                              const char* label) {
    granule_error error = GRANULE_SIZED(granule_error);
    granule_bo_info info = GRANULE_SIZED(granule_bo_info);
    granule_bo* granule;

    info.size = size;
    info.label = label;
    info.flags = (flags & KMOD_BO_EXECUTABLE ? GRANULE_BO_EXECUTABLE : 0u) |
                 (flags & KMOD_BO_ALLOC_ON_FAULT ? GRANULE_BO_GROWS_ON_FAULT : 0u) |
                 (flags & KMOD_BO_NO_MMAP ? GRANULE_BO_NO_CPU_ACCESS : 0u) |
                 (flags & KMOD_BO_WB_MMAP ? GRANULE_BO_CPU_CACHED : 0u) | (exclusive_vm ? 0u : GRANULE_BO_SHAREABLE);
    info.only_for = exclusive_vm ? exclusive_vm->granule : NULL;
    if (granule_bo_create(dev->granule, &info, &granule, &error) != GRANULE_STATUS_OK) {
        kmod_log("allocate a BO", &error);
        return NULL;
    }
    return wrap(dev, granule, exclusive_vm, flags);
}

struct kmod_bo* kmod_bo_import(struct kmod_dev* dev, int fd) {
    granule_error error = GRANULE_SIZED(granule_error);
    granule_bo* granule;
    struct kmod_bo* known;

    if (granule_bo_import(dev->granule, fd, &granule, &error) != GRANULE_STATUS_OK) {
        kmod_log("import a BO", &error);
        return NULL;
    }
    /* granule gives the same BO for the same dma-buf, and so do we: what is ours hangs on it. */
    known = granule_bo_get_user_data(granule);
    if (known) {
        granule_bo_unref(granule);
        return kmod_bo_get(known);
    }
    return wrap(dev, granule, NULL, KMOD_BO_IMPORTED);
}

int kmod_bo_export(struct kmod_bo* bo) {
    granule_error error = GRANULE_SIZED(granule_error);
    int fd;

    if (granule_bo_export(bo->granule, &fd, &error) != GRANULE_STATUS_OK) {
        kmod_log("export a BO", &error);
        return -1;
    }
    bo->flags |= KMOD_BO_EXPORTED;
    return fd;
}

/* One thread uses this driver, so that counting is plain. granule's own counts are atomic. */
struct kmod_bo* kmod_bo_get(struct kmod_bo* bo) {
    bo->references++;
    return bo;
}

void kmod_bo_put(struct kmod_bo* bo) {
    if (!bo || --bo->references > 0) {
        return;
    }
    granule_bo_set_user_data(bo->granule, NULL);
    granule_bo_unref(bo->granule);
    bo->dev->allocator->free(bo->dev->allocator, bo);
}

void* kmod_bo_mmap(struct kmod_bo* bo) {
    granule_error error = GRANULE_SIZED(granule_error);
    void* cpu;

    if (granule_bo_map(bo->granule, &cpu, &error) != GRANULE_STATUS_OK) {
        kmod_log("map a BO for the CPU", &error);
        return NULL;
    }
    return cpu;
}
