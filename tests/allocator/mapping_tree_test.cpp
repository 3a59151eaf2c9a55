// The shape of the tree, where the cases of the map do not reach it: whole leaves that go, at every place of a tree.
#include "allocator/mapping_tree.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/support/test_memory.hpp"

using granule::kPagesOfVa;
using granule::MappingTree;
using granule::NodePath;
using granule::test::TestMemory;
using Leaf = MappingTree::Leaf;
using Inner = MappingTree::Inner;
using NodeCounts = MappingTree::NodeCounts;
using Seat = MappingTree::Seat;

namespace {

// An entry of one page.
void insert(MappingTree& tree, std::uint64_t page) {
    Leaf* leaf = tree.size() == 0 ? &tree.plant() : tree.seek_to_change<true>(page, page + 1).leaf;
    while (leaf->count == Leaf::kMost) {
        tree.make_room(page);
        leaf = tree.seek_to_change<true>(page, page + 1).leaf;
    }
    const std::uint64_t old_first = leaf->count == 0 ? page : leaf->first_page();
    const unsigned at = leaf->rank_below<NodePath::kVectors>(page);
    leaf->move_rest<NodePath::kVectors>(at, at + 1);
    const auto place = static_cast<unsigned>(std::countr_zero(leaf->free));
    leaf->free &= leaf->free - 1;
    leaf->put(at, Leaf::Piece::of(page, 1, place));
    tree.begins(*leaf, old_first);
    tree.resized(*leaf, old_first, 1);
}

// The entry at `start` is there.
void remove(MappingTree& tree, std::uint64_t start, unsigned count) {
    Leaf& leaf = *tree.seek_to_change<true>(start, start + 1).leaf;
    const std::uint64_t old_first = leaf.first_page();
    const unsigned first = leaf.rank_below<NodePath::kVectors>(start);
    for (unsigned at = first; at < first + count; ++at) {
        leaf.free |= std::uint64_t{1} << leaf.place(at);
    }
    leaf.move_rest<NodePath::kVectors>(first + count, first);
    tree.begins(leaf, old_first);
    tree.resized(leaf, old_first, -static_cast<int>(count));
}

template <class Visitor>
void for_each_leaf(const MappingTree& tree, Visitor visit) {
    for (std::uint64_t page = 0; tree.size() != 0 && page != kPagesOfVa;) {
        const Seat seat = tree.descend<true>(page);
        visit(*seat.leaf);
        page = seat.limit;
    }
}

std::vector<std::uint64_t> starts(const MappingTree& tree) {
    std::vector<std::uint64_t> all;
    for_each_leaf(tree, [&](const Leaf& leaf) {
        for (unsigned at = 0; at < leaf.count; ++at) {
            all.push_back(leaf.start(at));
        }
    });
    return all;
}

struct LeafAt {
    std::uint64_t first_page;
    unsigned count;
};

std::vector<LeafAt> leaves(const MappingTree& tree) {
    std::vector<LeafAt> all;
    for_each_leaf(tree, [&](const Leaf& leaf) { all.push_back({leaf.first_page(), leaf.count}); });
    return all;
}

}  // namespace

TEST_CASE("P4: the largest tree has every node at its minimum, but the root") {
    constexpr std::uint64_t kLeaf = Leaf::kLeast;
    constexpr std::uint64_t kInner = Inner::kLeast;
    CHECK(MappingTree::most_nodes_for(0) == NodeCounts{0, 0});
    CHECK(MappingTree::most_nodes_for(1) == NodeCounts{1, 0});
    CHECK(MappingTree::most_nodes_for(2 * kLeaf - 1) == NodeCounts{1, 0});
    CHECK(MappingTree::most_nodes_for(2 * kLeaf) == NodeCounts{2, 1});
    CHECK(MappingTree::most_nodes_for(2 * kInner * kLeaf) == NodeCounts{2 * kInner, 1 + 2});
    CHECK(MappingTree::most_nodes_for(2 * kInner * kInner * kLeaf) ==
          NodeCounts{2 * kInner * kInner, 1 + 2 + 2 * kInner});
}

TEST_CASE("P4: more entries never need fewer nodes") {
    NodeCounts before{0, 0};
    for (std::uint64_t entries = 0; entries < 200000; ++entries) {
        const NodeCounts nodes = MappingTree::most_nodes_for(entries);
        REQUIRE((nodes.leaves >= before.leaves && nodes.inners >= before.inners));
        before = nodes;
    }
}

TEST_CASE("a leaf may be emptied anywhere in a tree of two inner levels") {
    constexpr std::uint64_t kCount = 16000;
    bool ascending = true;
    SUBCASE("filled ascending") {}
    SUBCASE("filled descending") {
        ascending = false;
    }
    // One leaf and then its neighbour, each pair in a tree of its own: the first and the last child of each inner node are
    // among them.
    std::size_t leaf = 0;
    std::size_t leaf_count = 1;
    for (; leaf < leaf_count; leaf += 2) {
        MappingTree tree(granule::NodeMemory::process());
        REQUIRE(tree.reserve(kCount));
        for (std::uint64_t number = 0; number < kCount; ++number) {
            insert(tree, 2 * (ascending ? number : kCount - 1 - number));
        }
        const std::vector<LeafAt> all = leaves(tree);
        leaf_count = all.size();
        remove(tree, all[leaf].first_page, all[leaf].count);
        CAPTURE(leaf);
        REQUIRE(tree.validate());
        REQUIRE(tree.size() == kCount - all[leaf].count);
        // And its neighbour, which may have been merged or evened out with others.
        if (leaf + 1 < all.size()) {
            const std::uint64_t next = all[leaf + 1].first_page;
            const Leaf& found = *tree.descend<true>(next).leaf;
            remove(tree, next, found.count - found.rank_below<NodePath::kVectors>(next));
            REQUIRE(tree.validate());
        }
    }
    CHECK(leaf_count > 2 * Inner::kMost);
}

