// What a granule_timeline is: a timeline, and who holds it: callers, and what is queued until it has run.
//
// Whoever is told of a point by a caller (granule_sync) and goes on after the call has returned takes a reference.
#pragma once

#include <granule/timeline.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <utility>

#include "allocator/fence_point.hpp"
#include "src/c_api/device_handle.hpp"
#include "src/owned.hpp"
#include "src/timeline.hpp"

struct granule_timeline final : public granule::c_api::DeviceChild {
public:
    granule_timeline(granule_device& device, granule::Owned<granule::Timeline> timeline,
                     Kind kind = Kind::kTimeline) noexcept
        : DeviceChild(kind, device, {}), timeline_(std::move(timeline)) {}

    [[nodiscard]] granule::Timeline& timeline() noexcept { return *timeline_; }
    [[nodiscard]] const granule::Timeline& timeline() const noexcept { return *timeline_; }

    void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    // It may be gone then.
    void release() noexcept {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            granule::c_api::end_child(this);
        }
    }

private:
    std::atomic<std::uint64_t> references_{1};
    const granule::Owned<granule::Timeline> timeline_;
};

namespace granule::c_api {

// What a list of fences may be: at most GRANULE_MAX_FENCES points of timelines of one device, no timeline twice.
class FenceList {
public:
    // Why it is no such list, static text; nullptr where it is one.
    [[nodiscard]] const char* read(const granule_device& device, const granule_sync* fences,
                                   std::uint32_t count) noexcept;
    [[nodiscard]] std::span<const FencePoint> points() const noexcept { return {points_.data(), count_}; }

private:
    std::array<FencePoint, GRANULE_MAX_FENCES> points_{};
    std::size_t count_ = 0;
};

}  // namespace granule::c_api
