// replace_pages: an unmap and a map in one, of up to 64 pages in one part of 256 KiB. page_table_random_test.cpp has it among
// everything else.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/descriptor.hpp"
#include "mali/page_table.hpp"
#include "tests/support/leaf_oracle.hpp"
#include "tests/support/page_table_check.hpp"
#include "tests/support/page_table_fixture.hpp"
#include "tests/support/table_arena.hpp"

namespace granule::mali {
namespace {

using test::kData;
using test::kReadOnly;
using test::LeafOracle;
using test::pages;
using test::TableArena;
using Contents = TableArena::Contents;
using Visible = TableArena::Visible;

constexpr Pa kFirst{0x8000'6000};
constexpr std::uint64_t kWindow = 5 * kBlock2MBytes;
constexpr Pa kPa{0x40'0000};

void replace_in(LeafOracle& oracle, const LeafRun& run, Pa pa, const LeafAttributes& attributes) {
    for (std::uint64_t i = 0; i < run.count; ++i) {
        const Va page = run.start + i * kPageBytes;
        if (oracle.find(page) != oracle.leaves().end()) {
            REQUIRE_FALSE(oracle.unmap({page, LeafSize::k4K, 1}));
        }
    }
    REQUIRE_FALSE(oracle.map(run, pa, attributes));
}

// Pages 60 to 67 of a window, every other, all, or any of them mapped; and each run of them, of which those over page 64 are
// in two parts.
TEST_CASE("pages are replaced whatever was there: pages, holes, or both") {
    constexpr std::uint64_t kBefore = kWindow + 60 * kPageBytes;
    constexpr unsigned kPages = 8;
    for (const Contents contents : {Contents::kWindow, Contents::kCoherent}) {
        TableArena arena(16, kFirst, contents);
        for (unsigned mapped = 0; mapped < 1U << kPages; ++mapped) {
            for (unsigned first = 0; first < kPages; ++first) {
                for (unsigned count = 1; first + count <= kPages; ++count) {
                    const PageTableConfig config;
                    PageTable table = test::make_page_table(arena, config);
                    LeafOracle oracle(config);
                    const auto map = [&](std::uint64_t va, Pa pa) {
                        REQUIRE(table.map(pages(va, 1), pa, kReadOnly));
                        REQUIRE_FALSE(oracle.map(pages(va, 1), pa, kReadOnly));
                    };
                    map(kWindow, Pa{0x1000});  // there is a table
                    for (unsigned page = 0; page < kPages; ++page) {
                        if ((mapped >> page & 1U) != 0) {
                            map(kBefore + page * kPageBytes, Pa{0x70'0000} + page * kPageBytes);
                        }
                    }
                    const LeafRun run = pages(kBefore + first * kPageBytes, count);
                    const bool in_one_part = first >= 4 || first + count <= 4;
                    if (in_one_part) {
                        replace_in(oracle, run, kPa, kData);
                    }
                    arena.refuse_all_reserves(true);
                    const bool done = table.replace_pages(run, kPa, kData);
                    arena.refuse_all_reserves(false);
                    const std::string wrong = test::difference(table, oracle, arena);
                    if (done != in_one_part || !wrong.empty()) {
                        FAIL(wrong, ", replaced: ", done, ", mapped ", mapped, ", run ", first, " + ", count);
                    }
                }
            }
        }
    }
}

TEST_CASE("what was written is made visible once, and nothing else") {
    TableArena arena(16, kFirst, Contents::kWindow);
    PageTable table = test::make_page_table(arena);
    REQUIRE(table.map(pages(kWindow, 32), Pa{0x10'0000}, kData));
    arena.start_log();
    REQUIRE(table.replace_pages(pages(kWindow + 16 * kPageBytes, 16), Pa{0x20'0000}, kReadOnly));
    REQUIRE(arena.log().size() == 1);
    CHECK(arena.log().front().count == 16);
    CHECK(arena.log().front().first.raw() % kPageBytes == 16 * sizeof(std::uint64_t));
    CHECK(table.leaf_counts().pages_4k == 32);
}

TEST_CASE("a kept table is one to replace holes in, and is not kept any more") {
    TableArena arena(16, kFirst, Contents::kWindow);
    PageTableConfig config;
    config.kept_tables = 4;
    PageTable table = test::make_page_table(arena, config);
    REQUIRE(table.map(pages(kWindow, 2), Pa{0x10'0000}, kData));
    REQUIRE(table.unmap(pages(kWindow, 2)));
    REQUIRE(table.kept() == 1);
    CHECK(table.replace_pages(pages(kWindow + kPageBytes, 2), Pa{0x20'0000}, kData));
    CHECK(table.kept() == 0);
    LeafOracle oracle(config);
    REQUIRE_FALSE(oracle.map(pages(kWindow + kPageBytes, 2), Pa{0x20'0000}, kData));
    CHECK(test::difference(table, oracle, arena).empty());
}

TEST_CASE("what it is not for is left as it was") {
    struct Other {
        const char* what;
        LeafRun run;
        Pa pa = kPa;
        LeafAttributes attributes = kData;
    };
    const std::vector<Other> others = {
        {"no table at all", pages(0x1234'5678'9000, 1)},
        {"no table of pages", pages(kWindow + kBlock2MBytes, 1)},
        {"a block", pages(kWindow + 2 * kBlock2MBytes + 0x3000, 4)},
        {"over the end of a part", pages(kWindow + 0x3f000, 2)},
        {"more than a part", pages(kWindow, 65)},
        {"no pages", pages(kWindow, 0)},
        {"more pages than there are numbers", pages(kWindow, UINT64_MAX)},
        {"no page of VA", pages(kWindow + 0x800, 1)},
        {"outside of the space", pages(std::uint64_t{1} << 48U, 1)},
        {"the last VA that there is", pages(UINT64_MAX - 0xfff, 1)},
        {"blocks", test::blocks(kWindow, 1)},
        {"no page of PA", pages(kWindow, 1), Pa{0x40'0800}},
        {"over the end of the PAs", pages(kWindow, 2), Pa{(std::uint64_t{1} << 40U) - kPageBytes}},
        {"no PA", pages(kWindow, 1), Pa{std::uint64_t{1} << 40U}},
        {"neither read nor write", pages(kWindow, 1), kPa, {false, false, false, false, MemoryType::kCached}},
    };
    for (const bool fast : {true, false}) {
        for (const Contents contents : {Contents::kWindow, Contents::kCoherent, Contents::kZeros}) {
            TableArena arena(64, kFirst, contents);
            PageTableConfig config;
            config.fast_paths = fast;
            PageTable table = test::make_page_table(arena, config);
            REQUIRE(table.map(pages(kWindow, 100), Pa{0x10'0000}, kData));
            REQUIRE(table.map(test::blocks(kWindow + 2 * kBlock2MBytes, 1), Pa{0x20'0000}, kData));
            const std::vector<std::uint64_t> before = arena.snapshot();
            const LeafCounts counts = table.leaf_counts();
            for (const Other& other : others) {
                CAPTURE(other.what);
                CHECK_FALSE(table.replace_pages(other.run, other.pa, other.attributes));
                CHECK(arena.snapshot() == before);
                CHECK(table.leaf_counts() == counts);
            }
            // Only with the fast paths, and where tables are found without asking for them.
            CHECK(table.replace_pages(pages(kWindow, 1), kPa, kData) == (fast && contents != Contents::kZeros));
            CHECK(table.validate());
        }
    }
}

}  // namespace
}  // namespace granule::mali
