// The VA heap by examples: every rule, every error, and the edges of the space.
#include "allocator/va_heap.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/allocator/va_heap_fixture.hpp"

using namespace granule;
using namespace granule::test;

namespace {

using Code = VaError::Code;

VaRange must(Result<VaRange, VaError> result) {
    REQUIRE(result.has_value());
    return *result;
}

Code code_of(const Result<VaRange, VaError>& result) {
    REQUIRE_FALSE(result.has_value());
    return result.error().code;
}

}  // namespace

TEST_CASE("a new heap is one hole per zone") {
    VaHeapConfig config;
    config.zones[0] = range(32 * kMiB, 4 * kGiB);
    config.zones[1] = range(4 * kGiB, kMaxVaEnd / 2);
    const VaHeap heap = heap_over(config);
    CHECK(heap.validate());
    CHECK(holes_of(heap, VaZone::kLow) == std::vector{config.zones[0]});
    CHECK(holes_of(heap, VaZone::kMain) == std::vector{config.zones[1]});
    CHECK(holes_of(heap, VaZone::kReplay).empty());
    CHECK(heap.stats(VaZone::kLow).free_bytes == 4 * kGiB - 32 * kMiB);
    CHECK(heap.stats(VaZone::kMain).largest_hole == kMaxVaEnd / 2 - 4 * kGiB);
    CHECK(heap.stats(VaZone::kReplay) == VaZoneStats{});
}

TEST_CASE("create refuses zones that are no ranges of pages, overlap, or leave what they stand for") {
    const auto refused = [](VaRange low, VaRange main, VaRange replay) {
        const auto heap = VaHeap::create({.zones = {low, main, replay}});
        return !heap.has_value() && heap.error().code == Code::kBadRequest && *heap.error().why != '\0';
    };
    CHECK(refused({}, range(kPage, kPage + 1), {}));
    CHECK(refused({}, range(1, kPage), {}));
    CHECK(refused({}, {Va{2 * kPage}, Va{kPage}}, {}));
    CHECK(refused({}, range(0, kMaxVaEnd + kPage), {}));
    CHECK(refused(range(0, 4 * kGiB + kPage), {}, {}));
    CHECK(refused({}, range(0, 2 * kMiB), range(kMiB, 3 * kMiB)));
    CHECK(refused(range(0, 2 * kMiB), {}, range(0, 2 * kMiB)));
    // Neighbours do not overlap; an empty zone overlaps nothing.
    CHECK(VaHeap::create({.zones = {range(0, kMiB), range(kMiB, 2 * kMiB), sized(kPage, 0)}}).has_value());
}

TEST_CASE("a heap without zones exists and has nothing to give") {
    VaHeap heap = heap_over({});
    CHECK(code_of(heap.allocate({.size = kPage})) == Code::kOutOfVa);
    CHECK(code_of(heap.allocate_at(sized(0, kPage))) == Code::kBadRequest);
    CHECK_FALSE(heap.allocation_at(Va{0}).has_value());
    CHECK(heap.validate());
}

TEST_CASE("top-down takes the end of a hole, bottom-up its start") {
    VaHeap heap = heap_of(range(0, 16 * kPage));
    CHECK(must(heap.allocate({.size = kPage})) == sized(15 * kPage, kPage));
    CHECK(must(heap.allocate({.size = 2 * kPage, .direction = VaDirection::kBottomUp})) == sized(0, 2 * kPage));
    CHECK(holes_of(heap) == std::vector{range(2 * kPage, 15 * kPage)});
    CHECK(heap.validate());
}

TEST_CASE("alignment and phase hold in both directions") {
    VaHeap heap = heap_of(range(kPage, 64 * kMiB - kPage));
    const VaRequest request{.size = 3 * kMiB, .alignment = 2 * kMiB, .phase = 0x7000};
    CHECK(must(heap.allocate(request)) == sized(58 * kMiB + 0x7000 + 2 * kMiB, 3 * kMiB));
    VaRequest up = request;
    up.direction = VaDirection::kBottomUp;
    CHECK(must(heap.allocate(up)) == sized(0x7000, 3 * kMiB));
    CHECK(must(heap.allocate(up)) == sized(4 * kMiB + 0x7000, 3 * kMiB));
    CHECK(heap.validate());
}

