// P5: no VA comes back early. Ranges that their owners are done with, until the GPU is done with them too.
//
// A range is retired with the points of its last uses and goes back to its VaHeap when all of them are signalled. Until
// then nobody gets it, and it can be asked what it waits for (P6).
//
//      allocate            retire(range, points)                collect: all points signalled
//   hole -----> allocated --------------------> retired -------------------------------------> hole
//                   |                                                                           ^
//                   +------- retire(range, {}), or VaHeap::release: the GPU never saw it -------+
//
// Structure: fence_queue.hpp, over the waits of the heap (va_wait.hpp).
//
// Contract
//   P4          `retire` and `collect` allocate nothing: the points and links are in a node that was set aside
//               when the range was allocated.
//   Complexity  n ranges wait, on t timelines. retire: O(t + log n). collect: O(t) values asked for, and O(log n + t)
//               per point that became signalled; what is not ready is not looked at.
//   Failure     `retire`: kNotAllocated as VaHeap::release_checked; kBadRequest: more than kMaxFencePoints timelines.
//               Nothing changed: the range is still allocated.
//   Lifetime    The heap outlives the queue; it may be moved, but not assigned to. Ranges that wait when the queue ends
//               stay retired until the heap ends. When the device is lost no fence matters any more: collect with a
//               function that answers UINT64_MAX.
//   Thread-safety: none; the VM's lock covers it, and the function given to `collect` runs under it.
//
// What it does not do: wait, or know what a timeline is. It is policy; `collect` is told the values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "allocator/fence_point.hpp"
#include "allocator/fence_queue.hpp"
#include "allocator/va_heap.hpp"
#include "allocator/va_space.hpp"
#include "allocator/va_wait.hpp"
#include "mali/address.hpp"
#include "mali/result.hpp"

namespace granule {

// A range that waits, and for what.
struct RetiredRange {
    VaRange range;
    std::array<FencePoint, kMaxFencePoints> points{};  // the first `count`: those not known to be signalled
    std::size_t count = 0;

    // Its owner's points, by timeline.
    [[nodiscard]] std::span<const FencePoint> waits_for() const noexcept { return {points.data(), count}; }
};

class ReuseQueue {
public:
    explicit ReuseQueue(VaHeap& heap) noexcept : space_(heap.space_.get()) {}
    ReuseQueue(const ReuseQueue&) = delete;
    ReuseQueue& operator=(const ReuseQueue&) = delete;
    ~ReuseQueue() = default;

    // The owner of `range`, which an allocate returned, is done with it; the GPU is when all `points` are signalled.
    // Points of one timeline count as the latest of them. Without points the range is free at once.
    [[nodiscard]] Result<void, VaError> retire(VaRange range, std::span<const FencePoint> points) noexcept;
    // The same, faster where `handle` is the one that came with the range.
    [[nodiscard]] Result<void, VaError> retire(VaRange range, VaHandle handle,
                                               std::span<const FencePoint> points) noexcept;

    // Frees every range whose points are signalled, by the values that `signalled_value_of(TimelineId) ->
    // std::uint64_t` gives now. It is called once per timeline that something waits for, in ascending order, and must
    // not call the queue or the heap. Returns how many ranges became free.
    template <class SignalledValueOf>
    std::uint64_t collect(SignalledValueOf&& signalled_value_of) noexcept {
        std::uint64_t freed = 0;
        queue_.collect(signalled_value_of, [&](VaWait& wait) noexcept {
            space_->release_retired(wait);
            ++freed;
        });
        ranges_ -= freed;
        return freed;
    }

    // Why is this VA not free? What the range at `va` (or around it: its guards count) waits for; nullopt where it is
    // not a retired one.
    [[nodiscard]] std::optional<RetiredRange> waiting_at(Va va) const noexcept;

    // Calls `visitor(FencePoint)` with the earliest point of each timeline that something waits for: what a caller that
    // is out of VA may wait on before it collects.
    template <class Visitor>
    void visit_earliest(Visitor&& visitor) const {
        queue_.visit_earliest(visitor);
    }

    [[nodiscard]] std::uint64_t ranges() const noexcept { return ranges_; }

    // Are the heaps in order, and is everything that waits in them? O(n).
    [[nodiscard]] bool validate() const noexcept;

private:
    VaSpace* space_;
    FenceQueue<VaWait> queue_;
    std::uint64_t ranges_ = 0;
};

}  // namespace granule
