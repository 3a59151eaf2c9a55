#include "allocator/granule_ledger.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "tests/support/test_memory.hpp"

using granule::GranuleLedger;
using granule::kBlock1GBytes;
using granule::kBlock2MBytes;
using granule::kMaxVaEnd;
using granule::kPageBytes;
using granule::LeafRun;
using granule::LeafSize;
using granule::Va;
using granule::VaRange;
using granule::test::TestMemory;

namespace {

constexpr VaRange kEverything = {Va{0}, Va{kMaxVaEnd}};
constexpr std::uint64_t kWindowsPerGib = kBlock1GBytes / kBlock2MBytes;

constexpr LeafRun run_2m(std::uint64_t window, std::uint64_t count) {
    return {Va{window * kBlock2MBytes}, LeafSize::k2M, count};
}
constexpr LeafRun run_1g(std::uint64_t gib, std::uint64_t count) {
    return {Va{gib * kBlock1GBytes}, LeafSize::k1G, count};
}
constexpr VaRange windows(std::uint64_t start, std::uint64_t end) {
    return {Va{start * kBlock2MBytes}, Va{end * kBlock2MBytes}};
}

void mark(GranuleLedger& ledger, const LeafRun& run) {
    REQUIRE(ledger.hold(run.range()));
    ledger.mark(run);
    REQUIRE(ledger.validate());
}

std::vector<LeafRun> runs(const GranuleLedger& ledger, VaRange range = kEverything) {
    std::vector<LeafRun> found;
    ledger.for_each_block_run(range, [&](const LeafRun& run) { found.push_back(run); });
    return found;
}

using Runs = std::vector<LeafRun>;

}  // namespace

TEST_CASE("where nothing is marked, leaves are 4 KiB") {
    const GranuleLedger ledger;
    for (const std::uint64_t va : {std::uint64_t{0}, std::uint64_t{5} << 30, kMaxVaEnd - 1}) {
        CHECK(ledger.leaf_at(Va{va}) == LeafSize::k4K);
        CHECK(ledger.granule_at(Va{va}).size() == kPageBytes);
        CHECK(ledger.granule_at(Va{va}).contains(Va{va}));
    }
    CHECK(ledger.leaf_at(Va{kMaxVaEnd}) == LeafSize::k4K);
    CHECK(runs(ledger).empty());
    CHECK(ledger.bytes() == 0);
    CHECK(ledger.validate());
}

TEST_CASE("a block is one granule at every byte of it, and its neighbours are none of it") {
    GranuleLedger ledger;
    mark(ledger, run_2m(5, 1));
    mark(ledger, run_1g(3, 1));
    for (const std::uint64_t byte : {std::uint64_t{0}, kPageBytes, kBlock2MBytes - 1}) {
        const Va va{5 * kBlock2MBytes + byte};
        CHECK(ledger.leaf_at(va) == LeafSize::k2M);
        CHECK(ledger.granule_at(va) == windows(5, 6));
    }
    for (const std::uint64_t byte : {std::uint64_t{0}, kBlock2MBytes, kBlock1GBytes - 1}) {
        const Va va{3 * kBlock1GBytes + byte};
        CHECK(ledger.leaf_at(va) == LeafSize::k1G);
        CHECK(ledger.granule_at(va) == run_1g(3, 1).range());
    }
    for (const std::uint64_t va :
         {5 * kBlock2MBytes - 1, 6 * kBlock2MBytes, 3 * kBlock1GBytes - 1, 4 * kBlock1GBytes}) {
        CHECK(ledger.leaf_at(Va{va}) == LeafSize::k4K);
    }
    CHECK(ledger.blocks_2m() == 1);
    CHECK(ledger.blocks_1g() == 1);
}

