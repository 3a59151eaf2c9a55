// The page table by example: what each operation does, what it refuses, and what it says then. The situations are those
// of Linux's io-pgtable self-tests and of its generic_pt tests; where io-pgtable drops, cuts or stops half-way, the
// answer here is a refusal that has changed nothing.
#include "mali/page_table.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/descriptor.hpp"
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
using Code = TableError::Code;

// Runs `test` for every format, set of leaf sizes and width of the space that matters, the fast paths on and off.
template <class Test>
void for_each_config(Test test) {
    for (const Format format : {Format::kMaliLpae, Format::kAarch64_4k}) {
        for (const LeafSizes sizes : {kLeaves4K, kLeaves4K2M, kLeaves4K2M1G}) {
            for (const unsigned va_bits : {32U, 33U, 36U, 39U, 40U, 42U, 44U, 48U}) {
                for (const bool coherent : {false, true}) {
                    for (const bool fast : {false, true}) {
                        CAPTURE(static_cast<int>(format));
                        CAPTURE(sizes);
                        CAPTURE(va_bits);
                        CAPTURE(coherent);
                        CAPTURE(fast);
                        test(PageTableConfig{format, va_bits, 40, sizes, coherent, fast});
                    }
                }
            }
        }
    }
}

[[nodiscard]] std::vector<LeafSize> sizes_of(const PageTableConfig& config) {
    std::vector<LeafSize> sizes;
    for (const LeafSize size : {LeafSize::k4K, LeafSize::k2M, LeafSize::k1G}) {
        if ((config.leaf_sizes & bytes_of(size)) != 0) {
            sizes.push_back(size);
        }
    }
    return sizes;
}

// Asserts that `refused` has `code` at `at`, and that not a byte and not a page has changed meanwhile.
template <class Operation>
void check_refused(TableArena& arena, PageTable& table, Operation operation, Code code, std::uint64_t at,
                   LeafSize leaf) {
    const std::vector<std::uint64_t> before = arena.snapshot();
    const std::uint64_t reserved = arena.reserved();
    const std::uint64_t in_use = arena.in_use();
    const LeafCounts leaves = table.leaf_counts();
    const Result<void, TableError> result = operation();
    REQUIRE_FALSE(result);
    CHECK(result.error() == TableError{code, Va{at}, leaf, 0});
    CHECK(arena.snapshot() == before);
    CHECK(arena.reserved() == reserved);
    CHECK(arena.in_use() == in_use);
    CHECK(table.leaf_counts() == leaves);
    CHECK(table.validate());
}

TEST_CASE("an empty page table translates nothing") {
    for_each_config([](const PageTableConfig& config) {
        TableArena arena(1);
        const PageTable table = make_page_table(arena, config);
        for (const std::uint64_t va : {std::uint64_t{42}, kBlock1GBytes + 42, 2 * kBlock1GBytes + 42}) {
            const Walk walk = table.walk(Va{va});
            CHECK_FALSE(walk.mapped);
            CHECK(walk.level == start_level(config.format, config.va_bits));
            CHECK(walk.span == span_at(walk.level));
        }
        CHECK(table.table_count() == 1);
        CHECK(table.credit() == 0);
        CHECK(table.held() == 0);
        CHECK(table.validate());
        CHECK(arena.is_visible());
    });
}

