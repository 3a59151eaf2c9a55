// What the owner of an allocation keeps: the same size for every subject, whatever its handle is.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "tests/bench/harness/subject.hpp"
#include "tests/bench/va/requests.hpp"

namespace granule::bench {

template <class Subject>
struct Slot {
    alignas(8) typename Subject::Handle handle{};
    std::uint64_t offset = 0;
    std::uint32_t units = 0;
    std::uint16_t alignment = 1;
    bool live = false;
};

template <class Subject>
bool take(Subject& subject, Slot<Subject>& slot, const UnitRequest& request) {
    slot.units = request.units;
    slot.alignment = static_cast<std::uint16_t>(request.alignment);
    slot.live = subject.alloc(request.units, request.alignment, slot.handle, slot.offset);
    return slot.live;
}

template <class Subject>
void give(Subject& subject, Slot<Subject>& slot) {
    subject.free(slot.handle, slot.offset, slot.units);
    slot.live = false;
}

struct Layout {
    double span = 0;      // from the lowest unit in use to the highest, as a multiple of the live units
    double big_free = 0;  // the largest hole, as a part of all free units
};

// Sorts what is live: aligned, disjoint, inside the heap, or the run ends.
template <class Subject>
[[nodiscard]] Layout checked_layout(const std::vector<Slot<Subject>>& slots, std::uint64_t capacity) {
    if constexpr (Subject::kRole == Role::kNull) {
        return {};
    }
    std::vector<std::pair<std::uint64_t, std::uint64_t>> used;
    std::uint64_t live = 0;
    for (const Slot<Subject>& slot : slots) {
        if (!slot.live) {
            continue;
        }
        if (slot.offset % slot.alignment != 0) {
            wrong(Subject::name, "an allocation is not aligned");
        }
        used.emplace_back(slot.offset, slot.units);
        live += slot.units;
    }
    if (used.empty()) {
        return {};
    }
    std::sort(used.begin(), used.end());
    std::uint64_t end = 0;
    std::uint64_t largest = 0;
    for (const auto& [offset, units] : used) {
        if (offset < end) {
            wrong(Subject::name, "allocations overlap");
        }
        largest = std::max(largest, offset - end);
        end = offset + units;
    }
    if (end > capacity) {
        wrong(Subject::name, "an allocation lies outside the heap");
    }
    largest = std::max(largest, capacity - end);
    const std::uint64_t low = used.front().first;
    return {static_cast<double>(end - low) / static_cast<double>(live),
            capacity == live ? 0 : static_cast<double>(largest) / static_cast<double>(capacity - live)};
}

}  // namespace granule::bench