TEST_CASE("runs join across words, regions and shelves, and not across sizes or holes") {
    GranuleLedger ledger;
    const std::uint64_t shelf_end = 512 * kWindowsPerGib;
    mark(ledger, run_2m(60, 10));                 // two words
    mark(ledger, run_2m(kWindowsPerGib - 3, 6));  // two regions
    mark(ledger, run_2m(shelf_end - 1, 1));       // two shelves, marked apart
    mark(ledger, run_2m(shelf_end, 2));
    mark(ledger, run_1g(4, 2));
    mark(ledger, run_2m(6 * kWindowsPerGib, 1));  // behind 1 GiB blocks
    CHECK(runs(ledger) == Runs{run_2m(60, 10), run_2m(kWindowsPerGib - 3, 6), run_1g(4, 2),
                               run_2m(6 * kWindowsPerGib, 1), run_2m(shelf_end - 1, 3)});
    CHECK(ledger.blocks_2m() == 10 + 6 + 3 + 1);
    CHECK(ledger.blocks_1g() == 2);
}

TEST_CASE("a range sees the blocks that it overlaps: whole ones, and none beyond it") {
    GranuleLedger ledger;
    mark(ledger, run_2m(10, 5));
    mark(ledger, run_1g(1, 2));
    CHECK(runs(ledger, windows(12, 13)) == Runs{run_2m(12, 1)});
    CHECK(runs(ledger, {Va{12 * kBlock2MBytes + kPageBytes}, Va{13 * kBlock2MBytes + 1}}) == Runs{run_2m(12, 2)});
    CHECK(runs(ledger, {Va{kBlock1GBytes + 5 * kBlock2MBytes}, Va{kBlock1GBytes + 6 * kBlock2MBytes}}) ==
          Runs{run_1g(1, 1)});
    CHECK(runs(ledger, windows(0, 10)).empty());
    CHECK(runs(ledger, windows(15, kWindowsPerGib)).empty());
    CHECK(runs(ledger, windows(12, 12)).empty());
}

TEST_CASE("the first and the last block of the space are blocks like any other") {
    GranuleLedger ledger;
    const std::uint64_t last_window = kMaxVaEnd / kBlock2MBytes - 1;
    mark(ledger, run_2m(0, 1));
    mark(ledger, run_2m(last_window, 1));
    CHECK(ledger.granule_at(Va{0}) == windows(0, 1));
    CHECK(ledger.granule_at(Va{kMaxVaEnd - 1}) == windows(last_window, last_window + 1));
    CHECK(runs(ledger) == Runs{run_2m(0, 1), run_2m(last_window, 1)});
    ledger.clear(kEverything);
    CHECK(runs(ledger).empty());
    CHECK(ledger.validate());
    mark(ledger, run_1g(kMaxVaEnd / kBlock1GBytes - 1, 1));
    CHECK(ledger.leaf_at(Va{kMaxVaEnd - 1}) == LeafSize::k1G);
}

TEST_CASE("clear forgets whole blocks, and leaves those beside alone") {
    GranuleLedger ledger;
    mark(ledger, run_2m(0, 2 * kWindowsPerGib));
    ledger.clear(windows(3, 200));
    CHECK(runs(ledger) == Runs{run_2m(0, 3), run_2m(200, 2 * kWindowsPerGib - 200)});
    // Pages around blocks may be cleared along: only block edges are not to be cut.
    ledger.clear({Va{3 * kBlock2MBytes + kPageBytes}, Va{300 * kBlock2MBytes}});
    CHECK(runs(ledger) == Runs{run_2m(0, 3), run_2m(300, 2 * kWindowsPerGib - 300)});
    ledger.clear({Va{3 * kBlock2MBytes + kPageBytes}, Va{3 * kBlock2MBytes + 2 * kPageBytes}});
    CHECK(ledger.blocks_2m() == 3 + 2 * kWindowsPerGib - 300);
    CHECK(ledger.validate());
}

TEST_CASE("pages of 4 KiB end the blocks of the windows that they touch") {
    GranuleLedger ledger;
    mark(ledger, run_2m(8, 4));
    ledger.mark({Va{9 * kBlock2MBytes + kPageBytes}, LeafSize::k4K, 1});
    CHECK(runs(ledger) == Runs{run_2m(8, 1), run_2m(10, 2)});
    ledger.mark({Va{8 * kBlock2MBytes}, LeafSize::k4K, std::uint64_t{4} * 512});
    CHECK(runs(ledger).empty());
    CHECK(ledger.validate());
}

