// What waits for fences, of any type: the queue inside ReuseQueue (VA) and PieceQueue (pieces of slabs).
//
// Structure. One heap by value per timeline that something waits for, in ascending order of timelines. A node is in one
// heap at a time: that of its lowest timeline that is not known to be signalled. When that point is, it moves to the
// heap of its next point, which is a later one; so one pass over the timelines asks each for its value once, and
// finds all that is ready. The heaps are leftist: the root has the least value, and the path to the right is the
// shortest one out of the heap, at most log2(n + 1) long.
//
//     timelines, ascending:    3 ------------> 7 ------------> 9
//                              |               |               |
//     heaps by value:        b: 4            a: 2            c: 9
//                            `- e: 6         |- d: 3
//                                            `- f: 8
//
// Contract
//   P4          Nothing allocates: points and links are in the nodes.
//   Complexity  n nodes wait, on t timelines. push: O(t + log n). collect: O(t) values asked for, and O(log n + t) per
//               point that became signalled; what is not ready is not looked at.
//   Failure     FenceWait::merge alone can fail.
//   Lifetime    A node stays where it is while it waits.
//   Thread-safety: none.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "allocator/fence_point.hpp"

namespace granule {

// What a node waits for, and its place in the heap of its timeline. `Node` has one as its member `wait`.
template <class Node>
struct FenceWait {
    Node* left = nullptr;
    Node* right = nullptr;
    Node* next_timeline = nullptr;  // roots only
    std::uint16_t rank = 1;         // length of the way out of the heap to the right
    std::uint8_t current = 0;       // points before it are signalled
    std::uint8_t count = 0;
    std::array<FencePoint, kMaxFencePoints> points{};  // timelines ascend

    [[nodiscard]] const FencePoint& point() const noexcept { return points[current]; }

    // Adds `added`, of which those of one timeline count as the latest of them. False: they are of too many timelines.
    [[nodiscard]] bool merge(std::span<const FencePoint> added) noexcept {
        for (const FencePoint& fence : added) {
            const auto begin = points.begin();
            const auto end = begin + count;
            const auto at = std::lower_bound(
                begin, end, fence, [](const FencePoint& a, const FencePoint& b) { return a.timeline < b.timeline; });
            if (at != end && at->timeline == fence.timeline) {
                at->value = std::max(at->value, fence.value);
                continue;
            }
            if (count == kMaxFencePoints) {
                return false;
            }
            std::move_backward(at, end, end + 1);
            *at = fence;
            ++count;
        }
        return true;
    }
};

template <class Node>
class FenceQueue {
public:
    // A node that does not wait yet, with at least one point.
    void push(Node& node) noexcept { push_from(&timelines_, node); }

    // Takes out every node whose points are signalled, by the values that `signalled_value_of(TimelineId)` gives now, and
    // calls `ready(Node&)` with it, which may end it. Each timeline that something waits for is asked once, ascending.
    template <class SignalledValueOf, class Ready>
    void collect(SignalledValueOf&& signalled_value_of, Ready&& ready) noexcept {
        Node** slot = &timelines_;
        while (*slot != nullptr) {
            const TimelineId timeline = (*slot)->wait.point().timeline;
            const std::uint64_t signalled = signalled_value_of(timeline);
            while (is_of(*slot, timeline) && (*slot)->wait.point().value <= signalled) {
                Node& node = **slot;
                pop(slot);
                ++node.wait.current;
                if (node.wait.current < node.wait.count) {
                    push_from(slot, node);  // of a later timeline: this pass comes to it
                } else {
                    ready(node);
                }
            }
            if (is_of(*slot, timeline)) {
                slot = &(*slot)->wait.next_timeline;
            }
        }
    }

    // Calls `visitor(FencePoint)` with the earliest point of each timeline that something waits for.
    template <class Visitor>
    void visit_earliest(Visitor&& visitor) const {
        for (const Node* root = timelines_; root != nullptr; root = root->wait.next_timeline) {
            visitor(root->wait.point());
        }
    }

    // Are the heaps in order? Calls `visitor(const Node&) -> bool` for each node: is that one? O(n).
    template <class Visitor>
    [[nodiscard]] bool validate(Visitor&& visitor) const noexcept {
        const Node* prev = nullptr;
        for (const Node* root = timelines_; root != nullptr; prev = root, root = root->wait.next_timeline) {
            const TimelineId timeline = root->wait.point().timeline;
            if (prev != nullptr && prev->wait.point().timeline >= timeline) {
                return false;
            }
            if (!holds(root, timeline, 0, visitor)) {
                return false;
            }
        }
        return true;
    }

private:
    [[nodiscard]] static bool is_of(const Node* root, TimelineId timeline) noexcept {
        return root != nullptr && root->wait.point().timeline == timeline;
    }
    [[nodiscard]] static std::uint16_t rank_of(const Node* root) noexcept {
        return root == nullptr ? std::uint16_t{0} : root->wait.rank;
    }

    static Node* meld(Node* a, Node* b) noexcept {
        if (a == nullptr || b == nullptr) {
            return a == nullptr ? b : a;
        }
        if (b->wait.point().value < a->wait.point().value) {
            std::swap(a, b);
        }
        FenceWait<Node>& root = a->wait;
        root.right = meld(root.right, b);
        if (rank_of(root.left) < rank_of(root.right)) {
            std::swap(root.left, root.right);
        }
        root.rank = static_cast<std::uint16_t>(rank_of(root.right) + 1);
        return a;
    }

    // Into the heap of the node's current point, whose timeline is at or after the one that `from` points to.
    static void push_from(Node** from, Node& node) noexcept {
        FenceWait<Node>& pushed = node.wait;
        pushed.left = nullptr;
        pushed.right = nullptr;
        pushed.rank = 1;
        while (*from != nullptr && (*from)->wait.point().timeline < pushed.point().timeline) {
            from = &(*from)->wait.next_timeline;
        }
        if (!is_of(*from, pushed.point().timeline)) {
            pushed.next_timeline = std::exchange(*from, &node);
            return;
        }
        Node* const later = (*from)->wait.next_timeline;
        *from = meld(*from, &node);
        (*from)->wait.next_timeline = later;
    }

    // The root at `slot` leaves its heap.
    static void pop(Node** slot) noexcept {
        const FenceWait<Node>& root = (*slot)->wait;
        Node* const rest = meld(root.left, root.right);
        if (rest == nullptr) {
            *slot = root.next_timeline;
        } else {
            rest->wait.next_timeline = root.next_timeline;
            *slot = rest;
        }
    }

    template <class Visitor>
    [[nodiscard]] static bool holds(const Node* node, TimelineId timeline, std::uint64_t least,
                                    Visitor& visitor) noexcept {
        if (node == nullptr) {
            return true;
        }
        const FenceWait<Node>& wait = node->wait;
        const bool waits =
            wait.current < wait.count && wait.point().timeline == timeline && wait.point().value >= least;
        const bool leftist = rank_of(wait.left) >= rank_of(wait.right) && wait.rank == rank_of(wait.right) + 1;
        return waits && leftist && visitor(*node) && holds(wait.left, timeline, wait.point().value, visitor) &&
               holds(wait.right, timeline, wait.point().value, visitor);
    }

    Node* timelines_ = nullptr;  // roots, timelines ascend
};

}  // namespace granule