TEST_CASE("every leaf size maps, translates, unmaps and maps again") {
    for_each_config([](const PageTableConfig& config) {
        TableArena arena(2048);
        {
            PageTable table = make_page_table(arena, config);
            const std::vector<LeafSize> sizes = sizes_of(config);
            for (int round = 0; round < 2; ++round) {
                for (std::size_t k = 0; k < sizes.size(); ++k) {
                    const LeafRun run{Va{k * kBlock1GBytes}, sizes[k], 1};
                    REQUIRE(table.map(run, Pa{k * kBlock1GBytes}, kData));
                    const Walk walk = table.walk(run.start + 42);
                    REQUIRE(walk.mapped);
                    CHECK(walk.pa == Pa{run.start.raw() + 42});
                    CHECK(walk.leaf == sizes[k]);
                    CHECK(walk.leaf_start == run.start);
                    CHECK(walk.span == bytes_of(sizes[k]));
                    CHECK(walk.attributes == expressible(config.format, kData));
                    CHECK(table.walk(run.start + (bytes_of(sizes[k]) - 1)).mapped);
                    CHECK_FALSE(table.walk(run.start + bytes_of(sizes[k])).mapped);
                }
                CHECK(arena.is_visible());
                CHECK(table.validate());
                for (std::size_t k = 0; k < sizes.size(); ++k) {
                    REQUIRE(table.unmap({Va{k * kBlock1GBytes}, sizes[k], 1}));
                    CHECK_FALSE(table.walk(Va{k * kBlock1GBytes + 42}).mapped);
                }
                CHECK(table.table_count() == 1);
                CHECK(arena.is_visible());
                CHECK(table.validate());
            }
        }
        CHECK(arena.in_use() == 0);
        CHECK(arena.reserved() == 0);
        CHECK(arena.broken().empty());
    });
}

TEST_CASE("the last leaf of the space maps, and nothing past it") {
    for_each_config([](const PageTableConfig& config) {
        TableArena arena(1024);
        PageTable table = make_page_table(arena, config);
        const std::uint64_t end = std::uint64_t{1} << config.va_bits;
        for (const LeafSize size : sizes_of(config)) {
            CAPTURE(bytes_of(size));
            const std::uint64_t bytes = bytes_of(size);
            const LeafRun last{Va{end - bytes}, size, 1};
            REQUIRE(table.map(last, Pa{(std::uint64_t{1} << 40) - bytes}, kData));
            CHECK(table.walk(Va{end - 1}).pa == Pa{(std::uint64_t{1} << 40) - 1});
            CHECK_FALSE(table.walk(Va{end}).mapped);
            CHECK(table.walk(Va{end}).span == 0);
            CHECK(table.validate());
            REQUIRE(table.unmap(last));
            table.settle();
            const LeafRun past{Va{end}, size, 1};
            check_refused(
                arena, table, [&] { return table.map(past, Pa{0}, kData); }, Code::kOutOfRange, end, size);
            const LeafRun over{Va{end - bytes}, size, 2};
            check_refused(
                arena, table, [&] { return table.map(over, Pa{0}, kData); }, Code::kOutOfRange, end - bytes, size);
            check_refused(
                arena, table, [&] { return table.unmap(over); }, Code::kOutOfRange, end - bytes, size);
        }
        CHECK(arena.broken().empty());
    });
}

