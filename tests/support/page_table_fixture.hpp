// What the tests of the page table have in common: runs said briefly, and a page table in an arena.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <utility>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/page_table.hpp"
#include "mali/result.hpp"
#include "tests/support/table_arena.hpp"

namespace granule::test {

inline constexpr mali::LeafAttributes kData{};  // read, write, cached, not executable
inline constexpr mali::LeafAttributes kReadOnly{true, false, false, false, mali::MemoryType::kCached};
inline constexpr mali::PageTableConfig kMali4K2M1G{mali::Format::kMaliLpae, 48, 40, kLeaves4K2M1G, true};

[[nodiscard]] inline mali::PageTable make_page_table(TableArena& arena, const mali::PageTableConfig& config = {}) {
    Result<mali::PageTable, mali::TableError> table = mali::PageTable::create(config, arena);
    REQUIRE(table);
    return std::move(*table);
}

[[nodiscard]] constexpr LeafRun pages(std::uint64_t start, std::uint64_t count) noexcept {
    return {Va{start}, LeafSize::k4K, count};
}
[[nodiscard]] constexpr LeafRun blocks(std::uint64_t start, std::uint64_t count) noexcept {
    return {Va{start}, LeafSize::k2M, count};
}
[[nodiscard]] constexpr LeafRun giants(std::uint64_t start, std::uint64_t count) noexcept {
    return {Va{start}, LeafSize::k1G, count};
}

}  // namespace granule::test
