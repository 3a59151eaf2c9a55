// The B+tree under the mapping map: leaves of entries in the order of their start pages.
//
// It knows neither overlaps nor credit: mapping_map.hpp does, and edits leaves itself. What the tree owns is the shape:
// the way to a leaf, room in it, and what becomes of it when it has lost entries.
//
// Contract
//   State       All leaves are at one depth. A leaf holds 28 to 63 entries, an inner node 20 to 60 children; the root
//               may hold less, an inner root at least 2 children, and an empty tree has no node. The first page of a
//               child *is* the start of the first entry below it, not just a lower bound: so the first page of the next
//               child is how far a leaf reaches (`Seat::limit`), and who knows it need not look at the next leaf.
//   Fill        Neighbours share: `spread` hands the entries of some to one more or one less of them, or evenly. A full
//               node spills into its neighbours and splits only where they are full too; a leaf that gets emptier
//               looks for neighbours that need one leaf less together. Typical leaves are six sevenths full.
//   P4          `make_room` takes nodes from the pools, which `reserve` filled for the largest tree of so many entries;
//               `resized` takes none. Each leaves a valid tree of the entries that it found.
//   Hints       Leaves have a pool of their own: what was once a leaf is one until the tree ends, in the tree or not, and a
//               hint may lead to it. Outside the tree it reaches nowhere.
//   Complexity  O(log n); what is moved is a constant number of nodes at each level that changes.
//   Thread-safety: none.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "allocator/leaf_hints.hpp"
#include "allocator/mapping_node.hpp"
#include "allocator/node_memory.hpp"
#include "allocator/node_pool.hpp"

namespace granule {

class MappingTree {
public:
    using Leaf = MappingLeaf;
    using Inner = MappingInner;

    // Inner levels above 2^36 entries (of one page each) at most: of `n` levels, the leaves are at least
    // 2 * 20^(n - 1), with 28 entries each.
    static constexpr unsigned kMostHeight = 7;
    struct NodeCounts {
        std::uint64_t leaves;
        std::uint64_t inners;
        constexpr bool operator==(const NodeCounts&) const noexcept = default;
    };
    // The leaf that a page belongs to: its first entry starts at or below the page, or it is the first of the tree. The
    // next leaf begins at `limit`, the end of the space where there is none. In an empty tree there is no leaf.
    struct Seat {
        Leaf* leaf;
        std::uint64_t limit;
    };

    explicit MappingTree(NodeMemory memory) noexcept;
    MappingTree(MappingTree&& other) noexcept;
    MappingTree& operator=(MappingTree&& other) noexcept;
    MappingTree(const MappingTree&) = delete;
    MappingTree& operator=(const MappingTree&) = delete;
    ~MappingTree() = default;

    // Makes sure that the tree can grow to so many entries, and that there are as many hints as it is worth having for those
    // that it has. False: not so much memory, nothing changed.
    [[nodiscard]] bool reserve(std::uint64_t entries) noexcept;
    [[nodiscard]] bool hints_suit() const noexcept { return entries_ <= Leaf::kMost || hints_.suits(entries_); }
    [[nodiscard]] std::uint64_t hint_bytes() const noexcept { return hints_.bytes(); }

    // Precondition of both: the tree is not empty.
    template <bool fast>
    [[nodiscard]] Seat seek(std::uint64_t page) const noexcept {
        if constexpr (fast) {
            if (Leaf* leaf = hints_.at(page); leaf != nullptr && leaf->holds(page, page + 1)) {
                return {leaf, page + 1};
            }
        }
        return descend<fast>(page);
    }
    // With as much as is known of [`page`, `end`): the limit may be `end` where it is larger.
    template <bool fast>
    [[nodiscard]] Seat seek_to_change(std::uint64_t page, std::uint64_t end) noexcept {
        if constexpr (fast) {
            if (Leaf* leaf = hints_.at(page); leaf != nullptr && leaf->holds(page, end)) {
                return {leaf, end};
            }
            return seek_and_remember(page);
        } else {
            return descend<false>(page);
        }
    }
    // The leaf's limit is what it says.
    template <bool fast>
    [[nodiscard]] Seat descend(std::uint64_t page) const noexcept {
        Seat seat{nullptr, kPagesOfVa};
        void* node = root_;
        for (unsigned level = height_; level > 0; --level) {
            const auto& inner = *static_cast<const Inner*>(node);
            const unsigned index = inner.child_of<fast>(page);
            const std::uint64_t next = inner.first_page(index + 1);
            seat.limit = index + 1 < inner.count ? next : seat.limit;
            node = inner.children[index];
        }
        seat.leaf = static_cast<Leaf*>(node);
        return seat;
    }

