// P5 by examples, and under random traffic against a list in which every range is asked every time.
#include "allocator/reuse_queue.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tests/allocator/va_heap_fixture.hpp"

using namespace granule;
using namespace granule::test;

namespace {

constexpr TimelineId kGraphics{7};
constexpr TimelineId kCompute{9};
constexpr TimelineId kBinds{3};

// The values of timelines, and how often each was asked for.
class Timelines {
public:
    std::map<TimelineId, std::uint64_t> values;
    std::vector<TimelineId> asked;

    std::uint64_t operator()(TimelineId timeline) {
        asked.push_back(timeline);
        const auto found = values.find(timeline);
        return found == values.end() ? 0 : found->second;
    }
};

struct Fixture {
    VaHeap heap = heap_of(range(0, 16 * kPage));
    ReuseQueue queue{heap};
    Timelines timelines;

    VaRange take(std::uint64_t pages = 1) {
        const auto result = heap.allocate({.size = pages * kPage});
        REQUIRE(result.has_value());
        return *result;
    }
    void retire(VaRange range, std::vector<FencePoint> points) {
        REQUIRE(queue.retire(range, points).has_value());
        REQUIRE(queue.validate());
        REQUIRE(heap.validate());
    }
    std::uint64_t collect() {
        timelines.asked.clear();
        const std::uint64_t freed = queue.collect(timelines);
        REQUIRE(queue.validate());
        REQUIRE(heap.validate());
        return freed;
    }
};

VaRange must_allocate(VaHeap& heap) {
    const auto result = heap.allocate({.size = kPage});
    REQUIRE(result.has_value());
    return *result;
}

}  // namespace

TEST_CASE_FIXTURE(Fixture, "P5: a retired range is nobody's until its point is signalled") {
    const VaRange all = take(16);
    retire(all, {{kGraphics, 5}});
    CHECK_FALSE(heap.is_allocated(all));
    CHECK(heap.allocation_at(all.start) == VaAllocation{all, all, true});
    CHECK(heap.allocate({.size = kPage}).error().code == VaError::Code::kOutOfVa);
    CHECK(heap.allocate_at(all).error().occupant == all);
    CHECK(collect() == 0);
    timelines.values[kGraphics] = 4;
    CHECK(collect() == 0);
    CHECK(heap.allocate({.size = kPage}).error().code == VaError::Code::kOutOfVa);
    timelines.values[kGraphics] = 5;
    CHECK(collect() == 1);
    CHECK(queue.ranges() == 0);
    CHECK(heap.allocate({.size = 16 * kPage}) == all);
}

TEST_CASE_FIXTURE(Fixture, "a range without points is free at once") {
    const VaRange all = take(16);
    retire(all, {});
    CHECK(queue.ranges() == 0);
    CHECK(heap.allocate({.size = 16 * kPage}) == all);
}

TEST_CASE_FIXTURE(Fixture, "a range waits for all of its points, in whichever order they are signalled") {
    for (const auto& order : {std::array{kBinds, kGraphics, kCompute},
                              {kCompute, kGraphics, kBinds},
                              {kGraphics, kCompute, kBinds},
                              {kGraphics, kBinds, kCompute}}) {
        timelines.values.clear();
        retire(take(), {{kGraphics, 2}, {kCompute, 3}, {kBinds, 1}});
        for (const TimelineId timeline : order) {
            CHECK(queue.ranges() == 1);
            CHECK(collect() == 0);
            timelines.values[timeline] = 3;
        }
        CHECK(collect() == 1);
    }
}

TEST_CASE_FIXTURE(Fixture, "points of one timeline count as the latest of them") {
    const VaRange owned = take();
    retire(owned, {{kGraphics, 2}, {kGraphics, 9}, {kBinds, 1}, {kGraphics, 4}});
    const auto waiting = queue.waiting_at(owned.start);
    REQUIRE(waiting.has_value());
    CHECK(waiting->count == 2);
    timelines.values = {{kGraphics, 8}, {kBinds, 8}};
    CHECK(collect() == 0);
    timelines.values = {{kGraphics, 9}, {kBinds, 8}};
    CHECK(collect() == 1);
}

