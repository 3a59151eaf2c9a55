// What the software MMU says when an access cannot be translated or is not allowed: AS_FAULTSTATUS to the bit, by every
// cause, at every level, in both formats.
#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/descriptor.hpp"
#include "mali/fault_status.hpp"
#include "mali/mmu_registers.hpp"
#include "mali/mmu_sequence.hpp"
#include "mali/page_table.hpp"
#include "mali/soft_mmu.hpp"
#include "mali/translation_config.hpp"
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
using Outcome = Access::Outcome;

struct Rig {
    explicit Rig(const PageTableConfig& table_config, const SoftMmuConfig& mmu_config = {})
        : tlb(64), mmu(arena, mmu_config, tlb), table(make_page_table(arena, table_config)) {
        REQUIRE(enable(table.root()));
    }

    [[nodiscard]] bool enable(Pa root) {
        const PageTableConfig& config = table.config();
        return mmu.run(enable_as(MmuProtocol::kJobManager, 0,
                                 translation_config(config.format, config.va_bits, config.coherent_walk, root)));
    }
    // AS_FAULTSTATUS of this access, 0 where there is no fault.
    [[nodiscard]] std::uint32_t status(std::uint64_t va, AccessKind kind = AccessKind::kRead) {
        const Access access = mmu.access(0, Va{va}, kind);
        CHECK((access.outcome == Outcome::kFault) == (access.fault_status != 0));
        return access.fault_status;
    }
    // Overwrites what the walker sees.
    void poke(Pa at, unsigned index, std::uint64_t descriptor) {
        std::uint64_t* entries = arena.table_at(at).entries;
        entries[index] = descriptor;
        arena.make_visible(entries + index, 1);
    }
    [[nodiscard]] Pa next(Pa at, unsigned index) const {
        return Pa{arena.table_at(at).entries[index] & bits::kAddressMask};
    }

    TableArena arena{1200};
    std::vector<TlbEntry> tlb;
    SoftMmu mmu;
    PageTable table;
};

constexpr PageTableConfig kMali48{Format::kMaliLpae, 48, 40, kLeaves4K2M1G, true};
constexpr PageTableConfig kAarch48{Format::kAarch64_4k, 48, 40, kLeaves4K2M1G, true};
constexpr PageTableConfig kAarch39{Format::kAarch64_4k, 39, 40, kLeaves4K2M1G, true};

