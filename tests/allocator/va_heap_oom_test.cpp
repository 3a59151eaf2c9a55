// The VA heap without memory: any request for nodes may fail, and nothing has changed then. Giving back needs none
// (P4).
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "allocator/reuse_queue.hpp"
#include "allocator/va_heap.hpp"
#include "tests/allocator/va_heap_fixture.hpp"

using namespace granule;
using namespace granule::test;

namespace {

VaHeapConfig config_with(FailingMemory& source, const Paths& paths) {
    VaHeapConfig config{.zones = {range(0, 64 * kMiB), range(4 * kGiB, 8 * kGiB), VaRange{}},
                        .memory = source.memory()};
    paths.set(config);
    return config;
}

struct Snapshot {
    std::vector<VaAllocation> allocations;
    std::vector<VaRange> holes;
    VaZoneStats stats;

    explicit Snapshot(const VaHeap& heap)
        : allocations(allocations_of(heap)), holes(holes_of(heap)), stats(heap.stats(VaZone::kMain)) {}
    bool operator==(const Snapshot&) const = default;
};

std::uint64_t requests_of_create(const Paths& paths) {
    FailingMemory source;
    const VaHeap heap = heap_over(config_with(source, paths));
    return source.requests;
}

// Allocations that take no, one and two nodes. `shift` moves where among them the memory runs out.
Result<VaRange, VaError> allocate_step(VaHeap& heap, std::uint64_t step, std::uint64_t shift) {
    if (step < shift) {
        return heap.allocate({.size = kPage, .zone = VaZone::kMain});
    }
    switch ((step - shift) % 3) {
        case 0:
            return heap.allocate({.size = 3 * kPage, .alignment = 64 * kKiB, .phase = 2 * kPage, .guard = kPage});
        case 1:
            return heap.allocate_at(sized(5 * kGiB + step * kMiB, 2 * kPage));
        default:
            return heap.allocate({.size = kPage, .direction = VaDirection::kBottomUp});
    }
}

}  // namespace

TEST_CASE("create without memory is kOutOfMemory, and keeps none") {
    for (std::uint64_t fail_from = 0;; ++fail_from) {
        FailingMemory source;
        source.fail_from = fail_from;
        const bool created = [&] {
            const auto heap = VaHeap::create(config_with(source, kDefaultPaths));
            CHECK((heap.has_value() || heap.error().code == VaError::Code::kOutOfMemory));
            return heap.has_value();
        }();
        CHECK(source.outstanding == 0);
        if (created) {
            CHECK(fail_from >= 2);
            break;
        }
    }
}

TEST_CASE("an allocation without memory is kOutOfMemory and changes nothing, wherever it strikes") {
    constexpr std::uint64_t kSteps = 500;
    for (const Paths& paths : {kNoFastPath, kDefaultPaths, kEagerSlots}) {
        INFO("with " << paths.text());
        for (std::uint64_t shift = 0; shift < 4; ++shift) {
            bool ever_failed = true;
            // The first request beyond what `create` needs, and so on.
            for (std::uint64_t fail_from = requests_of_create(paths); ever_failed; ++fail_from) {
                CAPTURE(shift);
                CAPTURE(fail_from);
                FailingMemory source;
                VaHeap heap = heap_over(config_with(source, paths));
                source.fail_from = fail_from;
                std::uint64_t first_failure = kSteps;
                std::vector<VaRange> live;
                for (std::uint64_t step = 0; step < kSteps; ++step) {
                    const Snapshot before(heap);
                    const std::uint64_t requests = source.requests;
                    const auto result = allocate_step(heap, step, shift);
                    if (result) {
                        live.push_back(*result);
                        continue;
                    }
                    REQUIRE(result.error().code == VaError::Code::kOutOfMemory);
                    REQUIRE(source.requests > requests);
                    REQUIRE(Snapshot(heap) == before);
                    REQUIRE(heap.validate());
                    first_failure = std::min(first_failure, step);
                }
                ever_failed = first_failure != kSteps;
                // P4: with nothing left to take, everything can be given back.
                source.fail_from = 0;
                const std::uint64_t requests = source.requests;
                ReuseQueue queue(heap);
                for (std::size_t i = 0; i < live.size(); ++i) {
                    const std::array points{FencePoint{TimelineId{1}, i}, FencePoint{TimelineId{2}, i / 2}};
                    if (i % 3 == 0) {
                        REQUIRE(queue.retire(live[i], points).has_value());
                    } else {
                        heap.release(live[i]);
                    }
                }
                (void)queue.collect([](TimelineId) { return UINT64_MAX; });
                REQUIRE(source.requests == requests);
                REQUIRE(heap.validate());
                REQUIRE(heap.stats(VaZone::kMain).free_bytes == 4 * kGiB);
                REQUIRE(heap.stats(VaZone::kMain).holes == 1);
                // What was given back can be allocated again without memory, up to where it ran out before. With slots,
                // the empty runs that are kept may lie where a hole was, and make two of it.
                for (std::size_t i = 0; !paths.slots && i < std::min<std::uint64_t>(40, first_failure); ++i) {
                    REQUIRE(allocate_step(heap, i, shift).has_value());
                }
            }
        }
    }
}
