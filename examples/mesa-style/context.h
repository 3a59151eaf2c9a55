/* A gallium-like driver: a context, which records commands into a batch and submits it. */
#ifndef CONTEXT_H
#define CONTEXT_H

#include "screen.h"

#define MOST_COMMANDS 64
#define MOST_RESOURCES (2 * MOST_COMMANDS)

struct context {
    struct screen* screen;
    struct gpu_command commands[MOST_COMMANDS + 1];
    uint32_t command_count;
    struct resource* resources[MOST_RESOURCES]; /* of the batch: they get its fence */
    uint32_t resource_count;
};

struct context* context_create(struct screen* screen);
void context_destroy(struct context* context); /* what was not flushed is dropped */

/* Each flushes by itself where the batch is full; false: that failed. */
bool context_clear(struct context* context, struct resource* dst, uint32_t value);
/* As much as both have. */
bool context_copy(struct context* context, struct resource* dst, struct resource* src);
bool context_add(struct context* context, struct resource* dst, struct resource* src);

/* Submits the batch. `fence` (may be NULL): when it is done. */
bool context_flush(struct context* context, granule_sync* fence);

#endif
