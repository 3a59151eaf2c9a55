// What the tests of the VA heap share: short ways to write ranges and heaps, and memory that can be made to fail.
#pragma once

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "allocator/va_heap.hpp"

namespace granule::test {

inline constexpr std::uint64_t kKiB = std::uint64_t{1} << 10;
inline constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
inline constexpr std::uint64_t kPage = kPageBytes;

inline VaRange range(std::uint64_t start, std::uint64_t end) {
    return {Va{start}, Va{end}};
}
inline VaRange sized(std::uint64_t start, std::uint64_t size) {
    return range(start, start + size);
}

inline VaHeap heap_over(const VaHeapConfig& config) {
    auto heap = VaHeap::create(config);
    REQUIRE(heap.has_value());
    return std::move(*heap);
}

// Which of its fast paths a heap has. Whatever the heap promises, it promises with each of these.
struct Paths {
    const char* name;
    bool bins;
    bool slots;
    std::uint32_t slots_from;

    [[nodiscard]] std::string text() const { return name; }
    void set(VaHeapConfig& config) const {
        config.bins = bins;
        config.slots = slots;
        config.slots_from = slots_from;
    }
};
inline constexpr Paths kNoFastPath{"no fast path", false, false, 0};
inline constexpr Paths kDefaultPaths{"all fast paths", true, true, VaSlotPolicy{}.least_demand};
// A run for the first request of a class, where there is room for one: as many runs as there can be.
inline constexpr Paths kEagerSlots{"slots at once", true, true, 0};
inline constexpr Paths kBinsAlone{"bins", true, false, 0};
inline constexpr Paths kSlotsAlone{"slots at once, no bins", false, true, 0};
inline constexpr std::array kAllPaths = {kNoFastPath, kDefaultPaths, kEagerSlots, kBinsAlone, kSlotsAlone};

// A heap with one zone, kMain.
inline VaHeap heap_of(VaRange main, const Paths& paths = kDefaultPaths) {
    VaHeapConfig config;
    config.zones[static_cast<std::size_t>(VaZone::kMain)] = main;
    paths.set(config);
    return heap_over(config);
}

inline std::vector<VaAllocation> allocations_of(const VaHeap& heap, VaZone zone = VaZone::kMain) {
    std::vector<VaAllocation> all;
    heap.visit_allocations(zone, [&](const VaAllocation& allocation) { all.push_back(allocation); });
    return all;
}

inline std::vector<VaRange> holes_of(const VaHeap& heap, VaZone zone = VaZone::kMain) {
    std::vector<VaRange> all;
    heap.visit_holes(zone, [&](VaRange hole) { all.push_back(hole); });
    return all;
}

// Counts requests, and lets one of them and all later ones fail.
class FailingMemory {
public:
    std::uint64_t requests = 0;
    std::uint64_t fail_from = UINT64_MAX;  // index of the first request that fails
    std::uint64_t outstanding = 0;

    [[nodiscard]] NodeMemory memory() {
        return {
            [](void* context, std::size_t bytes, std::size_t alignment) noexcept -> void* {
                auto& self = *static_cast<FailingMemory*>(context);
                if (self.requests++ >= self.fail_from) {
                    return nullptr;
                }
                ++self.outstanding;
                return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
            },
            [](void* context, void* block, std::size_t, std::size_t) noexcept {
                --static_cast<FailingMemory*>(context)->outstanding;
                std::free(block);
            },
            this,
        };
    }
};

}  // namespace granule::test
