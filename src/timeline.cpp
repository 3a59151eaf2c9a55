#include "src/timeline.hpp"

#include <algorithm>
#include <limits>

namespace granule {

Timeline::~Timeline() {
    {
        // Nobody can signal it any more: for those who still wait for it by its number, it is signalled.
        const std::lock_guard lock(mutex_);
        value_ = std::numeric_limits<std::uint64_t>::max();
        signalled_.notify_all();
    }
    table_.remove(*this);
}

std::uint64_t Timeline::value() const noexcept {
    const std::uint64_t of_source = source_ ? source_->value() : 0;
    const std::lock_guard lock(mutex_);
    return std::max(value_, of_source);
}

Status Timeline::status() const noexcept {
    const std::lock_guard lock(mutex_);
    return status_;
}

void Timeline::signal(std::uint64_t value, Status status) noexcept {
    // All of it under the lock: a waiter may destroy the timeline as soon as it has the lock again.
    const std::lock_guard lock(mutex_);
    const Status taken = source_ ? source_->signal(value) : Status::kOk;
    if (!source_ || taken != Status::kOk) {
        value_ = std::max(value_, value);
    }
    if (status_ == Status::kOk) {
        status_ = status != Status::kOk ? status : taken;
    }
    signalled_.notify_all();
}

Status Timeline::try_signal(std::uint64_t value) noexcept {
    const std::lock_guard lock(mutex_);
    if (const Status taken = source_ ? source_->signal(value) : Status::kOk; taken != Status::kOk) {
        return taken;
    }
    if (!source_) {
        value_ = std::max(value_, value);
    }
    signalled_.notify_all();
    return Status::kOk;
}

Status Timeline::wait_until_reached(std::uint64_t value, std::chrono::nanoseconds timeout) const noexcept {
    // Neither `now + timeout` nor what is left of it must leave the clock's range.
    const auto now = std::chrono::steady_clock::now();
    const auto until = timeout < std::chrono::steady_clock::time_point::max() - now
                           ? now + std::max(timeout, std::chrono::nanoseconds(0))
                           : std::chrono::steady_clock::time_point::max();
    if (source_) {
        return wait_for_source(value, until);
    }
    std::unique_lock lock(mutex_);
    const bool reached = signalled_.wait_until(lock, until, [&] { return value_ >= value; });
    return reached ? Status::kOk : Status::kTimedOut;
}

Status Timeline::wait_for_source(std::uint64_t value, std::chrono::steady_clock::time_point until) const noexcept {
    // Without the lock, or nobody could signal. Not all of the time at once: a signal that the source would not take
    // wakes nobody there, and is seen here.
    constexpr std::chrono::nanoseconds kLook = std::chrono::milliseconds(100);
    for (;;) {
        const std::chrono::nanoseconds left = until - std::chrono::steady_clock::now();
        const Status waited = source_->wait(value, std::min(left, kLook));
        // The lock also lets the one who signalled finish with this timeline.
        const std::lock_guard lock(mutex_);
        if (waited == Status::kOk || value_ >= value) {
            return Status::kOk;
        }
        if (waited != Status::kTimedOut || left <= kLook) {
            return waited;
        }
    }
}

Result<Owned<Timeline>, Status> TimelineTable::create(Owned<TimelineSource> source) noexcept {
    const std::lock_guard lock(mutex_);
    if (!timelines_.reserve(std::max<std::size_t>(
            8, timelines_.size() + 1 > timelines_.capacity() ? 2 * timelines_.size() : timelines_.capacity()))) {
        return fail(Status::kOutOfHostMemory);
    }
    Owned<Timeline> timeline = make_owned<Timeline>(memory_, *this, TimelineId{next_id_}, std::move(source));
    if (!timeline) {
        return fail(Status::kOutOfHostMemory);
    }
    ++next_id_;
    const bool pushed = timelines_.push(timeline.get());
    assert(pushed);
    static_cast<void>(pushed);
    return timeline;
}

Timeline* TimelineTable::find(TimelineId id) const noexcept {
    const auto found =
        std::lower_bound(timelines_.begin(), timelines_.end(), id,
                         [](const Timeline* timeline, TimelineId wanted) { return timeline->id() < wanted; });
    return found != timelines_.end() && (*found)->id() == id ? *found : nullptr;
}

std::uint64_t TimelineTable::value(TimelineId id) const noexcept {
    const std::lock_guard lock(mutex_);
    const Timeline* const timeline = find(id);
    return timeline != nullptr ? timeline->value() : std::numeric_limits<std::uint64_t>::max();
}

bool TimelineTable::wait(const FencePoint& point, std::chrono::nanoseconds timeout) const noexcept {
    std::unique_lock lock(mutex_);
    Timeline* const timeline = find(point.timeline);
    if (timeline == nullptr) {
        return true;
    }
    ++timeline->waiters_;
    lock.unlock();
    const bool signalled = timeline->wait(point.value, timeout);
    lock.lock();
    --timeline->waiters_;
    left_.notify_all();
    return signalled;
}

bool TimelineTable::was_made(TimelineId id) const noexcept {
    const std::lock_guard lock(mutex_);
    return id != TimelineId{0} && id < TimelineId{next_id_};
}

void TimelineTable::remove(const Timeline& timeline) noexcept {
    std::unique_lock lock(mutex_);
    std::size_t kept = 0;
    for (Timeline* const other : timelines_) {
        if (other != &timeline) {
            timelines_[kept++] = other;
        }
    }
    timelines_.truncate(kept);
    left_.wait(lock, [&] { return timeline.waiters_ == 0; });
}

}  // namespace granule
