#include "src/timeline.hpp"

#include <algorithm>

namespace granule {

Timeline::~Timeline() {
    table_.remove(*this);
}

std::uint64_t Timeline::value() const noexcept {
    const std::lock_guard lock(mutex_);
    return value_;
}

Status Timeline::status() const noexcept {
    const std::lock_guard lock(mutex_);
    return status_;
}

void Timeline::signal(std::uint64_t value, Status status) noexcept {
    // Notified under the lock: a waiter may destroy the timeline as soon as it has the lock again.
    const std::lock_guard lock(mutex_);
    value_ = std::max(value_, value);
    if (status_ == Status::kOk) {
        status_ = status;
    }
    signalled_.notify_all();
}

bool Timeline::wait(std::uint64_t value, std::chrono::nanoseconds timeout) const noexcept {
    // `now + timeout` must not leave the clock's range.
    const auto now = std::chrono::steady_clock::now();
    const auto until = timeout < std::chrono::steady_clock::time_point::max() - now
                           ? now + timeout
                           : std::chrono::steady_clock::time_point::max();
    std::unique_lock lock(mutex_);
    return signalled_.wait_until(lock, until, [&] { return value_ >= value; });
}

Result<Owned<Timeline>, Status> TimelineTable::create() noexcept {
    const std::lock_guard lock(mutex_);
    if (!timelines_.reserve(std::max<std::size_t>(
            8, timelines_.size() + 1 > timelines_.capacity() ? 2 * timelines_.size() : timelines_.capacity()))) {
        return fail(Status::kOutOfHostMemory);
    }
    Owned<Timeline> timeline = make_owned<Timeline>(memory_, *this, TimelineId{next_id_});
    if (!timeline) {
        return fail(Status::kOutOfHostMemory);
    }
    ++next_id_;
    const bool pushed = timelines_.push(timeline.get());
    assert(pushed);
    static_cast<void>(pushed);
    return timeline;
}

std::uint64_t TimelineTable::value(TimelineId id) const noexcept {
    const std::lock_guard lock(mutex_);
    const auto found =
        std::lower_bound(timelines_.begin(), timelines_.end(), id,
                         [](const Timeline* timeline, TimelineId wanted) { return timeline->id() < wanted; });
    return found != timelines_.end() && (*found)->id() == id ? (*found)->value() : UINT64_MAX;
}

bool TimelineTable::was_made(TimelineId id) const noexcept {
    const std::lock_guard lock(mutex_);
    return id != TimelineId{0} && id < TimelineId{next_id_};
}

void TimelineTable::remove(const Timeline& timeline) noexcept {
    const std::lock_guard lock(mutex_);
    std::size_t kept = 0;
    for (Timeline* const other : timelines_) {
        if (other != &timeline) {
            timelines_[kept++] = other;
        }
    }
    timelines_.truncate(kept);
}

}  // namespace granule
