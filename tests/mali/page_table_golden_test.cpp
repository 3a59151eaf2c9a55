// Tables, entry by entry, as io-pgtable-arm of Linux (drivers/iommu/io-pgtable-arm.c) writes them when its tables are
// allocated one after the other. Run through the kernel's own code, these maps gave these values.
#include <doctest/doctest.h>

#include <cstdint>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/descriptor.hpp"
#include "mali/page_table.hpp"
#include "mali/result.hpp"
#include "tests/support/page_table_fixture.hpp"
#include "tests/support/table_arena.hpp"

namespace granule::mali {
namespace {

using test::blocks;
using test::giants;
using test::kData;
using test::kReadOnly;
using test::make_page_table;
using test::pages;
using test::TableArena;
using Code = TableError::Code;

TEST_CASE("tables hold what Linux writes: ARM_MALI_LPAE, 48 bits, walk not coherent") {
    PageTableConfig config{Format::kMaliLpae, 48, 40, kLeaves4K2M1G, false};
    SUBCASE("fast paths") {}
    SUBCASE("plain") {
        config.fast_paths = false;
    }
    TableArena arena(1024, Pa{0x8000'5000}, TableArena::Contents::kWindow);
    PageTable table = make_page_table(arena, config);
    const auto entry = [&arena](std::uint64_t at, unsigned index) { return arena.table_at(Pa{at}).entries[index]; };
    const auto attributes = [](bool read, bool write, bool execute, MemoryType memory) {
        return LeafAttributes{read, write, execute, false, memory};
    };
    constexpr std::uint64_t kRoot = 0x8000'5000;
    constexpr std::uint64_t kLevel2 = 0x8000'7000;
    constexpr std::uint64_t kLevel3 = 0x8000'8000;
    REQUIRE(table.root() == Pa{kRoot});
    REQUIRE(table.map(pages(0x200'0000, 1), Pa{0x1'2345'6000}, kData));
    CHECK(entry(kRoot, 0) == 0x0080'0000'8000'6003);
    CHECK(entry(0x8000'6000, 0) == 0x0080'0000'8000'7003);
    CHECK(entry(kLevel2, 16) == 0x0080'0000'8000'8003);
    CHECK(entry(kLevel3, 0) == 0x0060'0001'2345'62c5);
    REQUIRE(table.map(pages(0x200'1000, 1), Pa{0x1'2345'7000}, attributes(true, true, true, MemoryType::kCached)));
    CHECK(entry(kLevel3, 1) == 0x0000'0001'2345'72c5);
    REQUIRE(table.map(pages(0x200'2000, 1), Pa{0xff'ffff'f000}, attributes(true, false, false, MemoryType::kUncached)));
    CHECK(entry(kLevel3, 2) == 0x0060'00ff'ffff'f241);
    REQUIRE(table.map(pages(0x200'3000, 1), Pa{0x4000'0000}, attributes(false, true, true, MemoryType::kUncached)));
    CHECK(entry(kLevel3, 3) == 0x0000'0000'4000'0281);
    REQUIRE(table.map(pages(0x200'4000, 1), Pa{0x4000'1000}, attributes(true, true, false, MemoryType::kDevice)));
    CHECK(entry(kLevel3, 4) == 0x0060'0000'4000'12c9);
    REQUIRE(
        table.map(pages(0x200'5000, 1), Pa{0x4000'2000}, LeafAttributes{true, true, true, true, MemoryType::kCached}));
    CHECK(entry(kLevel3, 5) == 0x0000'0000'4000'22c5);
    REQUIRE(table.map(blocks(0x240'0000, 1), Pa{0x1'4000'0000}, kData));
    CHECK(entry(kLevel2, 18) == 0x0060'0001'4000'02c5);
    REQUIRE(table.map(blocks(0x260'0000, 1), Pa{0x1'4020'0000}, attributes(true, false, true, MemoryType::kCached)));
    CHECK(entry(kLevel2, 19) == 0x0000'0001'4020'0245);
    REQUIRE(table.map(giants(0xffff'4000'0000, 1), Pa{0x8000'0000}, attributes(true, true, true, MemoryType::kCached)));
    CHECK(entry(kRoot, 511) == 0x0080'0000'8000'9003);
    CHECK(entry(0x8000'9000, 509) == 0x0000'0000'8000'02c5);
    REQUIRE(table.map(pages(0x7fff'ffff'e000, 1), Pa{0x1000}, attributes(true, true, true, MemoryType::kUncached)));
    const std::uint64_t level1 = entry(kRoot, 255) & bits::kAddressMask;
    const std::uint64_t level2 = entry(level1, 511) & bits::kAddressMask;
    const std::uint64_t level3 = entry(level2, 511) & bits::kAddressMask;
    CHECK(entry(level3, 510) == 0x0000'0000'0000'12c1);
    CHECK(table.validate());
    CHECK(arena.is_visible());
}

TEST_CASE("tables hold what Linux writes: ARM_MALI_LPAE, 33 bits, one entry in a root that is always level 0") {
    TableArena arena(64, Pa{0x8000'0000});
    PageTable table = make_page_table(arena, {Format::kMaliLpae, 33, 40, kLeaves4K2M, true});
    const auto entry = [&arena](std::uint64_t at, unsigned index) { return arena.table_at(Pa{at}).entries[index]; };
    REQUIRE(table.map(pages(0x200'0000, 1), Pa{0x1'2345'6000}, kData));
    CHECK(entry(0x8000'0000, 0) == 0x0000'0000'8000'1003);
    CHECK(entry(0x8000'1000, 0) == 0x0000'0000'8000'2003);
    CHECK(entry(0x8000'2000, 16) == 0x0000'0000'8000'3003);
    CHECK(entry(0x8000'3000, 0) == 0x0060'0001'2345'62c5);
    REQUIRE(table.map(blocks(0x1'ffe0'0000, 1), Pa{0x1'4000'0000},
                      LeafAttributes{true, true, true, false, MemoryType::kCached}));
    CHECK(entry(0x8000'1000, 7) == 0x0000'0000'8000'4003);
    CHECK(entry(0x8000'4000, 511) == 0x0000'0001'4000'02c5);
    CHECK(table.map(pages(std::uint64_t{1} << 33, 1), Pa{0}, kData).error().code == Code::kOutOfRange);
}

TEST_CASE("tables hold what Linux writes: AArch64, 39 bits begin at level 1") {
    TableArena arena(64);
    PageTable table = make_page_table(arena, {Format::kAarch64_4k, 39, 40, kLeaves4K2M, true});
    const auto entry = [&arena](std::uint64_t at, unsigned index) { return arena.table_at(Pa{at}).entries[index]; };
    REQUIRE(table.map(pages(0x200'0000, 1), Pa{0x1'2345'6000}, kData));
    CHECK(entry(0x8000'6000, 0) == 0x0000'0000'8000'7003);
    CHECK(entry(0x8000'7000, 16) == 0x0000'0000'8000'8003);
    CHECK(entry(0x8000'8000, 0) == 0x0060'0001'2345'6f47);
    REQUIRE(table.map(blocks(0x240'0000, 1), Pa{0x1'4000'0000}, kData));
    CHECK(entry(0x8000'7000, 18) == 0x0060'0001'4000'0f45);
    REQUIRE(table.map(pages(0x7f'ffff'f000, 1), Pa{0x5000'0000}, kReadOnly));
    const Walk last = table.walk(Va{0x7f'ffff'ffff});
    CHECK(last.descriptor == 0x0060'0000'5000'0fc7);
    CHECK(last.pa == Pa{0x5000'0fff});
    CHECK(table.table_count() == 5);
}

}  // namespace
}  // namespace granule::mali
