// Slots of a VA heap by examples: who gets one, what is seen of it from outside (nothing), and what becomes of runs when
// something else wants their pages.
#include "allocator/va_slots.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "allocator/reuse_queue.hpp"
#include "allocator/shape.hpp"
#include "allocator/va_heap.hpp"
#include "allocator/va_space.hpp"
#include "tests/allocator/va_heap_fixture.hpp"
#include "tests/allocator/va_slots_fixture.hpp"

using namespace granule;
using namespace granule::test;

namespace {

using Code = VaError::Code;

}  // namespace

TEST_CASE("every size is in the class whose stride is the least that holds it, at most 1/16 larger") {
    std::uint32_t prev = 0;
    for (unsigned size_class = 0; size_class < VaSlotClass::kClasses; ++size_class) {
        const std::uint32_t stride = VaSlotClass::stride_of(size_class);
        REQUIRE(stride > prev);
        REQUIRE(VaSlotClass::of(stride) == size_class);
        REQUIRE(VaSlotClass::of(prev + 1) == size_class);
        REQUIRE(16 * (std::uint64_t{stride} - (prev + 1)) < stride);
        prev = stride;
    }
    CHECK(prev == VaSlotClass::kMostPages);
}

TEST_CASE("a size that is a multiple of an alignment has a stride that is one too") {
    for (std::uint64_t alignment = 1; alignment <= 512; alignment *= 2) {
        for (std::uint64_t pages = alignment; pages <= 16384; pages += alignment) {
            REQUIRE(VaSlotClass::stride_of(VaSlotClass::of(pages)) % alignment == 0);
        }
    }
}

TEST_CASE("the blocks serve the first requests of a class, slots the ones after") {
    VaHeap heap = heap_of(range(0, kGiB));
    const auto leases = take(heap, 100, {.size = 3 * kPage});
    CHECK(slots_among(leases) == 100 - VaSlotPolicy{}.least_demand);
    CHECK(heap.validate());
    VaHeap without = heap_of(range(0, kGiB), kBinsAlone);
    CHECK(slots_among(take(without, 100, {.size = 3 * kPage})) == 0);
}

TEST_CASE("ranges in slots are exact and aligned; the slack behind them is free") {
    VaHeap heap = heap_of(range(kGiB, 3 * kGiB), kEagerSlots);
    for (const std::uint64_t alignment : {kPage, 64 * kKiB, 2 * kMiB}) {
        for (std::uint64_t pages = 1; pages < 700; pages += 37) {
            const VaLease lease = must(heap.lease({.size = pages * kPage, .alignment = alignment}));
            REQUIRE(lease.range.size() == pages * kPage);
            REQUIRE(lease.range.start.is_aligned(alignment));
        }
    }
    const VaZoneStats stats = heap.stats(VaZone::kMain);
    std::uint64_t used = 0;
    for (const VaAllocation& allocation : allocations_of(heap)) {
        used += allocation.range.size();
    }
    CHECK(stats.used_bytes == used);
    CHECK(stats.free_bytes == 2 * kGiB - used);
    CHECK(stats.holes == holes_of(heap).size());
    CHECK(heap.validate());
}

TEST_CASE("only plain requests go to slots") {
    VaHeap heap = heap_of(range(0, 64 * kGiB), kEagerSlots);
    // Runs are a small part of what is in use.
    CHECK_FALSE(in_slot(must(heap.lease({.size = 16 * kGiB}))));
    CHECK(in_slot(must(heap.lease({.size = kPage}))));
    CHECK(in_slot(must(heap.lease({.size = 3 * kMiB, .alignment = 64 * kKiB}))));
    CHECK_FALSE(in_slot(must(heap.lease({.size = kPage, .guard = kPage}))));
    CHECK_FALSE(in_slot(must(heap.lease({.size = kPage, .alignment = 2 * kPage, .phase = kPage}))));
    CHECK_FALSE(in_slot(must(heap.lease({.size = kPage, .boundary = kMiB}))));
    CHECK_FALSE(in_slot(must(heap.lease({.size = kPage, .alignment = 4 * kMiB}))));
    CHECK_FALSE(in_slot(must(heap.lease({.size = 2 * kGiB}))));
    CHECK(heap.validate());
}

