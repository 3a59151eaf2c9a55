// "The GPU": parses a job list in its memory and carries it out, stage by stage. It holds nothing of a frame but what the
// jobs point at; it gets at memory only through GpuMemory.
//
//     gpu.cpp            the job list
//     vertex_stage.cpp   vertices -> shaded vertices
//     tiler_stage.cpp    triangles -> polygon lists, one a tile of 16 x 16 pixels
//     fragment_stage.cpp tile by tile: clear, rasterise the tile's list, resolve to the framebuffer
//
// It does not clip: of a triangle that reaches behind the near plane nothing is drawn.
#pragma once

#include <cstdint>

#include "rendering/gpu_memory.hpp"
#include "triangle/gpu_structs.hpp"

namespace triangle {

struct GpuCounters {
    std::uint64_t jobs = 0;
    std::uint64_t vertices = 0;
    std::uint64_t triangles = 0;     // in polygon lists, each once
    std::uint64_t list_entries = 0;  // ... and in each tile that they touch
    std::uint64_t shaded_pixels = 0;
    std::uint64_t cache_fetches = 0;
};

// Throws rendering::AccessFault where memory does not answer, std::runtime_error for a job list that is none.
[[nodiscard]] GpuCounters run_jobs(rendering::GpuMemory& memory, GpuVa first_job);

void run_vertex_stage(rendering::GpuMemory& memory, GpuVa payload, GpuCounters& counters);
void run_tiler_stage(rendering::GpuMemory& memory, GpuVa payload, GpuCounters& counters);
void run_fragment_stage(rendering::GpuMemory& memory, GpuVa payload, GpuCounters& counters);

}  // namespace triangle
