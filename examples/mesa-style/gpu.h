/*
 * "The GPU": a thread that takes jobs in order and reaches memory by VA only, through the soft device's MMU. What it runs
 * are commands in GPU memory, as a command streamer would.
 */
#ifndef GPU_H
#define GPU_H

#include <granule/granule.h>
#include <stdbool.h>
#include <stdint.h>

enum gpu_op {
    GPU_END,
    GPU_CLEAR, /* dst = value */
    GPU_COPY,  /* dst = src */
    GPU_ADD,   /* dst = dst + src, each byte up to 255 */
};

/* Pixels of 32 bits; rows are `stride` bytes apart. */
struct gpu_command {
    uint32_t op;
    uint32_t value;
    uint64_t dst, src;
    uint32_t width, height;
    uint32_t dst_stride, src_stride;
};

struct gpu;

struct gpu* gpu_start(granule_vm* vm);
/* Runs what is queued, then stops. */
void gpu_stop(struct gpu* gpu);
/* Runs the commands at `commands`, up to GPU_END, behind what was submitted before; `done` is reached then, also when it
   faulted. Waits while the queue is full. False: it is stopping. */
bool gpu_submit(struct gpu* gpu, uint64_t commands, granule_sync done);
/* Jobs that faulted so far. The first fault of each is on stderr, by name. */
uint64_t gpu_faults(struct gpu* gpu);

#endif
