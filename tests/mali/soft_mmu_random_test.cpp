// Page table, sequences and software MMU together, at random: a driver that follows the protocol never shows the GPU a
// translation that the tables do not have, and one that forgets a step is found out. And the walker beside the writer.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/mmu_sequence.hpp"
#include "mali/page_table.hpp"
#include "mali/soft_mmu.hpp"
#include "mali/translation_config.hpp"
#include "tests/support/page_table_fixture.hpp"
#include "tests/support/table_arena.hpp"

namespace granule::mali {
namespace {

using test::blocks;
using test::kData;
using test::make_page_table;
using test::pages;
using test::TableArena;
using Outcome = Access::Outcome;

enum class Driver : std::uint8_t { kFollowsTheProtocol, kForgetsToEndUpdates };

// Maps, unmaps and splits blocks in 8 MiB while the GPU reads all over them. How many answers were stale, or not what
// the page table says.
[[nodiscard]] std::uint64_t wrong_answers(MmuProtocol protocol, Format format, Driver driver, std::uint64_t seed) {
    TableArena arena(64);
    std::vector<TlbEntry> tlb(512);
    SoftMmu mmu(arena, {8, 48, 40, protocol != MmuProtocol::kJobManager}, tlb);
    PageTableConfig config{format, 48, 40, kLeaves4K2M, false};
    config.kept_tables = seed % 2 == 0 ? 2 : 0;
    PageTable table = make_page_table(arena, config);
    std::mt19937_64 random(seed);
    constexpr std::uint64_t kStart = 3 * kBlock1GBytes - 2 * kBlock2MBytes;  // across a boundary of level 1
    constexpr std::uint64_t kSize = 4 * kBlock2MBytes;
    const auto run = [&mmu](const MmuSequence& sequence) {
        if (!mmu.run(sequence)) {
            FAIL("a sequence did not come to its end");
        }
    };
    run(enable_as(protocol, 2, translation_config(format, 48, false, table.root())));
    std::uint64_t wrong = 0;
    for (int step = 0; step < 4000; ++step) {
        const Va va{kStart + random() % (kSize / kPageBytes) * kPageBytes};
        const Va block = va.align_down(kBlock2MBytes);
        const VaRange range{block, block + kBlock2MBytes};
        run(begin_update(protocol, 2, range));
        const Walk walk = table.walk(va);
        const Pa pa{(random() % 4096) * kBlock2MBytes};
        Result<void, TableError> done;
        if (!walk.mapped) {
            // A block where it fits, else a page.
            done = table.map({block, LeafSize::k2M, 1}, pa, kData);
            if (!done) {
                done = table.map({va, LeafSize::k4K, 1}, pa, kData);
            }
        } else if (walk.leaf == LeafSize::k4K && random() % 4 != 0) {
            done = table.unmap({va, LeafSize::k4K, 1});
        } else if (walk.leaf == LeafSize::k4K) {
            // All that is left of a block, so that a block can stand there again.
            std::vector<LeafRun> runs;
            table.visit(range, [&runs](const VisitedRun& visited) { runs.push_back(visited.leaves); });
            for (const LeafRun& leaves : runs) {
                done = done ? table.unmap(leaves) : done;
            }
        } else {
            // 4 KiB out of a block: the block away, its residuals back.
            done = table.unmap({block, LeafSize::k2M, 1});
            if (const std::uint64_t before = (va - block) / kPageBytes; done && before != 0) {
                done = table.map({block, LeafSize::k4K, before}, walk.leaf_pa, walk.attributes);
            }
            if (const std::uint64_t behind = (range.end - va) / kPageBytes - 1; done && behind != 0) {
                done = table.map({va + kPageBytes, LeafSize::k4K, behind}, walk.pa + kPageBytes, walk.attributes);
            }
        }
        if (!done) {
            FAIL(to_string(done.error().code), " at step ", step);
        }
        if (random() % 8 == 0) {
            table.prune(range);
        }
        if (driver == Driver::kFollowsTheProtocol) {
            run(end_update(protocol, 2, range));
            table.settle();
        }
        for (int i = 0; i < 8; ++i) {
            const Va probe{kStart + random() % (i % 2 == 0 ? kSize : 16 * kPageBytes)};
            const Access access = mmu.access(2, probe, AccessKind::kRead);
            const Walk truth = table.walk(probe);
            const bool right = (access.outcome == Outcome::kDone) == truth.mapped && !access.stale &&
                               (!truth.mapped || (access.pa == truth.pa && access.leaf == truth.leaf));
            wrong += right ? 0U : 1U;
        }
    }
    CHECK(mmu.statistics().hits > 1000);
    CHECK(arena.broken().empty());
    return wrong;
}

TEST_CASE("a driver that follows the protocol never leaves a stale translation; one that forgets is found out") {
    std::uint64_t seed = 77;
    for (const Format format : {Format::kMaliLpae, Format::kAarch64_4k}) {
        for (const MmuProtocol protocol : {MmuProtocol::kJobManager, MmuProtocol::kCsfFlush, MmuProtocol::kCsfAtomic}) {
            CAPTURE(static_cast<int>(format));
            CAPTURE(static_cast<int>(protocol));
            ++seed;
            CAPTURE(seed);
            CHECK(wrong_answers(protocol, format, Driver::kFollowsTheProtocol, seed) == 0);
        }
        CHECK(wrong_answers(MmuProtocol::kJobManager, format, Driver::kForgetsToEndUpdates, seed) > 100);
    }
}

TEST_CASE("the walker beside the writer finds old or new, never half an entry or half a table") {
    for (const Format format : {Format::kMaliLpae, Format::kAarch64_4k}) {
        TableArena arena(256);
        PageTable table = make_page_table(arena, {format, 48, 40, kLeaves4K2M, false});
        SoftMmu mmu(arena, {}, {});  // without a TLB: every access walks
        REQUIRE(mmu.run(enable_as(MmuProtocol::kJobManager, 0, translation_config(format, 48, false, table.root()))));
        std::atomic<bool> stop{false};
        std::uint64_t wrong = 0;
        std::thread gpu([&] {
            for (std::uint64_t i = 0; !stop.load(std::memory_order_relaxed); ++i) {
                const Va va{(i * 7919 % 4096) * kPageBytes};
                const Access access = mmu.access(0, va, AccessKind::kRead);
                const bool right = access.outcome == Outcome::kFault || access.pa == Pa{0x1000'0000 + va.raw()};
                wrong += right ? 0U : 1U;
            }
        });
        // New tables at every level, blocks and pages in turn. Held, so that emptied tables are not needed again while
        // the walker, which takes no notice of invalidations, may be in them.
        bool done = true;
        for (int round = 0; round < 20 && done; ++round) {
            done = done && table.hold(8);
            done = done && table.map(pages(0, 1024), Pa{0x1000'0000}, kData);
            done = done && table.map(blocks(2 * kBlock2MBytes, 2), Pa{0x1040'0000}, kData);
            done = done && table.unmap(blocks(2 * kBlock2MBytes, 2));
            done = done && table.unmap(pages(0, 1024));
        }
        stop = true;
        gpu.join();
        CHECK(done);
        CHECK(wrong == 0);
        CHECK(table.validate());
        CHECK(arena.broken().empty());
    }
}

}  // namespace
}  // namespace granule::mali
