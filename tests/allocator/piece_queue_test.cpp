// P5 for pieces of slabs, by examples. Random and exhaustive: slab_space_random_test, slab_space_exhaustive_test.
#include "allocator/piece_queue.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <map>
#include <vector>

using namespace granule;

namespace {

constexpr TimelineId kGraphics{7};
constexpr TimelineId kCompute{9};

struct Fixture {
    SlabSpace space{NodeMemory::process()};
    PieceQueue queue{space, NodeMemory::process()};
    std::map<TimelineId, std::uint64_t> values;

    Fixture() { REQUIRE(space.add_slab(4096).has_value()); }

    PieceId take(std::uint64_t bytes = 16) {
        REQUIRE(queue.hold());
        const Result<SlabPiece, SlabError> piece = space.allocate(bytes, 1);
        REQUIRE(piece.has_value());
        return piece->id;
    }
    void retire(PieceId piece, std::vector<FencePoint> points) {
        REQUIRE(queue.retire(piece, points).has_value());
        REQUIRE(queue.validate());
        REQUIRE(space.validate());
    }
    std::uint64_t collect() {
        const std::uint64_t freed = queue.collect([&](TimelineId timeline) { return values[timeline]; });
        REQUIRE(queue.validate());
        REQUIRE(space.validate());
        return freed;
    }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "P5: a retired piece is nobody's until all its points are signalled") {
    const PieceId all = take(4096);
    retire(all, {{kGraphics, 5}, {kCompute, 2}});
    CHECK_FALSE(space.find(all).has_value());
    CHECK_FALSE(space.release(all));
    CHECK(space.allocate(16, 1).error() == SlabError::kNoRoom);
    values[kGraphics] = 5;
    CHECK(collect() == 0);
    CHECK(space.allocate(16, 1).error() == SlabError::kNoRoom);
    values[kCompute] = 2;
    CHECK(collect() == 1);
    CHECK(space.statistics().idle_slabs == 1);
}

TEST_CASE_FIXTURE(Fixture, "without points a piece is free at once") {
    retire(take(4096), {});
    CHECK(space.statistics().idle_slabs == 1);
    CHECK(queue.groups() == 0);
}

TEST_CASE_FIXTURE(Fixture, "points of one timeline count as the latest of them") {
    retire(take(), {{kGraphics, 3}, {kGraphics, 8}, {kGraphics, 1}});
    values[kGraphics] = 7;
    CHECK(collect() == 0);
    values[kGraphics] = 8;
    CHECK(collect() == 1);
}

TEST_CASE_FIXTURE(Fixture, "pieces retired one after another with the same points wait as one") {
    for (int i = 0; i < 100; ++i) {
        retire(take(), {{kGraphics, 1}, {kCompute, 4}});
    }
    CHECK(queue.groups() == 1);
    retire(take(), {{kGraphics, 2}});
    retire(take(), {{kGraphics, 1}, {kCompute, 4}});
    CHECK(queue.groups() == 3);
    values[kGraphics] = 1;
    CHECK(collect() == 0);
    // The group moved on to its next timeline; what joins it there waits for no more than that.
    retire(take(), {{kGraphics, 1}, {kCompute, 4}});
    CHECK(queue.groups() == 3);
    values[kCompute] = 4;
    CHECK(collect() == 102);
    values[kGraphics] = 2;
    CHECK(collect() == 1);
    CHECK(queue.groups() == 0);
    retire(take(), {{kGraphics, 9}});
    CHECK(queue.groups() == 1);
    values[kGraphics] = 9;
    CHECK(collect() == 1);
    // The group is gone: what comes with its points waits by itself, and is found.
    retire(take(), {{kGraphics, 9}});
    CHECK(queue.groups() == 1);
    CHECK(collect() == 1);
    CHECK(space.statistics().idle_slabs == 1);
}

TEST_CASE_FIXTURE(Fixture, "points of too many timelines are refused, and the piece still has its owner") {
    const PieceId piece = take();
    std::vector<FencePoint> points;
    for (std::uint32_t timeline = 0; timeline <= kMaxFencePoints; ++timeline) {
        points.push_back({TimelineId{timeline}, 1});
    }
    CHECK(queue.retire(piece, points).error() == PieceQueueError::kTooManyPoints);
    CHECK(space.find(piece).has_value());
    points.pop_back();
    CHECK(queue.retire(piece, points).has_value());
    CHECK(queue.retire(piece, points).error() == PieceQueueError::kNotOwned);
    CHECK(queue.retire(PieceId{}, {}).error() == PieceQueueError::kNotOwned);
}

TEST_CASE_FIXTURE(Fixture, "who is out of room learns what to wait for: the earliest point of each timeline") {
    retire(take(), {{kCompute, 6}});
    retire(take(), {{kGraphics, 4}});
    retire(take(), {{kCompute, 2}});
    std::vector<FencePoint> earliest;
    queue.visit_earliest([&](const FencePoint& point) { earliest.push_back(point); });
    CHECK(earliest == std::vector<FencePoint>{{kGraphics, 4}, {kCompute, 2}});
}
