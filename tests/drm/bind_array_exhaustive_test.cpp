// Every sequence of two operations in three windows, at steps of 512 KiB, and of three in two windows, at steps of 1 MiB:
// maps with blocks and with pages, sparse maps and unmaps, with each set of rules. What the kernel is told leads to what
// the operations say, gives it no window that the ledger does not know, and cuts no block that the operations do not.
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/drm/bind_model.hpp"
#include "tests/drm/gem_table.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kMi = std::uint64_t{1} << 20;
constexpr std::uint32_t kDummy = 99;

struct Sequences {
    GemTable table;
    BoId bo = table.make(64 * kMi);
    std::uint64_t bytes;
    std::uint64_t step;
    std::vector<PlanOp> choices;
    std::uint64_t checked = 0;
    std::uint64_t merged = 0;

    Sequences(std::uint64_t space_bytes, std::uint64_t space_step) : bytes(space_bytes), step(space_step) {
        for (std::uint64_t start = 0; start < bytes; start += step) {
            for (std::uint64_t end = start + step; end <= bytes; end += step) {
                add_choices({Va{start}, Va{end}});
            }
        }
    }

    // Offsets are the VA: every two maps of the BO that meet go on.
    void add_choices(const VaRange& va) {
        PlanOp op;
        op.va = va;
        choices.push_back(op);
        op.kind = PlanOp::Kind::kMap;
        for (const LeafPolicy leaves : {LeafPolicy::kLargest, LeafPolicy::kPage}) {
            op.leaves = leaves;
            op.shows = {bo, BoOffset{va.start.raw()}, {}, {}};
            choices.push_back(op);
            op.shows = {};
            choices.push_back(op);
        }
    }

    [[nodiscard]] std::string problem(const std::vector<PlanOp>& ops, const BindArrayRules& rules, BindArray& array) {
        array.reset();
        std::uint64_t most = 0;
        for (std::uint32_t i = 0; i < ops.size(); ++i) {
            if (!array.add(ops[i], {0, i}, table.bos(), rules)) {
                return "no room";
            }
            most += BindArray::elements(ops[i], rules);
        }
        const std::size_t count = array.ops().size();
        if (rules.merge ? count > most : count != most) {
            return "not as many elements as said";
        }
        merged += most - count;

        BindModel kernel(bytes, step);
        BindModel plan(bytes, step);
        std::uint32_t carried_out = 0;  // operations
        for (std::size_t i = 0; i < count; ++i) {
            const BindArray::Origin& origin = array.origin(i);
            if (!origin.continues) {
                while (carried_out < origin.first.op) {
                    plan.apply(ops[carried_out++], table, rules);
                }
                if (kernel != plan) {
                    return "what is before an element is not what is before its operation";
                }
                if (!kernel.has_only_blocks_of(plan)) {
                    return "a window that the ledger does not know";
                }
            }
            kernel.apply(array.ops()[i]);
        }
        while (carried_out < ops.size()) {
            plan.apply(ops[carried_out++], table, rules);
        }
        if (kernel.cuts() > plan.cuts()) {
            return "an edge that no operation has";
        }
        return kernel == plan && kernel.has_only_blocks_of(plan) ? "" : "another end state";
    }

    void check_all(std::size_t length, const BindArrayRules& rules) {
        BindArray array(NodeMemory::process());
        std::vector<std::size_t> at(length, 0);
        std::vector<PlanOp> ops(length);
        while (at.front() < choices.size()) {
            for (std::size_t i = 0; i < length; ++i) {
                ops[i] = choices[at[i]];
            }
            if (const std::string found = problem(ops, rules, array); !found.empty()) {
                FAIL(found << ": " << text(array.ops()));
            }
            ++checked;
            for (std::size_t i = length; i-- > 0 && ++at[i] == choices.size() && i != 0;) {
                at[i] = 0;
            }
        }
    }
};

constexpr std::array kRules{
    BindArrayRules{true, 0, true},
    BindArrayRules{true, 0, false},
    BindArrayRules{false, kDummy, true},
    BindArrayRules{false, kDummy, false},
};

TEST_CASE(
    "all pairs of operations in three windows: the elements are what the operations say, and know no new window") {
    Sequences pairs(6 * kMi, kMi / 2);
    for (const BindArrayRules& rules : kRules) {
        pairs.check_all(2, rules);
    }
    CHECK(pairs.checked == 4 * 390 * 390);
    CHECK(pairs.merged > 0);
}

TEST_CASE(
    "all triples of operations in two windows: the elements are what the operations say, and know no new window") {
    Sequences triples(4 * kMi, kMi);
    for (const BindArrayRules& rules : kRules) {
        triples.check_all(3, rules);
    }
    CHECK(triples.checked == 4 * 50 * 50 * 50);
    CHECK(triples.merged > 0);
}

}  // namespace
}  // namespace granule::test
