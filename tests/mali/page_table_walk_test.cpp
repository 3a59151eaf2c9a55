// Reading the page table: walk and visit, and readers on other threads.
#include <doctest/doctest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <thread>
#include <vector>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/page_table.hpp"
#include "mali/result.hpp"
#include "tests/support/page_table_fixture.hpp"
#include "tests/support/table_arena.hpp"

namespace granule::mali {
namespace {

using test::blocks;
using test::giants;
using test::kData;
using test::kMali4K2M1G;
using test::kReadOnly;
using test::make_page_table;
using test::pages;
using test::TableArena;

TEST_CASE("walk says how far a hole reaches") {
    TableArena arena;
    PageTable table = make_page_table(arena);
    REQUIRE(table.map(pages(0x20'3000, 1), Pa{0}, kData));
    const auto hole = [&](std::uint64_t va, std::uint64_t start, std::uint64_t span, unsigned level) {
        const Walk walk = table.walk(Va{va});
        CHECK_FALSE(walk.mapped);
        CHECK(walk.leaf_start == Va{start});
        CHECK(walk.span == span);
        CHECK(walk.level == level);
        CHECK(walk.descriptor == 0);
    };
    hole(0x20'4123, 0x20'4000, kPageBytes, 3);
    hole(0x40'4123, 0x40'0000, kBlock2MBytes, 2);
    hole(kBlock1GBytes + 5, kBlock1GBytes, kBlock1GBytes, 1);
    hole((std::uint64_t{3} << 39) + 5, std::uint64_t{3} << 39, std::uint64_t{1} << 39, 0);
    hole(kMaxVaEnd, kMaxVaEnd, 0, 0);
    hole(UINT64_MAX, UINT64_MAX, 0, 0);
}

TEST_CASE("visit gives maximal runs, whole, in order") {
    TableArena arena(2048);
    PageTable table = make_page_table(arena, kMali4K2M1G);
    REQUIRE(table.map(pages(0x1fd000, 3), Pa{0x10'0000}, kData));
    REQUIRE(table.map(pages(0x200000, 2), Pa{0x10'3000}, kData));      // next table: a run of its own
    REQUIRE(table.map(pages(0x202000, 1), Pa{0x10'5000}, kReadOnly));  // other attributes
    REQUIRE(table.map(pages(0x203000, 1), Pa{0x20'0000}, kReadOnly));  // not contiguous
    REQUIRE(table.map(blocks(0x40'0000, 2), Pa{0x40'0000}, kData));
    REQUIRE(table.map(giants(kBlock1GBytes, 1), Pa{0}, kData));
    std::vector<VisitedRun> seen;
    const auto collect = [&seen](const VisitedRun& run) { seen.push_back(run); };
    const auto check = [&seen](std::initializer_list<VisitedRun> expected) {
        REQUIRE(seen.size() == expected.size());
        std::size_t i = 0;
        for (const VisitedRun& run : expected) {
            CAPTURE(i);
            CHECK(seen[i].leaves == run.leaves);
            CHECK(seen[i].pa == run.pa);
            CHECK(seen[i].attributes == run.attributes);
            ++i;
        }
        seen.clear();
    };
    table.visit({Va{0}, Va{kMaxVaEnd}}, collect);
    check({{pages(0x1fd000, 3), Pa{0x10'0000}, kData},
           {pages(0x200000, 2), Pa{0x10'3000}, kData},
           {pages(0x202000, 1), Pa{0x10'5000}, kReadOnly},
           {pages(0x203000, 1), Pa{0x20'0000}, kReadOnly},
           {blocks(0x40'0000, 2), Pa{0x40'0000}, kData},
           {giants(kBlock1GBytes, 1), Pa{0}, kData}});
    table.visit({Va{0x1fe800}, Va{0x200001}}, collect);
    check({{pages(0x1fe000, 2), Pa{0x10'1000}, kData}, {pages(0x200000, 1), Pa{0x10'3000}, kData}});
    table.visit({Va{0x7f'ffff}, Va{kBlock1GBytes + 1}}, collect);
    check({{blocks(0x60'0000, 1), Pa{0x60'0000}, kData}, {giants(kBlock1GBytes, 1), Pa{0}, kData}});
    table.visit({Va{0x204000}, Va{0x400000}}, collect);
    check({});
    table.visit({Va{0x1fd000}, Va{0x1fd000}}, collect);
    check({});
    // A const visitor, and one that is a temporary.
    std::size_t count = 0;
    const auto counter = [&count](const VisitedRun&) { ++count; };
    table.visit({Va{0}, Va{kMaxVaEnd}}, counter);
    table.visit({Va{0}, Va{kMaxVaEnd}}, [&count](const VisitedRun&) { ++count; });
    CHECK(count == 12);
}

TEST_CASE("walks on another thread see every entry whole while the page table is written") {
    TableArena arena;
    PageTable table = make_page_table(arena);
    // Keep the tables in place: what changes is their entries.
    REQUIRE(table.map(pages(0x3f'f000, 1), Pa{0xff000}, kData));
    REQUIRE(table.map(pages(0x5f'f000, 1), Pa{0xff000}, kData));
    // Two generations of the same pages, whose address and attributes belong together.
    const auto generation = [](int round) { return round % 2 == 0 ? 0x1000'0000U : 0x2000'0000U; };
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> torn{0};
    std::thread walker([&] {
        for (std::uint64_t i = 0; !stop.load(std::memory_order_relaxed); ++i) {
            const std::uint64_t page = i * 7919 % 1024;
            const Walk walk = table.walk(Va{0x20'0000 + page * kPageBytes});
            if (!walk.mapped || page % 512 == 511) {
                continue;
            }
            const bool even = walk.attributes == kData && walk.pa == Pa{generation(0) + page * kPageBytes};
            const bool odd = walk.attributes == kReadOnly && walk.pa == Pa{generation(1) + page * kPageBytes};
            torn += even || odd ? 0 : 1;
        }
    });
    bool done = true;
    for (int round = 0; round < 300; ++round) {
        const Pa pa{generation(round)};
        const LeafAttributes& attributes = round % 2 == 0 ? kData : kReadOnly;
        done = done && table.map(pages(0x20'0000, 511), pa, attributes);
        done = done && table.map(pages(0x40'0000, 511), pa + kBlock2MBytes, attributes);
        done = done && table.unmap(pages(0x20'0000, 511));
        done = done && table.unmap(pages(0x40'0000, 511));
    }
    stop = true;
    walker.join();
    CHECK(done);
    CHECK(torn == 0);
}

TEST_CASE("walks on another thread see a page that is replaced as it was or as it is, and never a hole") {
    TableArena arena(1024, Pa{0x8000'6000}, TableArena::Contents::kWindow);
    PageTable table = make_page_table(arena);
    const auto generation = [](int round) { return round % 2 == 0 ? 0x1000'0000U : 0x2000'0000U; };
    REQUIRE(table.map(pages(0x20'0000, 64), Pa{generation(0)}, kData));
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> wrong{0};
    std::thread walker([&] {
        for (std::uint64_t i = 0; !stop.load(std::memory_order_relaxed); ++i) {
            const std::uint64_t page = i * 7919 % 64;
            const Walk walk = table.walk(Va{0x20'0000 + page * kPageBytes});
            const bool even = walk.attributes == kData && walk.pa == Pa{generation(0) + page * kPageBytes};
            const bool odd = walk.attributes == kReadOnly && walk.pa == Pa{generation(1) + page * kPageBytes};
            wrong += walk.mapped && (even || odd) ? 0 : 1;
        }
    });
    bool done = true;
    for (int round = 0; round < 3000; ++round) {
        done = done &&
               table.replace_pages(pages(0x20'0000, 64), Pa{generation(round)}, round % 2 == 0 ? kData : kReadOnly);
    }
    stop = true;
    walker.join();
    CHECK(done);
    CHECK(wrong == 0);
}

TEST_CASE("walks on another thread see whole pages of a batch, and nothing of one that is refused") {
    TableArena arena(1024, Pa{0x8000'6000}, TableArena::Contents::kWindow);
    PageTable table = make_page_table(arena);
    // Keeps its table in place, and the ones above; tables of the other windows come and go, and no walk goes there.
    REQUIRE(table.map(pages(0x3f'f000, 1), Pa{0xff000}, kData));
    std::vector<PageMapping> batch;
    std::vector<PageMapping> refused;
    std::vector<Va> vas;
    for (std::uint64_t i = 0; i < 300; ++i) {
        const Va va{0x20'0000 + i * 7919 % 511 * kPageBytes};
        vas.push_back(va);
        batch.push_back({va, Pa{va.raw() + kBlock1GBytes}});
        refused.push_back({va, Pa{va.raw() + 2 * kBlock1GBytes}});
        refused.push_back({Va{(i + 4) * kBlock2MBytes}, Pa{0}});
    }
    refused.push_back({Va{0x3f'f000}, Pa{0}});
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> wrong{0};
    std::thread walker([&] {
        for (std::uint64_t i = 0; !stop.load(std::memory_order_relaxed); ++i) {
            const Va va{0x20'0000 + i * 31 % 511 * kPageBytes};
            const Translated seen = table.translate(va);
            wrong += !seen.mapped() || seen == Translated{Pa{va.raw() + kBlock1GBytes}, kPageBytes} ? 0 : 1;
            // What a refused batch adds for a while is no table to a walker.
            wrong += table.translate(Va{(i % 300 + 4) * kBlock2MBytes}).mapped() ? 1 : 0;
        }
    });
    bool right = true;
    for (int round = 0; round < 200; ++round) {
        const Result<void, TableError> result = table.map_pages(refused, kData);
        right = right && !result && result.error().at == Va{0x3f'f000};
        right = right && table.map_pages(batch, kData);
        right = right && table.unmap_pages(vas);
    }
    stop = true;
    walker.join();
    CHECK(right);
    CHECK(wrong == 0);
    CHECK(table.validate());
}

}  // namespace
}  // namespace granule::mali