TEST_CASE_FIXTURE(Fixture, "a timeline that signals an error by its value frees what waits for it") {
    // Drivers signal the point of a job that failed like any other; a lost device is the caller's UINT64_MAX.
    retire(take(), {{kGraphics, 5}, {kCompute, UINT64_MAX}});
    retire(take(), {{kGraphics, 1}});
    CHECK(queue.collect([](TimelineId) { return UINT64_MAX; }) == 2);
    CHECK(heap.stats(VaZone::kMain).free_bytes == 16 * kPage);
}

TEST_CASE_FIXTURE(Fixture, "P6: a retired VA says what it still waits for, by its guards too") {
    const auto guarded = heap.allocate({.size = 2 * kPage, .guard = kPage});
    REQUIRE(guarded.has_value());
    CHECK_FALSE(queue.waiting_at(guarded->start).has_value());
    retire(*guarded, {{kGraphics, 4}, {kBinds, 6}});
    for (const Va va : {guarded->start, guarded->end - 1, guarded->start - 1, guarded->end}) {
        const auto waiting = queue.waiting_at(va);
        REQUIRE(waiting.has_value());
        CHECK(waiting->range == *guarded);
        const std::vector<FencePoint> points(waiting->waits_for().begin(), waiting->waits_for().end());
        CHECK(points == std::vector<FencePoint>{{kBinds, 6}, {kGraphics, 4}});
    }
    timelines.values[kBinds] = 6;
    CHECK(collect() == 0);
    CHECK(queue.waiting_at(guarded->start)->count == 1);
    CHECK(queue.waiting_at(guarded->start)->waits_for()[0] == FencePoint{kGraphics, 4});
    CHECK_FALSE(queue.waiting_at(Va{0}).has_value());
    CHECK_FALSE(queue.waiting_at(Va{UINT64_MAX}).has_value());
}

TEST_CASE_FIXTURE(Fixture, "a collect asks each timeline that is waited for once, and no other") {
    retire(take(), {{kGraphics, 1}, {kCompute, 1}});
    retire(take(), {{kGraphics, 2}});
    retire(take(), {{kGraphics, 3}, {kCompute, 9}});
    retire(take(), {{kBinds, 1}, {kGraphics, 1}, {kCompute, 1}});
    timelines.values = {{kBinds, 1}, {kGraphics, 3}, {kCompute, 5}};
    CHECK(collect() == 3);
    CHECK(timelines.asked == std::vector{kBinds, kGraphics, kCompute});
    CHECK(collect() == 0);
    CHECK(timelines.asked == std::vector{kCompute});
    timelines.values[kCompute] = 9;
    CHECK(collect() == 1);
    CHECK(collect() == 0);
    CHECK(timelines.asked.empty());
}

TEST_CASE_FIXTURE(Fixture, "allocate on pressure: out of VA says how much waits behind fences, and for which") {
    retire(take(10), {{kGraphics, 8}});
    retire(take(2), {{kGraphics, 6}});
    retire(take(3), {{kCompute, 1}});
    const auto result = heap.allocate({.size = 12 * kPage});
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == VaError::Code::kOutOfVa);
    CHECK(result.error().behind_fences == 15 * kPage);
    CHECK(result.error().largest_hole == kPage);
    std::vector<FencePoint> earliest;
    queue.visit_earliest([&](FencePoint point) { earliest.push_back(point); });
    CHECK(earliest == std::vector<FencePoint>{{kGraphics, 6}, {kCompute, 1}});
    const VaZoneStats stats = heap.stats(VaZone::kMain);
    CHECK(stats.retired == 3);
    CHECK(stats.retired_bytes == 15 * kPage);
    CHECK(stats.allocations == 0);
}

