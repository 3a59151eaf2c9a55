/*
 * A gallium-like driver: the screen, which is what contexts share, and its resources.
 *
 * Resources live in BOs of granule's cache: mapped in the screen's VM, and in the CPU's address space, for as long as the
 * cache has them. Nothing here unmaps a resource that goes: its BO goes back with the fence of its last use.
 */
#ifndef SCREEN_H
#define SCREEN_H

#include "gpu.h"
#include "kmod.h"

struct screen {
    struct kmod_dev* dev;
    struct kmod_vm* vm;
    granule_bo_cache* cache;
    granule_pool* commands; /* small buffers */
    struct gpu* gpu;
};

/* An image of 32-bit pixels. */
struct resource {
    struct screen* screen;
    uint32_t width, height;
    uint64_t va;
    void* cpu;
    granule_cached_bo cached; /* its BO, where it is the cache's */
    struct kmod_bo* shared;   /* its BO, where it is one that others see too; NULL otherwise */
    granule_sync last_use;    /* by the GPU */
};

struct screen* screen_create(const char* path);
/* Every context and resource is gone. Returns false if something of it was left over. */
bool screen_destroy(struct screen* screen);

struct resource* resource_create(struct screen* screen, uint32_t width, uint32_t height, const char* label);
/* One that may be exported: for a window system. Not from the cache. */
struct resource* resource_create_shared(struct screen* screen, uint32_t width, uint32_t height, const char* label);
void resource_destroy(struct resource* resource);
/* Waits until the GPU is done with it. */
uint32_t* resource_map(struct resource* resource);

#endif
