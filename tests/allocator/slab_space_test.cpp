// Free space in slabs, by examples.
#include "allocator/slab_space.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "tests/support/test_memory.hpp"

using namespace granule;
using namespace granule::test;

namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;

struct Fixture {
    TestMemory memory;
    SlabSpace space{memory.memory()};

    SlabId add(std::uint64_t bytes) {
        const Result<SlabId, SlabError> slab = space.add_slab(bytes);
        REQUIRE(slab.has_value());
        return *slab;
    }
    SlabPiece take(std::uint64_t bytes, std::uint64_t alignment = 1) {
        const Result<SlabPiece, SlabError> piece = space.allocate(bytes, alignment);
        REQUIRE(piece.has_value());
        REQUIRE(space.validate());
        return *piece;
    }
    void give(const SlabPiece& piece) {
        REQUIRE(space.release(piece.id));
        REQUIRE(space.validate());
    }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "a piece has what was asked for, in whole grains, at its alignment") {
    add(64 * kKiB);
    const SlabPiece first = take(1);
    CHECK(first.offset == 0);
    CHECK(first.bytes == 16);
    CHECK(first.asked == 1);
    const SlabPiece second = take(100, 256);
    CHECK(second.offset == 256);
    CHECK(second.bytes == 112);
    CHECK(space.statistics().asked_bytes == 101);
    CHECK(space.statistics().piece_bytes == 128);
    CHECK(space.find(second.id) == second);
}

TEST_CASE_FIXTURE(Fixture, "what lies before an aligned piece stays free") {
    add(64 * kKiB);
    take(16);
    take(4 * kKiB, 4 * kKiB);
    CHECK(space.statistics().free_bytes == 64 * kKiB - 16 - 4 * kKiB);
    CHECK(take(4 * kKiB - 16).offset == 16);
}

TEST_CASE("a grain of its own rounds sizes and aligns offsets") {
    SlabSpace space(NodeMemory::process(), 64);
    REQUIRE(space.add_slab(64 * kKiB).has_value());
    const SlabPiece first = *space.allocate(65, 1);
    const SlabPiece second = *space.allocate(1, 16);
    CHECK(first.bytes == 128);
    CHECK(first.asked == 65);
    CHECK(second.offset == 128);
    CHECK(second.bytes == 64);
}

TEST_CASE_FIXTURE(Fixture, "neighbours that are free are one, in whichever order they are released") {
    for (int order = 0; order < 6; ++order) {
        const SlabId slab = add(48);
        std::vector<SlabPiece> pieces{take(16), take(16), take(16)};
        CHECK(space.allocate(16, 1).error() == SlabError::kNoRoom);
        for (const int at : {order / 2, (order / 2 + 1 + order % 2) % 3, (order / 2 + 2 - order % 2) % 3}) {
            give(pieces[static_cast<std::size_t>(at)]);
        }
        CHECK(space.is_idle(slab));
        CHECK(space.largest_free() == 48);
        space.remove_slab(slab);
    }
    CHECK(space.validate());
}

TEST_CASE_FIXTURE(Fixture, "an id is good once: not after release, not when its place has another owner") {
    add(64);
    const SlabPiece first = take(64);
    give(first);
    CHECK_FALSE(space.release(first.id));
    CHECK_FALSE(space.find(first.id).has_value());
    const SlabPiece second = take(64);
    CHECK(second.offset == first.offset);
    CHECK(second.id != first.id);
    CHECK_FALSE(space.release(first.id));
    CHECK(space.find(second.id) == second);
    give(second);
}

TEST_CASE_FIXTURE(Fixture, "an id that never was is nobody's") {
    add(kMiB);
    const SlabPiece piece = take(16);
    CHECK_FALSE(space.release(PieceId{0}));
    CHECK_FALSE(space.release(PieceId{UINT64_MAX}));
    CHECK_FALSE(space.release(PieceId{UINT32_MAX}));
    const auto raw = static_cast<std::uint64_t>(piece.id);
    for (std::uint64_t other = raw & UINT32_MAX; other < 4096; ++other) {
        if (other != raw && space.release(PieceId{other})) {
            FAIL("released " << other);
        }
    }
    CHECK(space.statistics().pieces == 1);
}

TEST_CASE_FIXTURE(Fixture, "requests that break a rule are kBadRequest, and those larger than any slab find no room") {
    add(64 * kKiB);
    CHECK(space.allocate(0, 1).error() == SlabError::kBadRequest);
    CHECK(space.allocate(16, 0).error() == SlabError::kBadRequest);
    CHECK(space.allocate(16, 48).error() == SlabError::kBadRequest);
    CHECK(space.allocate(16, 2 * SlabSpace::kMostAlignment).error() == SlabError::kBadRequest);
    CHECK(space.allocate(UINT64_MAX, 1).error() == SlabError::kNoRoom);
    CHECK(space.allocate(SlabSpace::kMostSlabBytes, SlabSpace::kMostAlignment).error() == SlabError::kNoRoom);
    CHECK(space.allocate(64 * kKiB + 1, 1).error() == SlabError::kNoRoom);
    CHECK(space.add_slab(0).error() == SlabError::kBadRequest);
    CHECK(space.add_slab(24).error() == SlabError::kBadRequest);
    CHECK(space.add_slab(2 * SlabSpace::kMostSlabBytes).error() == SlabError::kBadRequest);
    CHECK(space.statistics().slabs == 1);
    CHECK(space.validate());
}