TEST_CASE_FIXTURE(Fixture, "retiring what is not allocated is refused by name, and changes nothing") {
    const VaRange owned = take(2);
    const std::vector<FencePoint> points{{kGraphics, 1}};
    const auto refused = [&](VaRange wrong) {
        const auto result = queue.retire(wrong, points);
        REQUIRE_FALSE(result.has_value());
        CHECK(result.error().code == VaError::Code::kNotAllocated);
        return result.error().occupant;
    };
    CHECK(refused(sized(0, kPage)) == VaRange{});
    CHECK(refused({owned.start, owned.end - kPage}) == owned);
    CHECK(heap.is_allocated(owned));
    retire(owned, points);
    CHECK(refused(owned) == owned);
    const auto released = heap.release_checked(owned);
    REQUIRE_FALSE(released.has_value());
    CHECK(std::string(released.error().why) == "released before, and waits for fences");
    CHECK(queue.ranges() == 1);
}

TEST_CASE_FIXTURE(Fixture,
                  "a range can wait for kMaxFencePoints timelines; one more is refused and it stays allocated") {
    std::vector<FencePoint> points;
    for (std::size_t i = 0; i < kMaxFencePoints; ++i) {
        points.push_back({TimelineId{static_cast<std::uint32_t>(100 - i)}, i + 1});
    }
    const VaRange first = take();
    const VaRange second = take();
    retire(first, points);
    CHECK(queue.waiting_at(first.start)->count == kMaxFencePoints);
    points.push_back({TimelineId{50}, 1});
    const auto result = queue.retire(second, points);
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == VaError::Code::kBadRequest);
    CHECK(heap.is_allocated(second));
    CHECK(queue.ranges() == 1);
    CHECK(queue.validate());
    CHECK(queue.collect([](TimelineId) { return std::uint64_t{kMaxFencePoints}; }) == 1);
}

TEST_CASE("the heap of a queue can be moved") {
    VaHeap heap = heap_of(range(0, kMiB));
    ReuseQueue queue(heap);
    const VaRange owned = *heap.allocate({.size = kPage});
    VaHeap moved = std::move(heap);
    CHECK(queue.retire(owned, std::array{FencePoint{kBinds, 1}}).has_value());
    CHECK(queue.collect([](TimelineId) { return std::uint64_t{1}; }) == 1);
    CHECK(moved.stats(VaZone::kMain).free_bytes == kMiB);
}

TEST_CASE("what waits is counted as memory that was written, also when it waits no more") {
    VaHeap heap = heap_of(range(0, kMiB), kNoFastPath);
    ReuseQueue queue(heap);
    const VaRange first = must_allocate(heap);
    const VaRange second = must_allocate(heap);
    const std::uint64_t before = heap.touched_bytes();
    CHECK(queue.retire(first, std::array{FencePoint{kBinds, 1}}).has_value());
    const std::uint64_t one = heap.touched_bytes();
    CHECK(one > before);
    CHECK(queue.collect([](TimelineId) { return std::uint64_t{1}; }) == 1);
    CHECK(heap.touched_bytes() == one);
    CHECK(queue.retire(second, std::array{FencePoint{kBinds, 2}}).has_value());
    CHECK(heap.touched_bytes() == one);
}

