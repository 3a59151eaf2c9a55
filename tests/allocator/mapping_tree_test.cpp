// The shape of the tree, where the cases of the map do not reach it: whole leaves that go, at every place of a tree.
#include "allocator/mapping_tree.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "tests/support/test_memory.hpp"

using granule::BindSerial;
using granule::BoId;
using granule::BoOffset;
using granule::kPageBytes;
using granule::MappingEntry;
using granule::MappingTree;
using granule::Va;
using granule::test::TestMemory;
using Leaf = MappingTree::Leaf;
using Inner = MappingTree::Inner;
using Path = MappingTree::Path;

namespace {

void insert(MappingTree& tree, std::uint64_t page) {
    Path path;
    const MappingTree::Place place = tree.seek(page, path);
    const Va start{page * kPageBytes};
    tree.insert(path, place,
                MappingEntry::pack({{start, start + kPageBytes}, {BoId{1}, BoOffset{0}, {}, BindSerial{1}}}));
}

// The entry at `start` is there.
void remove(MappingTree& tree, std::uint64_t start, unsigned count) {
    Path path;
    MappingTree::Place place = tree.seek(start + 1, path);
    --place.index;
    tree.remove(path, place, count);
}

std::vector<std::uint64_t> starts(const MappingTree& tree) {
    std::vector<std::uint64_t> all;
    for (const Leaf* leaf = tree.seek(0).leaf; leaf != nullptr; leaf = leaf->next) {
        for (unsigned at = 0; at < leaf->count; ++at) {
            all.push_back(leaf->entry(at).start());
        }
    }
    return all;
}

struct LeafAt {
    std::uint64_t first_page;
    unsigned count;
};

std::vector<LeafAt> leaves(const MappingTree& tree) {
    std::vector<LeafAt> all;
    for (const Leaf* leaf = tree.seek(0).leaf; leaf != nullptr; leaf = leaf->next) {
        all.push_back({leaf->first_page(), leaf->count});
    }
    return all;
}

}  // namespace

TEST_CASE("P4: the largest tree has every node at its minimum, but the root") {
    constexpr std::uint64_t kLeaf = Leaf::kLeast;
    constexpr std::uint64_t kInner = Inner::kLeast;
    CHECK(MappingTree::most_nodes_for(0) == 0);
    CHECK(MappingTree::most_nodes_for(1) == 1);
    CHECK(MappingTree::most_nodes_for(2 * kLeaf) == 1 + 2);
    CHECK(MappingTree::most_nodes_for(2 * kInner * kLeaf) == 1 + 2 + 2 * kInner);
    CHECK(MappingTree::most_nodes_for(2 * kInner * kInner * kLeaf) == 1 + 2 + 2 * kInner + 2 * kInner * kInner);
}

TEST_CASE("P4: more entries never need fewer nodes") {
    std::uint64_t before = 0;
    for (std::uint64_t entries = 0; entries < 200000; ++entries) {
        const std::uint64_t nodes = MappingTree::most_nodes_for(entries);
        REQUIRE(nodes >= before);
        before = nodes;
    }
}

TEST_CASE("a leaf may be emptied anywhere in a tree of two inner levels") {
    constexpr std::uint64_t kCount = 12000;
    bool ascending = true;
    SUBCASE("filled ascending") {}
    SUBCASE("filled descending") {
        ascending = false;
    }
    // Every leaf in its turn, each in a tree of its own: the first and the last child of each inner node are among
    // them.
    std::size_t leaf = 0;
    std::size_t leaf_count = 1;
    for (; leaf < leaf_count; ++leaf) {
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
            const MappingTree::Place place = tree.seek(next + 1);
            remove(tree, next, place.leaf->count - (place.index - 1));
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
    CHECK(tree.pool().in_use() == 0);
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