TEST_CASE_FIXTURE(Fixture, "the largest slab there can be is taken whole, and in parts") {
    const SlabId slab = add(SlabSpace::kMostSlabBytes);
    const SlabPiece all = take(SlabSpace::kMostSlabBytes, SlabSpace::kMostAlignment);
    CHECK(all.bytes == SlabSpace::kMostSlabBytes);
    give(all);
    const SlabPiece low = take(16);
    const SlabPiece high = take(16, SlabSpace::kMostAlignment);
    CHECK(high.offset == SlabSpace::kMostAlignment);
    CHECK(space.largest_free() == SlabSpace::kMostAlignment - 16);
    give(low);
    give(high);
    CHECK(space.is_idle(slab));
}

TEST_CASE_FIXTURE(Fixture, "small before large: a slab that is free as a whole is taken last") {
    const SlabId large = add(kMiB);
    const SlabPiece one = take(512 * kKiB);
    const SlabId whole = add(kMiB);
    CHECK(one.slab == large);
    CHECK(take(256 * kKiB).slab == large);
    CHECK(take(256 * kKiB).slab == large);
    CHECK(space.is_idle(whole));
    CHECK(take(16).slab == whole);
    CHECK_FALSE(space.is_idle(whole));
}

TEST_CASE_FIXTURE(Fixture, "idle slabs are visited last one first, and may be removed then; numbers come again") {
    const SlabId a = add(kMiB);
    const SlabId b = add(2 * kMiB);
    const SlabId c = add(4 * kMiB);
    const SlabPiece in_a = take(kMiB);
    CHECK(in_a.slab == a);
    std::vector<SlabId> idle;
    space.visit_idle([&](SlabId slab) { idle.push_back(slab); });
    CHECK(idle == std::vector<SlabId>{c, b});
    give(in_a);
    idle.clear();
    space.visit_idle([&](SlabId slab) {
        idle.push_back(slab);
        space.remove_slab(slab);
    });
    CHECK(idle == std::vector<SlabId>{a, c, b});
    CHECK(space.validate());
    CHECK(space.statistics() == SlabStatistics{});
    CHECK(space.largest_free() == 0);
    CHECK(static_cast<std::uint32_t>(add(16)) < 3);
}

TEST_CASE_FIXTURE(Fixture, "a slab can be one piece, whatever it is larger by") {
    add(kMiB);
    const SlabId own = add(8 * kMiB);
    const SlabPiece piece = space.take_whole(own, 5 * kMiB + 3);
    CHECK(piece.slab == own);
    CHECK(piece.offset == 0);
    CHECK(piece.bytes == 8 * kMiB);
    CHECK(piece.asked == 5 * kMiB + 3);
    CHECK(space.allocate(2 * kMiB, 1).error() == SlabError::kNoRoom);
    give(piece);
    CHECK(space.is_idle(own));
}

TEST_CASE_FIXTURE(Fixture, "room that is 17/16 of size and alignment is always found") {
    // Many pieces that are just too small stand before the one that fits, in its bin.
    constexpr std::uint64_t kSize = 4 * kKiB + 192;
    std::vector<SlabPiece> holes;
    add(kMiB);
    const SlabPiece last = take(kSize * 17 / 16 + 16);
    std::vector<SlabPiece> walls{take(16)};
    for (int i = 0; i < 64; ++i) {
        holes.push_back(take(kSize - 16));
        walls.push_back(take(16));
    }
    const SlabPiece rest = take(space.largest_free());
    give(last);
    for (const SlabPiece& hole : holes) {
        give(hole);
    }
    CHECK(space.allocate(kSize, 1)->offset == last.offset);
    CHECK(space.allocate(kSize, 1).error() == SlabError::kNoRoom);
    give(rest);
    CHECK(take(kSize, 64 * kKiB).offset >= rest.offset);
}

TEST_CASE_FIXTURE(Fixture, "P4: release and remove_slab ask for no memory") {
    const SlabId slab = add(64 * kKiB);
    std::vector<SlabPiece> pieces;
    pieces.reserve(1000);
    for (int i = 0; i < 1000; ++i) {
        pieces.push_back(take(48, 64));
    }
    memory.refuse_everything();
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        REQUIRE(space.release(pieces[i * 7 % pieces.size()].id));
    }
    CHECK(space.is_idle(slab));
    space.remove_slab(slab);
    CHECK(memory.refusals() == 0);
    CHECK(space.validate());
}