TEST_CASE("a hole is TRANSLATION_FAULT at the level where the walk met it") {
    for (const PageTableConfig& config : {kMali48, kAarch48, kAarch39}) {
        CAPTURE(static_cast<int>(config.format));
        CAPTURE(config.va_bits);
        Rig rig(config);
        REQUIRE(rig.table.map(pages(0x1000, 1), Pa{0}, kData));
        CHECK(rig.status(0x1000) == 0);
        CHECK(rig.status(0x2000) == 0x2c3);
        CHECK(rig.status(0x20'0000) == 0x2c2);
        CHECK(rig.status(kBlock1GBytes) == 0x2c1);
        if (config.va_bits == 48) {
            CHECK(rig.status(std::uint64_t{1} << 39) == 0x2c0);
        }
    }
}

TEST_CASE("FAULTSTATUS tells the access and who made it") {
    Rig rig(kMali48);
    REQUIRE(rig.table.map(pages(0x1000, 1), Pa{0}, kData));
    CHECK(rig.mmu.access(0, Va{0x2000}, AccessKind::kRead, 0x680).fault_status == 0x0680'02c3);
    CHECK(rig.status(0x2000, AccessKind::kAtomic) == 0x0c3);
    CHECK(rig.status(0x2000, AccessKind::kExecute) == 0x1c3);
    CHECK(rig.status(0x2000, AccessKind::kWrite) == 0x3c3);
}

TEST_CASE("a leaf that does not allow the access is PERM_FAULT at its level, from the walk and from the TLB") {
    Rig rig(kMali48);
    const LeafAttributes write_only{false, true, false, false, MemoryType::kUncached};
    const LeafAttributes code{true, false, true, false, MemoryType::kCached};
    const LeafAttributes all{true, true, true, false, MemoryType::kCached};
    REQUIRE(rig.table.map(pages(0x0000, 1), Pa{0}, kReadOnly));
    REQUIRE(rig.table.map(pages(0x1000, 1), Pa{0}, write_only));
    REQUIRE(rig.table.map(pages(0x2000, 1), Pa{0}, code));
    REQUIRE(rig.table.map(pages(0x3000, 1), Pa{0}, all));
    REQUIRE(rig.table.map(pages(0x4000, 1), Pa{0}, kData));
    REQUIRE(rig.table.map(blocks(0x20'0000, 1), Pa{0}, kReadOnly));
    REQUIRE(rig.table.map(giants(kBlock1GBytes, 1), Pa{0}, kReadOnly));
    struct Row {
        std::uint64_t va;
        std::uint32_t atomic, execute, read, write;
    };
    for (int round = 0; round < 2; ++round) {
        for (const Row& row : {Row{0x0000, 0x0cb, 0x1cb, 0, 0x3cb}, Row{0x1000, 0x0cb, 0x1cb, 0x2cb, 0},
                               Row{0x2000, 0x0cb, 0, 0, 0x3cb}, Row{0x3000, 0, 0, 0, 0}, Row{0x4000, 0, 0x1cb, 0, 0},
                               Row{0x20'0000, 0x0ca, 0x1ca, 0, 0x3ca}, Row{kBlock1GBytes, 0x0c9, 0x1c9, 0, 0x3c9}}) {
            CAPTURE(row.va);
            CHECK(rig.status(row.va, AccessKind::kAtomic) == row.atomic);
            CHECK(rig.status(row.va, AccessKind::kExecute) == row.execute);
            CHECK(rig.status(row.va, AccessKind::kRead) == row.read);
            CHECK(rig.status(row.va, AccessKind::kWrite) == row.write);
        }
    }
}

TEST_CASE("write-only becomes read-write in AArch64, which has no such leaf") {
    Rig rig(kAarch48);
    REQUIRE(rig.table.map(pages(0, 1), Pa{0}, LeafAttributes{false, true, false, false, MemoryType::kCached}));
    CHECK(rig.status(0, AccessKind::kRead) == 0);
    CHECK(rig.status(0, AccessKind::kAtomic) == 0);
}

TEST_CASE("a VA above the space is ADDR_SIZE_FAULT_IN at the level of the root") {
    Rig mali(kMali48, {8, 33, 40, false});
    CHECK(mali.status((std::uint64_t{1} << 33) - 1) == 0x2c0);
    CHECK(mali.status(std::uint64_t{1} << 33) == 0x2e0);
    Rig aarch39(kAarch39);
    CHECK(aarch39.status((std::uint64_t{1} << 39) - 1) == 0x2c1);
    CHECK(aarch39.status(std::uint64_t{1} << 39) == 0x2e1);
    Rig aarch48(kAarch48);
    CHECK(aarch48.status(kMaxVaEnd - 1) == 0x2c0);
    CHECK(aarch48.status(kMaxVaEnd) == 0x2e0);
    CHECK(aarch48.status(UINT64_MAX) == 0x2e0);
}

TEST_CASE("a PA above the bus is ADDR_SIZE_FAULT_OUT, of a leaf and of a table") {
    Rig rig(kMali48, {8, 48, 36, false});
    REQUIRE(rig.table.map(pages(0, 1), Pa{(std::uint64_t{1} << 36) - kPageBytes}, kData));
    REQUIRE(rig.table.map(pages(0x1000, 1), Pa{std::uint64_t{1} << 36}, kData));
    REQUIRE(rig.table.map(blocks(0x20'0000, 1), Pa{std::uint64_t{1} << 36}, kData));
    CHECK(rig.status(0) == 0);
    CHECK(rig.status(0x1000) == 0x2e7);
    CHECK(rig.status(0x20'0000) == 0x2e6);
    const Pa level1 = rig.next(rig.table.root(), 0);
    const std::uint64_t was = rig.arena.table_at(level1).entries[0];
    rig.poke(level1, 0, (std::uint64_t{1} << 36) | bits::kTypeTable);
    CHECK(rig.status(0x1000) == 0x2e6);
    rig.poke(level1, 0, was);
}

TEST_CASE("tables where nothing answers are TRANSTAB_BUS_FAULT at the level that was to be read") {
    Rig rig(kMali48);
    REQUIRE(rig.table.map(pages(0, 1), Pa{0}, kData));
    const Pa level1 = rig.next(rig.table.root(), 0);
    const Pa level2 = rig.next(level1, 0);
    const std::uint64_t was = rig.arena.table_at(level2).entries[0];
    rig.poke(level2, 0, 0x1000 | bits::kTypeTable);
    CHECK(rig.status(0) == 0x2d3);
    rig.poke(level2, 0, was);
    CHECK(rig.status(0) == 0);
    REQUIRE(rig.enable(Pa{0x1000}));
    CHECK(rig.status(0) == 0x2d0);
}

TEST_CASE("an entry that the format does not have is TRANSLATION_FAULT, and types differ by format") {
    for (const PageTableConfig& config : {kMali48, kAarch48}) {
        CAPTURE(static_cast<int>(config.format));
        Rig rig(config);
        REQUIRE(rig.table.map(pages(0, 1), Pa{0x7000}, kData));
        const Pa level1 = rig.next(rig.table.root(), 0);
        const Pa level2 = rig.next(level1, 0);
        const Pa level3 = rig.next(level2, 0);
        const std::uint64_t good = rig.arena.table_at(level3).entries[0];
        rig.poke(level3, 0, good ^ 2);  // the other format's type of a page
        CHECK(rig.status(0) == 0x2c3);
        rig.poke(level3, 0, 2);
        CHECK(rig.status(0) == 0x2c3);
        rig.poke(level3, 0, good);
        CHECK(rig.status(0) == 0);
        rig.poke(rig.table.root(), 1, bits::kTypeBlock);  // level 0 has no leaves
        CHECK(rig.status(std::uint64_t{1} << 39) == 0x2c0);
        rig.poke(rig.table.root(), 1, 0);
    }
}

TEST_CASE("an AArch64 leaf without its access flag is ACCESS_FLAG_FAULT; Mali's format has no such flag") {
    Rig rig(kAarch48);
    REQUIRE(rig.table.map(pages(0, 1), Pa{0}, kData));
    REQUIRE(rig.table.map(blocks(0x20'0000, 1), Pa{0}, kData));
    const Pa level2 = rig.next(rig.next(rig.table.root(), 0), 0);
    const Pa level3 = rig.next(level2, 0);
    rig.poke(level3, 0, rig.arena.table_at(level3).entries[0] & ~bits::kAccessFlag);
    rig.poke(level2, 1, rig.arena.table_at(level2).entries[1] & ~bits::kAccessFlag);
    CHECK(rig.status(0) == 0x2db);
    CHECK(rig.status(0x20'0000) == 0x2da);
}

TEST_CASE("an address space that is not configured faults as TRANSLATION_FAULT_0") {
    Rig rig(kMali48);
    CHECK(rig.mmu.access(1, Va{0}, AccessKind::kWrite).fault_status == 0x3c0);
    // A mode that is not known: 64 KiB granules.
    REQUIRE(rig.mmu.run(enable_as(MmuProtocol::kJobManager, 0, TranslationConfig{0, 0, 8})));
    CHECK(rig.status(0) == 0x2c0);
}

TEST_CASE("faults are not cached: what was a hole is found once it is mapped, without an invalidation") {
    Rig rig(kMali48);
    CHECK(rig.status(0x1000) == 0x2c0);
    REQUIRE(rig.table.map(pages(0x1000, 1), Pa{0}, kData));
    CHECK(rig.status(0x1000) == 0);
}

TEST_CASE("the registers keep the first fault of an address space until its interrupt bit is cleared") {
    Rig rig(kMali48);
    REQUIRE(rig.table.map(pages(0x1000, 1), Pa{0}, kReadOnly));
    SoftMmu& mmu = rig.mmu;
    const std::uint32_t as = reg::as_base(0);
    CHECK_FALSE(mmu.interrupt());
    const std::uint64_t first = 0x8765'4321'0000;
    CHECK(rig.status(first) != 0);
    CHECK(mmu.read(reg::kMmuIntRawStat) == 1);
    CHECK(mmu.read(reg::kMmuIntStat) == 0);
    CHECK_FALSE(mmu.interrupt());
    mmu.write(reg::kMmuIntMask, 0xffff);
    CHECK(mmu.read(reg::kMmuIntMask) == 0xffff);
    CHECK(mmu.read(reg::kMmuIntStat) == 1);
    CHECK(mmu.interrupt());

    CHECK(rig.status(0x1000, AccessKind::kWrite) == 0x3cb);
    CHECK(mmu.read(as + reg::kAsFaultStatus) == 0x2c0);
    CHECK(mmu.read(as + reg::kAsFaultAddress) == 0x4321'0000);
    CHECK(mmu.read(as + reg::kAsFaultAddress + reg::kHighHalf) == 0x8765);

    // Another address space's does not touch it.
    CHECK(mmu.access(3, Va{0x9000}, AccessKind::kRead).outcome == Outcome::kFault);
    CHECK(mmu.read(reg::kMmuIntRawStat) == 0x9);
    CHECK(mmu.read(reg::as_base(3) + reg::kAsFaultAddress) == 0x9000);

    mmu.write(reg::kMmuIntClear, 1);
    CHECK(mmu.read(reg::kMmuIntRawStat) == 0x8);
    CHECK(mmu.read(as + reg::kAsFaultStatus) == 0x2c0);  // what it said can still be read
    CHECK(rig.status(0x1000, AccessKind::kWrite) == 0x3cb);
    CHECK(mmu.read(as + reg::kAsFaultStatus) == 0x3cb);
    CHECK(mmu.read(as + reg::kAsFaultAddress) == 0x1000);

    // It goes on translating what it can.
    CHECK(rig.status(0x1000) == 0);
}

}  // namespace
}  // namespace granule::mali