TEST_CASE("exec BOs cross neither 16 MiB nor 4 GiB") {
    // The program counter has 24 bits: panfrost_gem_open in Linux drivers/gpu/drm/panfrost/panfrost_gem.c.
    constexpr std::uint64_t kExecBoundary = 16 * kMiB;
    SUBCASE("16 MiB") {
        VaHeap heap = heap_of(range(0, 48 * kMiB));
        (void)must(heap.allocate_at(sized(47 * kMiB, kMiB)));
        const VaRange first = must(heap.allocate({.size = 10 * kMiB, .boundary = kExecBoundary}));
        CHECK(first == range(37 * kMiB, 47 * kMiB));
        const VaRange second = must(heap.allocate({.size = 10 * kMiB, .boundary = kExecBoundary}));
        CHECK(second == range(22 * kMiB, 32 * kMiB));
        const VaRange third =
            must(heap.allocate({.size = 16 * kMiB, .direction = VaDirection::kBottomUp, .boundary = kExecBoundary}));
        CHECK(third == range(0, 16 * kMiB));
        // Eleven free MiB in a row are left nowhere but across a boundary.
        CHECK(holes_of(heap) == std::vector{range(16 * kMiB, 22 * kMiB), range(32 * kMiB, 37 * kMiB)});
        CHECK(heap.validate());
    }
    SUBCASE("4 GiB") {
        VaHeap heap = heap_of(range(4 * kGiB - 6 * kMiB, 4 * kGiB + 6 * kMiB));
        CHECK(code_of(heap.allocate({.size = 7 * kMiB, .boundary = 4 * kGiB})) == Code::kOutOfVa);
        CHECK(must(heap.allocate({.size = 5 * kMiB, .boundary = 4 * kGiB})) == sized(4 * kGiB + kMiB, 5 * kMiB));
        CHECK(must(heap.allocate({.size = 5 * kMiB, .boundary = 4 * kGiB})) == sized(4 * kGiB - 5 * kMiB, 5 * kMiB));
        heap.release(sized(4 * kGiB - 5 * kMiB, 5 * kMiB));
        CHECK(must(heap.allocate({.size = 5 * kMiB})) == sized(4 * kGiB - 4 * kMiB, 5 * kMiB));
    }
}

TEST_CASE("with a guard, a range neither begins nor ends at its boundary") {
    VaHeap heap = heap_of(range(3 * kGiB, 9 * kGiB));
    for (const VaDirection direction : {VaDirection::kTopDown, VaDirection::kBottomUp}) {
        while (true) {
            const auto got =
                heap.allocate({.size = 256 * kMiB, .direction = direction, .boundary = 4 * kGiB, .guard = kPage});
            if (!got) {
                break;
            }
            CHECK_FALSE(got->start.is_aligned(4 * kGiB));
            CHECK_FALSE(got->end.is_aligned(4 * kGiB));
            if (direction == VaDirection::kTopDown && heap.stats(VaZone::kMain).allocations == 12) {
                break;
            }
        }
    }
    CHECK(heap.stats(VaZone::kMain).allocations >= 20);
}

TEST_CASE("a boundary counts with alignment and phase") {
    // 64 KiB places in 1 MiB windows, 4 KiB after the boundary: the last one of a window is at 0xf1000.
    VaHeap heap = heap_of(range(0xf2000, 0x1f2000));
    const VaRequest request{.size = 0xf000, .alignment = 0x10000, .phase = 0x1000, .boundary = kMiB};
    CHECK(must(heap.allocate(request)) == sized(0x1e1000, 0xf000));
    VaRequest up = request;
    up.direction = VaDirection::kBottomUp;
    CHECK(must(heap.allocate(up)) == sized(0x101000, 0xf000));
}

