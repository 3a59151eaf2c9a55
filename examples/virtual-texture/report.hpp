// What a flight came to, and how that is said.
#pragma once

#include <cstdint>
#include <granule/granule.hpp>
#include <span>
#include <vector>

#include "virtual-texture/bind_meter.hpp"
#include "virtual-texture/gpu_thread.hpp"
#include "virtual-texture/reference.hpp"

namespace streaming {

struct Report {
    granule_leaf_policy leaves{};
    bool has_pixels = false;  // false: a kernel's device, memory traffic only
    bool stopped = false;     // before the last frame
    std::uint32_t frames = 0;

    std::uint64_t tiles_bound = 0;
    std::uint64_t tiles_unbound = 0;
    std::uint64_t operations = 0;
    std::uint64_t mappings_appeared = 0;  // or parts of them
    std::uint64_t mappings_gone = 0;
    granule_vm_statistics at_start{};  // after the first bind of the whole texture
    granule_vm_statistics at_end{};
    std::vector<Nanoseconds> bind_times;    // from when a frame's transaction could begin until it was done
    std::vector<Nanoseconds> submit_times;  // in the call that queues it
    GpuThread::Counters gpu;
    std::uint64_t gpu_accesses = 0;
    std::uint64_t gpu_stale = 0;
    std::uint64_t leaf_cuts = 0;
    Nanoseconds elapsed = 0;

    Comparison comparison;       // summed over the frames
    std::uint64_t checksum = 0;  // of all frames

    [[nodiscard]] bool good() const noexcept { return comparison.wrong == 0 && gpu_stale == 0 && leaf_cuts == 0; }
};

// A column each.
void print(std::span<const Report> reports);

}  // namespace streaming