TEST_CASE("the direction chooses the end of a run") {
    VaHeap heap = heap_of(range(0, kMiB), kEagerSlots);
    const auto leases = take(heap, 6, {.size = kPage});
    CHECK(leases[0].range.start > leases[1].range.start);
    VaHeap up = heap_of(range(0, kMiB), kEagerSlots);
    const auto ascending = take(up, 6, {.size = kPage, .direction = VaDirection::kBottomUp});
    CHECK(ascending[0].range.start < ascending[1].range.start);
}

TEST_CASE("release with a handle: the right one, none, a stale one, somebody else's and nonsense all do the same") {
    VaHeap heap = heap_of(range(0, kGiB), kEagerSlots);
    auto leases = take(heap, 200, {.size = 5 * kPage});
    leases.push_back(must(heap.lease({.size = 5 * kPage, .guard = kPage})));
    leases.push_back(must(heap.lease({.size = 5 * kPage, .guard = kPage})));
    const std::array handles{leases[7].handle,
                             VaHandle::kNone,
                             leases.back().handle,
                             leases[120].handle,
                             VaHandle{1},
                             VaHandle{63},
                             VaHandle{UINT64_MAX},
                             VaHandle{std::uint64_t{1} << 63},
                             VaHandle{UINT64_MAX >> 1},
                             VaHandle{(std::uint64_t{1} << 63) + 1'000'000}};
    for (std::size_t i = 0; i < leases.size(); ++i) {
        const VaHandle handle = i % 11 == 10 ? leases[i].handle : handles[i % 11];
        const VaRange range = leases[i].range;
        // Not the range of anything, whatever the handle.
        const auto wrong = heap.release_checked({range.start, range.end - kPage}, handle);
        REQUIRE_FALSE(wrong.has_value());
        REQUIRE(wrong.error().code == Code::kNotAllocated);
        REQUIRE(wrong.error().occupant.contains(range));
        REQUIRE(heap.release_checked(range, handle).has_value());
        // Stale from now on.
        const auto twice = heap.release_checked(range, leases[i].handle);
        REQUIRE_FALSE(twice.has_value());
        REQUIRE(twice.error().code == Code::kNotAllocated);
    }
    CHECK(heap.stats(VaZone::kMain).free_bytes == kGiB);
    CHECK(holes_of(heap) == std::vector{range(0, kGiB)});
    CHECK(heap.validate());
}

TEST_CASE("what is free in runs is free for everything: they are dissolved before an allocation fails") {
    VaHeap heap = heap_of(range(0, 256 * kPage), kEagerSlots);
    std::vector<VaLease> leases;
    while (const auto lease = heap.lease({.size = kPage})) {
        leases.push_back(*lease);
    }
    REQUIRE(leases.size() == 256);
    std::sort(leases.begin(), leases.end(),
              [](const VaLease& a, const VaLease& b) { return a.range.start < b.range.start; });
    // Every slot but a stretch of seven pages, which no run ends at.
    for (std::size_t i = 97; i < 104; ++i) {
        heap.release(leases[i].range);
    }
    CHECK(heap.stats(VaZone::kMain).holes == 1);
    CHECK(heap.stats(VaZone::kMain).largest_hole == 7 * kPage);
    const auto too_large = heap.lease({.size = 8 * kPage});
    REQUIRE_FALSE(too_large.has_value());
    CHECK(too_large.error().code == Code::kOutOfVa);
    CHECK(too_large.error().largest_hole == 7 * kPage);
    CHECK(must(heap.lease({.size = 5 * kPage, .guard = kPage})).range == sized(98 * kPage, 5 * kPage));
    CHECK(heap.validate());
    // Handles of runs that are no more are stale, and do no harm.
    for (std::size_t i = 0; i < 97; ++i) {
        REQUIRE(heap.is_allocated(leases[i].range));
        REQUIRE(heap.release_checked(leases[i].range, leases[i].handle).has_value());
    }
    CHECK(heap.validate());
}

