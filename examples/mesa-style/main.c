/*
 * mesa-style: about what a Mesa developer would write to try granule.
 *
 *     main.c           an application: frames of short-lived resources, checked pixel by pixel; a shared buffer
 *     context, screen  a gallium-like driver: batches, resources from a BO cache, command buffers from a pool
 *     kmod             the layer that talks to the kernel, as Mesa has it, on granule's C interface
 *     gpu              the hardware: a thread that sees VAs only
 */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "context.h"

#define FRAMES 120
#define WIDTH 256
#define HEIGHT 128

/* A frame: a layer is uploaded, another cleared, both are added into the target. Returns whether every pixel is right. */
static bool draw_frame(struct context* context, struct resource* target, uint32_t frame) {
    struct screen* const screen = context->screen;
    struct resource* const upload = resource_create(screen, WIDTH, HEIGHT, "upload");
    struct resource* const layer = resource_create(screen, WIDTH, HEIGHT / 2, "layer");
    bool good = upload && layer;

    if (good) {
        uint32_t* const pixels = resource_map(upload);
        for (uint32_t i = 0; i < WIDTH * HEIGHT; i++) {
            pixels[i] = (frame << 8) + i % 200;
        }
        good = context_copy(context, target, upload) && context_clear(context, layer, 0x10) &&
               context_add(context, target, layer) && context_flush(context, NULL);
    }
    if (good) {
        const uint32_t* const seen = resource_map(target);
        for (uint32_t i = 0; i < WIDTH * HEIGHT && good; i++) {
            const uint32_t expected = (frame << 8) + i % 200 + (i < WIDTH * HEIGHT / 2 ? 0x10 : 0);
            if (seen[i] != expected) {
                (void)fprintf(stderr, "frame %u, pixel %u: 0x%08x, not 0x%08x\n", frame, i, seen[i], expected);
                good = false;
            }
        }
    }
    if (upload) {
        resource_destroy(upload);
    }
    if (layer) {
        resource_destroy(layer);
    }
    return good;
}

/* A window system has the front buffer as a dma-buf; importing that gives the same BO back. */
static bool present(struct context* context, struct resource* target) {
    struct screen* const screen = context->screen;
    struct resource* const front = resource_create_shared(screen, WIDTH, HEIGHT, "front buffer");
    struct kmod_bo* imported = NULL;
    bool good = front && context_copy(context, front, target) && context_flush(context, NULL);
    const int fd = good ? kmod_bo_export(front->shared) : -1;

    if (fd >= 0) {
        imported = kmod_bo_import(screen->dev, fd);
        close(fd);
    }
    good = imported && imported == front->shared && resource_map(front)[5] == resource_map(target)[5];
    kmod_bo_put(imported);
    if (front) {
        resource_destroy(front);
    }
    return good;
}

static void print_statistics(struct screen* screen) {
    granule_bo_cache_statistics cache = GRANULE_SIZED(granule_bo_cache_statistics);
    granule_pool_statistics pool = GRANULE_SIZED(granule_pool_statistics);
    granule_vm_statistics vm = GRANULE_SIZED(granule_vm_statistics);
    granule_memory_usage memory = GRANULE_SIZED(granule_memory_usage);

    granule_bo_cache_get_statistics(screen->cache, &cache);
    granule_pool_get_statistics(screen->commands, &pool);
    granule_vm_get_statistics(screen->vm->granule, &vm);
    granule_device_get_memory_usage(screen->dev->granule, &memory);
    printf("BO cache:  %" PRIu64 " BOs used again, %" PRIu64 " made; %" PRIu64 " KiB in it\n", cache.hits, cache.misses,
           cache.cached_bytes / 1024);
    printf("pool:      %u slabs, %" PRIu64 " KiB, for all command buffers\n", pool.slabs, pool.slab_bytes / 1024);
    printf("VM:        %" PRIu64 " mappings, %" PRIu64 " KiB; %" PRIu64 " binds in all\n", vm.mappings,
           vm.mapped_bytes / 1024, vm.binds);
    printf("memory:    %u BOs, %" PRIu64 " KiB, %" PRIu64 " KiB at most\n", memory.bos, memory.bo_bytes / 1024,
           memory.bo_bytes_peak / 1024);
}

int main(void) {
    struct screen* const screen = screen_create(NULL);
    struct context* context;
    struct resource* target;
    uint32_t frame = 0;
    bool good;

    if (!screen) {
        return 1;
    }
    context = context_create(screen);
    target = resource_create(screen, WIDTH, HEIGHT, "target");
    good = context && target;
    while (good && frame < FRAMES) {
        good = draw_frame(context, target, frame++);
    }
    printf("%u frames, every pixel checked: %s\n", frame, good ? "right" : "WRONG");
    if (good) {
        good = present(context, target);
        printf("a shared front buffer, exported and imported: %s\n", good ? "the same BO" : "WRONG");
    }
    print_statistics(screen);
    good = good && gpu_faults(screen->gpu) == 0;
    if (target) {
        resource_destroy(target);
    }
    context_destroy(context);
    if (!screen_destroy(screen)) {
        (void)fprintf(stderr, "something leaked\n");
        good = false;
    }
    return good ? 0 : 1;
}
