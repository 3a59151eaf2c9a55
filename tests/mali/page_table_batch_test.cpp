// Batches: map_pages and unmap_pages do what single maps and unmaps do, one after the other, or nothing. And map_segments:
// one run of VA over pieces of PA. page_table_random_test.cpp has them among everything else.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/descriptor.hpp"
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
using test::kReadOnly;
using test::LeafOracle;
using test::make_page_table;
using test::pages;
using test::TableArena;
using Code = TableError::Code;
using Contents = TableArena::Contents;

// Runs `test(config, contents)` with the fast paths on and off, over every kind of memory.
template <class Test>
void for_each_kind(Test test) {
    for (const bool fast : {true, false}) {
        for (const Contents contents : {Contents::kZeros, Contents::kStale, Contents::kWindow, Contents::kCoherent}) {
            for (const Format format : {Format::kMaliLpae, Format::kAarch64_4k}) {
                CAPTURE(fast);
                CAPTURE(static_cast<int>(contents));
                CAPTURE(static_cast<int>(format));
                const unsigned va_bits = format == Format::kMaliLpae ? 48 : 39;
                test(PageTableConfig{format, va_bits, 40, kLeaves4K2M1G, !fast, fast}, contents);
            }
        }
    }
}

constexpr Pa kFirst{0x8000'6000};

struct Before {
    std::vector<std::uint64_t> words;
    std::uint64_t in_use = 0;
    std::uint64_t reserved = 0;
    std::uint64_t held = 0;
    bool operator==(const Before&) const = default;
};

[[nodiscard]] Before all_of(const TableArena& arena, const PageTable& table) {
    return {arena.snapshot(), arena.in_use(), arena.reserved(), table.held()};
}

TEST_CASE("a batch of pages all over the space maps, translates and unmaps") {
    for_each_kind([](const PageTableConfig& config, Contents contents) {
        TableArena arena(4096, kFirst, contents);
        {
            PageTable table = make_page_table(arena, config);
            LeafOracle oracle(config);
            std::mt19937_64 random(3);
            std::vector<PageMapping> batch;
            std::vector<Va> vas;
            for (std::uint64_t i = 0; i < 1000; ++i) {
                // Eight to a table, tables apart and together.
                const std::uint64_t window = random() % 125 * (i % 3 == 0 ? kBlock1GBytes : kBlock2MBytes);
                const Va va{(window + i % 512 * kPageBytes) % (std::uint64_t{1} << config.va_bits)};
                if (oracle.map({va, LeafSize::k4K, 1}, Pa{i * kPageBytes}, kReadOnly)) {
                    continue;
                }
                batch.push_back({va, Pa{i * kPageBytes}});
                vas.push_back(va);
            }
            REQUIRE(table.map_pages(batch, kReadOnly));
            CHECK(difference(table, oracle, arena) == "");
            for (const PageMapping& page : batch) {
                if (table.translate(page.va + 0x123) != Translated{page.pa + 0x123, kPageBytes}) {
                    FAIL("translation of ", page.va.raw());
                }
            }
            // Half of them: tables stay.
            REQUIRE(table.unmap_pages(std::span(vas).first(vas.size() / 2)));
            for (const Va va : std::span(vas).first(vas.size() / 2)) {
                REQUIRE_FALSE(oracle.unmap({va, LeafSize::k4K, 1}));
            }
            CHECK(difference(table, oracle, arena) == "");
            REQUIRE(table.unmap_pages(std::span(vas).subspan(vas.size() / 2)));
            CHECK(table.table_count() == 1);
            CHECK(table.leaf_counts() == LeafCounts{});
            CHECK(table.validate());
            CHECK(arena.is_visible());
            // Again, out of what the first time has left behind.
            arena.refuse_all_reserves(true);
            REQUIRE(table.map_pages(batch, kData));
            CHECK(table.validate());
            CHECK(arena.is_visible());
            table.settle();
        }
        CHECK(arena.in_use() == 0);
        CHECK(arena.reserved() == 0);
        CHECK(arena.broken().empty());
    });
}

TEST_CASE("an empty batch, and an empty list of segments, is done at once") {
    TableArena arena(1);
    PageTable table = make_page_table(arena);
    CHECK(table.map_pages({}, kData));
    CHECK(table.unmap_pages({}));
    CHECK(table.map_segments(Va{0x1000}, LeafSize::k4K, {}, kData));
    CHECK(table.table_count() == 1);
}

TEST_CASE("a batch is refused whole, and names the first page that is wrong") {
    for_each_kind([](const PageTableConfig& config, Contents contents) {
        TableArena arena(3000, kFirst, contents);
        PageTable table = make_page_table(arena, config);
        LeafOracle oracle(config);
        const auto put = [&](const LeafRun& run) {
            REQUIRE(table.map(run, Pa{0}, kData));
            REQUIRE_FALSE(oracle.map(run, Pa{0}, kData));
        };
        put(pages(0x5000, 2));
        put(blocks(0x40'0000, 2));
        put(giants(kBlock1GBytes, 1));
        const auto refused = [&](const std::vector<PageMapping>& batch, const LeafAttributes& attributes) {
            const Before before = all_of(arena, table);
            LeafOracle after = oracle;
            LeafOracle::Answer answer;
            for (std::size_t i = 0; i < batch.size() && !answer; ++i) {
                answer = after.map({batch[i].va, LeafSize::k4K, 1}, batch[i].pa, attributes);
            }
            REQUIRE(answer);
            const Result<void, TableError> result = table.map_pages(batch, attributes);
            REQUIRE_FALSE(result);
            CHECK(result.error() == *answer);
            CHECK(all_of(arena, table) == before);
            CHECK(difference(table, oracle, arena) == "");
        };
        const std::uint64_t end = std::uint64_t{1} << config.va_bits;
        // Wherever it stands in the batch, and whatever tables those before it would have needed.
        for (const std::size_t before : {0U, 1U, 31U, 32U, 100U}) {
            CAPTURE(before);
            std::vector<PageMapping> batch;
            for (std::size_t i = 0; i < before; ++i) {
                batch.push_back({Va{(i * 7 + 2) * kBlock1GBytes % end + (i + 16) * kPageBytes}, Pa{i * kPageBytes}});
            }
            const auto with = [&](Va va, Pa pa) {
                std::vector<PageMapping> all = batch;
                all.push_back({va, pa});
                all.push_back({Va{0x9000}, Pa{0}});
                return all;
            };
            refused(with(Va{0x6000}, Pa{0}), kData);
            refused(with(Va{0x41'2000}, Pa{0}), kData);
            refused(with(Va{kBlock1GBytes + 0x3000}, Pa{0}), kData);
            refused(with(Va{0x8800}, Pa{0}), kData);
            refused(with(Va{0x8000}, Pa{0x800}), kData);
            refused(with(Va{end}, Pa{0}), kData);
            refused(with(Va{0x8000}, Pa{std::uint64_t{1} << 40}), kData);
            refused(with(Va{0x8000}, Pa{0}), {false, false, true, false, MemoryType::kCached});
            // Twice.
            refused(with(Va{0x9000}, Pa{0x1000}), kData);
            if (before != 0) {
                refused(with(batch.back().va, Pa{0x1000}), kData);
            }
        }

        const auto not_unmapped = [&](const std::vector<Va>& batch) {
            const Before before = all_of(arena, table);
            LeafOracle after = oracle;
            LeafOracle::Answer answer;
            for (std::size_t i = 0; i < batch.size() && !answer; ++i) {
                answer = after.unmap({batch[i], LeafSize::k4K, 1});
            }
            REQUIRE(answer);
            const Result<void, TableError> result = table.unmap_pages(batch);
            REQUIRE_FALSE(result);
            CHECK(result.error() == *answer);
            CHECK(all_of(arena, table) == before);
            CHECK(difference(table, oracle, arena) == "");
        };
        for (const std::uint64_t wrong :
             {std::uint64_t{0x7000}, std::uint64_t{0x20'0000}, std::uint64_t{0x41'2000}, kBlock1GBytes + 0x3000,
              5 * kBlock1GBytes, std::uint64_t{0x5800}, end, std::uint64_t{0x5000}}) {
            CAPTURE(wrong);
            not_unmapped({Va{0x5000}, Va{0x6000}, Va{wrong}});
        }
        CHECK(table.unmap_pages(std::vector<Va>{Va{0x6000}, Va{0x5000}}));
        CHECK(table.validate());
        CHECK(arena.broken().empty());
    });
}

TEST_CASE("P3: a batch that runs out of memory, at whichever table, has changed nothing") {
    for_each_kind([](const PageTableConfig& config, Contents contents) {
        for (const bool emptied : {false, true}) {
            bool refused = true;
            for (std::uint64_t k = 0; refused; ++k) {
                CAPTURE(k);
                CAPTURE(emptied);
                TableArena arena(64, kFirst, contents);
                PageTable table = make_page_table(arena, config);
                LeafOracle oracle(config);
                // A block with its credit, and tables that were emptied in this transaction: both are among what the
                // batch takes first, and both are back afterwards.
                REQUIRE(table.map(blocks(0x40'0000, 1), Pa{0}, kData));
                REQUIRE_FALSE(oracle.map(blocks(0x40'0000, 1), Pa{0}, kData));
                if (emptied) {
                    REQUIRE(table.map(pages(5 * kBlock1GBytes, 1024), Pa{0}, kData));
                    REQUIRE(table.unmap(pages(5 * kBlock1GBytes, 1024)));
                }
                std::vector<PageMapping> batch;
                for (std::uint64_t i = 0; i < 12; ++i) {
                    batch.push_back({Va{(i % 6) * kBlock1GBytes + (i + 4) * kBlock2MBytes}, Pa{i * kPageBytes}});
                }
                const Before before = all_of(arena, table);
                arena.refuse_reserve(k);
                const Result<void, TableError> result = table.map_pages(batch, kData);
                refused = !result;
                if (refused) {
                    CHECK(result.error().code == Code::kOutOfTableMemory);
                    CHECK(result.error().needed > 0);
                    CHECK(all_of(arena, table) == before);
                    CHECK(difference(table, oracle, arena) == "");
                    REQUIRE(table.map_pages(batch, kData));
                }
                for (const PageMapping& page : batch) {
                    REQUIRE_FALSE(oracle.map({page.va, LeafSize::k4K, 1}, page.pa, kData));
                }
                CHECK(difference(table, oracle, arena) == "");
                CHECK(k < 40);
            }
        }
    });
}

TEST_CASE("what a batch has only claimed, no walker follows") {
    // The last page of the batch is wrong: the tables for the others were there for a while, and nobody has seen them.
    TableArena arena(64);
    PageTable table = make_page_table(arena);
    arena.start_log();
    CHECK_FALSE(table.map_pages(std::vector<PageMapping>{{Va{0x1000}, Pa{0}}, {Va{0x1800}, Pa{0}}}, kData));
    CHECK(arena.log().empty());
    // And those of a batch that is done are complete before they are reachable, from the bottom up.
    REQUIRE(table.map_pages(std::vector<PageMapping>{{Va{0x1000}, Pa{0}}, {Va{0x3000}, Pa{0x1000}}}, kData));
    REQUIRE(arena.log().size() == 4);
    CHECK(arena.log()[0] == TableArena::Visible{Pa{0x8000'9000}, 512});
    CHECK(arena.log()[1] == TableArena::Visible{Pa{0x8000'8000}, 512});
    CHECK(arena.log()[2] == TableArena::Visible{Pa{0x8000'7000}, 512});
    CHECK(arena.log()[3] == TableArena::Visible{Pa{0x8000'6000}, 1});
    CHECK(arena.is_visible());
}

TEST_CASE("a batch may be given the page at PA 0 for a table") {
    for_each_kind([](const PageTableConfig& config, Contents contents) {
        TableArena arena(16, Pa{0}, contents);
        std::optional<PageTable> first = make_page_table(arena, config);
        PageTable table = make_page_table(arena, config);
        REQUIRE(first->root() == Pa{0});
        first.reset();
        LeafOracle oracle(config);
        const std::vector<PageMapping> batch = {{Va{0x1000}, Pa{0x5000}}, {Va{0x3000}, Pa{0x6000}}};
        // Taken in by the one that is refused, too.
        REQUIRE_FALSE(table.map_pages(std::vector<PageMapping>{batch[0], batch[0]}, kData));
        CHECK(difference(table, oracle, arena) == "");
        REQUIRE(table.map_pages(batch, kData));
        for (const PageMapping& page : batch) {
            REQUIRE_FALSE(oracle.map({page.va, LeafSize::k4K, 1}, page.pa, kData));
        }
        CHECK(difference(table, oracle, arena) == "");
    });
}

TEST_CASE("segments are mapped one behind the other, whatever tables they cross") {
    for_each_kind([](const PageTableConfig& config, Contents contents) {
        TableArena arena(64, kFirst, contents);
        PageTable table = make_page_table(arena, config);
        LeafOracle oracle(config);
        const std::vector<PaSegment> list = {
            {Pa{0x10'0000}, 3 * kPageBytes}, {Pa{0x7000}, kPageBytes}, {Pa{0x4000'0000}, 1100 * kPageBytes}};
        const Va start{0x1f'e000};
        REQUIRE(table.map_segments(start, LeafSize::k4K, list, kReadOnly));
        Va at = start;
        for (const PaSegment& segment : list) {
            REQUIRE_FALSE(oracle.map({at, LeafSize::k4K, segment.bytes / kPageBytes}, segment.pa, kReadOnly));
            at = at + segment.bytes;
        }
        CHECK(difference(table, oracle, arena) == "");
        REQUIRE(table.unmap(pages(start.raw(), 1104)));
        CHECK(table.table_count() == 1);
        CHECK(arena.broken().empty());
    });
}

TEST_CASE("a list of segments is refused whole, in its own words") {
    TableArena arena;
    PageTable table = make_page_table(arena, {Format::kMaliLpae, 40, 36, kLeaves4K2M, true});
    REQUIRE(table.map(pages(0x8000, 1), Pa{0}, kData));
    const std::uint64_t end = std::uint64_t{1} << 40;
    const auto refused = [&](std::uint64_t start, LeafSize size, const std::vector<PaSegment>& list, Code code,
                             std::uint64_t at) {
        const Before before = all_of(arena, table);
        const Result<void, TableError> result = table.map_segments(Va{start}, size, list, kData);
        REQUIRE_FALSE(result);
        CHECK(result.error() == TableError{code, Va{at}, size, 0});
        CHECK(all_of(arena, table) == before);
        CHECK(table.validate());
    };
    const PaSegment page{Pa{0x1000}, kPageBytes};
    refused(0x1000, LeafSize::k4K, {page, {Pa{0}, 0}}, Code::kEmpty, 0x2000);
    refused(0x1000, LeafSize::k4K, {page, {Pa{0}, 0x1800}}, Code::kMisaligned, 0x2000);
    refused(0x1000, LeafSize::k4K, {page, {Pa{0x800}, 0x1000}}, Code::kMisaligned, 0x2000);
    refused(0x1800, LeafSize::k4K, {page}, Code::kMisaligned, 0x1800);
    refused(0x1000, LeafSize::k4K, {page, {Pa{std::uint64_t{1} << 36}, 0x1000}}, Code::kOutOfRange, 0x2000);
    refused(end - 0x1000, LeafSize::k4K, {page, page}, Code::kOutOfRange, end);
    refused(0x1000, LeafSize::k4K, {page, {Pa{0}, ~std::uint64_t{0xfff}}}, Code::kOutOfRange, 0x2000);
    refused(0, LeafSize::k1G, {{Pa{0}, kBlock1GBytes}}, Code::kBadLeafSize, 0);
    refused(0x7000, LeafSize::k4K, {page, page}, Code::kAlreadyMapped, 0x8000);
    // What is wrong with the list comes first.
    refused(0x7000, LeafSize::k4K, {page, page, {Pa{0}, 0}}, Code::kEmpty, 0x9000);
    const Result<void, TableError> covered =
        table.map_segments(Va{0}, LeafSize::k2M, std::vector<PaSegment>{{Pa{0}, kBlock2MBytes}}, kData);
    REQUIRE_FALSE(covered);
    CHECK(covered.error() == TableError{Code::kTableInTheWay, Va{0x8000}, LeafSize::k4K, 0});
}

}  // namespace
}  // namespace granule::mali