TEST_CASE("a fixed address in a free slot, in slack, or across runs is free; one in a taken slot names it") {
    VaHeap heap = heap_of(range(0, 256 * kMiB), kEagerSlots);
    (void)must(heap.lease({.size = 128 * kMiB, .guard = kPage}));
    const auto leases = take(heap, 2, {.size = 33 * kPage, .direction = VaDirection::kBottomUp});
    REQUIRE(slots_among(leases) == 2);
    const std::uint64_t stride = leases[1].range.start - leases[0].range.start;
    REQUIRE(stride == 34 * kPage);
    const auto occupied = heap.allocate_at(sized(leases[1].range.end.raw() - kPage, 2 * kPage));
    REQUIRE_FALSE(occupied.has_value());
    CHECK(occupied.error().code == Code::kOccupied);
    CHECK(occupied.error().occupant == leases[1].range);
    // The page between the two ranges, which is slack.
    CHECK(heap.allocate_at(sized(leases[0].range.end.raw(), kPage)).has_value());
    CHECK(heap.validate());
    CHECK(heap.is_allocated(leases[0].range));
    CHECK(heap.is_allocated(leases[1].range));
    CHECK(heap.allocation_at(leases[1].range.start + 7 * kPage)->range == leases[1].range);
    heap.release(leases[0].range);
    CHECK(heap.allocate_at(sized(leases[0].range.start.raw() + kPage, 3 * kPage)).has_value());
    CHECK(heap.validate());
}

TEST_CASE("a range that comes back to its slot leaves the run as it is") {
    VaHeap heap = heap_of(range(0, 256 * kMiB), kEagerSlots);
    (void)must(heap.lease({.size = 128 * kMiB, .guard = kPage}));
    const auto leases = take(heap, 2, {.size = 33 * kPage, .direction = VaDirection::kBottomUp});
    REQUIRE(slots_among(leases) == 2);
    const VaZoneStats before = heap.stats(VaZone::kMain);
    REQUIRE(heap.release_checked(leases[0].range, leases[0].handle).has_value());
    CHECK((heap.allocate_at(leases[0].range) == leases[0].range));
    CHECK(heap.stats(VaZone::kMain) == before);
    CHECK(heap.allocate_at(leases[0].range).error().code == Code::kOccupied);
    // The old handle leads to it: it is in that slot.
    REQUIRE(heap.release_checked(leases[0].range, leases[0].handle).has_value());
    // Half of the slot is enough, whatever the range was before; with a guard it is a block's.
    const VaRange half = sized(leases[0].range.start.raw(), 17 * kPage);
    CHECK((heap.allocate_at(half) == half));
    CHECK(heap.allocation_at(half.end - kPage)->range == half);
    CHECK_FALSE(heap.allocation_at(half.end).has_value());
    CHECK(heap.validate());
    heap.release(half);
    heap.release(leases[1].range);
    const VaRange guarded = sized(leases[1].range.start.raw(), 33 * kPage);
    CHECK((heap.allocate_at(guarded, kPage) == guarded));
    CHECK(heap.allocation_at(guarded.start)->whole.size() == 35 * kPage);
    CHECK(heap.validate());
}

TEST_CASE("empty runs go back to the blocks, the last ones when something wants the whole") {
    VaHeap heap = heap_of(range(0, kGiB), kEagerSlots);
    auto leases = take(heap, 5000, {.size = kPage});
    for (const VaLease& lease : leases) {
        REQUIRE(heap.release_checked(lease.range, lease.handle).has_value());
    }
    CHECK(heap.validate());
    CHECK(heap.stats(VaZone::kMain) ==
          VaZoneStats{.range = range(0, kGiB), .free_bytes = kGiB, .holes = 1, .largest_hole = kGiB});
    CHECK(heap.allocate({.size = kGiB}).has_value());
    CHECK(heap.validate());
}