TEST_CASE("guards belong to the allocation and are nobody else's") {
    VaHeap heap = heap_of(range(0, 16 * kPage));
    const VaRange guarded = must(heap.allocate({.size = 2 * kPage, .guard = kPage}));
    CHECK(guarded == sized(13 * kPage, 2 * kPage));
    CHECK(heap.stats(VaZone::kMain).used_bytes == 4 * kPage);
    const std::optional<VaAllocation> at_guard = heap.allocation_at(Va{15 * kPage});
    REQUIRE(at_guard.has_value());
    CHECK(*at_guard == VaAllocation{guarded, range(12 * kPage, 16 * kPage), false});
    // The guards of two neighbours lie side by side.
    CHECK(must(heap.allocate({.size = kPage, .guard = kPage})) == sized(10 * kPage, kPage));
    CHECK(code_of(heap.allocate_at(sized(15 * kPage, kPage))) == Code::kOccupied);
    heap.release(guarded);
    CHECK(must(heap.allocate_at(range(12 * kPage, 16 * kPage))) == range(12 * kPage, 16 * kPage));
    CHECK(heap.validate());
}

TEST_CASE("alignment is that of the range, not of its guard; the boundary holds for both") {
    VaHeap heap = heap_of(range(0, 64 * kMiB));
    const VaRange guarded = must(heap.allocate({.size = 2 * kMiB, .alignment = 2 * kMiB, .guard = kPage}));
    CHECK(guarded == sized(60 * kMiB, 2 * kMiB));
    const VaRange inside = must(
        heap.allocate({.size = 14 * kMiB, .direction = VaDirection::kBottomUp, .boundary = 16 * kMiB, .guard = kMiB}));
    CHECK(inside == sized(kMiB, 14 * kMiB));
    CHECK(code_of(heap.allocate({.size = 16 * kMiB, .boundary = 16 * kMiB, .guard = kPage})) == Code::kBadRequest);
}

TEST_CASE("zones: a request gets what it names and nothing else") {
    VaHeap heap = heap_over({.zones = {range(0, kMiB), range(kMiB, 2 * kMiB), range(2 * kMiB, 3 * kMiB)}});
    CHECK(must(heap.allocate({.size = kMiB, .zone = VaZone::kMain})) == range(kMiB, 2 * kMiB));
    CHECK(code_of(heap.allocate({.size = kPage, .zone = VaZone::kMain})) == Code::kOutOfVa);
    CHECK(must(heap.allocate({.size = kMiB, .zone = VaZone::kLow})) == range(0, kMiB));
    CHECK(must(heap.allocate_at(range(2 * kMiB, 3 * kMiB))) == range(2 * kMiB, 3 * kMiB));
    heap.release(range(0, kMiB));
    heap.release(range(kMiB, 2 * kMiB));
    heap.release(range(2 * kMiB, 3 * kMiB));
    // Holes of neighbouring zones do not become one.
    CHECK(code_of(heap.allocate({.size = 2 * kMiB, .zone = VaZone::kLow})) == Code::kOutOfVa);
    CHECK(code_of(heap.allocate_at(range(0, 2 * kMiB))) == Code::kBadRequest);
    CHECK(heap.validate());
}

TEST_CASE("the edges of the space can be allocated: 0, 4 GiB, 2^47 and 2^48") {
    VaHeap heap = heap_of(range(0, kMaxVaEnd));
    CHECK(must(heap.allocate({.size = kPage})) == range(kMaxVaEnd - kPage, kMaxVaEnd));
    CHECK(must(heap.allocate({.size = kPage, .direction = VaDirection::kBottomUp})) == range(0, kPage));
    CHECK(must(heap.allocate_at(sized(4 * kGiB - kPage, 2 * kPage))) == sized(4 * kGiB - kPage, 2 * kPage));
    // One place is left for an alignment of 2^47.
    const std::uint64_t half = kMaxVaEnd / 2;
    CHECK(must(heap.allocate({.size = kPage, .alignment = half})) == sized(half, kPage));
    CHECK(code_of(heap.allocate({.size = kPage, .alignment = half})) == Code::kOutOfVa);
    CHECK(must(heap.allocate({.size = kPage, .alignment = half, .phase = half - kPage})) == sized(half - kPage, kPage));
    CHECK(must(heap.allocate({.size = kPage, .alignment = half, .phase = half - 2 * kPage})).end <=
          Va{kMaxVaEnd - kPage});
    CHECK(heap.validate());
}