    // What `expected_leaf` will read.
    void prefetch_hint(std::uint64_t page) const noexcept { hints_.prefetch(page); }
    // Where the page is likely to be found, without a look at the leaf.
    [[nodiscard]] const Leaf* expected_leaf(std::uint64_t page) const noexcept {
        const Leaf* const hinted = hints_.at(page);
        return hinted != nullptr ? hinted : descend<true>(page).leaf;
    }

    // The first leaf of an empty tree; it is given an entry at once.
    Leaf& plant() noexcept;
    // Room for at least two entries more in the leaf of `page`, or a step towards it: seek again, and ask again if there is
    // none. Precondition: an entry more than now is reserved.
    void make_room(std::uint64_t page) noexcept;
    // The first entry of `leaf`, which was at page `old_first`, may be another one.
    void begins(const Leaf& leaf, std::uint64_t old_first) noexcept {
        if (leaf.count != 0 && leaf.first_page() != old_first) {
            begins_elsewhere(old_first, leaf);
        }
    }
    // `leaf` has `delta` entries more than it had when it began with page `old_first`; `begins` knows where it begins now.
    void resized(const Leaf& leaf, std::uint64_t old_first, int delta) noexcept {
        entries_ += static_cast<std::uint64_t>(static_cast<std::int64_t>(delta));
        if (delta < 0 && leaf.count <= kWorthMending && (leaf.count % 8 == 0 || leaf.count < Leaf::kLeast)) {
            mend_leaf(leaf.count == 0 ? old_first : leaf.first_page());
        }
    }

    [[nodiscard]] std::uint64_t size() const noexcept { return entries_; }
    [[nodiscard]] NodeCounts nodes() const noexcept { return {leaves_.in_use(), inners_.in_use()}; }
    [[nodiscard]] NodeCounts reserved_nodes() const noexcept { return {leaves_.capacity(), inners_.capacity()}; }
    [[nodiscard]] std::uint64_t bytes_in_nodes() const noexcept {
        return leaves_.bytes_in_use() + inners_.bytes_in_use();
    }
    [[nodiscard]] std::uint64_t bytes_set_aside() const noexcept {
        return leaves_.bytes_reserved() + inners_.bytes_reserved();
    }

    // Nodes of the largest tree of at most so many entries.
    [[nodiscard]] static NodeCounts most_nodes_for(std::uint64_t entries) noexcept;

    // Checks the shape and the order; O(size).
    [[nodiscard]] bool validate() const noexcept;

private:
    struct Check;
    // The way from the root to a leaf: the inner node of each level (1: above the leaves) and the child that it took.
    struct Path {
        struct Step {
            Inner* node;
            unsigned index;
        };
        std::array<Step, kMostHeight + 1> steps;
    };

    // A leaf that has come down to so many entries looks at its neighbours, and again each time that it has lost eight.
    static constexpr unsigned kWorthMending = 40;
    // Neighbours that `spread` handles at once.
    static constexpr unsigned kMostSpread = 6;

    // How `spread` divides: evenly, or as many as are well filled into the first nodes or the last ones, where entries come
    // in order and so no more will come there.
    enum class Lean : std::uint8_t { kEven, kFirst, kLast };

    template <class Node>
    [[nodiscard]] Node* new_node() noexcept;
    void give_back(Leaf* leaf) noexcept;
    void give_back(Inner* inner) noexcept { inners_.give_back(inner); }
    template <class Node>
    void make_room_in(Path& path, unsigned level, Lean lean) noexcept;
    template <class Node>
    void spread(const Path& path, unsigned level, unsigned first, unsigned from, unsigned to, Lean lean) noexcept;
    [[nodiscard]] Path path_to(std::uint64_t page) const noexcept;
    [[nodiscard]] Seat seek_and_remember(std::uint64_t page) noexcept;
    // The leaf that began with page `old_first` begins with another one: so do those above it, as far as it is their first
    // child.
    void begins_elsewhere(std::uint64_t old_first, const Leaf& leaf) noexcept;
    // The leaf of `page` has lost entries: restores the minimum, and merges where that pays.
    void mend_leaf(std::uint64_t page) noexcept;
    template <class Node>
    void mend_node(const Path& path, unsigned level) noexcept;
    void mend_root() noexcept;
    void set_first_page(const Path& path, unsigned level, std::uint64_t page) noexcept;
    [[nodiscard]] bool check(const void* node, unsigned level, Check& state) const noexcept;

    NodePool leaves_;
    NodePool inners_;
    LeafHints hints_;
    void* root_ = nullptr;  // a Leaf where height_ is 0
    unsigned height_ = 0;   // inner levels
    std::uint64_t entries_ = 0;
};

}  // namespace granule
