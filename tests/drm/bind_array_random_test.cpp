// Long sequences of operations at single pages, in an array whose room runs out at any time: what is carried out in parts
// leads to what the operations say, and gives the kernel no window that the ledger does not know.
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "tests/drm/bind_model.hpp"
#include "tests/drm/gem_table.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kMi = std::uint64_t{1} << 20;
constexpr std::uint64_t kSpace = 12 * kMi;

class RandomOps {
public:
    RandomOps(std::uint64_t seed, BoId first, BoId second) : random_(seed), bos_{first, second} {}

    // Begins where the last one ended, or anywhere; offsets go on more often than not.
    PlanOp next() {
        PlanOp op;
        const bool goes_on = below(2) == 0 && last_.va.end.raw() < kSpace;
        const std::uint64_t start = goes_on ? last_.va.end.raw() : edge(kSpace - kPageBytes);
        const std::uint64_t left = kSpace - start;
        std::uint64_t end = start + edge(left);
        if (end == start || below(3) == 0) {
            end = start + kPageBytes;
        }
        op.va = {Va{start}, Va{end}};
        if (goes_on && below(3) != 0) {
            op.kind = last_.kind;
            op.shows = last_.shows.advanced(last_.va.size());
            op.leaves = below(4) == 0 ? LeafPolicy::kPage : last_.leaves;
        } else if (below(3) != 0) {
            op.kind = PlanOp::Kind::kMap;
            op.leaves = below(2) == 0 ? LeafPolicy::kPage : LeafPolicy::kLargest;
            op.shows.flags = {below(4) == 0, below(4) == 0, below(4) == 0};
            if (below(3) != 0) {
                op.shows.bo = bos_[below(2)];
                op.shows.offset = BoOffset{edge(16 * kMi)};
            }
        }
        last_ = op;
        return op;
    }
    std::uint64_t below(std::uint64_t end) { return random_() % end; }

private:
    // A page, or more often the edge or the middle of a window.
    std::uint64_t edge(std::uint64_t most) {
        const std::uint64_t step = std::array{kPageBytes, kMi, kMi, kBlock2MBytes}[below(4)];
        return below(most / step + 1) * step;
    }

    std::mt19937_64 random_;
    std::array<BoId, 2> bos_;
    PlanOp last_;
};

TEST_CASE("random operations, carried out in parts, lead to what they say and make no new window") {
    GemTable table;
    const BoId first = table.make(64 * kMi);
    const BoId second = table.make(64 * kMi);
    for (std::uint64_t seed = 1; seed <= 400; ++seed) {
        CAPTURE(seed);
        RandomOps random(seed, first, second);
        const BindArrayRules rules{random.below(2) == 0, 99, random.below(3) != 0};
        BindArray array(NodeMemory::process());
        BindModel kernel(kSpace, kPageBytes);
        BindModel plan(kSpace, kPageBytes);
        std::vector<PlanOp> ops;
        bool begins_right = true;
        const auto carry_out = [&] {
            for (std::size_t i = 0; i < array.ops().size(); ++i) {
                begins_right = begins_right && (i == 0 || array.origin(i - 1).last <= array.origin(i).first);
                kernel.apply(array.ops()[i]);
            }
            array.clear();
        };
        for (std::uint32_t i = 0; i < 60; ++i) {
            ops.push_back(random.next());
            while (!array.add(ops.back(), {0, i}, table.bos(), rules)) {
                carry_out();
            }
            plan.apply(ops.back(), table, rules);
        }
        carry_out();
        REQUIRE(kernel == plan);
        REQUIRE(kernel.has_only_blocks_of(plan));
        REQUIRE(kernel.cuts() <= plan.cuts());
        REQUIRE(begins_right);
    }
}

}  // namespace
}  // namespace granule::test
