// P5 for pieces of slabs: pieces that their owners are done with, until the GPU is done with them too.
//
// As ReuseQueue (reuse_queue.hpp) is for VA. Pieces that are retired one after another with the same points wait as one:
// a frame that frees a thousand buffers is one node in the queue.
//
//     retire(a, p)  retire(b, p)  retire(c, q)           collect: p signalled
//         p: {a, b}               q: {c}         ---->   a, b free; q: {c}
//
// Contract
//   P4          `retire` and `collect` allocate nothing: `hold`, which whoever allocates a piece calls first, sets aside
//               the node that the piece waits with.
//   Complexity  t timelines that something waits for, n groups of pieces. retire: O(1) with the points of the one
//               before, else O(t + log n). collect: O(t) values asked for, O(log n + t) per group and point that became
//               signalled, O(1) per piece.
//   Failure     `retire`: see PieceQueueError; nothing changed: the piece still has its owner.
//   Memory      136 B per piece that has an owner or waits, set aside. Only those of groups that wait are ever written.
//   Lifetime    The space outlives the queue.
//   Thread-safety: none; the pool's lock covers it, and the function given to `collect` runs under it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "allocator/fence_point.hpp"
#include "allocator/fence_queue.hpp"
#include "allocator/node_memory.hpp"
#include "allocator/node_pool.hpp"
#include "allocator/slab_space.hpp"
#include "mali/result.hpp"

namespace granule {

enum class PieceQueueError : std::uint8_t {
    kNotOwned,       // not a piece that has an owner
    kTooManyPoints,  // of more than kMaxFencePoints timelines
};

class PieceQueue {
public:
    PieceQueue(SlabSpace& space, NodeMemory memory) noexcept;
    PieceQueue(const PieceQueue&) = delete;
    PieceQueue& operator=(const PieceQueue&) = delete;
    ~PieceQueue() = default;

    // Makes sure that one more piece than there are now can be retired, whatever they wait for. False: no memory.
    [[nodiscard]] bool hold() noexcept;

    // The owner of `piece` is done with it; the GPU is when all `points` are signalled. Without points it is free at once.
    [[nodiscard]] Result<void, PieceQueueError> retire(PieceId piece, std::span<const FencePoint> points) noexcept;

    // Frees every piece whose points are signalled, by the values that `signalled_value_of(TimelineId) ->
    // std::uint64_t` gives now. It is called once per timeline that something waits for, in ascending order, and must
    // not call the queue or the space. Returns how many pieces became free.
    template <class SignalledValueOf>
    std::uint64_t collect(SignalledValueOf&& signalled_value_of) noexcept {
        std::uint64_t freed = 0;
        queue_.collect(signalled_value_of, [&](Group& group) noexcept { freed += release(group); });
        return freed;
    }

    // Calls `visitor(FencePoint)` with the earliest point of each timeline that something waits for.
    template <class Visitor>
    void visit_earliest(Visitor&& visitor) const {
        queue_.visit_earliest(visitor);
    }

    [[nodiscard]] std::uint64_t groups() const noexcept { return groups_.in_use(); }
    [[nodiscard]] std::uint64_t node_bytes() const noexcept { return groups_.bytes_reserved(); }
    // Are the heaps in order, and does everything retired wait in one of them? O(n).
    [[nodiscard]] bool validate() const noexcept;

private:
    // Pieces that wait for the same points.
    struct Group {
        FenceWait<Group> wait;
        std::uint32_t first = 0;  // of them, through SlabSpace::next_waiting
    };

    std::uint64_t release(Group& group) noexcept;

    SlabSpace& space_;
    NodePool groups_;
    FenceQueue<Group> queue_;
    Group* newest_ = nullptr;  // the last one that was made, while it waits
};

}  // namespace granule