TEST_CASE("the whole space can be one allocation") {
    VaHeap heap = heap_of(range(0, kMaxVaEnd));
    const VaRange all = must(heap.allocate({.size = kMaxVaEnd}));
    CHECK(all == range(0, kMaxVaEnd));
    CHECK(heap.stats(VaZone::kMain).holes == 0);
    CHECK(heap.stats(VaZone::kMain).largest_hole == 0);
    CHECK(code_of(heap.allocate({.size = kPage})) == Code::kOutOfVa);
    heap.release(all);
    CHECK(must(heap.allocate_at(all)) == all);
    CHECK(heap.validate());
}

TEST_CASE("a request that breaks a rule is refused by name, and changes nothing") {
    VaHeap heap = heap_of(range(0, kMaxVaEnd));
    const VaZoneStats before = heap.stats(VaZone::kMain);
    const auto refused = [&](const VaRequest& request) {
        const auto result = heap.allocate(request);
        return !result && result.error().code == Code::kBadRequest && !std::string(result.error().why).empty();
    };
    CHECK(refused({.size = 0}));
    CHECK(refused({.size = 1}));
    CHECK(refused({.size = kPage + 1}));
    CHECK(refused({.size = kMaxVaEnd + kPage}));
    CHECK(refused({.size = UINT64_MAX - kPage + 1}));
    CHECK(refused({.size = kPage, .alignment = 0}));
    CHECK(refused({.size = kPage, .alignment = 3 * kPage}));
    CHECK(refused({.size = kPage, .alignment = kPage / 2}));
    CHECK(refused({.size = kPage, .alignment = kMaxVaEnd}));
    CHECK(refused({.size = kPage, .alignment = 2 * kMiB, .phase = 2 * kMiB}));
    CHECK(refused({.size = kPage, .alignment = 2 * kMiB, .phase = 1}));
    CHECK(refused({.size = kPage, .boundary = 3 * kMiB}));
    CHECK(refused({.size = kPage, .boundary = 1}));
    CHECK(refused({.size = kPage, .guard = 1}));
    CHECK(refused({.size = kPage, .guard = kMaxVaEnd / 2}));
    CHECK(refused({.size = kPage, .guard = UINT64_MAX - kPage + 1}));
    CHECK(refused({.size = 32 * kMiB, .boundary = 16 * kMiB}));
    // 12 MiB after a multiple of 32 MiB, 8 MiB always cross 16 MiB.
    CHECK(refused({.size = 8 * kMiB, .alignment = 32 * kMiB, .phase = 12 * kMiB, .boundary = 16 * kMiB}));
    CHECK(refused({.size = kPage, .zone = static_cast<VaZone>(3)}));

    const auto refused_at = [&](VaRange at, std::uint64_t guard = 0) {
        return code_of(heap.allocate_at(at, guard)) == Code::kBadRequest;
    };
    CHECK(refused_at(sized(0, 0)));
    CHECK(refused_at(range(1, kPage)));
    CHECK(refused_at(range(0, kPage + 1)));
    CHECK(refused_at({Va{2 * kPage}, Va{kPage}}));
    CHECK(refused_at(range(kMaxVaEnd - kPage, kMaxVaEnd + kPage)));
    CHECK(refused_at(range(kMaxVaEnd, kMaxVaEnd + kPage)));
    CHECK(refused_at(sized(0, kPage), kPage));
    CHECK(refused_at(range(kMaxVaEnd - kPage, kMaxVaEnd), kPage));
    CHECK(refused_at(sized(kMiB, kPage), 1));
    CHECK(refused_at(sized(kMiB, kPage), UINT64_MAX - kPage + 1));

    CHECK(heap.stats(VaZone::kMain) == before);
    CHECK(heap.validate());
}

