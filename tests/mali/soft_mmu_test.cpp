// The software MMU by example: registers, commands, locks, and the TLB that remembers what nobody told it to forget.
#include "mali/soft_mmu.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/mmu_registers.hpp"
#include "mali/mmu_sequence.hpp"
#include "mali/page_table.hpp"
#include "mali/soft_tlb.hpp"
#include "mali/translation_config.hpp"
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
using Outcome = Access::Outcome;

// A GPU, its memory, and one page table that is not enabled yet.
struct Rig {
    explicit Rig(const SoftMmuConfig& mmu_config = {}, const PageTableConfig& table_config = kMali4K2M1G,
                 std::size_t tlb_entries = 1024)
        : tlb(tlb_entries), mmu(arena, mmu_config, tlb), table(make_page_table(arena, table_config)) {}

    [[nodiscard]] TranslationConfig registers() const {
        const PageTableConfig& config = table.config();
        return translation_config(config.format, config.va_bits, config.coherent_walk, table.root());
    }
    [[nodiscard]] bool enable(unsigned as) { return mmu.run(enable_as(MmuProtocol::kJobManager, as, registers())); }
    [[nodiscard]] Access read(std::uint64_t va, unsigned as = 0) { return mmu.access(as, Va{va}, AccessKind::kRead); }
    void command(AsCommand command, unsigned as = 0) {
        mmu.write(reg::as_base(as) + reg::kAsCommand, static_cast<std::uint32_t>(command));
    }
    void lock(VaRange range, unsigned as = 0) {
        const std::uint64_t lockaddr = lock_region(range).lockaddr;
        mmu.write(reg::as_base(as) + reg::kAsLockaddr, static_cast<std::uint32_t>(lockaddr));
        mmu.write(reg::as_base(as) + reg::kAsLockaddr + reg::kHighHalf, static_cast<std::uint32_t>(lockaddr >> 32));
        command(AsCommand::kLock, as);
    }

    TableArena arena{1200};
    std::vector<TlbEntry> tlb;
    SoftMmu mmu;
    PageTable table;
};

[[nodiscard]] VaRange range(std::uint64_t start, std::uint64_t end) {
    return {Va{start}, Va{end}};
}

