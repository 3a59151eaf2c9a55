/* Batches: see context.h. */
#include "context.h"

#include <stdlib.h>
#include <string.h>

struct context* context_create(struct screen* screen) {
    struct context* const context = calloc(1, sizeof *context);

    if (context) {
        context->screen = screen;
    }
    return context;
}

void context_destroy(struct context* context) {
    free(context);
}

static bool record(struct context* context, struct gpu_command command, struct resource* dst, struct resource* src) {
    if (context->command_count == MOST_COMMANDS && !context_flush(context, NULL)) {
        return false;
    }
    command.dst = dst->va;
    command.dst_stride = dst->width * 4;
    command.width = dst->width;
    command.height = dst->height;
    context->resources[context->resource_count++] = dst;
    if (src) {
        command.src = src->va;
        command.src_stride = src->width * 4;
        command.width = src->width < dst->width ? src->width : dst->width;
        command.height = src->height < dst->height ? src->height : dst->height;
        context->resources[context->resource_count++] = src;
    }
    context->commands[context->command_count++] = command;
    return true;
}

bool context_clear(struct context* context, struct resource* dst, uint32_t value) {
    return record(context, (struct gpu_command){.op = GPU_CLEAR, .value = value}, dst, NULL);
}

bool context_copy(struct context* context, struct resource* dst, struct resource* src) {
    return record(context, (struct gpu_command){.op = GPU_COPY}, dst, src);
}

bool context_add(struct context* context, struct resource* dst, struct resource* src) {
    return record(context, (struct gpu_command){.op = GPU_ADD}, dst, src);
}

bool context_flush(struct context* context, granule_sync* fence) {
    struct screen* const screen = context->screen;
    granule_error error = GRANULE_SIZED(granule_error);
    granule_buffer buffer;
    granule_sync done;
    bool submitted;

    const size_t bytes = (context->command_count + 1) * sizeof *context->commands;
    if (granule_pool_alloc(screen->commands, bytes, 0, &buffer, &error) != GRANULE_STATUS_OK) {
        kmod_log("allocate a command buffer", &error);
        return false;
    }
    context->commands[context->command_count] = (struct gpu_command){.op = GPU_END};
    memcpy(buffer.cpu, context->commands, bytes);

    /* The job's point on the VM's activity timeline: deferred unmaps wait for it. */
    done = granule_vm_activity_begin(screen->vm->granule);
    submitted = gpu_submit(screen->gpu, buffer.va, (granule_sync){done.timeline, done.point + 1});
    done.point += submitted;
    granule_vm_activity_end(screen->vm->granule, done.point);

    /* Free already: nobody gets its place before the job is done with it. */
    granule_pool_free(screen->commands, &buffer, &done, 1);
    if (submitted) {
        for (uint32_t i = 0; i < context->resource_count; i++) {
            context->resources[i]->last_use = done;
        }
    }
    context->command_count = 0;
    context->resource_count = 0;
    if (fence) {
        *fence = done;
    }
    return submitted;
}