TEST_CASE("out of VA says how large the largest hole is") {
    VaHeap heap = heap_of(range(0, 10 * kPage));
    (void)must(heap.allocate_at(sized(3 * kPage, kPage)));
    const auto result = heap.allocate({.size = 7 * kPage});
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == Code::kOutOfVa);
    CHECK(result.error().largest_hole == 6 * kPage);
    CHECK(result.error().behind_fences == 0);
    CHECK(code_of(heap.allocate({.size = kMaxVaEnd, .guard = kMaxVaEnd / 2 - kPage})) == Code::kOutOfVa);
}

TEST_CASE("a fixed address that is taken names the lowest occupant, guards included") {
    VaHeap heap = heap_of(range(0, 32 * kPage));
    (void)must(heap.allocate_at(sized(8 * kPage, 2 * kPage), kPage));
    (void)must(heap.allocate_at(sized(16 * kPage, kPage)));
    const auto occupant = [&](VaRange at, std::uint64_t guard = 0) {
        const auto result = heap.allocate_at(at, guard);
        REQUIRE_FALSE(result.has_value());
        CHECK(result.error().code == Code::kOccupied);
        return result.error().occupant;
    };
    CHECK(occupant(sized(0, 32 * kPage)) == range(7 * kPage, 11 * kPage));
    CHECK(occupant(sized(10 * kPage, kPage)) == range(7 * kPage, 11 * kPage));
    CHECK(occupant(sized(6 * kPage, kPage), kPage) == range(7 * kPage, 11 * kPage));
    CHECK(occupant(sized(11 * kPage, 6 * kPage)) == sized(16 * kPage, kPage));
    CHECK(occupant(sized(11 * kPage, kPage), kPage) == range(7 * kPage, 11 * kPage));
    CHECK(must(heap.allocate_at(sized(11 * kPage, 5 * kPage))) == sized(11 * kPage, 5 * kPage));
    CHECK(heap.validate());
}

TEST_CASE("release takes exactly what allocate returned; anything else is refused by name and changes nothing") {
    VaHeap heap = heap_of(range(0, 64 * kPage));
    const VaRange owned = must(heap.allocate_at(sized(16 * kPage, 4 * kPage), kPage));
    const VaRange whole = range(15 * kPage, 21 * kPage);
    const auto refused = [&](VaRange wrong) {
        const auto result = heap.release_checked(wrong);
        REQUIRE_FALSE(result.has_value());
        CHECK(result.error().code == Code::kNotAllocated);
        CHECK_FALSE(heap.is_allocated(wrong));
        CHECK(heap.is_allocated(owned));
        return result.error().occupant;
    };
    CHECK(refused(whole) == whole);
    CHECK(refused(sized(16 * kPage, kPage)) == whole);
    CHECK(refused(sized(17 * kPage, 3 * kPage)) == whole);
    CHECK(refused(sized(16 * kPage, 8 * kPage)) == whole);
    CHECK(refused(sized(0, kPage)) == VaRange{});
    CHECK(refused(sized(8 * kMiB, kPage)) == VaRange{});
    CHECK(refused(sized(16 * kPage + 1, 4 * kPage)) == whole);
    CHECK(refused({Va{UINT64_MAX}, Va{0}}) == VaRange{});
    CHECK(heap.validate());
    CHECK(heap.release_checked(owned).has_value());
    const auto twice = heap.release_checked(owned);
    REQUIRE_FALSE(twice.has_value());
    CHECK(twice.error().code == Code::kNotAllocated);
    CHECK(twice.error().occupant == VaRange{});
}

