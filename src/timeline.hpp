// Timelines: 64-bit counters that only go up, and those who wait for them; what a timeline syncobj is to a driver.
//
// A point is signalled once the value has reached it. A signal can carry a failure, which the timeline keeps: waiters
// learn of it, and nobody waits for ever.
//
//     TimelineTable gives each timeline the number that FencePoint names it by; a number is not used again. A timeline
//     that is gone counts as signalled: nothing can signal it any more. (A kernel still could one that it keeps: whoever
//     gave it points to signal has to keep the timeline until they are.)
//
// Thread-safety: all members, any thread. `wait` blocks, without a lock where a kernel is waited for; nothing else does.
// Failure: create: no memory.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include "allocator/fence_point.hpp"
#include "mali/result.hpp"
#include "src/array.hpp"
#include "src/owned.hpp"
#include "src/status.hpp"

namespace granule {

class TimelineTable;

// A timeline that somebody else keeps: a timeline syncobj of a kernel. Values only go up. Thread-safety: any thread.
class TimelineSource {
public:
    TimelineSource() noexcept = default;
    TimelineSource(const TimelineSource&) = delete;
    TimelineSource& operator=(const TimelineSource&) = delete;
    virtual ~TimelineSource() = default;

    [[nodiscard]] virtual std::uint64_t value() const noexcept = 0;
    // kOk, or kOsFailed: nothing changed. Does not block.
    [[nodiscard]] virtual Status signal(std::uint64_t value) noexcept = 0;
    // kOk, kTimedOut, or kOsFailed: it cannot be waited for.
    [[nodiscard]] virtual Status wait(std::uint64_t value, std::chrono::nanoseconds timeout) const noexcept = 0;
};

class Timeline {
public:
    Timeline(TimelineTable& table, TimelineId id, Owned<TimelineSource> source) noexcept
        : table_(table), id_(id), source_(std::move(source)) {}
    Timeline(const Timeline&) = delete;
    Timeline& operator=(const Timeline&) = delete;
    ~Timeline();

    [[nodiscard]] TimelineId id() const noexcept { return id_; }
    [[nodiscard]] const TimelineSource* source() const noexcept { return source_.get(); }
    [[nodiscard]] FencePoint at(std::uint64_t value) const noexcept { return {id_, value}; }
    [[nodiscard]] std::uint64_t value() const noexcept;
    // The first failure that a signal carried.
    [[nodiscard]] Status status() const noexcept;

    // The value becomes at least `value`.
    void signal(std::uint64_t value, Status status = Status::kOk) noexcept;
    // The same, but where the source does not take it nothing changed: kOsFailed.
    [[nodiscard]] Status try_signal(std::uint64_t value) noexcept;
    // kOk; kTimedOut; kOsFailed: the source cannot be waited for. Any time, nanoseconds::max() included. Who returns from
    // it with kOk may destroy the timeline.
    [[nodiscard]] Status wait_until_reached(std::uint64_t value, std::chrono::nanoseconds timeout) const noexcept;
    // False: not within the time, or the source cannot be waited for.
    [[nodiscard]] bool wait(std::uint64_t value, std::chrono::nanoseconds timeout) const noexcept {
        return wait_until_reached(value, timeout) == Status::kOk;
    }

private:
    friend class TimelineTable;
    [[nodiscard]] Status wait_for_source(std::uint64_t value,
                                         std::chrono::steady_clock::time_point until) const noexcept;

    TimelineTable& table_;
    const TimelineId id_;
    const Owned<TimelineSource> source_;  // empty: the values are kept here
    mutable std::mutex mutex_;
    mutable std::condition_variable signalled_;
    std::uint64_t value_ = 0;      // guarded by mutex_; with a source: what that would not take
    Status status_ = Status::kOk;  // guarded by mutex_
    std::uint32_t waiters_ = 0;    // guarded by the table's mutex: by its number
};

class TimelineTable {
public:
    explicit TimelineTable(NodeMemory memory) noexcept : memory_(memory), timelines_(memory) {}

    // With a source the values are its, and more only where it would not take a signal (the status is kOsFailed then);
    // what a signal carries stays here.
    [[nodiscard]] Result<Owned<Timeline>, Status> create(Owned<TimelineSource> source = {}) noexcept;
    [[nodiscard]] std::uint64_t value(TimelineId id) const noexcept;
    // Until the point is signalled. False: not within the time, or it cannot be waited for. The timeline may end meanwhile,
    // which waits for those who wait here to have noticed.
    [[nodiscard]] bool wait(const FencePoint& point, std::chrono::nanoseconds timeout) const noexcept;
    // Whether there is, or was, such a timeline.
    [[nodiscard]] bool was_made(TimelineId id) const noexcept;
    // What a wait that cannot be held to an object does: false: not within the time.
    [[nodiscard]] bool signalled(const FencePoint& point) const noexcept {
        return value(point.timeline) >= point.value;
    }

private:
    friend class Timeline;
    void remove(const Timeline& timeline) noexcept;
    [[nodiscard]] Timeline* find(TimelineId id) const noexcept;  // under the lock

    NodeMemory memory_;
    mutable std::mutex mutex_;
    mutable std::condition_variable left_;  // a waiter
    Array<Timeline*> timelines_;            // guarded by mutex_; ascending by id
    std::uint32_t next_id_ = 1;             // guarded by mutex_
};

}  // namespace granule
