// Until when jobs use a VM: a timeline, of which every job of a driver adds the next point, and the lock that keeps two who
// add points apart.
//
//     begin -> n    the driver submits a job that signals n + 1    end(n + 1)
//
// Thread-safety: all members, any thread; `end` by the thread that called `begin`.
#pragma once

#include <granule/timeline.h>

#include <atomic>
#include <cstdint>
#include <mutex>

#include "src/c_api/timeline_handle.hpp"

namespace granule::c_api {

class Activity {
public:
    // Takes over a reference. nullptr: activity is not tracked.
    explicit Activity(granule_timeline* timeline) noexcept : timeline_(timeline) {}
    Activity(const Activity&) = delete;
    Activity& operator=(const Activity&) = delete;
    ~Activity() {
        if (timeline_ != nullptr) {
            timeline_->outlives_vm();
            timeline_->release();
        }
    }

    [[nodiscard]] bool tracked() const noexcept { return timeline_ != nullptr; }
    // The last point that was added; its timeline is the VM's. Not tracked: NULL, and no lock.
    [[nodiscard]] granule_sync begin() noexcept {
        if (tracked()) {
            adding_.lock();
        }
        return last();
    }
    void end(std::uint64_t point) noexcept {
        if (tracked()) {
            last_.store(point, std::memory_order_release);
            adding_.unlock();
        }
    }
    [[nodiscard]] granule_sync last() const noexcept { return {timeline_, last_.load(std::memory_order_acquire)}; }

private:
    granule_timeline* const timeline_;
    std::mutex adding_;
    std::atomic<std::uint64_t> last_{0};  // written under adding_
};

}  // namespace granule::c_api