TEST_CASE("released neighbours become one hole, whatever the order") {
    for (const auto& order : {std::vector{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}) {
        VaHeap heap = heap_of(range(kPage, 4 * kPage));
        std::vector<VaRange> ranges;
        for (std::uint64_t page = 1; page < 4; ++page) {
            ranges.push_back(must(heap.allocate_at(sized(page * kPage, kPage))));
        }
        for (const int index : order) {
            heap.release(ranges[static_cast<std::size_t>(index)]);
            CHECK(heap.validate());
        }
        CHECK(holes_of(heap) == std::vector{range(kPage, 4 * kPage)});
    }
}

TEST_CASE("look-ups find allocations by any of their addresses") {
    VaHeap heap = heap_of(range(kMiB, 2 * kMiB));
    const VaRange owned = must(heap.allocate_at(sized(kMiB + 4 * kPage, 3 * kPage)));
    CHECK(heap.allocation_at(owned.start)->range == owned);
    CHECK(heap.allocation_at(owned.end - 1)->range == owned);
    CHECK_FALSE(heap.allocation_at(owned.end).has_value());
    CHECK_FALSE(heap.allocation_at(owned.start - 1).has_value());
    CHECK_FALSE(heap.allocation_at(Va{0}).has_value());
    CHECK_FALSE(heap.allocation_at(Va{2 * kMiB}).has_value());
    CHECK_FALSE(heap.allocation_at(Va{UINT64_MAX}).has_value());
}

TEST_CASE("statistics follow every change") {
    VaHeap heap = heap_of(range(0, kMiB));
    const VaRange owned = must(heap.allocate_at(sized(16 * kPage, 2 * kPage), kPage));
    const VaZoneStats stats = heap.stats(VaZone::kMain);
    CHECK(stats.range == range(0, kMiB));
    CHECK(stats.allocations == 1);
    CHECK(stats.used_bytes == 4 * kPage);
    CHECK(stats.free_bytes == kMiB - 4 * kPage);
    CHECK(stats.holes == 2);
    CHECK(stats.largest_hole == kMiB - 19 * kPage);
    heap.release(owned);
    CHECK(heap.stats(VaZone::kMain) ==
          VaZoneStats{.range = range(0, kMiB), .free_bytes = kMiB, .holes = 1, .largest_hole = kMiB});
}

TEST_CASE("placement: small requests fill 2 MiB windows that are in use before they cut another one") {
    // Without slots: a run of them is one request to the blocks.
    VaHeap heap = heap_of(range(0, 64 * kMiB), kBinsAlone);
    // A window is cut once; 511 more pages fit there.
    const VaRange first = must(heap.allocate({.size = kPage}));
    (void)must(heap.allocate({.size = 2 * kMiB, .alignment = 2 * kMiB}));
    const Va window = first.start.align_down(2 * kMiB);
    for (int i = 0; i < 511; ++i) {
        CHECK(must(heap.allocate({.size = kPage})).start.align_down(2 * kMiB) == window);
    }
    CHECK(heap.stats(VaZone::kMain).free_bytes == 60 * kMiB);
    CHECK(heap.stats(VaZone::kMain).largest_hole == 60 * kMiB);
    // Larger ones in the gaps of larger ones: the 3 MiB next to a 5 MiB allocation, not the 50 beyond.
    (void)must(heap.allocate({.size = 5 * kMiB, .alignment = 8 * kMiB}));
    CHECK(must(heap.allocate({.size = kMiB})).start >= Va{56 * kMiB});
    CHECK(heap.validate());
}

TEST_CASE("a heap can be moved and goes on") {
    VaHeap heap = heap_of(range(0, kMiB));
    const VaRange owned = must(heap.allocate({.size = kPage}));
    VaHeap moved = std::move(heap);
    CHECK(moved.is_allocated(owned));
    heap = std::move(moved);
    heap.release(owned);
    CHECK(heap.validate());
}

TEST_CASE("all memory goes back with the heap, whatever is allocated") {
    FailingMemory source;
    {
        VaHeapConfig config{.zones = {VaRange{}, range(0, kMiB), VaRange{}}, .memory = source.memory()};
        VaHeap heap = heap_over(config);
        for (int i = 0; i < 200; ++i) {
            (void)must(heap.allocate({.size = kPage}));
        }
        CHECK(source.outstanding >= 2);
        CHECK(heap.node_bytes() >= 200 * 100);
    }
    CHECK(source.outstanding == 0);
}