TEST_CASE("a retired slot is nobody's until its fences are signalled, dissolved or not") {
    for (const bool dissolve : {false, true}) {
        CAPTURE(dissolve);
        VaHeap heap = heap_of(range(0, 64 * kPage), kEagerSlots);
        ReuseQueue queue(heap);
        const auto leases = take(heap, 40, {.size = kPage});
        std::vector<VaRange> waiting;
        for (std::size_t i = 0; i < leases.size(); i += 2) {
            const std::array points{FencePoint{TimelineId{1}, i + 1}, FencePoint{TimelineId{2}, 1}};
            // Every fourth by a stale handle.
            const VaHandle handle = i % 8 == 0 ? leases[(i + 8) % leases.size()].handle : leases[i].handle;
            REQUIRE(queue.retire(leases[i].range, handle, points).has_value());
            waiting.push_back(leases[i].range);
            const auto again = queue.retire(leases[i].range, leases[i].handle, points);
            REQUIRE_FALSE(again.has_value());
            REQUIRE(std::string(again.error().why) == "released before, and waits for fences");
        }
        CHECK(heap.stats(VaZone::kMain).retired == waiting.size());
        CHECK(heap.stats(VaZone::kMain).retired_bytes == waiting.size() * kPage);
        if (dissolve) {
            const auto none = heap.lease({.size = 60 * kPage});
            REQUIRE_FALSE(none.has_value());
            CHECK(none.error().behind_fences == waiting.size() * kPage);
        }
        CHECK(heap.validate());
        CHECK(queue.validate());
        for (std::size_t i = 0; i < waiting.size(); ++i) {
            const auto found = queue.waiting_at(waiting[i].start);
            REQUIRE(found.has_value());
            REQUIRE(found->range == waiting[i]);
            REQUIRE(found->waits_for()[0] == FencePoint{TimelineId{1}, 2 * i + 1});
            REQUIRE(heap.allocation_at(waiting[i].start)->retired);
            const auto at = heap.allocate_at(waiting[i]);
            REQUIRE_FALSE(at.has_value());
            REQUIRE(at.error().occupant == waiting[i]);
        }
        CHECK(queue.collect([](TimelineId timeline) { return timeline == TimelineId{1} ? 21U : 1U; }) == 11);
        CHECK(heap.stats(VaZone::kMain).retired == waiting.size() - 11);
        CHECK(heap.allocate_at(waiting[10]).has_value());
        CHECK_FALSE(heap.allocate_at(waiting[11]).has_value());
        CHECK(queue.collect([](TimelineId) { return UINT64_MAX; }) == waiting.size() - 11);
        CHECK(heap.validate());
        CHECK(queue.validate());
    }
}

TEST_CASE("dissolving without memory is kOutOfMemory, and nothing has changed") {
    FailingMemory source;
    VaHeapConfig config{.zones = {VaRange{}, range(0, 16 * kMiB), VaRange{}}, .memory = source.memory()};
    kEagerSlots.set(config);
    VaHeap heap = heap_over(config);
    std::vector<VaLease> leases;
    while (const auto lease = heap.lease({.size = kPage})) {
        leases.push_back(*lease);
    }
    REQUIRE(leases.size() == 4096);
    for (std::size_t i = 0; i < leases.size(); i += 2) {
        heap.release(leases[i].range);
    }
    const auto before = std::pair{allocations_of(heap), heap.stats(VaZone::kMain)};
    source.fail_from = 0;
    const auto result = heap.lease({.size = 9 * kPage, .guard = kPage});
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == Code::kOutOfMemory);
    CHECK(before == std::pair{allocations_of(heap), heap.stats(VaZone::kMain)});
    CHECK(heap.validate());
    // A slot needs none.
    CHECK(heap.lease({.size = kPage}).has_value());
    source.fail_from = UINT64_MAX;
    const auto out_of_va = heap.lease({.size = 9 * kPage, .guard = kPage});
    REQUIRE_FALSE(out_of_va.has_value());
    CHECK(out_of_va.error().code == Code::kOutOfVa);
    CHECK(heap.validate());
}