TEST_CASE("P4: a 1 GiB block becomes 2 MiB blocks, and back, without memory") {
    TestMemory memory;
    GranuleLedger ledger(memory.memory());
    REQUIRE(ledger.hold(run_1g(7, 2).range()));
    memory.refuse_everything();
    ledger.mark(run_1g(7, 2));
    ledger.clear(run_1g(7, 1).range());
    ledger.mark(run_2m(7 * kWindowsPerGib + 1, kWindowsPerGib - 1));
    CHECK(runs(ledger) == Runs{run_2m(7 * kWindowsPerGib + 1, kWindowsPerGib - 1), run_1g(8, 1)});
    CHECK(ledger.validate());
    ledger.mark(run_1g(7, 1));
    CHECK(runs(ledger) == Runs{run_1g(7, 2)});
    CHECK(ledger.blocks_2m() == 0);
    ledger.mark(run_2m(8 * kWindowsPerGib, kWindowsPerGib));
    CHECK(runs(ledger) == Runs{run_1g(7, 1), run_2m(8 * kWindowsPerGib, kWindowsPerGib)});
    CHECK(ledger.validate());
    CHECK(memory.refusals() == 0);
}

TEST_CASE("marking again what is marked changes nothing") {
    GranuleLedger ledger;
    mark(ledger, run_2m(100, 300));
    mark(ledger, run_2m(150, 20));
    CHECK(runs(ledger) == Runs{run_2m(100, 300)});
    CHECK(ledger.blocks_2m() == 300);
    ledger.mark(run_2m(0, 0));
    CHECK(ledger.blocks_2m() == 300);
}

TEST_CASE("P4: whichever request for memory fails, hold reports it and nothing changed") {
    std::uint64_t granted = 0;
    for (;; ++granted) {
        CAPTURE(granted);
        TestMemory memory;
        memory.refuse_after(granted);
        unsigned failed = 0;
        {
            GranuleLedger ledger(memory.memory());
            for (std::uint64_t step = 0; step < 12; ++step) {
                const LeafRun wanted =
                    run_2m((std::uint64_t{1} << step) * 3 * kWindowsPerGib, (kWindowsPerGib << step) + 1);
                const Runs before = runs(ledger);
                if (!ledger.hold(wanted.range())) {
                    ++failed;
                    REQUIRE(runs(ledger) == before);
                    REQUIRE(ledger.validate());
                    continue;
                }
                ledger.mark(wanted);
                REQUIRE(ledger.validate());
            }
        }
        REQUIRE(memory.blocks().empty());
        REQUIRE(memory.misuses() == 0);
        if (memory.refusals() == 0) {
            CHECK(failed == 0);
            break;
        }
        REQUIRE(failed == 1);
    }
    CHECK(granted > 5);
}

TEST_CASE("a hold of what is held asks for nothing, and of nothing neither") {
    TestMemory memory;
    GranuleLedger ledger(memory.memory());
    REQUIRE(ledger.hold({Va{0}, Va{0}}));
    CHECK(memory.requests() == 0);
    REQUIRE(ledger.hold({Va{0}, Va{100 * kBlock1GBytes}}));
    memory.refuse_everything();
    CHECK(ledger.hold({Va{kPageBytes}, Va{100 * kBlock1GBytes}}));
    CHECK(memory.refusals() == 0);
}

TEST_CASE("a moved ledger takes everything along and leaves an empty one") {
    TestMemory memory;
    {
        GranuleLedger first(memory.memory());
        mark(first, run_2m(1, 7));
        mark(first, run_1g(600, 1));
        GranuleLedger second(std::move(first));
        CHECK(runs(second) == Runs{run_2m(1, 7), run_1g(600, 1)});
        GranuleLedger third(memory.memory());
        mark(third, run_2m(3, 1));
        third = std::move(second);
        CHECK(runs(third) == Runs{run_2m(1, 7), run_1g(600, 1)});
        CHECK(third.blocks_2m() == 7);
        CHECK(third.validate());
    }
    CHECK(memory.blocks().empty());
    CHECK(memory.misuses() == 0);
}
