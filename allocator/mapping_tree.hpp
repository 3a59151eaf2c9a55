// The B+tree under the mapping map: entries in the order of their start pages.
//
// It knows neither overlaps nor credit: mapping_map.hpp does. What it owns is the shape.
//
// Contract
//   State       All leaves are at one depth. A leaf holds 24 to 64 entries, an inner node 32 to 96 children; the root
//               may hold less, an inner root at least 2 children, and an empty tree has no node. The key of a child
//               *is* the start page of the first entry below it, not just a lower bound: a cut moves a start up, as far
//               as the next entry, and a search for it must still arrive in the same leaf.
//   Full nodes  even out with a neighbour under the same parent that has room, and split only where none has: typical
//               leaves are three quarters full. Nodes below their minimum merge where that leaves room for the next
//               insert, and even out otherwise, so that insert and erase in turn do not split and merge each time.
//   P4          `insert` takes nodes from the pool, which `reserve` filled for the largest tree of so many entries;
//               `remove` takes none.
//   Complexity  O(log n) each; a node's content is moved at most once a level.
//   Thread-safety: none.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "allocator/mapping_entry.hpp"
#include "allocator/node_memory.hpp"
#include "allocator/node_pool.hpp"

namespace granule {

class MappingTree {
public:
    // Keys and values in two arrays, of which the first `count` are in use.
    template <class Value, unsigned most, unsigned least>
    struct Slots {
        static constexpr unsigned kMost = most;
        static constexpr unsigned kLeast = least;
        // Where a full neighbour puts entries, and as far as nodes merge: an eighth stays free for what comes next.
        static constexpr unsigned kRoomy = most - most / 8;
        static_assert(kRoomy / 2 >= least, "two nodes that do not merge reach the minimum by evening out");

        unsigned count;
        std::array<std::uint64_t, most> keys;
        std::array<Value, most> values;

        void insert(unsigned at, std::uint64_t key, const Value& value) noexcept;
        void remove(unsigned at, unsigned removed) noexcept;
        // Moves entries between this and its right neighbour until this has `wanted`.
        void share_with(Slots& right, unsigned wanted) noexcept;
    };

    struct alignas(64) Leaf : Slots<MappingEntry::Rest, 64, 24> {
        Leaf* previous;
        Leaf* next;

        [[nodiscard]] std::uint64_t first_page() const noexcept { return MappingEntry::start_page(keys[0]); }
        [[nodiscard]] MappingEntry entry(unsigned at) const noexcept { return {keys[at], values[at]}; }
        // How many entries start below `page`.
        [[nodiscard]] unsigned rank(std::uint64_t page) const noexcept;
    };

    // A child is a Leaf at level 1, an Inner above.
    struct alignas(64) Inner : Slots<void*, 96, 32> {
        [[nodiscard]] std::uint64_t first_page() const noexcept { return keys[0]; }
        [[nodiscard]] unsigned rank(std::uint64_t page) const noexcept;
    };

    // Between two entries: those before it start below the page that was sought, those from it on do not. `index` is 0
    // only before the first entry of the tree, and may be the leaf's count. `leaf` is null in an empty tree.
    struct Place {
        Leaf* leaf = nullptr;
        unsigned index = 0;
    };

    // Inner levels above 2^36 entries (of one page each) at most: of `n` levels, the leaves are at least
    // 2 * 32^(n - 1), with 24 entries each.
    static constexpr unsigned kMostHeight = 7;
    // The way from the root to a leaf: the inner node of each level (1: above the leaves) and the child that it took.
    struct Path {
        struct Step {
            Inner* node = nullptr;
            unsigned index = 0;
        };
        std::array<Step, kMostHeight + 1> steps;
    };

    explicit MappingTree(NodeMemory memory) noexcept;
    MappingTree(MappingTree&& other) noexcept;
    MappingTree& operator=(MappingTree&& other) noexcept;
    MappingTree(const MappingTree&) = delete;
    MappingTree& operator=(const MappingTree&) = delete;
    ~MappingTree() = default;

    // Makes sure that the tree can grow to so many entries. False: not so much memory, nothing changed.
    [[nodiscard]] bool reserve(std::uint64_t entries) noexcept;

    [[nodiscard]] Place seek(std::uint64_t page) const noexcept;
    [[nodiscard]] Place seek(std::uint64_t page, Path& path) const noexcept;

    // `path` and `place` come from a seek of the entry's start page; both are spent.
    void insert(Path& path, Place place, const MappingEntry& entry) noexcept;
    // Removes `count` entries of one leaf, from `place` on; `path` and `place` are spent.
    void remove(Path& path, Place place, unsigned count) noexcept;
    // The entry at `place` becomes its part from page `start` on.
    void cut_front(Path& path, Place place, std::uint64_t start) noexcept;

    [[nodiscard]] std::uint64_t size() const noexcept { return entries_; }
    [[nodiscard]] const NodePool& pool() const noexcept { return pool_; }

    // Nodes of the largest tree of at most so many entries.
    [[nodiscard]] static std::uint64_t most_nodes_for(std::uint64_t entries) noexcept;

    // Checks the shape and the order; O(size).
    [[nodiscard]] bool validate() const noexcept;

private:
    struct Check;

    template <class Node>
    [[nodiscard]] Node* new_node() noexcept;
    template <class Node>
    void make_room(Path& path, unsigned level, Node*& node, unsigned& index) noexcept;
    template <class Node>
    [[nodiscard]] bool shift_to_neighbour(const Path& path, unsigned level, Node*& node, unsigned& index) noexcept;
    template <class Node>
    void split(Path& path, unsigned level, Node*& node, unsigned& index) noexcept;
    void insert_child(Path& path, unsigned level, std::uint64_t first_page, void* child) noexcept;
    void set_first_page(Path& path, unsigned level, std::uint64_t page) noexcept;
    template <class Node>
    void mend(Path& path, unsigned level, Node& node) noexcept;
    void mend_root() noexcept;
    void unlink(const Leaf& leaf) noexcept;
    void unlink(const Inner&) noexcept {}
    [[nodiscard]] bool check(const void* node, unsigned level, Check& state) const noexcept;

    NodePool pool_;
    void* root_ = nullptr;  // a Leaf where height_ is 0
    unsigned height_ = 0;   // inner levels
    std::uint64_t entries_ = 0;
};

}  // namespace granule