TEST_CASE("zones have slots of their own") {
    VaHeapConfig config{.zones = {range(0, 16 * kMiB), range(kGiB, 2 * kGiB), VaRange{}}};
    kEagerSlots.set(config);
    VaHeap heap = heap_over(config);
    for (int i = 0; i < 100; ++i) {
        const VaLease low = must(heap.lease({.size = 2 * kPage, .zone = VaZone::kLow}));
        const VaLease main = must(heap.lease({.size = 2 * kPage}));
        REQUIRE(config.zones[0].contains(low.range));
        REQUIRE(config.zones[1].contains(main.range));
        if (i % 3 == 0) {
            REQUIRE(heap.release_checked(low.range, low.handle).has_value());
        }
    }
    CHECK(heap.stats(VaZone::kLow).allocations == 66);
    CHECK(heap.stats(VaZone::kMain).allocations == 100);
    CHECK(heap.validate());
    const auto none = heap.lease({.size = kPage, .zone = VaZone::kReplay});
    REQUIRE_FALSE(none.has_value());
    CHECK(none.error().code == Code::kOutOfVa);
}

TEST_CASE("large ranges that are free in runs are at most a small part of what was in use") {
    Inside inside;
    std::vector<VaLease> leases;
    std::uint64_t used = std::uint64_t{1} << 20;
    inside.use(used);
    for (std::uint64_t i = 0; i < 300; ++i) {
        const std::uint64_t pages = 4096 + 512 * (i % 8 + 1);
        leases.push_back(inside.grown({.size = pages * kPage}));
        used += pages;
    }
    CHECK(inside.space.slots.counters(VaZone::kMain).runs == 300);
    for (std::size_t i = 0; i < leases.size(); ++i) {
        inside.release(leases[i * 7 % leases.size()]);
        REQUIRE(inside.space.slots.free_pages(VaZone::kMain) <= used / 48);
    }
    CHECK(inside.space.slots.free_pages(VaZone::kMain) != 0);
    CHECK(inside.space.validate());
}

TEST_CASE("a free slot serves the alignments that its start has, whatever the run was made for") {
    VaHeap heap = heap_of(range(kPage, 4 * kGiB), kEagerSlots);
    (void)must(heap.lease({.size = kGiB, .guard = kPage}));
    std::vector<VaLease> leases;
    std::uint64_t state = 1;
    for (int i = 0; i < 4000; ++i) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        const std::uint64_t alignment = std::array{kPage, 64 * kKiB, 2 * kMiB}[(state >> 33) % 3];
        if (leases.size() > 60) {
            const std::size_t which = (state >> 40) % leases.size();
            REQUIRE(heap.release_checked(leases[which].range, leases[which].handle).has_value());
            leases.erase(leases.begin() + static_cast<std::ptrdiff_t>(which));
        }
        leases.push_back(must(heap.lease({.size = 2 * kMiB, .alignment = alignment})));
        REQUIRE(leases.back().range.start.is_aligned(alignment));
        REQUIRE(leases.back().range.size() == 2 * kMiB);
        if (i % 64 == 0) {
            REQUIRE(heap.validate());
        }
    }
    CHECK(slots_among(leases) > leases.size() / 2);
    CHECK(heap.validate());
}

TEST_CASE("ranges much smaller than their slot have their exact size, in slots with one byte of slack and with two") {
    VaHeap heap = heap_of(range(0, 64 * kGiB), kEagerSlots);
    (void)must(heap.lease({.size = 16 * kGiB, .guard = kPage}));
    for (const std::uint64_t pages :
         {1U, 200U, 256U, 257U, 300U, 511U, 512U, 513U, 700U, 1025U, 1030U, 8193U, 16000U}) {
        CAPTURE(pages);
        const auto leases = take(heap, 40, {.size = pages * kPage, .alignment = 2 * kMiB});
        for (const VaLease& lease : leases) {
            REQUIRE(lease.range.size() == pages * kPage);
            REQUIRE(lease.range.start.is_aligned(2 * kMiB));
            REQUIRE((heap.allocation_at(lease.range.end - kPage)->range == lease.range));
            REQUIRE(heap.is_allocated(lease.range));
        }
        CHECK(heap.validate());
        for (const VaLease& lease : leases) {
            REQUIRE_FALSE(heap.release_checked({lease.range.start, lease.range.end + kPage}, lease.handle).has_value());
            REQUIRE(heap.release_checked(lease.range, lease.handle).has_value());
        }
        CHECK(heap.validate());
    }
    CHECK(heap.stats(VaZone::kMain).allocations == 1);
}
