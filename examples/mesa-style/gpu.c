/* "The GPU": see gpu.h. */
#include "gpu.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define QUEUE 64
#define MOST_PIXELS 4096 /* of a row */

struct job {
    uint64_t commands;
    granule_sync done;
};

struct gpu {
    granule_vm* vm;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct job jobs[QUEUE];
    uint64_t submitted, taken; /* indices into `jobs`, modulo QUEUE */
    uint64_t faults;
    bool stopping;
};

static void report(granule_vm* vm, const granule_gpu_fault* fault) {
    granule_address_report address = GRANULE_SIZED(granule_address_report);
    char text[1024];

    granule_gpu_fault_text(fault, text, sizeof text);
    (void)fprintf(stderr, "gpu: %s\n", text);
    if (granule_vm_describe(vm, fault->va, &address) == GRANULE_STATUS_OK) {
        granule_address_report_text(&address, text, sizeof text);
        (void)fprintf(stderr, "gpu: %s\n", text);
    }
}

static uint32_t add_saturated(uint32_t a, uint32_t b) {
    uint32_t sum = 0;
    for (unsigned shift = 0; shift < 32; shift += 8) {
        const uint32_t channel = (a >> shift & 0xff) + (b >> shift & 0xff);
        sum |= (channel > 0xff ? 0xff : channel) << shift;
    }
    return sum;
}

/* One row of a command. Returns false on a fault. */
static bool run_row(granule_vm* vm, const struct gpu_command* command, uint32_t row, granule_gpu_fault* fault) {
    uint32_t to[MOST_PIXELS];
    uint32_t from[MOST_PIXELS];
    const uint64_t dst = command->dst + (uint64_t)row * command->dst_stride;
    const uint64_t src = command->src + (uint64_t)row * command->src_stride;
    const size_t bytes = (size_t)command->width * sizeof *to;

    if (command->op != GPU_CLEAR && granule_soft_read(vm, src, from, bytes, fault) != GRANULE_STATUS_OK) {
        return false;
    }
    if (command->op == GPU_ADD && granule_soft_read(vm, dst, to, bytes, fault) != GRANULE_STATUS_OK) {
        return false;
    }
    for (uint32_t x = 0; x < command->width; x++) {
        to[x] = command->op == GPU_CLEAR ? command->value
                                         : (command->op == GPU_COPY ? from[x] : add_saturated(to[x], from[x]));
    }
    return granule_soft_write(vm, dst, to, bytes, fault) == GRANULE_STATUS_OK;
}

static bool run_job(struct gpu* gpu, uint64_t at) {
    granule_gpu_fault fault = GRANULE_SIZED(granule_gpu_fault);

    for (;; at += sizeof(struct gpu_command)) {
        struct gpu_command command;
        if (granule_soft_read(gpu->vm, at, &command, sizeof command, &fault) != GRANULE_STATUS_OK) {
            break;
        }
        if (command.op == GPU_END) {
            return true;
        }
        if (command.op > GPU_ADD || command.width > MOST_PIXELS) {
            (void)fprintf(stderr, "gpu: 0x%llx is no command\n", (unsigned long long)at);
            return false;
        }
        uint32_t row = 0;
        while (row < command.height && run_row(gpu->vm, &command, row, &fault)) {
            row++;
        }
        if (row < command.height) {
            break;
        }
    }
    report(gpu->vm, &fault);
    return false;
}

static void* run(void* data) {
    struct gpu* const gpu = data;

    pthread_mutex_lock(&gpu->mutex);
    for (;;) {
        while (gpu->taken == gpu->submitted && !gpu->stopping) {
            pthread_cond_wait(&gpu->changed, &gpu->mutex);
        }
        if (gpu->taken == gpu->submitted) {
            break;
        }
        const struct job job = gpu->jobs[gpu->taken % QUEUE];
        pthread_mutex_unlock(&gpu->mutex);
        const bool good = run_job(gpu, job.commands);
        pthread_mutex_lock(&gpu->mutex);
        gpu->taken++;
        gpu->faults += !good;
        pthread_cond_broadcast(&gpu->changed);
        /* Last of all: who waits for it may free everything that the job used. */
        pthread_mutex_unlock(&gpu->mutex);
        granule_timeline_signal(job.done.timeline, job.done.point, NULL);
        pthread_mutex_lock(&gpu->mutex);
    }
    pthread_mutex_unlock(&gpu->mutex);
    return NULL;
}

struct gpu* gpu_start(granule_vm* vm) {
    struct gpu* const gpu = calloc(1, sizeof *gpu);

    if (!gpu) {
        return NULL;
    }
    gpu->vm = vm;
    pthread_mutex_init(&gpu->mutex, NULL);
    pthread_cond_init(&gpu->changed, NULL);
    if (pthread_create(&gpu->thread, NULL, run, gpu) != 0) {
        pthread_cond_destroy(&gpu->changed);
        pthread_mutex_destroy(&gpu->mutex);
        free(gpu);
        return NULL;
    }
    return gpu;
}

void gpu_stop(struct gpu* gpu) {
    pthread_mutex_lock(&gpu->mutex);
    gpu->stopping = true;
    pthread_cond_broadcast(&gpu->changed);
    pthread_mutex_unlock(&gpu->mutex);
    pthread_join(gpu->thread, NULL);
    pthread_cond_destroy(&gpu->changed);
    pthread_mutex_destroy(&gpu->mutex);
    free(gpu);
}

bool gpu_submit(struct gpu* gpu, uint64_t commands, granule_sync done) {
    bool room;

    pthread_mutex_lock(&gpu->mutex);
    while (gpu->submitted - gpu->taken == QUEUE) {
        pthread_cond_wait(&gpu->changed, &gpu->mutex);
    }
    room = !gpu->stopping;
    if (room) {
        gpu->jobs[gpu->submitted % QUEUE] = (struct job){commands, done};
        gpu->submitted++;
        pthread_cond_broadcast(&gpu->changed);
    }
    pthread_mutex_unlock(&gpu->mutex);
    return room;
}

uint64_t gpu_faults(struct gpu* gpu) {
    uint64_t faults;

    pthread_mutex_lock(&gpu->mutex);
    faults = gpu->faults;
    pthread_mutex_unlock(&gpu->mutex);
    return faults;
}