TEST_CASE("a tree that loses one leaf after another, from either end, stays a tree down to nothing") {
    constexpr std::uint64_t kCount = 12000;
    bool first = true;
    SUBCASE("the first") {}
    SUBCASE("the last") {
        first = false;
    }
    TestMemory memory;
    MappingTree tree(memory.memory());
    REQUIRE(tree.reserve(kCount));
    memory.refuse_everything();
    for (std::uint64_t number = 0; number < kCount; ++number) {
        insert(tree, number);
    }
    while (tree.size() > 0) {
        const std::vector<LeafAt> all = leaves(tree);
        const LeafAt& gone = first ? all.front() : all.back();
        remove(tree, gone.first_page, gone.count);
        REQUIRE(tree.validate());
    }
    CHECK(tree.nodes() == NodeCounts{0, 0});
    CHECK(memory.refusals() == 0);
}

TEST_CASE("inserting into one gap splits nodes of every level, and keeps the order") {
    constexpr std::uint64_t kCount = 30000;
    MappingTree tree(granule::NodeMemory::process());
    REQUIRE(tree.reserve(kCount));
    // From both ends towards the middle: every insert is beside the last two.
    std::vector<std::uint64_t> expected;
    for (std::uint64_t number = 0; number < kCount / 2; ++number) {
        insert(tree, number);
        insert(tree, kCount - 1 - number);
        if (number % 64 == 0) {
            REQUIRE(tree.validate());
        }
    }
    for (std::uint64_t page = 0; page < kCount; ++page) {
        expected.push_back(page);
    }
    CHECK(tree.validate());
    CHECK(starts(tree) == expected);
}

TEST_CASE("what is inserted in order, from either side, leaves full nodes behind") {
    constexpr std::uint64_t kCount = 30000;
    bool ascending = true;
    SUBCASE("ascending") {}
    SUBCASE("descending") {
        ascending = false;
    }
    MappingTree tree(granule::NodeMemory::process());
    REQUIRE(tree.reserve(kCount));
    for (std::uint64_t number = 0; number < kCount; ++number) {
        insert(tree, ascending ? number : kCount - 1 - number);
    }
    REQUIRE(tree.validate());
    CHECK(tree.nodes().leaves <= kCount / 59);
    CHECK(tree.nodes().inners <= kCount / 59 / 50);
}

// All that a stale hint asks of is a leaf, also where the same pages were leaves and inner nodes in turn.
TEST_CASE("what was a leaf once stays one, and reaches nowhere while it is not in the tree") {
    constexpr std::uint64_t kCount = 12000;
    TestMemory memory;
    MappingTree tree(memory.memory());
    REQUIRE(tree.reserve(kCount));
    for (std::uint64_t number = 0; number < kCount; ++number) {
        insert(tree, number);
    }
    std::vector<const Leaf*> known;
    for_each_leaf(tree, [&](const Leaf& leaf) { known.push_back(&leaf); });
    while (tree.size() > 0) {
        const LeafAt last = leaves(tree).back();
        remove(tree, last.first_page, last.count);
        std::vector<const Leaf*> in_tree;
        for_each_leaf(tree, [&](const Leaf& leaf) { in_tree.push_back(&leaf); });
        for (const Leaf* leaf : known) {
            const bool is_in_tree = std::find(in_tree.begin(), in_tree.end(), leaf) != in_tree.end();
            if (!is_in_tree && (leaf->reach != granule::kNowhere || leaf->holds(0, 1))) {
                FAIL("a leaf that is not in the tree claims pages");
            }
        }
    }
}

TEST_CASE("a hint never leads to a leaf that the page is not in, whatever the leaf has become") {
    constexpr std::uint64_t kCount = 40000;
    MappingTree tree(granule::NodeMemory::process());
    REQUIRE(tree.reserve(kCount));
    const auto check_hints = [&] {
        for (std::uint64_t page = 0; page < 2 * kCount; page += 7) {
            const Seat seat = tree.seek<true>(page);
            const Seat exact = tree.descend<false>(page);
            if (seat.leaf != exact.leaf || seat.limit > exact.limit) {
                CAPTURE(page);
                FAIL("another leaf than without a hint");
            }
        }
    };
    for (std::uint64_t number = 0; number < kCount; ++number) {
        insert(tree, 2 * number);
        REQUIRE((tree.hints_suit() || tree.reserve(kCount)));
    }
    REQUIRE(tree.hint_bytes() > 0);
    check_hints();
    // Leaf after leaf goes, and its memory serves others; then the tree is another one in the same nodes.
    for (std::uint64_t number = 0; number < kCount; number += 3) {
        remove(tree, 2 * number, 1);
        if (number % 999 == 0) {
            check_hints();
        }
    }
    for (std::uint64_t number = kCount; number-- > 0;) {
        if (number % 3 == 0) {
            insert(tree, 2 * number + 1);
        }
        if (number % 999 == 0) {
            check_hints();
        }
    }
    CHECK(tree.validate());
}
