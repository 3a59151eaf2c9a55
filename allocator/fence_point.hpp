// Points on the timelines that the GPU's work advances: when a range was used last.
#pragma once

#include <cstddef>
#include <cstdint>

namespace granule {

// Which timeline: a number that src/ gives to each timeline syncobj, or its handle.
enum class TimelineId : std::uint32_t {};

// Signalled once the timeline's value is at least `value`. A fence that failed is signalled when its timeline says so:
// the GPU is done with the range in either case.
struct FencePoint {
    TimelineId timeline{};
    std::uint64_t value = 0;

    constexpr bool operator==(const FencePoint&) const noexcept = default;
};

// Timelines that one range can wait for. Retiring allocates nothing, so that there is a limit: the points are in a node
// that was set aside with the range (va_wait.hpp). One Vulkan queue of panvk is three (enum panvk_subqueue_id in Mesa
// src/panfrost/vulkan/csf/), and the VM's binds are one.
inline constexpr std::size_t kMaxFencePoints = 6;

}  // namespace granule