TEST_CASE("the whole of a 32-bit space maps as one run") {
    TableArena arena(4096);
    PageTable table = make_page_table(arena, {Format::kMaliLpae, 32, 40, kLeaves4K2M, true});
    REQUIRE(table.map(blocks(0, 2048), Pa{0}, kData));
    CHECK(table.leaf_counts() == LeafCounts{0, 2048, 0});
    CHECK(table.table_count() == 6);
    CHECK(table.credit() == 2048);
    CHECK(table.walk(Va{0xffff'ffff}).pa == Pa{0xffff'ffff});
    CHECK(table.validate());
    REQUIRE(table.unmap(blocks(0, 2048)));
    CHECK(table.table_count() == 1);
    CHECK(table.validate());
}

TEST_CASE("a run crosses tables in one call") {
    TableArena arena;
    PageTable table = make_page_table(arena);
    REQUIRE(table.map(pages(0x1fd000, 10), Pa{0x4000'0000}, kData));
    for (std::uint64_t i = 0; i < 10; ++i) {
        CHECK(table.walk(Va{0x1fd000 + i * kPageBytes}).pa == Pa{0x4000'0000 + i * kPageBytes});
    }
    CHECK_FALSE(table.walk(Va{0x1fc000}).mapped);
    CHECK_FALSE(table.walk(Va{0x207000}).mapped);
    CHECK(table.table_count() == 5);
    REQUIRE(table.unmap(pages(0x1fd000, 10)));
    CHECK(table.table_count() == 1);
}

TEST_CASE("map refuses a leaf that is there, whole, and names it") {
    PageTableConfig config = kMali4K2M1G;
    SUBCASE("fast paths") {}
    SUBCASE("plain") {
        config.fast_paths = false;
    }
    TableArena arena(2048);
    PageTable table = make_page_table(arena, config);
    REQUIRE(table.map(pages(0x5000, 2), Pa{0x1000}, kData));
    REQUIRE(table.map(blocks(0x40'0000, 2), Pa{0x40'0000}, kData));
    REQUIRE(table.map(giants(kBlock1GBytes, 1), Pa{kBlock1GBytes}, kData));
    const auto refused = [&](const LeafRun& run, Code code, std::uint64_t at, LeafSize leaf) {
        check_refused(
            arena, table, [&] { return table.map(run, Pa{0}, kReadOnly); }, code, at, leaf);
    };
    refused(pages(0x5000, 1), Code::kAlreadyMapped, 0x5000, LeafSize::k4K);
    refused(pages(0, 512), Code::kAlreadyMapped, 0x5000, LeafSize::k4K);
    // The whole run is looked at before the first write: the holes in front of the leaf stay holes.
    refused(pages(0, 1025), Code::kAlreadyMapped, 0x5000, LeafSize::k4K);
    refused(pages(0x3f'f000, 2), Code::kAlreadyMapped, 0x40'0000, LeafSize::k2M);
    refused(pages(0x41'2000, 1), Code::kAlreadyMapped, 0x40'0000, LeafSize::k2M);
    refused(blocks(0x60'0000, 1), Code::kAlreadyMapped, 0x60'0000, LeafSize::k2M);
    refused(blocks(0x20'0000, 4), Code::kAlreadyMapped, 0x40'0000, LeafSize::k2M);
    refused(pages(kBlock1GBytes + 0x3000, 1), Code::kAlreadyMapped, kBlock1GBytes, LeafSize::k1G);
    refused(blocks(kBlock1GBytes + kBlock2MBytes, 1), Code::kAlreadyMapped, kBlock1GBytes, LeafSize::k1G);
    refused(giants(kBlock1GBytes, 1), Code::kAlreadyMapped, kBlock1GBytes, LeafSize::k1G);
}

TEST_CASE("a block is not put over live leaves, which the refusal names") {
    PageTableConfig config = kMali4K2M1G;
    SUBCASE("fast paths") {}
    SUBCASE("plain") {
        config.fast_paths = false;
    }
    TableArena arena(2048);
    PageTable table = make_page_table(arena, config);
    REQUIRE(table.map(pages(0x20'3000, 1), Pa{0x1000}, kData));
    const auto refused = [&](const LeafRun& run, Code code, std::uint64_t at, LeafSize leaf) {
        check_refused(
            arena, table, [&] { return table.map(run, Pa{0}, kData); }, code, at, leaf);
    };
    refused(blocks(0x20'0000, 1), Code::kTableInTheWay, 0x20'3000, LeafSize::k4K);
    refused(giants(0, 1), Code::kTableInTheWay, 0x20'3000, LeafSize::k4K);
    // io-pgtable has freed the table by the time that it meets the leaf behind it; here it is still there.
    REQUIRE(table.map(blocks(0x40'0000, 1), Pa{0x40'0000}, kData));
    refused(blocks(0x20'0000, 2), Code::kTableInTheWay, 0x20'3000, LeafSize::k4K);
    CHECK(table.walk(Va{0x20'3000}).mapped);
    REQUIRE(table.unmap(pages(0x20'3000, 1)));
    refused(giants(0, 1), Code::kTableInTheWay, 0x40'0000, LeafSize::k2M);
}

TEST_CASE("a table that became empty makes way for a block") {
    TableArena arena;
    PageTable table = make_page_table(arena);
    REQUIRE(table.map(pages(0x20'0000, 512), Pa{0x1000}, kData));
    CHECK(table.table_count() == 4);
    REQUIRE(table.unmap(pages(0x20'0000, 511)));
    CHECK(table.table_count() == 4);
    REQUIRE(table.unmap(pages(0x3f'f000, 1)));
    CHECK(table.table_count() == 1);
    REQUIRE(table.map(blocks(0x20'0000, 1), Pa{0x20'0000}, kData));
    CHECK(table.walk(Va{0x20'0000}).leaf == LeafSize::k2M);
}

TEST_CASE("P1: unmap takes leaves exactly as they were mapped, and names what does not match") {
    PageTableConfig config = kMali4K2M1G;
    SUBCASE("fast paths") {}
    SUBCASE("plain") {
        config.fast_paths = false;
    }
    TableArena arena(2048);
    PageTable table = make_page_table(arena, config);
    REQUIRE(table.map(pages(0x1000, 2), Pa{0x1000}, kData));
    REQUIRE(table.map(pages(0x4000, 1), Pa{0x1000}, kData));
    REQUIRE(table.map(blocks(0x40'0000, 2), Pa{0x40'0000}, kData));
    REQUIRE(table.map(giants(kBlock1GBytes, 1), Pa{kBlock1GBytes}, kData));
    const auto refused = [&](const LeafRun& run, Code code, std::uint64_t at, LeafSize leaf) {
        check_refused(
            arena, table, [&] { return table.unmap(run); }, code, at, leaf);
    };
    refused(pages(0x40'0000, 1), Code::kLeafWouldBeCut, 0x40'0000, LeafSize::k2M);
    refused(pages(0x60'5000, 1), Code::kLeafWouldBeCut, 0x60'0000, LeafSize::k2M);
    // Even where they add up: the leaf is a block, not 512 pages.
    refused(pages(0x40'0000, 512), Code::kLeafWouldBeCut, 0x40'0000, LeafSize::k2M);
    refused(blocks(kBlock1GBytes, 512), Code::kLeafWouldBeCut, kBlock1GBytes, LeafSize::k1G);
    refused(pages(kBlock1GBytes + 0x7000, 1), Code::kLeafWouldBeCut, kBlock1GBytes, LeafSize::k1G);
    refused(pages(0x1000, 4), Code::kNotMapped, 0x3000, LeafSize::k4K);
    refused(pages(0, 1), Code::kNotMapped, 0, LeafSize::k4K);
    refused(blocks(0x20'0000, 1), Code::kNotMapped, 0x20'0000, LeafSize::k2M);
    refused(blocks(0x40'0000, 3), Code::kNotMapped, 0x80'0000, LeafSize::k2M);
    refused(pages(5 * kBlock1GBytes, 1), Code::kNotMapped, 5 * kBlock1GBytes, LeafSize::k4K);
    refused(blocks(0, 1), Code::kSmallerLeaves, 0x1000, LeafSize::k4K);
    refused(giants(0, 2), Code::kSmallerLeaves, 0x1000, LeafSize::k4K);
    REQUIRE(table.unmap(blocks(0x60'0000, 1)));
    CHECK(table.walk(Va{0x40'0000}).mapped);
    CHECK_FALSE(table.walk(Va{0x60'0000}).mapped);
}

TEST_CASE("requests that no page table could fulfil are refused") {
    PageTableConfig config{Format::kMaliLpae, 40, 36, kLeaves4K2M, true};
    SUBCASE("fast paths") {}
    SUBCASE("plain") {
        config.fast_paths = false;
    }
    TableArena arena;
    PageTable table = make_page_table(arena, config);
    const auto refused = [&](const LeafRun& run, std::uint64_t pa, const LeafAttributes& attributes, Code code) {
        check_refused(
            arena, table, [&] { return table.map(run, Pa{pa}, attributes); }, code, run.start.raw(), run.size);
    };
    refused(giants(0, 1), 0, kData, Code::kBadLeafSize);
    refused(pages(0x1000, 0), 0, kData, Code::kEmpty);
    refused(pages(0x1800, 1), 0, kData, Code::kMisaligned);
    refused(pages(0x1000, 1), 0x800, kData, Code::kMisaligned);
    refused(blocks(0x1000, 1), 0, kData, Code::kMisaligned);
    // io-pgtable does not look: it would write the low bits of the PA into the block's descriptor.
    refused(blocks(0, 1), 0x1000, kData, Code::kMisaligned);
    refused(pages(std::uint64_t{1} << 40, 1), 0, kData, Code::kOutOfRange);
    refused(pages((std::uint64_t{1} << 40) - kPageBytes, 2), 0, kData, Code::kOutOfRange);
    refused(pages(0x1000, UINT64_MAX), 0, kData, Code::kOutOfRange);
    refused(pages(0x1000, UINT64_MAX / kPageBytes + 1), 0, kData, Code::kOutOfRange);
    refused(pages(UINT64_MAX - (kPageBytes - 1), 1), 0, kData, Code::kOutOfRange);
    refused(pages(0, 1), std::uint64_t{1} << 36, kData, Code::kOutOfRange);
    refused(pages(0, 2), (std::uint64_t{1} << 36) - kPageBytes, kData, Code::kOutOfRange);
    refused(pages(0, 1), UINT64_MAX - (kPageBytes - 1), kData, Code::kOutOfRange);
    refused(pages(0, 1), 0, LeafAttributes{false, false, true, false, MemoryType::kCached}, Code::kBadAttributes);

    const auto not_unmapped = [&](const LeafRun& run, Code code) {
        check_refused(
            arena, table, [&] { return table.unmap(run); }, code, run.start.raw(), run.size);
    };
    not_unmapped(giants(0, 1), Code::kBadLeafSize);
    not_unmapped(pages(0, 0), Code::kEmpty);
    not_unmapped(pages(0x1800, 1), Code::kMisaligned);
    not_unmapped(pages(0x1000, UINT64_MAX), Code::kOutOfRange);
    CHECK(table.map(pages(0, 1), Pa{(std::uint64_t{1} << 36) - kPageBytes}, kData));
}

TEST_CASE("configurations that the hardware does not have are refused, and take nothing") {
    TableArena arena;
    const auto refused = [&](const PageTableConfig& config) {
        const Result<PageTable, TableError> table = PageTable::create(config, arena);
        REQUIRE_FALSE(table);
        CHECK(table.error().code == Code::kBadConfig);
        CHECK(arena.reserve_calls() == 0);
    };
    refused({Format::kMaliLpae, 49, 40, kLeaves4K2M, true});
    refused({Format::kMaliLpae, 31, 40, kLeaves4K2M, true});
    refused({Format::kMaliLpae, 48, 41, kLeaves4K2M, true});
    refused({Format::kMaliLpae, 48, 31, kLeaves4K2M, true});
    refused({Format::kAarch64_4k, 48, 49, kLeaves4K2M, true});
    refused({Format::kAarch64_4k, 49, 40, kLeaves4K2M, true});
    refused({static_cast<Format>(7), 48, 40, kLeaves4K2M, true});
    refused({Format::kMaliLpae, 48, 40, kBlock2MBytes, true});
    refused({Format::kMaliLpae, 48, 40, kLeaves4K2M | (std::uint64_t{1} << 16), true});
    refused({Format::kMaliLpae, 48, 40, 0, true});
    CHECK(PageTable::create({Format::kAarch64_4k, 48, 48, kLeaves4K, false}, arena));
    CHECK(arena.in_use() == 0);
}

TEST_CASE("every error has words of its own") {
    std::vector<std::string> words;
    for (int code = 0; code <= static_cast<int>(Code::kOutOfTableMemory); ++code) {
        words.emplace_back(to_string(static_cast<Code>(code)));
        for (std::size_t other = 0; other + 1 < words.size(); ++other) {
            CHECK(words[other] != words.back());
        }
    }
    CHECK(std::string(to_string(static_cast<Code>(200))) == "unknown page-table error");
}

}  // namespace
}  // namespace granule::mali
