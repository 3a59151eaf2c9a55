// Tables that stay in the tree when they are empty (PageTableConfig::kept_tables): what that saves, where it ends, and that
// nobody but `walk` and the memory can tell. The random, exhaustive and SoftMmu tests have lives with kept tables as well.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "mali/address.hpp"
#include "mali/page_table.hpp"
#include "mali/result.hpp"
#include "tests/support/page_table_fixture.hpp"
#include "tests/support/table_arena.hpp"

namespace granule::mali {
namespace {

using test::blocks;
using test::giants;
using test::kData;
using test::make_page_table;
using test::pages;
using test::TableArena;
using Code = TableError::Code;
using Contents = TableArena::Contents;

constexpr Pa kFirst{0x8000'6000};
constexpr VaRange kAll{Va{0}, Va{kMaxVaEnd}};

[[nodiscard]] PageTableConfig keeping(std::uint64_t tables, bool fast_paths = true) {
    PageTableConfig config{Format::kMaliLpae, 48, 40, kLeaves4K2M1G, false, fast_paths};
    config.kept_tables = tables;
    return config;
}

[[nodiscard]] TableError error_of(const Result<void, TableError>& result) {
    REQUIRE_FALSE(result);
    return result.error();
}

template <class Test>
void on_every_memory(Test test) {
    for (const Contents contents : {Contents::kZeros, Contents::kStale, Contents::kWindow, Contents::kCoherent}) {
        CAPTURE(static_cast<int>(contents));
        TableArena arena(1024, kFirst, contents);
        test(arena);
        CHECK(arena.in_use() == 0);
        CHECK(arena.reserved() == 0);
        CHECK(arena.broken().empty());
    }
}

TEST_CASE("a page that comes back to a kept table takes nothing from the memory and writes one entry") {
    TableArena arena(64);
    PageTable table = make_page_table(arena, keeping(4));
    REQUIRE(table.map(pages(0x20'5000, 1), Pa{0x1000}, kData));
    REQUIRE(table.unmap(pages(0x20'5000, 1)));
    table.settle();
    CHECK(table.kept() == 1);
    CHECK(table.held() == 0);
    CHECK(table.table_count() == 4);
    CHECK(table.leaf_counts() == LeafCounts{});
    CHECK(arena.in_use() == 4);
    CHECK_FALSE(table.translate(Va{0x20'5000}).mapped());
    CHECK(table.walk(Va{0x20'5000}).span == kPageBytes);
    CHECK(table.validate());

    arena.refuse_all_reserves(true);
    arena.start_log();
    REQUIRE(table.map(pages(0x20'7000, 1), Pa{0x3000}, kData));
    CHECK(arena.log() == std::vector<TableArena::Visible>{{Pa{0x8000'9000 + 7 * 8}, 1}});
    CHECK(table.kept() == 0);
    CHECK(table.translate(Va{0x20'7000}).pa == Pa{0x3000});
    CHECK(table.validate());
}

TEST_CASE("no more tables are kept than the configuration says; the others are held as ever") {
    on_every_memory([](TableArena& arena) {
        PageTable table = make_page_table(arena, keeping(2));
        for (std::uint64_t window = 0; window < 5; ++window) {
            REQUIRE(table.map(pages(window * kBlock2MBytes, 3), Pa{0}, kData));
        }
        for (std::uint64_t window = 0; window < 5; ++window) {
            REQUIRE(table.unmap(pages(window * kBlock2MBytes, 3)));
            CHECK(table.validate());
        }
        CHECK(table.kept() == 2);
        CHECK(table.held() == 3);
        CHECK(table.table_count() == 5);
        table.settle();
        CHECK(arena.in_use() == 5);
    });
}

TEST_CASE("a table whose leaves all go at once is not kept, nor is any without the fast paths") {
    on_every_memory([](TableArena& arena) {
        PageTable table = make_page_table(arena, keeping(8));
        REQUIRE(table.map(pages(0, 512), Pa{0}, kData));
        REQUIRE(table.map(pages(kBlock1GBytes, 1536), Pa{0}, kData));
        REQUIRE(table.unmap(pages(0, 512)));
        REQUIRE(table.unmap(pages(kBlock1GBytes, 1536)));
        CHECK(table.kept() == 0);
        CHECK(table.table_count() == 1);
        table.settle();
    });
    on_every_memory([](TableArena& arena) {
        PageTable table = make_page_table(arena, keeping(8, false));
        REQUIRE(table.map(pages(0, 3), Pa{0}, kData));
        REQUIRE(table.unmap(pages(0, 3)));
        CHECK(table.kept() == 0);
        CHECK(table.table_count() == 1);
        CHECK(table.validate());
    });
}

TEST_CASE("prune takes out the kept tables whose windows overlap a range, says what they span, and they are held") {
    on_every_memory([](TableArena& arena) {
        PageTable table = make_page_table(arena, keeping(UINT64_MAX));
        const std::vector<std::uint64_t> windows = {1, 3, 4, 512, 600, 512 * 512 + 7};
        for (const std::uint64_t window : windows) {
            REQUIRE(table.map(pages(window * kBlock2MBytes + 0x5000, 1), Pa{0}, kData));
        }
        REQUIRE(table.map(pages(3 * kBlock2MBytes, 1), Pa{0}, kData));
        for (const std::uint64_t window : windows) {
            REQUIRE(table.unmap(pages(window * kBlock2MBytes + 0x5000, 1)));
        }
        CHECK(table.kept() == 5);  // there is still a page in window 3
        CHECK(table.prune({Va{2 * kBlock2MBytes}, Va{4 * kBlock2MBytes}}).empty());
        CHECK(table.prune({Va{5}, Va{5}}).empty());
        CHECK(table.kept() == 5);

        // One page of the one, all up to one page of the other.
        const VaRange pruned = table.prune({Va{2 * kBlock2MBytes - kPageBytes}, Va{512 * kBlock2MBytes + kPageBytes}});
        CHECK(pruned == VaRange{Va{kBlock2MBytes}, Va{513 * kBlock2MBytes}});
        CHECK(table.kept() == 2);
        CHECK(table.held() == 3);
        CHECK(table.validate());
        // With the last one of a table of level 2 that table goes, and those above it.
        const std::uint64_t tables = table.table_count();
        CHECK(table.prune({Va{512 * kBlock1GBytes}, Va{kMaxVaEnd}}).size() == kBlock2MBytes);
        CHECK(table.table_count() == tables - 3);
        CHECK(table.prune(kAll).start == Va{600 * kBlock2MBytes});
        CHECK(table.kept() == 0);
        CHECK(table.prune(kAll).empty());
        CHECK(table.validate());
        CHECK(arena.is_visible());
        table.settle();
        CHECK(arena.in_use() == 4);
        CHECK(table.translate(Va{3 * kBlock2MBytes}).mapped());
    });
}

TEST_CASE("a block is mapped over kept tables as over holes, and they are held") {
    on_every_memory([](TableArena& arena) {
        PageTable table = make_page_table(arena, keeping(8));
        for (const std::uint64_t window : {0U, 2U, 5U}) {
            REQUIRE(table.map(pages(window * kBlock2MBytes + 0x3000, 2), Pa{0}, kData));
            REQUIRE(table.unmap(pages(window * kBlock2MBytes + 0x3000, 2)));
        }
        CHECK(table.kept() == 3);
        REQUIRE(table.map(blocks(0, 4), Pa{0x4000'0000}, kData));
        CHECK(table.kept() == 1);
        CHECK(table.held() == 2);
        CHECK(table.credit() == 4);
        CHECK(table.translate(Va{0x3000}).pa == Pa{0x4000'3000});
        CHECK(table.validate());
        REQUIRE(table.unmap(blocks(0, 4)));
        // Nothing but a kept table is below this entry of level 1.
        REQUIRE(table.map_segments(Va{0}, LeafSize::k1G, std::vector<PaSegment>{{Pa{0}, kBlock1GBytes}}, kData));
        CHECK(table.kept() == 0);
        CHECK(table.translate(Va{5 * kBlock2MBytes}).span == kBlock1GBytes);
        CHECK(table.validate());
        CHECK(arena.is_visible());
    });
}

TEST_CASE("a block takes out no table that spans more than the run, though nothing else were in it") {
    constexpr std::uint64_t kEdge = std::uint64_t{1} << 39U;
    constexpr std::uint64_t kElsewhere = 10 * kEdge;
    TableArena arena(64);
    PageTable table = make_page_table(arena, keeping(4));
    for (const std::uint64_t start : {kEdge - kBlock2MBytes, kEdge}) {
        REQUIRE(table.map(pages(start, 1), Pa{0}, kData));
        REQUIRE(table.unmap(pages(start, 1)));
    }
    // What is held was emptied, so that it would be put to use at once.
    REQUIRE(table.map(pages(kElsewhere, 512), Pa{0}, kData));
    table.settle();
    REQUIRE(table.unmap(pages(kElsewhere, 512)));
    REQUIRE(table.held() == 3);
    arena.start_log();
    REQUIRE(table.map(blocks(kEdge - kBlock2MBytes, 2), Pa{0}, kData));
    const Pa below_edge{0x8000'8000 + 511 * 8};
    const Pa above_edge{0x8000'b000};
    CHECK(arena.log() ==
          std::vector<TableArena::Visible>{{below_edge, 1}, {above_edge, 1}, {below_edge, 1}, {above_edge, 1}});
    CHECK(table.kept() == 0);
    CHECK(table.held() == 3);
    CHECK(table.validate());
    REQUIRE(table.unmap(blocks(kEdge - kBlock2MBytes, 2)));
    CHECK(table.table_count() == 1);
    CHECK(table.validate());
}

TEST_CASE("a block that is refused leaves the kept tables where they are, and the error names a leaf") {
    on_every_memory([](TableArena& arena) {
        PageTable table = make_page_table(arena, keeping(8));
        REQUIRE(table.map(pages(0, 1), Pa{0}, kData));
        REQUIRE(table.map(pages(3 * kBlock2MBytes + 0x7000, 1), Pa{0}, kData));
        REQUIRE(table.unmap(pages(0, 1)));
        const std::vector<std::uint64_t> before = arena.snapshot();
        const TableError page{Code::kTableInTheWay, Va{3 * kBlock2MBytes + 0x7000}, LeafSize::k4K, 0};
        CHECK(error_of(table.map(blocks(0, 4), Pa{0}, kData)) == page);
        CHECK(error_of(table.map(giants(0, 1), Pa{0}, kData)) == page);
        // To an unmap they are holes.
        CHECK(error_of(table.unmap(blocks(0, 1))) == TableError{Code::kNotMapped, Va{0}, LeafSize::k2M, 0});
        CHECK(error_of(table.unmap(pages(0, 2))) == TableError{Code::kNotMapped, Va{0}, LeafSize::k4K, 0});
        CHECK(error_of(table.unmap(giants(0, 1))) == TableError{Code::kSmallerLeaves, page.at, LeafSize::k4K, 0});
        REQUIRE(table.unmap(pages(3 * kBlock2MBytes + 0x7000, 1)));
        CHECK(error_of(table.unmap(giants(0, 1))) == TableError{Code::kNotMapped, Va{0}, LeafSize::k1G, 0});
        REQUIRE(table.map(pages(3 * kBlock2MBytes + 0x7000, 1), Pa{0}, kData));

        // Nor does want of memory touch them.
        arena.refuse_all_reserves(true);
        CHECK(error_of(table.map(blocks(0, 2), Pa{0}, kData)).code == Code::kOutOfTableMemory);
        CHECK(arena.snapshot() == before);
        CHECK(table.kept() == 1);
        CHECK(table.held() == 0);
        CHECK(table.validate());
        arena.refuse_all_reserves(false);
    });
}

TEST_CASE("runs and lists over kept tables fill them") {
    on_every_memory([](TableArena& arena) {
        PageTable table = make_page_table(arena, keeping(8));
        for (const std::uint64_t window : {0U, 1U, 2U, 3U}) {
            REQUIRE(table.map(pages(window * kBlock2MBytes, 1), Pa{0}, kData));
            REQUIRE(table.unmap(pages(window * kBlock2MBytes, 1)));
        }
        arena.refuse_all_reserves(true);
        REQUIRE(table.map(pages(0x1f'f000, 2), Pa{0}, kData));
        CHECK(table.kept() == 2);
        REQUIRE(table.map_segments(Va{0x5f'f000}, LeafSize::k4K,
                                   std::vector<PaSegment>{{Pa{0x9000}, kPageBytes}, {Pa{0}, kPageBytes}}, kData));
        CHECK(table.kept() == 0);
        CHECK(table.validate());
        // And a run over many that leaves two of them empty has them kept.
        REQUIRE(table.unmap(pages(0x1f'f000, 2)));
        CHECK(table.kept() == 2);
        CHECK(table.validate());
        CHECK(arena.is_visible());
        arena.refuse_all_reserves(false);
    });
}

TEST_CASE("a kept table between new ones is filled with them, as one run") {
    constexpr std::uint64_t kWindowPages = kBlock2MBytes / kPageBytes;
    on_every_memory([](TableArena& arena) {
        for (const LeafRun& run : {pages(0, 3 * kWindowPages), pages(0x1f'f000, kWindowPages + 2)}) {
            PageTable table = make_page_table(arena, keeping(8));
            REQUIRE(table.map(pages(kBlock2MBytes, 1), Pa{0}, kData));
            REQUIRE(table.unmap(pages(kBlock2MBytes, 1)));
            REQUIRE(table.kept() == 1);
            REQUIRE(table.map(run, Pa{0}, kData));
            CHECK(table.kept() == 0);
            CHECK(table.leaf_counts() == LeafCounts{run.count, 0, 0});
            CHECK(table.validate());
            CHECK(arena.is_visible());
        }
    });
}

TEST_CASE("batches keep the tables that they empty, all of them or none, and fill kept ones") {
    on_every_memory([](TableArena& arena) {
        PageTable table = make_page_table(arena, keeping(3));
        const auto batch_of = [](std::uint64_t windows) {
            std::vector<PageMapping> batch;
            for (std::uint64_t i = 0; i < 2 * windows; ++i) {
                batch.push_back({Va{i % windows * kBlock2MBytes + i * kPageBytes}, Pa{i * kPageBytes}});
            }
            return batch;
        };
        const auto vas_of = [](const std::vector<PageMapping>& batch) {
            std::vector<Va> vas;
            vas.reserve(batch.size());
            for (const PageMapping& page : batch) {
                vas.push_back(page.va);
            }
            return vas;
        };
        const std::vector<PageMapping> three = batch_of(3);
        REQUIRE(table.map_pages(three, kData));
        REQUIRE(table.unmap_pages(vas_of(three)));
        CHECK(table.kept() == 3);
        CHECK(table.validate());
        // What is refused has filled none of them.
        std::vector<PageMapping> twice = three;
        twice.push_back(three.front());
        CHECK(error_of(table.map_pages(twice, kData)).code == Code::kAlreadyMapped);
        CHECK(table.kept() == 3);
        CHECK(table.validate());
        std::vector<Va> missing = {Va{0}};
        CHECK(error_of(table.unmap_pages(missing)).code == Code::kNotMapped);
        CHECK(table.kept() == 3);

        const std::vector<PageMapping> four = batch_of(4);
        REQUIRE(table.map_pages(four, kData));
        CHECK(table.kept() == 0);
        CHECK(table.validate());
        REQUIRE(table.unmap_pages(vas_of(four)));
        CHECK(table.kept() == 0);
        CHECK(table.table_count() == 1);
        CHECK(table.validate());
        CHECK(arena.is_visible());
        table.settle();
    });
}

TEST_CASE("kept tables move with the page table, and are given back with it") {
    on_every_memory([](TableArena& arena) {
        PageTable first = make_page_table(arena, keeping(8));
        REQUIRE(first.map(pages(0x1000, 1), Pa{0}, kData));
        REQUIRE(first.unmap(pages(0x1000, 1)));
        const PageTable second = std::move(first);
        CHECK(second.kept() == 1);
        CHECK(second.validate());
    });
}

}  // namespace
}  // namespace granule::mali