TEST_CASE("registers hold what was written, by halves; what is not there reads as zero") {
    Rig rig({4, 40, 36, false});
    SoftMmu& mmu = rig.mmu;
    for (const std::uint32_t offset : {reg::kAsTranstab, reg::kAsMemattr, reg::kAsLockaddr, reg::kAsTranscfg}) {
        for (unsigned as = 0; as < 4; ++as) {
            mmu.write(reg::as_base(as) + offset, 0x1111'0000 + offset + as);
            mmu.write(reg::as_base(as) + offset + reg::kHighHalf, 0x2222'0000 + offset + as);
        }
    }
    for (const std::uint32_t offset : {reg::kAsTranstab, reg::kAsMemattr, reg::kAsLockaddr, reg::kAsTranscfg}) {
        for (unsigned as = 0; as < 4; ++as) {
            CHECK(mmu.read(reg::as_base(as) + offset) == 0x1111'0000 + offset + as);
            CHECK(mmu.read(reg::as_base(as) + offset + reg::kHighHalf) == 0x2222'0000 + offset + as);
        }
    }
    CHECK(mmu.read(reg::kMmuFeatures) == 0x2428);
    CHECK(mmu.read(reg::kAsPresent) == 0xf);
    CHECK(mmu.read(reg::as_base(0) + reg::kAsCommand) == 0);
    CHECK(mmu.read(reg::as_base(0) + reg::kAsStatus) == 0);
    CHECK(mmu.read(reg::as_base(0) + reg::kAsFaultExtra) == 0);
    mmu.write(reg::as_base(0) + reg::kAsFaultStatus, 7);  // read-only
    CHECK(mmu.read(reg::as_base(0) + reg::kAsFaultStatus) == 0);
    mmu.write(reg::as_base(4) + reg::kAsTranstab, 7);  // not present
    CHECK(mmu.read(reg::as_base(4) + reg::kAsTranstab) == 0);
    mmu.write(0x3000, 7);
    CHECK(mmu.read(0x3000) == 0);
}

TEST_CASE("TRANSTAB, MEMATTR and TRANSCFG take effect at UPDATE") {
    Rig rig;
    REQUIRE(rig.table.map(pages(0x1000, 1), Pa{0x5000}, kData));
    CHECK(rig.mmu.active(0) == TranslationConfig{});
    const TranslationConfig registers = rig.registers();
    rig.mmu.write(reg::as_base(0) + reg::kAsTranstab, static_cast<std::uint32_t>(registers.transtab));
    CHECK(rig.read(0x1000).outcome == Outcome::kFault);
    rig.command(AsCommand::kUpdate);
    CHECK(rig.read(0x1000).outcome == Outcome::kDone);
    CHECK(rig.mmu.active(0).transtab == registers.transtab);
    rig.mmu.write(reg::as_base(0) + reg::kAsTranstab, 0);
    CHECK(rig.read(0x1000).outcome == Outcome::kDone);
    rig.command(AsCommand::kUpdate);
    CHECK(rig.read(0x1000).outcome == Outcome::kFault);
}

TEST_CASE("accesses translate as the page table does, in both formats, from the start level of each") {
    for (const PageTableConfig& config : {kMali4K2M1G, PageTableConfig{Format::kMaliLpae, 33, 40, kLeaves4K2M1G, false},
                                          PageTableConfig{Format::kAarch64_4k, 48, 40, kLeaves4K2M1G, true},
                                          PageTableConfig{Format::kAarch64_4k, 39, 40, kLeaves4K2M1G, true},
                                          PageTableConfig{Format::kAarch64_4k, 33, 40, kLeaves4K2M1G, false}}) {
        CAPTURE(static_cast<int>(config.format));
        CAPTURE(config.va_bits);
        Rig rig({}, config);
        REQUIRE(rig.table.map(pages(0x3000, 2), Pa{0x1'2345'6000}, kData));
        REQUIRE(rig.table.map(blocks(0x40'0000, 1), Pa{0x2'0020'0000}, kReadOnly));
        REQUIRE(rig.table.map(giants(7 * kBlock1GBytes, 1), Pa{9 * kBlock1GBytes}, kData));
        REQUIRE(rig.enable(0));
        for (int round = 0; round < 2; ++round) {
            const Access page = rig.read(0x4abc);
            CHECK(page.outcome == Outcome::kDone);
            CHECK(page.pa == Pa{0x1'2345'7abc});
            CHECK(page.contiguous == 0x544);
            CHECK(page.leaf == LeafSize::k4K);
            CHECK(page.attributes == kData);
            CHECK(page.from_tlb == (round == 1));
            CHECK_FALSE(page.stale);
            const Access block = rig.read(0x41'2345);
            CHECK(block.pa == Pa{0x2'0021'2345});
            CHECK(block.contiguous == kBlock2MBytes - 0x1'2345);
            CHECK(block.leaf == LeafSize::k2M);
            CHECK(block.attributes == kReadOnly);
            const Access giant = rig.read(8 * kBlock1GBytes - 1);
            CHECK(giant.pa == Pa{10 * kBlock1GBytes - 1});
            CHECK(giant.contiguous == 1);
            CHECK(giant.leaf == LeafSize::k1G);
        }
        // One walk serves the whole leaf.
        CHECK(rig.read(0x5f'ffff).from_tlb);
        CHECK(rig.mmu.statistics().walks == 3);
        CHECK(rig.mmu.statistics().hits == 4);
    }
}

TEST_CASE("a missing invalidation is a stale hit, answered from the entry") {
    Rig rig;
    REQUIRE(rig.table.map(blocks(0x40'0000, 1), Pa{0x80'0000}, kData));
    REQUIRE(rig.enable(0));
    REQUIRE(rig.read(0x41'0000).outcome == Outcome::kDone);
    REQUIRE(rig.table.unmap(blocks(0x40'0000, 1)));
    const Access forgotten = rig.read(0x41'0000);
    CHECK(forgotten.outcome == Outcome::kDone);
    CHECK(forgotten.pa == Pa{0x81'0000});
    CHECK(forgotten.stale);

    // Residuals put back with the same addresses: each byte translates as before, and the entry is stale all the same.
    REQUIRE(rig.table.map(pages(0x40'0000, 511), Pa{0x80'0000}, kData));
    CHECK(rig.read(0x41'0000).stale);
    CHECK(rig.read(0x5f'f000).outcome == Outcome::kDone);  // what should have been unmapped

    REQUIRE(rig.mmu.run(end_update(MmuProtocol::kJobManager, 0, range(0x40'0000, 0x60'0000))));
    const Access walked = rig.read(0x41'0000);
    CHECK(walked.pa == Pa{0x81'0000});
    CHECK(walked.leaf == LeafSize::k4K);
    CHECK_FALSE(walked.from_tlb);
    CHECK(rig.read(0x5f'f000).outcome == Outcome::kFault);
    CHECK(rig.mmu.statistics().stale_hits == 3);
    CHECK(rig.mmu.statistics().invalidated == 1);
}

TEST_CASE("changed attributes are stale too, until they are invalidated") {
    Rig rig;
    REQUIRE(rig.table.map(pages(0, 1), Pa{0}, kReadOnly));
    REQUIRE(rig.enable(0));
    CHECK(rig.mmu.access(0, Va{0}, AccessKind::kWrite).outcome == Outcome::kFault);
    REQUIRE(rig.table.unmap(pages(0, 1)));
    REQUIRE(rig.table.map(pages(0, 1), Pa{0}, kData));
    const Access refused = rig.mmu.access(0, Va{0}, AccessKind::kWrite);
    CHECK(refused.outcome == Outcome::kFault);
    CHECK(refused.stale);
    REQUIRE(rig.mmu.run(end_update(MmuProtocol::kJobManager, 0, range(0, kPageBytes))));
    CHECK(rig.mmu.access(0, Va{0}, AccessKind::kWrite).outcome == Outcome::kDone);
}

TEST_CASE("every protocol's update makes the TLB forget the range, and only that") {
    for (const MmuProtocol protocol : {MmuProtocol::kJobManager, MmuProtocol::kCsfFlush, MmuProtocol::kCsfAtomic}) {
        CAPTURE(static_cast<int>(protocol));
        Rig rig({8, 48, 40, protocol != MmuProtocol::kJobManager});
        REQUIRE(rig.mmu.run(enable_as(protocol, 0, rig.registers())));
        REQUIRE(rig.mmu.run(enable_as(protocol, 5, rig.registers())));
        REQUIRE(rig.table.map(pages(0, 32), Pa{0}, kData));
        for (std::uint64_t page = 0; page < 32; ++page) {
            REQUIRE(rig.read(page * kPageBytes).outcome == Outcome::kDone);
            REQUIRE(rig.read(page * kPageBytes, 5).outcome == Outcome::kDone);
        }
        // Pages 10 and 11 are within the locked 32 KiB from page 8 on.
        REQUIRE(rig.mmu.run(begin_update(protocol, 0, range(0xa000, 0xc000))));
        CHECK((rig.read(0x8000).outcome == Outcome::kStalled) == (protocol == MmuProtocol::kCsfAtomic));
        REQUIRE(rig.table.unmap(pages(0xa000, 2)));
        REQUIRE(rig.mmu.run(end_update(protocol, 0, range(0xa000, 0xc000))));
        CHECK(rig.mmu.statistics().invalidated == 8);
        CHECK(rig.read(0xa000).outcome == Outcome::kFault);
        CHECK(rig.read(0x7000).from_tlb);
        CHECK_FALSE(rig.read(0x8000).from_tlb);
        CHECK_FALSE(rig.read(0xf000).from_tlb);
        CHECK(rig.read(0x1'0000).from_tlb);
        CHECK(rig.read(0xa000, 5).stale);  // nobody told the other address space

        REQUIRE(rig.mmu.run(disable_as(protocol, 0)));
        CHECK(rig.read(0x1'0000).outcome == Outcome::kFault);
    }
}

TEST_CASE("an address space that gets another owner remembers nothing of the last, by every protocol") {
    for (const MmuProtocol protocol : {MmuProtocol::kJobManager, MmuProtocol::kCsfFlush, MmuProtocol::kCsfAtomic}) {
        CAPTURE(static_cast<int>(protocol));
        Rig rig({8, 48, 40, protocol != MmuProtocol::kJobManager});
        PageTable other = make_page_table(rig.arena, kMali4K2M1G);
        REQUIRE(rig.table.map(pages(0, 4), Pa{0}, kData));
        REQUIRE(other.map(pages(0, 2), Pa{0x9000}, kData));
        REQUIRE(rig.mmu.run(enable_as(protocol, 3, rig.registers())));
        for (std::uint64_t page = 0; page < 4; ++page) {
            REQUIRE(rig.read(page * kPageBytes, 3).outcome == Outcome::kDone);
        }
        REQUIRE(rig.mmu.run(disable_as(protocol, 3)));
        REQUIRE(rig.mmu.run(enable_as(protocol, 3, translation_config(Format::kMaliLpae, 48, true, other.root()))));
        CHECK(rig.read(0x1000, 3).pa == Pa{0xa000});
        CHECK(rig.read(0x2000, 3).outcome == Outcome::kFault);
        CHECK(rig.mmu.statistics().stale_hits == 0);
        CHECK(rig.mmu.statistics().invalidated == 4);
    }
}

TEST_CASE("UPDATE forgets on CSF; a job-manager GPU that was not flushed is found out") {
    for (const bool csf : {false, true}) {
        CAPTURE(csf);
        Rig rig({8, 48, 40, csf});
        PageTable other = make_page_table(rig.arena, kMali4K2M1G);
        REQUIRE(rig.table.map(pages(0, 1), Pa{0}, kData));
        REQUIRE(rig.mmu.run(enable_as(MmuProtocol::kCsfAtomic, 0, rig.registers())));
        REQUIRE(rig.read(0).outcome == Outcome::kDone);
        // To the same values: not a change.
        REQUIRE(rig.mmu.run(enable_as(MmuProtocol::kCsfAtomic, 0, rig.registers())));
        CHECK(rig.read(0).from_tlb);
        REQUIRE(rig.mmu.run(
            enable_as(MmuProtocol::kCsfAtomic, 0, translation_config(Format::kMaliLpae, 48, true, other.root()))));
        const Access access = rig.read(0);
        CHECK(access.stale == !csf);
        CHECK((access.outcome == Outcome::kFault) == csf);
    }
}

TEST_CASE("a lock stalls walks and hits of its region until UNLOCK or a flush ends it") {
    for (const AsCommand end : {AsCommand::kUnlock, AsCommand::kFlushPt, AsCommand::kFlushMem}) {
        CAPTURE(static_cast<int>(end));
        Rig rig;
        REQUIRE(rig.table.map(pages(0, 32), Pa{0}, kData));
        REQUIRE(rig.enable(0));
        REQUIRE(rig.enable(1));
        REQUIRE(rig.read(0x8000).outcome == Outcome::kDone);
        rig.lock(range(0x9000, 0xa000));
        CHECK(rig.mmu.locked(0) == range(0x8000, 0x1'0000));
        CHECK(rig.read(0x7fff).outcome == Outcome::kDone);
        CHECK(rig.read(0x8000).outcome == Outcome::kStalled);
        CHECK(rig.read(0xffff).outcome == Outcome::kStalled);
        CHECK(rig.read(0x1'0000).outcome == Outcome::kDone);
        CHECK(rig.read(0x8000, 1).outcome == Outcome::kDone);
        CHECK(rig.mmu.statistics().stalls == 2);
        // A hole stalls too: it may be about to be mapped.
        rig.command(end);
        CHECK(rig.mmu.locked(0).empty());
        const Access access = rig.read(0x8000);
        CHECK(access.outcome == Outcome::kDone);
        CHECK_FALSE(access.from_tlb);
        CHECK(rig.read(0x7000).from_tlb);
    }
}

TEST_CASE("a lock moves when it is taken again, and what it left is not invalidated") {
    Rig rig;
    REQUIRE(rig.table.map(pages(0, 32), Pa{0}, kData));
    REQUIRE(rig.enable(0));
    REQUIRE(rig.read(0).outcome == Outcome::kDone);
    REQUIRE(rig.read(0x8000).outcome == Outcome::kDone);
    rig.lock(range(0, 0x1000));
    rig.lock(range(0x8000, 0x9000));
    CHECK(rig.mmu.locked(0) == range(0x8000, 0x1'0000));
    CHECK(rig.read(0).from_tlb);
    rig.command(AsCommand::kFlushPt);
    CHECK(rig.read(0).from_tlb);
    CHECK_FALSE(rig.read(0x8000).from_tlb);
}

TEST_CASE("flushes and UNLOCK without a lock forget nothing, nor does a flush of the GPU's caches") {
    Rig rig({8, 48, 40, true});
    REQUIRE(rig.table.map(pages(0, 1), Pa{0}, kData));
    REQUIRE(rig.mmu.run(enable_as(MmuProtocol::kCsfFlush, 0, rig.registers())));
    REQUIRE(rig.read(0).outcome == Outcome::kDone);
    rig.command(AsCommand::kUnlock);
    rig.command(AsCommand::kFlushPt);
    rig.command(AsCommand::kFlushMem);
    rig.command(AsCommand::kNop);
    rig.mmu.write(reg::kGpuCmd, kGpuFlushAll);
    CHECK(rig.read(0).from_tlb);
    CHECK(rig.mmu.statistics().invalidated == 0);
}

TEST_CASE("a GPU's cache flush completes by an interrupt bit that is cleared by writing it; not on the wrong GPU") {
    Rig csf({8, 48, 40, true});
    csf.mmu.write(reg::kGpuIntMask, reg::kGpuIntCleanCachesCompleted);
    csf.mmu.write(reg::kGpuCmd, kGpuFlushPt);
    CHECK(csf.mmu.read(reg::kGpuIntRawStat) == reg::kGpuIntCleanCachesCompleted);
    CHECK(csf.mmu.read(reg::kGpuIntStat) == reg::kGpuIntCleanCachesCompleted);
    csf.mmu.write(reg::kGpuIntMask, 0);
    CHECK(csf.mmu.read(reg::kGpuIntStat) == 0);
    csf.mmu.write(reg::kGpuIntClear, reg::kGpuIntCleanCachesCompleted);
    CHECK(csf.mmu.read(reg::kGpuIntRawStat) == 0);
    CHECK(csf.mmu.statistics().gpu_flushes == 1);

    Rig job_manager;
    CHECK_FALSE(job_manager.mmu.run(end_update(MmuProtocol::kCsfFlush, 0, range(0, kPageBytes))));
    CHECK(job_manager.mmu.statistics().gpu_flushes == 0);
    // The sequence stopped at the poll: the lock that it took is still there.
    CHECK_FALSE(job_manager.mmu.locked(0).empty());
}

TEST_CASE("an address space that hangs takes no commands, and sequences stop there") {
    Rig rig;
    REQUIRE(rig.table.map(pages(0, 1), Pa{0}, kData));
    REQUIRE(rig.enable(0));
    REQUIRE(rig.enable(1));
    rig.mmu.hang(0, true);
    CHECK(rig.mmu.read(reg::as_base(0) + reg::kAsStatus) == reg::kAsStatusActive);
    CHECK_FALSE(rig.mmu.run(disable_as(MmuProtocol::kJobManager, 0)));
    rig.lock(range(0, 0x1000));
    CHECK(rig.mmu.locked(0).empty());
    CHECK(rig.read(0).outcome == Outcome::kDone);
    CHECK(rig.mmu.run(disable_as(MmuProtocol::kJobManager, 1)));
    rig.mmu.hang(0, false);
    CHECK(rig.mmu.run(disable_as(MmuProtocol::kJobManager, 0)));
    CHECK(rig.read(0).outcome == Outcome::kFault);
}

TEST_CASE("address spaces with tables of their own do not answer for each other") {
    Rig rig;
    PageTable other = make_page_table(rig.arena, kMali4K2M1G);
    REQUIRE(rig.table.map(pages(0, 8), Pa{0}, kData));
    REQUIRE(other.map(pages(0, 8), Pa{0x10'0000}, kData));
    REQUIRE(rig.enable(0));
    REQUIRE(rig.mmu.run(
        enable_as(MmuProtocol::kJobManager, 7, translation_config(Format::kMaliLpae, 48, true, other.root()))));
    for (int round = 0; round < 2; ++round) {
        for (std::uint64_t page = 0; page < 8; ++page) {
            CHECK(rig.read(page * kPageBytes).pa == Pa{page * kPageBytes});
            CHECK(rig.read(page * kPageBytes, 7).pa == Pa{0x10'0000 + page * kPageBytes});
        }
    }
    CHECK(rig.mmu.statistics().hits == 16);
}

TEST_CASE("identity mode passes addresses through, in both ways to ask for it") {
    for (const TranslationConfig& config : {TranslationConfig{transtab::kModeIdentity, 0, transcfg::kModeLegacy},
                                            TranslationConfig{0, 0, transcfg::kModeIdentity}}) {
        Rig rig;
        REQUIRE(rig.mmu.run(enable_as(MmuProtocol::kJobManager, 0, config)));
        const Access access = rig.read(0x12'3456);
        CHECK(access.outcome == Outcome::kDone);
        CHECK(access.pa == Pa{0x12'3456});
        CHECK(access.contiguous == (std::uint64_t{1} << 40) - 0x12'3456);
        CHECK(rig.read(std::uint64_t{1} << 40).fault_status == 0x2e4);
    }
}

TEST_CASE("the TLB keeps as many leaves as fit, and drops others for them") {
    Rig rig({}, kMali4K2M1G, 16);
    REQUIRE(rig.table.map(pages(0, 64), Pa{0}, kData));
    REQUIRE(rig.enable(0));
    for (std::uint64_t page = 0; page < 16; ++page) {
        REQUIRE(rig.read(page * kPageBytes).outcome == Outcome::kDone);
    }
    CHECK(rig.mmu.statistics().evicted == 0);
    for (std::uint64_t page = 0; page < 16; ++page) {
        CHECK(rig.read(page * kPageBytes).from_tlb);
    }
    for (std::uint64_t page = 16; page < 64; ++page) {
        REQUIRE(rig.read(page * kPageBytes).outcome == Outcome::kDone);
    }
    CHECK(rig.mmu.statistics().evicted == 48);
    CHECK_FALSE(rig.read(0).from_tlb);

    Rig without({}, kMali4K2M1G, 0);
    REQUIRE(without.table.map(pages(0, 1), Pa{0}, kData));
    REQUIRE(without.enable(0));
    CHECK(without.read(0).outcome == Outcome::kDone);
    CHECK_FALSE(without.read(0).from_tlb);
    REQUIRE(without.mmu.run(end_update(MmuProtocol::kJobManager, 0, range(0, kPageBytes))));
    CHECK(without.mmu.statistics().hits == 0);
}

TEST_CASE("an invalidation finds every leaf that has a byte in the region, whatever its size") {
    for (const std::size_t entries : {std::size_t{4}, std::size_t{16}, std::size_t{1024}}) {
        std::vector<TlbEntry> storage(entries);
        SoftTlb tlb(storage);
        const TlbEntry page{1, Va{kBlock1GBytes + 0x3000}, LeafSize::k4K, Format::kMaliLpae, 2, true};
        const TlbEntry block{2, Va{kBlock1GBytes + kBlock2MBytes}, LeafSize::k2M, Format::kMaliLpae, 2, true};
        const TlbEntry giant{3, Va{2 * kBlock1GBytes}, LeafSize::k1G, Format::kMaliLpae, 2, true};
        const auto fill = [&] {
            tlb.invalidate(2, {Va{0}, Va{kMaxVaEnd}});
            CHECK_FALSE(tlb.insert(page));
            CHECK_FALSE(tlb.insert(block));
            CHECK_FALSE(tlb.insert(giant));
        };
        const auto kept = [&] {
            return (tlb.find(2, page.start + 0xfff) != nullptr ? 1 : 0) +
                   (tlb.find(2, block.start + 0x1f'ffff) != nullptr ? 2 : 0) +
                   (tlb.find(2, giant.start + 0x3fff'ffff) != nullptr ? 4 : 0);
        };
        fill();
        CHECK(kept() == 7);
        CHECK(tlb.find(1, page.start) == nullptr);
        CHECK(tlb.invalidate(1, {Va{0}, Va{kMaxVaEnd}}) == 0);
        CHECK(tlb.invalidate(2, range(0, kBlock1GBytes + 0x3000)) == 0);
        CHECK(tlb.invalidate(2, range(kBlock1GBytes + 0x3fff, kBlock1GBytes + 0x4000)) == 1);
        CHECK(kept() == 6);
        fill();
        CHECK(tlb.invalidate(2, range(kBlock1GBytes + kBlock2MBytes + 5, kBlock1GBytes + kBlock2MBytes + 6)) == 1);
        CHECK(kept() == 5);
        fill();
        CHECK(tlb.invalidate(2, range(3 * kBlock1GBytes - 1, 3 * kBlock1GBytes)) == 1);
        CHECK(kept() == 3);
        fill();
        CHECK(tlb.invalidate(2, range(kBlock1GBytes, 2 * kBlock1GBytes + 1)) == 3);
        CHECK(kept() == 0);
        fill();
        CHECK(tlb.invalidate(2, range(0, kMaxVaEnd)) == 3);
    }
}

}  // namespace
}  // namespace granule::mali
