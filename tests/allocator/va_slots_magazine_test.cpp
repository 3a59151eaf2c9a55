// Magazines of a VA heap's slots: what is at hand, in which order it comes, and what goes back when too much is free.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "allocator/va_heap.hpp"
#include "allocator/va_slots.hpp"
#include "tests/allocator/va_heap_fixture.hpp"
#include "tests/allocator/va_slots_fixture.hpp"

using namespace granule;
using namespace granule::test;

TEST_CASE("a run is used up, from the end that the direction names, before another one is made") {
    for (const VaDirection direction : {VaDirection::kTopDown, VaDirection::kBottomUp}) {
        CAPTURE(static_cast<int>(direction));
        Inside inside;
        inside.use(std::uint64_t{1} << 20);
        const VaRequest request{.size = 3 * kPage, .direction = direction};
        std::vector<VaLease> leases{inside.grown(request)};
        const std::uint64_t slots = inside.space.slots.counters(VaZone::kMain).run_pages / 3;
        REQUIRE(slots >= 16);
        while (leases.size() < slots) {
            VaLease lease;
            if (!inside.space.slots.take(request, lease)) {
                lease = inside.grown(request);
            }
            const bool is_next = direction == VaDirection::kTopDown ? lease.range.end == leases.back().range.start
                                                                    : lease.range.start == leases.back().range.end;
            REQUIRE(is_next);
            leases.push_back(lease);
        }
        CHECK(inside.space.slots.counters(VaZone::kMain).runs == 1);
        CHECK(inside.space.slots.free_pages(VaZone::kMain) == 0);
        CHECK(inside.space.validate());
        inside.grown(request);
        CHECK(inside.space.slots.counters(VaZone::kMain).runs == 2);
    }
}

TEST_CASE("where a magazine is empty, a slot of the next class is taken before the class's own listed ones") {
    Inside inside;
    inside.use(std::uint64_t{1} << 20);
    const VaRequest own{.size = 20 * kPage};
    const VaRequest next{.size = 21 * kPage};
    const VaLease first = inside.grown(own);
    const VaLease larger = inside.grown(next);
    inside.release(larger);
    VaLease lease;
    REQUIRE(inside.space.slots.take(own, lease));
    CHECK(lease.range == sized(larger.range.start.raw(), own.size));
    REQUIRE_FALSE(inside.space.slots.take(own, lease));
    lease = inside.grown(own);
    CHECK(lease.range.end == first.range.start);
    CHECK(inside.space.validate());
}

TEST_CASE("the largest class has none beside it") {
    Inside inside;
    inside.use(std::uint64_t{1} << 22);
    VaLease lease;
    CHECK_FALSE(inside.space.slots.take({.size = VaSlotClass::kMostPages * kPage}, lease));
    CHECK(inside.space.validate());
}

TEST_CASE(
    "what is too much goes back from the class itself if something near is left, else from the largest of the octave") {
    // A large slot and a small one are free, of one octave, and there may be no more. Then another small one becomes free.
    constexpr unsigned kSmall = 16 * 9 + 1;
    constexpr unsigned kTooFar = kSmall + 4;  // for a request of kSmall
    constexpr unsigned kLarge = kSmall + 8;
    const auto request_of = [](unsigned size_class) {
        return VaRequest{.size = VaSlotClass::stride_of(size_class) * kPage};
    };
    for (const bool near : {true, false}) {
        CAPTURE(near);
        Inside inside;
        inside.use(48 * (std::uint64_t{VaSlotClass::stride_of(kLarge)} + VaSlotClass::stride_of(kTooFar) + 512));
        const VaLease large = inside.grown(request_of(kLarge));
        const VaLease other = inside.grown(request_of(near ? kSmall : kTooFar));
        const VaLease small = inside.grown(request_of(kSmall));
        REQUIRE(inside.space.slots.counters(VaZone::kMain).runs == 3);
        inside.release(large);
        inside.release(other);
        CHECK(inside.space.slots.counters(VaZone::kMain).runs == 3);
        inside.release(small);
        CHECK(inside.space.slots.counters(VaZone::kMain).runs == 2);
        VaLease lease;
        CHECK(inside.space.slots.take(request_of(kLarge), lease) == near);
        CHECK(inside.space.validate());
    }
}

TEST_CASE("a magazine that runs full and empty keeps every slot once") {
    VaHeap heap = heap_of(range(0, kGiB), kEagerSlots);
    std::vector<VaLease> leases = take(heap, 600, {.size = 2 * kPage});
    for (const std::size_t width : {1U, 5U, 11U, 12U, 13U, 64U, 200U, 600U}) {
        for (std::size_t begin = 0; begin + width <= leases.size(); begin += width) {
            for (std::size_t i = begin; i < begin + width; ++i) {
                REQUIRE(heap.release_checked(leases[i].range, leases[i].handle).has_value());
            }
            for (std::size_t i = begin; i < begin + width; ++i) {
                leases[i] = must(heap.lease({.size = 2 * kPage}));
            }
        }
        REQUIRE(heap.validate());
        REQUIRE(heap.stats(VaZone::kMain).allocations == 600);
    }
}

TEST_CASE("a large range that was given back is kept whole for the next one of nearly its size") {
    Inside inside;
    inside.use(std::uint64_t{1} << 22);
    constexpr unsigned kClass = 16 * 9 + 5;
    const auto request_of = [](unsigned size_class) {
        return VaRequest{.size = VaSlotClass::stride_of(size_class) * kPage};
    };
    for (unsigned smaller = 0; smaller <= 5; ++smaller) {
        CAPTURE(smaller);
        const VaLease large = inside.grown(request_of(kClass));
        inside.release(large);
        CHECK(inside.space.slots.free_pages(VaZone::kMain) == VaSlotClass::stride_of(kClass));
        VaLease next;
        const VaRequest request = request_of(kClass - smaller);
        const bool taken =
            inside.space.slots.take(request, next) || inside.space.slots.grow(request, next) == VaSlots::Grown::kTaken;
        // Three classes are near enough.
        CHECK((taken && next.range == sized(large.range.start.raw(), request.size)) == (smaller <= 3));
        if (taken) {
            inside.release(next);
        }
        CHECK(inside.space.validate());
        CHECK(inside.space.slots.trim(VaZone::kMain));
        CHECK(inside.space.slots.free_pages(VaZone::kMain) == 0);
        CHECK_FALSE(inside.space.slots.trim(VaZone::kMain));
        CHECK(inside.space.validate());
    }
}
