// The radix priority search tree against a scan of all its blocks.
#include "allocator/block_tree.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

using namespace granule;

namespace {

constexpr std::array kOrders{
    BlockOrder{0, 0}, BlockOrder{4, 1}, BlockOrder{9, 2}, BlockOrder{22, 4}, BlockOrder{kPageNumberBits, 6},
    kAddressOrder};

// What `find` promises, by looking at every block.
VaBlock* scan(const std::vector<std::unique_ptr<VaBlock>>& blocks, BlockOrder order, const BlockQuery& query,
              VaDirection direction) {
    VaBlock* best = nullptr;
    for (const auto& block : blocks) {
        const std::uint64_t residue = order.residue(block->first);
        if (residue < query.first_residue || residue > query.last_residue ||
            residue + (block->end - block->first) < query.least_reach) {
            continue;
        }
        if (best == nullptr || (direction == VaDirection::kTopDown) == (order.key(*block) > order.key(*best))) {
            best = block.get();
        }
    }
    return best;
}

}  // namespace

TEST_CASE("keys sort by residue first and are different for different starts") {
    constexpr BlockOrder order{9, 2};
    const VaBlock low(5 * 512 + 3, 5 * 512 + 4);
    const VaBlock high(4 * 512 + 4, 4 * 512 + 5);
    CHECK(order.key(low) < order.key(high));
    CHECK(kAddressOrder.key(low) == low.first);
    const VaBlock last((std::uint64_t{1} << kPageNumberBits) - 1, std::uint64_t{1} << kPageNumberBits);
    for (const BlockOrder each : kOrders) {
        CHECK(each.key(last) == (std::uint64_t{1} << kPageNumberBits) - 1);
    }
}

TEST_CASE("an empty tree finds nothing") {
    const BlockTree tree;
    CHECK(tree.root() == nullptr);
    CHECK(tree.find(kAddressOrder, {0, 100, 0}, VaDirection::kTopDown) == nullptr);
    CHECK(tree.validate(kAddressOrder, 0));
}

TEST_CASE("find answers as a scan does, whatever was inserted and erased, at both ends of the space") {
    constexpr std::uint64_t kSeed = 0x74726565;
    INFO("seed " << kSeed);
    for (const BlockOrder order : kOrders) {
        CAPTURE(order.residue_bits);
        std::mt19937_64 random(kSeed);
        const auto below = [&](std::uint64_t bound) {
            return std::uniform_int_distribution<std::uint64_t>(0, bound - 1)(random);
        };
        BlockTree tree;
        std::vector<std::unique_ptr<VaBlock>> blocks;
        const std::uint64_t space = std::uint64_t{1} << kPageNumberBits;
        for (int step = 0; step < 6000; ++step) {
            if (blocks.size() < 100 && below(3) != 0) {
                // Close together at the bottom, the middle or the top, so that keys share long beginnings; no two
                // starts alike.
                const std::array bases{std::uint64_t{0}, space / 2 - 512, space - 1024};
                const std::uint64_t first = bases[below(3)] + below(1000);
                const std::uint64_t pages = below(24) + 1;
                bool taken = false;
                for (const auto& block : blocks) {
                    taken = taken || block->first == first;
                }
                if (!taken) {
                    blocks.push_back(std::make_unique<VaBlock>(first, first + pages));
                    tree.insert(order, *blocks.back());
                }
            } else if (!blocks.empty()) {
                std::swap(blocks[below(blocks.size())], blocks.back());
                tree.erase(order, *blocks.back());
                blocks.pop_back();
            }
            const std::uint64_t turn = std::uint64_t{1} << order.residue_bits;
            const std::uint64_t around = blocks.empty() ? 0 : order.residue(blocks[below(blocks.size())]->first);
            const std::uint64_t from = around - std::min(around, below(50));
            const BlockQuery query{from, std::min(turn - 1, around + below(50)), around + below(40)};
            for (const VaDirection direction : {VaDirection::kTopDown, VaDirection::kBottomUp}) {
                if (tree.find(order, query, direction) != scan(blocks, order, query, direction)) {
                    FAIL("find differs from a scan at step " << step);
                }
            }
            if (step % 16 == 0 && !tree.validate(order, blocks.size())) {
                FAIL("T1 or T2 does not hold at step " << step);
            }
        }
    }
}

TEST_CASE("validate sees a block in the wrong place") {
    VaBlock far(0, 9);
    VaBlock near(1, 3);
    BlockTree tree;
    tree.insert(kAddressOrder, far);
    tree.insert(kAddressOrder, near);
    CHECK(tree.validate(kAddressOrder, 2));
    CHECK_FALSE(tree.validate(kAddressOrder, 3));
    near.end = 10;  // T1: reaches farther than the block above it
    CHECK_FALSE(tree.validate(kAddressOrder, 2));
    near.end = 3;
    near.first = std::uint64_t{1} << 35;  // T2: its key belongs to the other side
    near.end = near.first + 1;
    far.end = near.end + 1;
    CHECK_FALSE(tree.validate(kAddressOrder, 2));
}
