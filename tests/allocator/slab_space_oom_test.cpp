// Slabs without memory for nodes: any request for it may fail, and nothing has changed then.
#include <doctest/doctest.h>

#include <cstdint>
#include <tuple>
#include <vector>

#include "allocator/piece_queue.hpp"
#include "allocator/slab_space.hpp"
#include "tests/support/test_memory.hpp"

using namespace granule;
using namespace granule::test;

namespace {

using Pieces = std::vector<std::tuple<SlabSpace::State, std::uint64_t, std::uint64_t>>;

Pieces pieces_of(const SlabSpace& space, const std::vector<SlabId>& slabs) {
    Pieces pieces;
    for (const SlabId slab : slabs) {
        space.visit(slab, [&](SlabSpace::State state, std::uint64_t offset, std::uint64_t bytes) {
            pieces.emplace_back(state, offset, bytes);
        });
    }
    return pieces;
}

}  // namespace

TEST_CASE("P3: a slab or a piece for which there is no node is kOutOfMemory, and nothing changed") {
    constexpr std::uint64_t kSteps = 700;
    constexpr std::uint64_t kSlabBytes = 4096;
    std::uint64_t failures = 1;
    for (std::uint64_t granted = 0; failures != 0; ++granted) {
        CAPTURE(granted);
        TestMemory memory;
        SlabSpace space(memory.memory());
        PieceQueue queue(space, memory.memory());
        std::vector<SlabId> slabs;
        memory.refuse_after(granted);
        failures = 0;
        for (std::uint64_t step = 0; step < kSteps; ++step) {
            const Pieces before = pieces_of(space, slabs);
            const SlabStatistics statistics = space.statistics();
            bool failed = !queue.hold();
            if (!failed) {
                const Result<SlabPiece, SlabError> piece = space.allocate(24, 64);
                failed = !piece && piece.error() == SlabError::kOutOfMemory;
                if (!piece && piece.error() == SlabError::kNoRoom) {
                    const Result<SlabId, SlabError> slab = space.add_slab(kSlabBytes);
                    failed = !slab && slab.error() == SlabError::kOutOfMemory;
                    if (slab) {
                        slabs.push_back(*slab);
                    }
                }
            }
            if (failed) {
                ++failures;
                if (pieces_of(space, slabs) != before || !(space.statistics() == statistics) || !space.validate()) {
                    FAIL("a step that failed changed something, step " << step);
                }
            }
        }
        CHECK(failures == memory.refusals());
        CHECK(space.validate());
    }
}

TEST_CASE("what was held for a slab and a piece in it needs no memory") {
    TestMemory memory;
    SlabSpace space(memory.memory());
    for (int i = 0; i < 500; ++i) {
        memory.refuse_nothing();
        REQUIRE(space.hold_slab());
        memory.refuse_everything();
        REQUIRE(space.add_slab(64).has_value());
        REQUIRE(space.allocate(16, 64).has_value());
        REQUIRE(space.allocate(48, 16).has_value());
    }
    CHECK(memory.refusals() == 0);
    CHECK(space.validate());
}

TEST_CASE("P4: whatever has an owner can be retired and collected without memory, each with points of its own") {
    TestMemory memory;
    SlabSpace space(memory.memory());
    PieceQueue queue(space, memory.memory());
    REQUIRE(space.add_slab(std::uint64_t{1} << 20).has_value());
    std::vector<PieceId> owned;
    for (std::uint64_t round = 1; round <= 3; ++round) {
        memory.refuse_nothing();
        while (owned.size() < 1000 * round) {
            REQUIRE(queue.hold());
            owned.push_back(space.allocate(32, 1)->id);
        }
        memory.refuse_everything();
        std::uint64_t value = 0;
        while (!owned.empty()) {
            const FencePoint point{TimelineId{static_cast<std::uint32_t>(value % 3)}, value};
            ++value;
            REQUIRE(queue.retire(owned.back(), std::span(&point, 1)).has_value());
            owned.pop_back();
        }
        REQUIRE(queue.validate());
        CHECK(queue.groups() == 1000 * round);
        CHECK(queue.collect([](TimelineId) { return UINT64_MAX; }) == 1000 * round);
        CHECK(memory.refusals() == 0);
    }
    CHECK(space.validate());
}
