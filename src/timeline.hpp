// Timelines: 64-bit counters that only go up, and those who wait for them; what a timeline syncobj is to a driver.
//
// A point is signalled once the value has reached it. A signal can carry a failure, which the timeline keeps: waiters
// learn of it, and nobody waits for ever.
//
//     TimelineTable gives each timeline the number that FencePoint names it by; a number is not used again. A timeline
//     that is gone counts as signalled: nothing can signal it any more.
//
// Thread-safety: all members, any thread. `wait` blocks; nothing else does.
// Failure: create: no memory.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

#include "allocator/fence_point.hpp"
#include "mali/export.hpp"
#include "mali/result.hpp"
#include "src/array.hpp"
#include "src/owned.hpp"
#include "src/status.hpp"

namespace granule {

class TimelineTable;

class GRANULE_API Timeline {
public:
    Timeline(TimelineTable& table, TimelineId id) noexcept : table_(table), id_(id) {}
    Timeline(const Timeline&) = delete;
    Timeline& operator=(const Timeline&) = delete;
    ~Timeline();

    [[nodiscard]] TimelineId id() const noexcept { return id_; }
    [[nodiscard]] FencePoint at(std::uint64_t value) const noexcept { return {id_, value}; }
    [[nodiscard]] std::uint64_t value() const noexcept;
    // The first failure that a signal carried.
    [[nodiscard]] Status status() const noexcept;

    // The value becomes at least `value`.
    void signal(std::uint64_t value, Status status = Status::kOk) noexcept;
    // False: not within the time. Any time, nanoseconds::max() included. Who returns from it may destroy the timeline.
    [[nodiscard]] bool wait(std::uint64_t value, std::chrono::nanoseconds timeout) const noexcept;

private:
    TimelineTable& table_;
    const TimelineId id_;
    mutable std::mutex mutex_;
    mutable std::condition_variable signalled_;
    std::uint64_t value_ = 0;      // guarded by mutex_
    Status status_ = Status::kOk;  // guarded by mutex_
};

class GRANULE_API TimelineTable {
public:
    explicit TimelineTable(NodeMemory memory) noexcept : memory_(memory), timelines_(memory) {}

    [[nodiscard]] Result<Owned<Timeline>, Status> create() noexcept;
    [[nodiscard]] std::uint64_t value(TimelineId id) const noexcept;
    // Whether there is, or was, such a timeline.
    [[nodiscard]] bool was_made(TimelineId id) const noexcept;
    // What a wait that cannot be held to an object does: false: not within the time.
    [[nodiscard]] bool signalled(const FencePoint& point) const noexcept {
        return value(point.timeline) >= point.value;
    }

private:
    friend class Timeline;
    void remove(const Timeline& timeline) noexcept;

    NodeMemory memory_;
    mutable std::mutex mutex_;
    Array<Timeline*> timelines_;  // guarded by mutex_; ascending by id
    std::uint32_t next_id_ = 1;   // guarded by mutex_
};

}  // namespace granule
