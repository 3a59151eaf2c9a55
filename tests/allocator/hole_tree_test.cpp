// The radix priority search tree against a scan of all its holes.
#include "allocator/hole_tree.hpp"

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

constexpr std::array kOrders{HoleOrder{0, 0}, HoleOrder{4, 1}, HoleOrder{9, 2}, HoleOrder{22, 4},
                             HoleOrder{kPageNumberBits, 6}};

// All of the start is the residue.
constexpr HoleOrder kByStart{kPageNumberBits, 0};

// What `find` promises, by looking at every hole.
HoleNode* scan(const std::vector<std::unique_ptr<HoleNode>>& holes, HoleOrder order, const HoleQuery& query,
               VaDirection direction) {
    HoleNode* best = nullptr;
    for (const auto& hole : holes) {
        const std::uint64_t residue = order.residue(hole->first);
        if (residue < query.first_residue || residue > query.last_residue ||
            residue + (hole->end - hole->first) < query.least_reach) {
            continue;
        }
        if (best == nullptr || (direction == VaDirection::kTopDown) == (order.key(*hole) > order.key(*best))) {
            best = hole.get();
        }
    }
    return best;
}

}  // namespace

TEST_CASE("keys sort by residue first and are different for different starts") {
    constexpr HoleOrder order{9, 2};
    const HoleNode low(5 * 512 + 3, 5 * 512 + 4);
    const HoleNode high(4 * 512 + 4, 4 * 512 + 5);
    CHECK(order.key(low) < order.key(high));
    CHECK(kByStart.key(low) == low.first);
    const HoleNode last((std::uint64_t{1} << kPageNumberBits) - 1, std::uint64_t{1} << kPageNumberBits);
    for (const HoleOrder each : kOrders) {
        CHECK(each.key(last) == (std::uint64_t{1} << kPageNumberBits) - 1);
    }
}

TEST_CASE("an empty tree finds nothing") {
    const HoleTree tree;
    CHECK(tree.root() == nullptr);
    CHECK(tree.find(kByStart, {0, 100, 0}, VaDirection::kTopDown) == nullptr);
    CHECK(tree.validate(kByStart, 0));
}

TEST_CASE("find answers as a scan does, whatever was inserted and erased, at both ends of the space") {
    constexpr std::uint64_t kSeed = 0x74726565;
    INFO("seed " << kSeed);
    for (const HoleOrder order : kOrders) {
        CAPTURE(order.residue_bits);
        std::mt19937_64 random(kSeed);
        const auto below = [&](std::uint64_t bound) {
            return std::uniform_int_distribution<std::uint64_t>(0, bound - 1)(random);
        };
        HoleTree tree;
        std::vector<std::unique_ptr<HoleNode>> holes;
        const std::uint64_t space = std::uint64_t{1} << kPageNumberBits;
        for (int step = 0; step < 6000; ++step) {
            if (holes.size() < 100 && below(3) != 0) {
                // Close together at the bottom, the middle or the top, so that keys share long beginnings; no two
                // starts alike.
                const std::array bases{std::uint64_t{0}, space / 2 - 512, space - 1024};
                const std::uint64_t first = bases[below(3)] + below(1000);
                const std::uint64_t pages = below(24) + 1;
                bool taken = false;
                for (const auto& hole : holes) {
                    taken = taken || hole->first == first;
                }
                if (!taken) {
                    holes.push_back(std::make_unique<HoleNode>(first, first + pages));
                    tree.insert(order, *holes.back());
                }
            } else if (!holes.empty()) {
                std::swap(holes[below(holes.size())], holes.back());
                tree.erase(order, *holes.back());
                holes.pop_back();
            }
            const std::uint64_t turn = std::uint64_t{1} << order.residue_bits;
            const std::uint64_t around = holes.empty() ? 0 : order.residue(holes[below(holes.size())]->first);
            const std::uint64_t from = around - std::min(around, below(50));
            const HoleQuery query{from, std::min(turn - 1, around + below(50)), around + below(40)};
            for (const VaDirection direction : {VaDirection::kTopDown, VaDirection::kBottomUp}) {
                if (tree.find(order, query, direction) != scan(holes, order, query, direction)) {
                    FAIL("find differs from a scan at step " << step);
                }
            }
            if (step % 16 == 0 && !tree.validate(order, holes.size())) {
                FAIL("T1 or T2 does not hold at step " << step);
            }
        }
    }
}

TEST_CASE("validate sees a hole in the wrong place") {
    HoleNode far(0, 9);
    HoleNode near(1, 3);
    HoleTree tree;
    tree.insert(kByStart, far);
    tree.insert(kByStart, near);
    CHECK(tree.validate(kByStart, 2));
    CHECK_FALSE(tree.validate(kByStart, 3));
    near.end = 10;  // T1: reaches farther than the hole above it
    CHECK_FALSE(tree.validate(kByStart, 2));
    near.end = 3;
    near.first = std::uint64_t{1} << 35;  // T2: its key belongs to the other side
    near.end = near.first + 1;
    far.end = near.end + 1;
    CHECK_FALSE(tree.validate(kByStart, 2));
}
