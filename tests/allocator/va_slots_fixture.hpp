// What the tests of slots have in common: leases taken by the dozen, and the inside of a heap, where slots can be asked alone.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "allocator/shape.hpp"
#include "allocator/va_heap.hpp"
#include "allocator/va_space.hpp"
#include "tests/allocator/va_heap_fixture.hpp"

namespace granule::test {

[[nodiscard]] inline VaLease must(Result<VaLease, VaError> result) {
    REQUIRE(result.has_value());
    return *result;
}

[[nodiscard]] inline std::vector<VaLease> take(VaHeap& heap, std::size_t count, const VaRequest& request) {
    std::vector<VaLease> all;
    for (std::size_t i = 0; i < count; ++i) {
        all.push_back(must(heap.lease(request)));
    }
    return all;
}

// Handles of slots are small numbers, those of blocks have the highest bit.
[[nodiscard]] inline bool in_slot(const VaLease& lease) {
    return lease.handle != VaHandle::kNone && static_cast<std::uint64_t>(lease.handle) >> 63 == 0;
}

[[nodiscard]] inline std::size_t slots_among(const std::vector<VaLease>& leases) {
    return static_cast<std::size_t>(std::count_if(leases.begin(), leases.end(), in_slot));
}

// The inside of a heap, where slots can be asked alone. One zone of 2^36 bytes.
struct Inside {
    VaSpace space{NodeMemory::process(), {.enabled = true, .least_demand = 0}, true};

    Inside() {
        REQUIRE(space.partition.open(VaZone::kMain, range(0, 64 * kGiB)));
        REQUIRE(space.slots.open(VaZone::kMain));
    }
    VaLease grown(const VaRequest& request) {
        VaLease lease;
        REQUIRE(space.slots.grow(request, lease) == VaSlots::Grown::kTaken);
        return lease;
    }
    void release(const VaLease& lease) {
        const VaSlots::Place place = space.slots.find(lease.range, lease.handle);
        REQUIRE(static_cast<bool>(place));
        space.slots.release(place);
    }
    // A block, so that much is in use.
    void use(std::uint64_t pages) {
        const VaPartition::Place place =
            space.partition.find(space.partition.zone(VaZone::kMain), Shape{.pages = pages});
        REQUIRE(place.hole != nullptr);
        REQUIRE(space.waits.reserve(1));
        REQUIRE(space.partition.set_aside(2));
        space.waits.add(1);
        space.partition.carve(*place.hole, place.first, place.first + pages, 0);
    }
};

}  // namespace granule::test
