/* The screen and its resources: see screen.h. */
#include "screen.h"

#include <stdio.h>
#include <stdlib.h>

static void destroy_parts(struct screen* screen) {
    if (screen->gpu) {
        gpu_stop(screen->gpu);
    }
    granule_pool_destroy(screen->commands);
    granule_bo_cache_destroy(screen->cache);
    if (screen->vm) {
        kmod_vm_destroy(screen->vm);
    }
}

static bool create_parts(struct screen* screen) {
    granule_error error = GRANULE_SIZED(granule_error);
    granule_bo_cache_info cache = GRANULE_SIZED(granule_bo_cache_info);
    granule_pool_info pool = GRANULE_SIZED(granule_pool_info);

    screen->vm = kmod_vm_create(screen->dev, KMOD_VM_AUTO_VA | KMOD_VM_TRACK_ACTIVITY, screen->dev->props.va_start,
                                screen->dev->props.va_size);
    if (!screen->vm) {
        return false;
    }
    cache.max_bytes = UINT64_C(8) << 20;
    pool.slab_size = UINT64_C(64) << 10;
    pool.label = "command buffers";
    if (granule_bo_cache_create(screen->dev->granule, screen->vm->granule, &cache, &screen->cache, &error) !=
        GRANULE_STATUS_OK) {
        kmod_log("create the BO cache", &error);
        return false;
    }
    pool.cache = screen->cache;
    if (granule_pool_create(screen->vm->granule, &pool, &screen->commands, &error) != GRANULE_STATUS_OK) {
        kmod_log("create the pool", &error);
        return false;
    }
    screen->gpu = gpu_start(screen->vm->granule);
    return screen->gpu != NULL;
}

struct screen* screen_create(const char* path) {
    struct screen* const screen = calloc(1, sizeof *screen);

    if (!screen) {
        return NULL;
    }
    screen->dev = kmod_dev_create(path, NULL);
    if (!screen->dev) {
        free(screen);
        return NULL;
    }
    if (!create_parts(screen)) {
        destroy_parts(screen);
        kmod_dev_destroy(screen->dev);
        free(screen);
        return NULL;
    }
    return screen;
}

bool screen_destroy(struct screen* screen) {
    granule_memory_usage usage = GRANULE_SIZED(granule_memory_usage);
    bool clean;

    destroy_parts(screen);
    clean = granule_device_get_memory_usage(screen->dev->granule, &usage) == GRANULE_STATUS_OK && usage.bos == 0;
    kmod_dev_destroy(screen->dev);
    free(screen);
    return clean;
}

static struct resource* new_resource(struct screen* screen, uint32_t width, uint32_t height) {
    struct resource* const resource = calloc(1, sizeof *resource);

    if (resource) {
        resource->screen = screen;
        resource->width = width;
        resource->height = height;
    }
    return resource;
}

struct resource* resource_create(struct screen* screen, uint32_t width, uint32_t height, const char* label) {
    granule_error error = GRANULE_SIZED(granule_error);
    granule_cached_bo_info info = GRANULE_SIZED(granule_cached_bo_info);
    struct resource* const resource = new_resource(screen, width, height);

    if (!resource) {
        return NULL;
    }
    info.size = (uint64_t)width * height * 4;
    info.map_flags = GRANULE_MAP_NO_EXEC;
    info.label = label;
    if (granule_bo_cache_get(screen->cache, &info, &resource->cached, &error) != GRANULE_STATUS_OK) {
        kmod_log("create a resource", &error);
        free(resource);
        return NULL;
    }
    resource->va = resource->cached.va;
    resource->cpu = resource->cached.cpu;
    return resource;
}

struct resource* resource_create_shared(struct screen* screen, uint32_t width, uint32_t height, const char* label) {
    struct kmod_vm_op map = {.type = KMOD_VM_OP_TYPE_MAP, .va.start = KMOD_VM_MAP_AUTO_VA};
    struct resource* const resource = new_resource(screen, width, height);

    if (!resource) {
        return NULL;
    }
    resource->shared = kmod_bo_alloc(screen->dev, NULL, (uint64_t)width * height * 4, 0, label);
    if (resource->shared) {
        map.va.size = resource->shared->size;
        map.map.bo = resource->shared;
        resource->cpu = kmod_bo_mmap(resource->shared);
    }
    if (!resource->shared || !resource->cpu || kmod_vm_bind(screen->vm, KMOD_VM_OP_MODE_IMMEDIATE, &map, 1) != 0) {
        kmod_bo_put(resource->shared);
        free(resource);
        return NULL;
    }
    resource->va = map.va.start;
    return resource;
}

void resource_destroy(struct resource* resource) {
    struct screen* const screen = resource->screen;

    if (resource->shared) {
        /* As Mesa frees: the unmap happens once the GPU is idle, and the VA comes back after that. */
        struct kmod_vm_op unmap = {.type = KMOD_VM_OP_TYPE_UNMAP, .va = {resource->va, resource->shared->size}};
        if (kmod_vm_bind(screen->vm, KMOD_VM_OP_MODE_DEFER_TO_NEXT_IDLE_POINT, &unmap, 1) != 0) {
            (void)fprintf(stderr, "driver: a shared resource stays mapped until its VM ends\n");
        }
        kmod_bo_put(resource->shared);
    } else {
        granule_bo_cache_put(screen->cache, resource->cached.bo, &resource->last_use,
                             resource->last_use.timeline ? 1 : 0);
    }
    free(resource);
}

uint32_t* resource_map(struct resource* resource) {
    if (resource->last_use.timeline) {
        granule_timeline_wait(resource->last_use.timeline, resource->last_use.point, GRANULE_WAIT_FOREVER);
    }
    return resource->cpu;
}
