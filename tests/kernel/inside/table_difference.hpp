// Two trees of tables, bit for bit.
//
// Every entry of every table of both: leaves and empty entries must be the same words, table entries the same but for
// the address of the next table, which is each tree's own (all other bits count, bit 55 too). Trees are the same where
// they have the same shape: a table without live entries is not the same as a hole.
//
// Pure; O(tables * 512).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "mali/address.hpp"
#include "tests/kernel/inside/kernel_tables.hpp"

namespace granule::kernel_test {

struct TableDifference {
    unsigned level = 0;
    Va va;  // the first that the entry spans
    std::uint64_t kernel = 0;
    std::uint64_t ours = 0;

    bool operator==(const TableDifference&) const = default;
};

// The difference with the lowest VA, the highest table first. Format and start level must be the same; where they are
// not, the roots' first entries are the difference.
[[nodiscard]] std::optional<TableDifference> first_difference(const KernelTables& kernel, const KernelTables& ours);

// Of some lines: the way down to the entry in both trees, and the fields that differ, by name.
[[nodiscard]] std::string picture(const TableDifference& difference, const KernelTables& kernel,
                                  const KernelTables& ours);

}  // namespace granule::kernel_test
