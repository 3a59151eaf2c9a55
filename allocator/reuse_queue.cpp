#include "allocator/reuse_queue.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace granule {

namespace {

Retirement& waits(VaBlock& block) noexcept {
    return block.retirement;
}

// A leftist heap: the root has the least value, and the path to the right is the shortest one out of the heap, at most
// log2(n + 1) long. Its length is the rank.
std::uint16_t rank_of(const VaBlock* root) noexcept {
    return root == nullptr ? std::uint16_t{0} : root->retirement.rank;
}

VaBlock* meld(VaBlock* a, VaBlock* b) noexcept {
    if (a == nullptr || b == nullptr) {
        return a == nullptr ? b : a;
    }
    if (waits(*b).point().value < waits(*a).point().value) {
        std::swap(a, b);
    }
    Retirement& root = waits(*a);
    root.right = meld(root.right, b);
    if (rank_of(root.left) < rank_of(root.right)) {
        std::swap(root.left, root.right);
    }
    root.rank = static_cast<std::uint16_t>(rank_of(root.right) + 1);
    return a;
}

// Sorts the points into `retirement`, one per timeline. False: they are of too many timelines.
bool merge(std::span<const FencePoint> points, Retirement& retirement) noexcept {
    for (const FencePoint& point : points) {
        const auto begin = retirement.points.begin();
        const auto end = begin + retirement.count;
        const auto at = std::lower_bound(
            begin, end, point, [](const FencePoint& a, const FencePoint& b) { return a.timeline < b.timeline; });
        if (at != end && at->timeline == point.timeline) {
            at->value = std::max(at->value, point.value);
            continue;
        }
        if (retirement.count == kMaxFencePoints) {
            return false;
        }
        std::move_backward(at, end, end + 1);
        *at = point;
        ++retirement.count;
    }
    return true;
}

struct Audit {
    TimelineId timeline;
    std::uint64_t ranges = 0;

    [[nodiscard]] bool holds(const VaBlock* block, std::uint64_t least_value) noexcept {
        if (block == nullptr) {
            return true;
        }
        const Retirement& node = block->retirement;
        const bool itself = block->state == VaBlock::State::kRetired && node.current < node.count &&
                            node.point().timeline == timeline && node.point().value >= least_value;
        const bool leftist = rank_of(node.left) >= rank_of(node.right) && node.rank == rank_of(node.right) + 1;
        ++ranges;
        return itself && leftist && holds(node.left, node.point().value) && holds(node.right, node.point().value);
    }
};

}  // namespace

Result<void, VaError> ReuseQueue::retire(VaRange range, std::span<const FencePoint> points) noexcept {
    VaBlock* block = partition_->allocated(range);
    if (block == nullptr) {
        return fail(VaHeap::not_allocated(*partition_, range));
    }
    Retirement retirement;
    if (!merge(points, retirement)) {
        return fail(
            VaError{.code = VaError::Code::kBadRequest, .why = "points of more timelines than a range can wait for"});
    }
    if (retirement.count == 0) {
        partition_->release(*block);
        return {};
    }
    partition_->retire(*block, retirement);
    push(&timelines_, *block);
    ++ranges_;
    return {};
}

// Into the heap of the block's current point, whose timeline is at or after the one that `from` points to.
void ReuseQueue::push(VaBlock** from, VaBlock& block) noexcept {
    Retirement& pushed = waits(block);
    pushed.left = nullptr;
    pushed.right = nullptr;
    pushed.rank = 1;
    while (*from != nullptr && waits(**from).point().timeline < pushed.point().timeline) {
        from = &waits(**from).next_timeline;
    }
    if (*from == nullptr || waits(**from).point().timeline != pushed.point().timeline) {
        pushed.next_timeline = std::exchange(*from, &block);
        return;
    }
    VaBlock* later = waits(**from).next_timeline;
    *from = meld(*from, &block);
    waits(**from).next_timeline = later;
}

std::uint64_t ReuseQueue::collect_from(Values values) noexcept {
    std::uint64_t freed = 0;
    VaBlock** slot = &timelines_;
    while (*slot != nullptr) {
        const TimelineId timeline = waits(**slot).point().timeline;
        const std::uint64_t signalled = values.of(timeline);
        while (*slot != nullptr && waits(**slot).point().timeline == timeline &&
               waits(**slot).point().value <= signalled) {
            VaBlock& ready = **slot;
            Retirement& ended = waits(ready);
            VaBlock* rest = meld(ended.left, ended.right);
            if (rest == nullptr) {
                *slot = ended.next_timeline;
            } else {
                waits(*rest).next_timeline = ended.next_timeline;
                *slot = rest;
            }
            ++ended.current;
            if (ended.current < ended.count) {
                push(slot, ready);  // of a later timeline: this pass comes to it
                continue;
            }
            partition_->release(ready);
            --ranges_;
            ++freed;
        }
        if (*slot != nullptr && waits(**slot).point().timeline == timeline) {
            slot = &waits(**slot).next_timeline;
        }
    }
    return freed;
}

std::optional<RetiredRange> ReuseQueue::waiting_at(Va va) const noexcept {
    const VaBlock* block = partition_->block_at(va.raw() >> kPageBits);
    if (block == nullptr || block->state != VaBlock::State::kRetired) {
        return std::nullopt;
    }
    const Retirement& retirement = block->retirement;
    RetiredRange waiting{.range = block->range()};
    for (std::size_t i = retirement.current; i < retirement.count; ++i) {
        waiting.points[waiting.count] = retirement.points[i];
        ++waiting.count;
    }
    return waiting;
}

bool ReuseQueue::validate() const noexcept {
    std::uint64_t ranges = 0;
    const VaBlock* prev = nullptr;
    for (const VaBlock* root = timelines_; root != nullptr; prev = root, root = root->retirement.next_timeline) {
        const TimelineId timeline = root->retirement.point().timeline;
        if (prev != nullptr && prev->retirement.point().timeline >= timeline) {
            return false;
        }
        Audit audit{timeline};
        if (!audit.holds(root, 0)) {
            return false;
        }
        ranges += audit.ranges;
    }
    return ranges == ranges_;
}

}  // namespace granule
