// P3 and P4 where page-table memory runs out: the k-th reservation fails, for every k; and the memory has n pages, for
// every n. What fails has changed nothing, not a byte of the tables; and what only gives back never fails.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "mali/address.hpp"
#include "mali/page_table.hpp"
#include "mali/result.hpp"
#include "tests/support/leaf_oracle.hpp"
#include "tests/support/page_table_check.hpp"
#include "tests/support/page_table_fixture.hpp"
#include "tests/support/table_arena.hpp"

namespace granule::mali {
namespace {

using test::blocks;
using test::difference;
using test::giants;
using test::kData;
using test::kMali4K2M1G;
using test::LeafOracle;
using test::pages;
using test::TableArena;
using Code = TableError::Code;

struct Operation {
    enum class Kind : std::uint8_t { kMap, kUnmap, kHold, kSettle };
    Kind kind = Kind::kSettle;
    LeafRun run;
};

// Grows through every level, empties tables, turns pages into blocks and blocks into pages, in and out of transactions.
[[nodiscard]] std::vector<Operation> script() {
    using Kind = Operation::Kind;
    return {
        {Kind::kMap, pages(0x1fd000, 10)},
        {Kind::kMap, blocks(0x40'0000, 3)},
        {Kind::kSettle, {}},
        {Kind::kUnmap, pages(0x1fd000, 10)},
        {Kind::kMap, blocks(0, 1)},
        {Kind::kHold, pages(kBlock1GBytes - kPageBytes, 2)},
        {Kind::kMap, pages(kBlock1GBytes - kPageBytes, 2)},
        {Kind::kUnmap, blocks(0x60'0000, 1)},
        {Kind::kMap, pages(0x60'0000, 511)},
        {Kind::kMap, giants(std::uint64_t{1} << 39, 1)},
        {Kind::kSettle, {}},
        {Kind::kUnmap, giants(std::uint64_t{1} << 39, 1)},
        {Kind::kMap, blocks(std::uint64_t{1} << 39, 511)},
        {Kind::kMap, pages((std::uint64_t{1} << 39) + 511 * kBlock2MBytes, 511)},
        {Kind::kSettle, {}},
        {Kind::kMap, pages(std::uint64_t{3} << 39, 1025)},
        {Kind::kUnmap, pages(std::uint64_t{3} << 39, 1025)},
        {Kind::kUnmap, blocks(std::uint64_t{1} << 39, 511)},
    };
}

struct Life {
    PageTable table;
    LeafOracle oracle;
};

[[nodiscard]] Result<void, TableError> apply(PageTable& table, const Operation& operation) {
    switch (operation.kind) {
        case Operation::Kind::kMap:
            return table.map(operation.run, Pa{0}, kData);
        case Operation::Kind::kUnmap:
            return table.unmap(operation.run);
        case Operation::Kind::kHold:
            return table.hold(PageTable::most_tables_for(operation.run));
        case Operation::Kind::kSettle:
            table.settle();
            break;
    }
    return {};
}

void follow(LeafOracle& oracle, const Operation& operation) {
    if (operation.kind == Operation::Kind::kMap) {
        REQUIRE_FALSE(oracle.map(operation.run, Pa{0}, kData));
    } else if (operation.kind == Operation::Kind::kUnmap) {
        REQUIRE_FALSE(oracle.unmap(operation.run));
    }
}

// Applies it, and where it runs out of memory checks that it has changed nothing. Whether it was done.
[[nodiscard]] bool attempt(Life& life, TableArena& arena, const Operation& operation) {
    const std::vector<std::uint64_t> before = arena.snapshot();
    const std::uint64_t in_use = arena.in_use();
    const std::uint64_t reserved = arena.reserved();
    const std::uint64_t held = life.table.held();
    const Result<void, TableError> result = apply(life.table, operation);
    if (result) {
        follow(life.oracle, operation);
        return true;
    }
    CHECK(result.error().code == Code::kOutOfTableMemory);
    CHECK(result.error().needed > 0);
    CHECK(operation.kind != Operation::Kind::kUnmap);
    CHECK(arena.snapshot() == before);
    CHECK(arena.in_use() == in_use);
    CHECK(arena.reserved() == reserved);
    CHECK(life.table.held() == held);
    CHECK(difference(life.table, life.oracle, arena) == "");
    return false;
}

TEST_CASE("P3: when the k-th reservation fails nothing has changed, and the same call succeeds afterwards") {
    PageTableConfig config = kMali4K2M1G;
    SUBCASE("fast paths") {}
    SUBCASE("plain") {
        config.fast_paths = false;
    }
    TableArena arena(2048);
    bool refused = true;
    std::uint64_t k = 0;
    for (; refused; ++k) {
        CAPTURE(k);
        refused = false;
        {
            arena.refuse_reserve(k);
            Result<PageTable, TableError> table = PageTable::create(config, arena);
            if (!table) {
                CHECK(table.error().code == Code::kOutOfTableMemory);
                CHECK(arena.in_use() == 0);
                refused = true;
                continue;
            }
            Life life{std::move(*table), LeafOracle(config)};
            for (const Operation& operation : script()) {
                if (!attempt(life, arena, operation)) {
                    refused = true;
                    REQUIRE(attempt(life, arena, operation));
                }
            }
            CHECK(difference(life.table, life.oracle, arena) == "");
        }
        arena.refuse_reserve(TableArena::kNever);
        CHECK(arena.in_use() == 0);
        CHECK(arena.reserved() == 0);
        CHECK(arena.broken().empty());
    }
    CHECK(k > 6);
}

TEST_CASE("P4: whatever the memory has room for, unmap succeeds, and residuals fit where the block was") {
    for (std::uint64_t room = 1; room < 40; ++room) {
        CAPTURE(room);
        TableArena arena(room);
        Result<PageTable, TableError> table = PageTable::create({}, arena);
        REQUIRE(table);
        Life life{std::move(*table), LeafOracle({})};
        // As many blocks as there is room for, far apart and near each other.
        std::vector<std::uint64_t> mapped;
        for (std::uint64_t i = 0; i < 24; ++i) {
            const std::uint64_t va = i * kBlock2MBytes + (i % 3) * kBlock1GBytes;
            if (attempt(life, arena, {Operation::Kind::kMap, blocks(va, 1)})) {
                mapped.push_back(va);
            }
        }
        CHECK((room < 4) == mapped.empty());
        for (const std::uint64_t va : mapped) {
            REQUIRE(attempt(life, arena, {Operation::Kind::kUnmap, blocks(va, 1)}));
            REQUIRE(attempt(life, arena, {Operation::Kind::kMap, pages(va, 100)}));
            REQUIRE(attempt(life, arena, {Operation::Kind::kMap, pages(va + 101 * kPageBytes, 411)}));
            life.table.settle();
        }
        CHECK(difference(life.table, life.oracle, arena) == "");
        for (const std::uint64_t va : mapped) {
            REQUIRE(attempt(life, arena, {Operation::Kind::kUnmap, pages(va, 100)}));
            REQUIRE(attempt(life, arena, {Operation::Kind::kUnmap, pages(va + 101 * kPageBytes, 411)}));
        }
        life.table.settle();
        CHECK(arena.in_use() == 1);
        CHECK(arena.reserved() == 0);
        CHECK(arena.broken().empty());
    }
}

}  // namespace
}  // namespace granule::mali
