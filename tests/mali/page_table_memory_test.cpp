// What the page table takes, sets aside, holds and gives back (P4), and what it cleans to memory, in which order.
#include <doctest/doctest.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/descriptor.hpp"
#include "mali/page_table.hpp"
#include "mali/result.hpp"
#include "mali/table_memory.hpp"
#include "tests/support/page_table_fixture.hpp"
#include "tests/support/table_arena.hpp"

namespace granule::mali {
namespace {

using test::blocks;
using test::giants;
using test::kData;
using test::kMali4K2M1G;
using test::make_page_table;
using test::pages;
using test::TableArena;
using Code = TableError::Code;

TEST_CASE("P4: the tables for the residuals of a block are set aside when it is mapped") {
    for (const Format format : {Format::kMaliLpae, Format::kAarch64_4k}) {
        TableArena arena;
        PageTable table = make_page_table(arena, {format, 48, 40, kLeaves4K2M, true});
        REQUIRE(table.map(blocks(0x40'0000, 1), Pa{0x80'0000}, kData));
        CHECK(table.credit() == 1);
        CHECK(arena.in_use() == 3);
        CHECK(arena.reserved() == 1);

        arena.refuse_all_reserves(true);
        REQUIRE(table.unmap(blocks(0x40'0000, 1)));
        CHECK(table.credit() == 0);
        CHECK(table.held() == 3);  // the credit, and the two tables that became empty
        REQUIRE(table.map(pages(0x40'0000, 5), Pa{0x80'0000}, kData));
        REQUIRE(table.map(pages(0x40'6000, 506), Pa{0x80'6000}, kData));
        table.settle();
        CHECK(table.held() == 0);
        CHECK(arena.reserved() == 0);
        CHECK_FALSE(table.walk(Va{0x40'5000}).mapped);
        CHECK(table.walk(Va{0x40'6abc}).pa == Pa{0x80'6abc});
        CHECK(table.leaf_counts() == LeafCounts{511, 0, 0});
        CHECK(table.validate());
        CHECK(arena.is_visible());
        CHECK(arena.broken().empty());
    }
}

TEST_CASE("P4: the residuals of a 1 GiB block fit, as 2 MiB blocks that set aside their own, down to pages") {
    TableArena arena(2048);
    PageTable table = make_page_table(arena, kMali4K2M1G);
    const std::uint64_t va = 2 * kBlock1GBytes;
    const std::uint64_t pa = 256 * kBlock1GBytes;
    REQUIRE(table.map(giants(va, 1), Pa{pa}, kData));
    CHECK(table.credit() == 513);
    arena.refuse_all_reserves(true);

    // 4 KiB out of the middle: 417 blocks in front, 94 behind, and 511 pages of the one that holds it.
    REQUIRE(table.unmap(giants(va, 1)));
    const std::uint64_t hole = 0x345000;
    REQUIRE(table.map(blocks(va, 1), Pa{pa}, kData));
    REQUIRE(table.map(blocks(va + 0x40'0000, 510), Pa{pa + 0x40'0000}, kData));
    REQUIRE(table.map(pages(va + 0x20'0000, 0x145), Pa{pa + 0x20'0000}, kData));
    REQUIRE(table.map(pages(va + hole + kPageBytes, 512 - 0x146), Pa{pa + hole + kPageBytes}, kData));
    table.settle();
    CHECK(table.leaf_counts() == LeafCounts{511, 511, 0});
    CHECK(table.credit() == 511);
    CHECK(table.held() == 0);
    CHECK(arena.reserved() == 511);
    CHECK_FALSE(table.walk(Va{va + hole}).mapped);
    CHECK(table.walk(Va{va + hole + kPageBytes}).pa == Pa{pa + hole + kPageBytes});
    CHECK(table.validate());

    // And every one of those blocks in turn: nothing is ever asked of the memory.
    for (std::uint64_t block = 0; block < 512; ++block) {
        if (block == 1) {
            continue;
        }
        const std::uint64_t at = va + block * kBlock2MBytes;
        const std::uint64_t to = pa + block * kBlock2MBytes;
        REQUIRE(table.unmap(blocks(at, 1)));
        REQUIRE(table.map(pages(at, 511), Pa{to}, kData));
        table.settle();
    }
    CHECK(table.leaf_counts() == LeafCounts{std::uint64_t{512} * 511, 0, 0});
    CHECK(table.credit() == 0);
    CHECK(arena.reserved() == 0);
    CHECK(table.validate());
    CHECK(arena.broken().empty());
}

TEST_CASE("P4: all 1 GiB as pages is what a block has set aside, and no page more") {
    TableArena arena(2 + 513);  // the root, one table of level 1, and the credit
    PageTable table = make_page_table(arena, kMali4K2M1G);
    REQUIRE(table.map(giants(0, 1), Pa{0}, kData));
    REQUIRE(table.unmap(giants(0, 1)));
    REQUIRE(table.map(pages(0, std::uint64_t{512} * 512), Pa{0}, kData));
    CHECK(arena.in_use() == 515);
    CHECK(table.validate());
    REQUIRE(table.unmap(pages(0, std::uint64_t{512} * 512)));
    REQUIRE(table.map(giants(0, 1), Pa{0}, kData));
    CHECK(table.held() == 0);
}

TEST_CASE("a transaction that holds what it may need runs out of nothing afterwards") {
    TableArena arena;
    PageTable table = make_page_table(arena);
    REQUIRE(table.map(pages(0x1000, 1), Pa{0x1000}, kData));
    const LeafRun next = pages(kBlock1GBytes - kPageBytes, 2);
    REQUIRE(table.hold(PageTable::most_tables_for(next)));
    CHECK(table.held() == 5);
    arena.refuse_all_reserves(true);
    REQUIRE(table.map(next, Pa{0x4000}, kData));
    CHECK(table.held() == 2);  // the level-1 table and one of the level-2 tables were there
    // A roll-back needs nothing, and leaves all of it held.
    REQUIRE(table.unmap(next));
    CHECK(table.held() == 5);
    REQUIRE(table.unmap(pages(0x1000, 1)));
    REQUIRE(table.map(pages(0x1000, 1), Pa{0x1000}, kData));
    CHECK(table.held() == 5);
    CHECK(table.validate());
    table.settle();
    CHECK(table.held() == 0);
    CHECK(arena.reserved() == 0);
    CHECK(arena.in_use() == table.table_count());
    CHECK(arena.broken().empty());
}

TEST_CASE("hold that cannot be fulfilled changes nothing and says how much was asked") {
    TableArena arena(4);
    PageTable table = make_page_table(arena);
    const Result<void, TableError> held = table.hold(4);
    REQUIRE_FALSE(held);
    CHECK(held.error().code == Code::kOutOfTableMemory);
    CHECK(held.error().needed == 4);
    CHECK(table.held() == 0);
    CHECK(table.hold(0));
    CHECK(table.hold(3));
    CHECK(table.held() == 3);
}

TEST_CASE("an emptied table stays out of the pool until it is settled, and is all zeros meanwhile") {
    TableArena arena(8);
    PageTable table = make_page_table(arena);
    REQUIRE(table.map(pages(0x20'0000, 3), Pa{0x1000}, kData));
    const std::uint64_t level2 = arena.table_at(Pa{0x8000'7000}).entries[0] & bits::kAddressMask;
    const std::uint64_t level3 = arena.table_at(Pa{level2}).entries[1] & bits::kAddressMask;
    REQUIRE(table.unmap(pages(0x20'0000, 3)));
    CHECK(table.table_count() == 1);
    CHECK(arena.in_use() == 4);
    // A walker that still points at the table of leaves sees holes, in memory as in the CPU's caches.
    for (const std::uint64_t page : {std::uint64_t{0x8000'7000}, level2, level3}) {
        for (std::uint64_t i = 0; i < kTableEntries; ++i) {
            std::uint64_t seen = 1;
            if (!arena.load(Pa{page + i * 8}, seen) || seen != 0) {
                FAIL("entry ", i, " of a table that was emptied is ", seen);
            }
        }
    }
    // A reserved page is used before it.
    REQUIRE(table.hold(1));
    REQUIRE(table.map(pages(0x20'0000, 1), Pa{0x1000}, kData));
    CHECK(arena.in_use() == 5);
    CHECK(table.held() == 1);
    table.settle();
    CHECK(arena.in_use() == 4);
    CHECK(arena.reserved() == 0);
    CHECK(arena.broken().empty());
}

TEST_CASE("a table whose leaves all go at once keeps them until it is settled, and shows nothing of them afterwards") {
    TableArena arena(8);
    PageTable table = make_page_table(arena);
    REQUIRE(table.map(pages(0x20'0000, 512), Pa{0x40'0000}, kData));
    const std::uint64_t level3 = arena.table_at(Pa{0x8000'8000}).entries[1] & bits::kAddressMask;
    REQUIRE(table.unmap(pages(0x20'0000, 512)));
    CHECK(table.table_count() == 1);
    CHECK_FALSE(table.translate(Va{0x20'7000}).mapped());
    // A walker that still points at it sees what it may see in its TLB.
    for (std::uint64_t i = 0; i < kTableEntries; ++i) {
        std::uint64_t seen = 0;
        if (!arena.load(Pa{level3 + i * 8}, seen) || (seen & bits::kAddressMask) != 0x40'0000 + i * kPageBytes) {
            FAIL("entry ", i, " of a table that was taken out whole is ", seen);
        }
    }
    table.settle();
    // Its next owner, whatever the table is now, shows one page.
    PageTable other = make_page_table(arena);
    REQUIRE(other.map(pages(0x20'3000, 1), Pa{0x1000}, kData));
    std::uint64_t leaves = 0;
    for (std::uint64_t page = 0; page < 8; ++page) {
        for (std::uint64_t i = 0; i < kTableEntries; ++i) {
            std::uint64_t seen = 0;
            REQUIRE(arena.load(Pa{0x8000'6000 + page * kPageBytes + i * 8}, seen));
            leaves += (seen & bits::kTypeMask) == bits::kTypeBlock ? 1 : 0;
        }
    }
    CHECK(leaves == 1);
    CHECK(other.validate());
    CHECK(arena.is_visible());
    CHECK(arena.broken().empty());
}

TEST_CASE("nothing is cleaned in memory that the GPU snoops") {
    TableArena arena(64, Pa{0x8000'6000}, TableArena::Contents::kCoherent);
    PageTable table = make_page_table(arena);
    arena.start_log();
    REQUIRE(table.map(pages(0x1000, 3), Pa{0}, kData));
    REQUIRE(table.map(pages(0x1f'f000, 600), Pa{0}, kData));
    REQUIRE(table.map_pages(std::vector<PageMapping>{{Va{0x80'0000}, Pa{0x5000}}}, kData));
    REQUIRE(table.unmap_pages(std::vector<Va>{Va{0x80'0000}}));
    REQUIRE(table.unmap(pages(0x1f'f000, 600)));
    CHECK(arena.log().empty());
    CHECK(table.translate(Va{0x2123}) == Translated{Pa{0x1123}, kPageBytes});
    CHECK(table.validate());
}

TEST_CASE("most_tables_for is what panthor preallocates, and what a block sets aside is in it") {
    CHECK(PageTable::most_tables_for(blocks(0x20'0000, 1)) == 3);
    CHECK(PageTable::most_tables_for(pages(0x1f'f000, 2)) == 4);
    CHECK(PageTable::most_tables_for(blocks(0x20'0000, 3)) == 5);
    CHECK(PageTable::most_tables_for(blocks(0, 512)) == 514);
    CHECK(PageTable::most_tables_for(giants(0, 1)) == 514);
    CHECK(PageTable::most_tables_for(giants(0, 2)) == 1 + 2 * 513);
    CHECK(PageTable::most_tables_for(pages(0, 1)) == 3);
    CHECK(PageTable::most_tables_for(pages(0, 512)) == 3);
    CHECK(PageTable::most_tables_for(pages(0, 513)) == 4);
    CHECK(PageTable::most_tables_for(pages(0, 0)) == 0);
    CHECK(PageTable::most_tables_for(pages((std::uint64_t{1} << 39) - kPageBytes, 2)) == 6);
    CHECK(PageTable::most_tables_for(pages(kMaxVaEnd - kPageBytes, 1)) == 3);
}

TEST_CASE("most_tables_for is exact for the first map of a page table with four levels") {
    for (const LeafRun& run : {pages(0, 1), pages(0x1f'f000, 2), blocks(0x20'0000, 3), blocks(0, 512), giants(0, 2),
                               pages((std::uint64_t{1} << 39) - kPageBytes, 2), pages(0x1000, 2048)}) {
        const std::uint64_t most = PageTable::most_tables_for(run);
        TableArena arena(1 + most);
        PageTable table = make_page_table(arena, kMali4K2M1G);
        REQUIRE(table.map(run, Pa{0}, kData));
        CHECK(arena.in_use() + arena.reserved() == 1 + most);
    }
}

TEST_CASE("what is written is made visible once for each contiguous run of a table, tables before their entries") {
    TableArena arena;
    PageTable table = make_page_table(arena);
    const auto at = [](std::uint64_t page, unsigned index) { return Pa{page + std::uint64_t{index} * 8}; };
    using Log = std::vector<TableArena::Visible>;
    const std::uint64_t root = 0x8000'6000;
    const std::uint64_t level1 = 0x8000'7000;
    const std::uint64_t level2 = 0x8000'8000;
    const std::uint64_t level3 = 0x8000'9000;

    arena.start_log();
    REQUIRE(table.map(pages(0x20'3000, 2), Pa{0}, kData));
    CHECK(arena.log() == Log{{at(level3, 0), 512}, {at(level2, 0), 512}, {at(level1, 0), 512}, {at(root, 0), 1}});

    arena.start_log();
    REQUIRE(table.map(pages(0x20'5000, 7), Pa{0}, kData));
    CHECK(arena.log() == Log{{at(level3, 5), 7}});

    // Around the table that is there: two new ones in front and one behind, each in a run of its own.
    arena.start_log();
    REQUIRE(table.map(pages(0x40'0000, 1), Pa{0}, kData));  // level3 + 0x1000, index 2
    REQUIRE(table.unmap(pages(0x40'0000, 1)));
    table.settle();
    CHECK(arena.log() ==
          Log{{at(level3 + 0x1000, 0), 512}, {at(level2, 2), 1}, {at(level3 + 0x1000, 0), 1}, {at(level2, 2), 1}});
    arena.start_log();
    REQUIRE(table.map(pages(0x20'c000, 0x1f4 + 512 + 1), Pa{0}, kData));
    CHECK(
        arena.log() ==
        Log{{at(level3, 12), 0x1f4}, {at(level3 + 0x1000, 0), 512}, {at(level3 + 0x2000, 0), 512}, {at(level2, 2), 2}});

    arena.start_log();
    REQUIRE(table.unmap(pages(0x20'3000, 3)));
    CHECK(arena.log() == Log{{at(level3, 3), 3}});

    arena.start_log();
    REQUIRE(table.unmap(pages(0x20'6000, 6 + 0x1f4 + 512 + 1)));
    // The table in the middle goes whole, unwritten: only the entry above it is cleared.
    CHECK(arena.log() == Log{{at(level3, 6), 506},
                             {at(level3 + 0x2000, 0), 1},
                             {at(level2, 1), 3},
                             {at(level1, 0), 1},
                             {at(root, 0), 1}});
    CHECK(arena.is_visible());
}

TEST_CASE("a block run is made visible as one") {
    TableArena arena;
    PageTable table = make_page_table(arena);
    REQUIRE(table.map(blocks(0, 1), Pa{0}, kData));
    arena.start_log();
    REQUIRE(table.map(blocks(kBlock2MBytes, 100), Pa{0}, kData));
    REQUIRE(table.unmap(blocks(kBlock2MBytes, 100)));
    CHECK(arena.log() == std::vector<TableArena::Visible>{{Pa{0x8000'8008}, 100}, {Pa{0x8000'8008}, 100}});
}

TEST_CASE("a page table gives back everything when it is destroyed, whatever is mapped or held") {
    TableArena arena(4096);
    {
        PageTable table = make_page_table(arena, kMali4K2M1G);
        REQUIRE(table.map(pages(0x1fd000, 3000), Pa{0}, kData));
        REQUIRE(table.map(blocks(std::uint64_t{5} << 39, 700), Pa{0}, kData));
        REQUIRE(table.map(giants(kMaxVaEnd - kBlock1GBytes, 1), Pa{0}, kData));
        REQUIRE(table.unmap(pages(0x1fd000, 3000)));
        REQUIRE(table.hold(17));
        CHECK(table.validate());
    }
    CHECK(arena.in_use() == 0);
    CHECK(arena.reserved() == 0);
    CHECK(arena.broken().empty());
    CHECK(arena.is_visible());
}

TEST_CASE("a moved page table is the same page table, and what it replaces is given back") {
    TableArena arena;
    TableArena other_arena(8);
    {
        PageTable first = make_page_table(arena);
        REQUIRE(first.map(blocks(0, 2), Pa{0}, kData));
        const Pa root = first.root();
        PageTable second = std::move(first);
        CHECK(second.root() == root);
        CHECK(second.walk(Va{0x20'0000}).mapped);
        CHECK(second.credit() == 2);
        PageTable third = make_page_table(other_arena);
        REQUIRE(third.map(pages(0, 1), Pa{0}, kData));
        third = std::move(second);
        CHECK(other_arena.in_use() == 0);
        CHECK(third.root() == root);
        REQUIRE(third.unmap(blocks(0, 2)));
        CHECK(third.validate());
    }
    CHECK(arena.in_use() == 0);
    CHECK(arena.reserved() == 0);
    CHECK(arena.broken().empty());
    CHECK(other_arena.broken().empty());
}

}  // namespace
}  // namespace granule::mali
