// Whether a page table, the arena that it lives in and the oracle agree in everything that can be asked of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/page_table.hpp"
#include "mali/result.hpp"
#include "tests/support/leaf_oracle.hpp"
#include "tests/support/table_arena.hpp"

namespace granule::test {

// "" where they agree, else what does not.
[[nodiscard]] inline std::string difference(const mali::PageTable& table, const LeafOracle& oracle,
                                            const TableArena& arena) {
    if (!arena.broken().empty()) {
        return arena.broken();
    }
    if (!table.validate()) {
        return "validate() finds an invariant broken";
    }
    if (!arena.is_visible()) {
        return "something written was not made visible";
    }
    if (table.leaf_counts() != oracle.counts()) {
        return "leaf counts differ";
    }
    // Kept tables come with the tables above them.
    if (table.kept() == 0 ? table.table_count() != oracle.table_count()
                          : table.table_count() < oracle.table_count() + table.kept()) {
        return "there are " + std::to_string(table.table_count()) + " tables, and the least tree has " +
               std::to_string(oracle.table_count());
    }
    if (arena.in_use() + arena.reserved() != table.table_count() + table.credit() + table.held()) {
        return "pages in the arena and pages of the page table differ";
    }
    auto leaf = oracle.leaves().begin();
    std::string wrong;
    table.visit({Va{0}, Va{kMaxVaEnd}}, [&](const mali::VisitedRun& run) {
        const std::uint64_t bytes = bytes_of(run.leaves.size);
        for (std::uint64_t i = 0; i < run.leaves.count && wrong.empty(); ++i) {
            const Va va = run.leaves.start + i * bytes;
            const LeafOracle::Leaf seen{run.leaves.size, run.pa + i * bytes, run.attributes};
            if (leaf == oracle.leaves().end() || leaf->first != va || leaf->second != seen) {
                wrong = "the leaf visited at " + std::to_string(va.raw()) + " is not the oracle's next";
                return;
            }
            ++leaf;
        }
    });
    if (wrong.empty() && leaf != oracle.leaves().end()) {
        wrong = "the leaf at " + std::to_string(leaf->first.raw()) + " was not visited";
    }
    return wrong;
}

// Whether walk(va) and translate(va) say what the oracle does.
[[nodiscard]] inline bool walk_agrees(const mali::PageTable& table, const LeafOracle& oracle, Va va) {
    const mali::Walk walk = table.walk(va);
    const mali::Translated translated = table.translate(va);
    const auto leaf = oracle.find(va);
    if (leaf == oracle.leaves().end()) {
        return !walk.mapped && translated == mali::Translated{};
    }
    return translated == mali::Translated{walk.pa, walk.span} && walk.mapped && walk.leaf_start == leaf->first &&
           walk.leaf == leaf->second.size && walk.leaf_pa == leaf->second.pa &&
           walk.pa == leaf->second.pa + (va - leaf->first) && walk.span == bytes_of(walk.leaf) &&
           walk.attributes == leaf->second.attributes;
}

[[nodiscard]] inline bool same_answer(const Result<void, mali::TableError>& result, const LeafOracle::Answer& answer) {
    return result ? !answer : answer == std::optional(result.error());
}

}  // namespace granule::test