TEST_CASE("P5: random retirements over many timelines free exactly what a list of all points would free") {
    constexpr std::uint64_t kSeed = 0x7265757365ULL;
    constexpr int kOperations = 60000;
    struct Waiting {
        VaRange range;
        std::vector<FencePoint> points;
    };
    for (const Paths& paths : {kNoFastPath, kDefaultPaths, kEagerSlots}) {
        INFO("seed " << kSeed << ", with " << paths.text());
        std::mt19937_64 random(kSeed);
        const auto below = [&](std::uint64_t bound) {
            return std::uniform_int_distribution<std::uint64_t>(0, bound - 1)(random);
        };
        VaHeap heap = heap_of(range(kMiB, 9 * kMiB), paths);
        ReuseQueue queue(heap);
        std::array<std::uint64_t, 9> now{};
        std::vector<VaLease> live;
        std::vector<Waiting> waiting;
        const auto pending = [&](const FencePoint& point) {
            return now[static_cast<std::size_t>(point.timeline)] < point.value;
        };
        std::uint64_t freed_in_all = 0;

        for (int operation = 0; operation < kOperations; ++operation) {
            const auto differ = [&](const char* what) { FAIL(std::string(what) << " at operation " << operation); };
            switch (below(8)) {
                case 0:
                case 1:
                case 2: {
                    const auto result = heap.lease({.size = (below(6) + 1) * kPage, .guard = below(2) * kPage});
                    if (result) {
                        live.push_back(*result);
                        break;
                    }
                    std::uint64_t behind = 0;
                    for (const Waiting& each : waiting) {
                        behind += heap.allocation_at(each.range.start)->whole.size();
                    }
                    if (result.error().behind_fences != behind) {
                        differ("bytes behind fences");
                    }
                    break;
                }
                case 3:
                case 4: {
                    if (live.empty()) {
                        break;
                    }
                    std::swap(live[below(live.size())], live.back());
                    Waiting retired{live.back().range, {}};
                    const VaHandle handle = below(4) == 0 ? VaHandle::kNone : live.back().handle;
                    live.pop_back();
                    for (std::uint64_t points = below(5); points > 0; --points) {
                        const std::uint64_t timeline = below(now.size());
                        // Mostly in the order of submission, as real work; some far ahead, some long done.
                        const std::uint64_t value = now[timeline] + below(below(10) == 0 ? 200 : 8);
                        retired.points.push_back({TimelineId{static_cast<std::uint32_t>(timeline)}, value});
                    }
                    if (!queue.retire(retired.range, handle, retired.points)) {
                        differ("a retirement was refused");
                    }
                    if (retired.points.empty() == heap.allocation_at(retired.range.start).has_value()) {
                        differ("only ranges without points are free at once");
                    }
                    if (!retired.points.empty()) {
                        waiting.push_back(std::move(retired));
                    }
                    break;
                }
                case 5:
                    now[below(now.size())] += below(20);
                    break;
                case 6: {
                    std::vector<int> asked(now.size());
                    const std::uint64_t freed = queue.collect([&](TimelineId timeline) {
                        ++asked[static_cast<std::size_t>(timeline)];
                        return now[static_cast<std::size_t>(timeline)];
                    });
                    const auto ready = std::stable_partition(waiting.begin(), waiting.end(), [&](const Waiting& each) {
                        return std::any_of(each.points.begin(), each.points.end(), pending);
                    });
                    if (freed != static_cast<std::uint64_t>(waiting.end() - ready) ||
                        queue.ranges() + freed != waiting.size()) {
                        differ("the number of ranges that became free");
                    }
                    for (auto each = ready; each != waiting.end(); ++each) {
                        if (heap.allocation_at(each->range.start)) {
                            differ("a range whose points are signalled is not free");
                        }
                    }
                    waiting.erase(ready, waiting.end());
                    if (*std::max_element(asked.begin(), asked.end()) > 1) {
                        differ("a timeline was asked twice");
                    }
                    freed_in_all += freed;
                    break;
                }
                default: {
                    if (waiting.empty()) {
                        break;
                    }
                    const Waiting& any = waiting[below(waiting.size())];
                    const std::optional<RetiredRange> found = queue.waiting_at(any.range.start);
                    if (!found || found->range != any.range || found->count == 0) {
                        differ("a range that waits does not say so");
                    }
                    // What is not signalled is among what it says.
                    for (const FencePoint& point : any.points) {
                        const auto points = found->waits_for();
                        if (pending(point) && std::none_of(points.begin(), points.end(), [&](const FencePoint& said) {
                                return said.timeline == point.timeline && said.value >= point.value;
                            })) {
                            differ("a point that is not signalled is not named");
                        }
                    }
                }
            }
            if (operation % 512 == 0 && (!queue.validate() || !heap.validate())) {
                differ("an invariant does not hold");
            }
        }
        CHECK(freed_in_all > 5000);
        (void)queue.collect([](TimelineId) { return UINT64_MAX; });
        for (const VaLease& lease : live) {
            heap.release(lease.range);
        }
        CHECK(heap.stats(VaZone::kMain).free_bytes == 8 * kMiB);
        CHECK(heap.stats(VaZone::kMain).holes == 1);
    }
}
