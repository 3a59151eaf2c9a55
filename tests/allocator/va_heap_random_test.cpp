// The VA heap under long random traffic, against an interval oracle that looks at every hole.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "allocator/va_heap.hpp"
#include "tests/allocator/va_heap_fixture.hpp"
#include "tests/allocator/va_oracle.hpp"

using namespace granule;
using namespace granule::test;

namespace {

// A kind of traffic. Sizes and alignments are 4 KiB times 2^0 to 2^bits; live ranges are kept around `most_live`, which
// fills the zone so that requests fail often.
struct Traffic {
    std::string name;
    VaRange zone;
    std::size_t most_live;
    unsigned size_bits;
    unsigned alignment_bits;
    unsigned boundary_bits;  // boundaries from the size up to 4 KiB << boundary_bits; 0: none
    int operations;
};

class Run {
public:
    Run(const Traffic& traffic, std::uint64_t seed, const Paths& paths)
        : traffic_(traffic),
          random_(seed),
          heap_(heap_of(traffic.zone, paths)),
          oracle_(traffic.zone.start.raw() / kPage, traffic.zone.end.raw() / kPage) {}

    void run() {
        for (operation_ = 0; operation_ < traffic_.operations; ++operation_) {
            // Waves: the heap fills and drains, so that full and fragmented states come again and again.
            const bool filling = (operation_ / 2000) % 2 == 0;
            const std::uint64_t dice = below(100);
            if (live_.size() < traffic_.most_live && dice < (filling ? 65U : 30U)) {
                allocate();
            } else if (live_.size() < traffic_.most_live && dice < (filling ? 70U : 35U)) {
                allocate_at();
            } else if (dice < 97) {
                release();
            } else {
                look_up();
            }
            if (operation_ % 2048 == 0) {
                compare_all();
            }
        }
        while (!live_.empty()) {
            release();
        }
        compare_all();
        CHECK(heap_.stats(VaZone::kMain).largest_hole == traffic_.zone.size());
        // The traffic tests what it is for.
        CHECK(successes_ >= 1000);
        CHECK(failures_ >= 100);
    }

private:
    struct Live {
        VaRange range;
        std::uint64_t guard;
        VaHandle handle;  // of this range, of none, or of somebody else's
    };

    std::uint64_t below(std::uint64_t bound) {
        return std::uniform_int_distribution<std::uint64_t>(0, bound - 1)(random_);
    }

    void differ(const std::string& what) { FAIL(what << " at operation " << operation_); }

    VaRequest any_request() {
        VaRequest request;
        const std::uint64_t most = kPage << below(traffic_.size_bits + 1);
        request.size = (below(most / kPage) + 1) * kPage;
        request.alignment = kPage << below(traffic_.alignment_bits + 1);
        if (below(3) == 0) {
            request.phase = below(request.alignment / kPage) * kPage;
        }
        request.direction = below(2) == 0 ? VaDirection::kTopDown : VaDirection::kBottomUp;
        if (below(4) == 0) {
            request.guard = (below(3) + 1) * kPage;
        }
        if (traffic_.boundary_bits != 0 && below(2) == 0) {
            request.boundary = kPage << below(traffic_.boundary_bits + 1);
        }
        // As most requests of a driver are.
        if (below(2) == 0) {
            request.phase = 0;
            request.guard = 0;
            request.boundary = 0;
        }
        return request;
    }

    void allocate() {
        const VaRequest request = any_request();
        const bool fits = oracle_.fits(request);
        const auto result = heap_.lease(request);
        if (result.has_value() != fits) {
            differ(fits ? "a place was not found" : "a place was found where there is none");
        }
        if (!result) {
            ++failures_;
            if (result.error().code == VaError::Code::kOutOfVa &&
                result.error().largest_hole != largest_hole() * kPage) {
                differ("the largest hole of an error");
            }
            return;
        }
        if (result->range.size() != request.size || !satisfies(request, result->range.start.raw() / kPage)) {
            differ("the place is not what was asked for");
        }
        admit(result->range, request.guard, result->handle);
    }

    void allocate_at() {
        const std::uint64_t zone_pages = traffic_.zone.size() / kPage;
        const std::uint64_t pages = below(std::min<std::uint64_t>(zone_pages / 4, 64)) + 1;
        const std::uint64_t guard = below(3);
        // Mostly beside something that is there already.
        std::uint64_t start = traffic_.zone.start.raw() / kPage + below(zone_pages - pages);
        if (!live_.empty() && below(4) != 0) {
            start = live_[below(live_.size())].range.end.raw() / kPage + below(4);
        }
        const VaRange wanted = sized(start * kPage, pages * kPage);
        const bool inside = start - guard >= traffic_.zone.start.raw() / kPage && start >= guard &&
                            start + pages + guard <= traffic_.zone.end.raw() / kPage;
        if (wanted.end.raw() > kMaxVaEnd) {
            return;
        }
        const auto result = heap_.allocate_at(wanted, guard * kPage);
        if (!inside) {
            if (result || result.error().code != VaError::Code::kBadRequest) {
                differ("a fixed range outside of the zone");
            }
            return;
        }
        const auto occupant = oracle_.occupant(start - guard, start + pages + guard);
        if (result.has_value() == occupant.has_value()) {
            differ("a fixed range");
        }
        if (!result) {
            if (result.error().code != VaError::Code::kOccupied ||
                result.error().occupant != range(occupant->first * kPage, occupant->second * kPage)) {
                differ("the occupant of a fixed range");
            }
            return;
        }
        admit(*result, guard * kPage, VaHandle::kNone);
    }

    void admit(VaRange got, std::uint64_t guard, VaHandle handle) {
        const std::uint64_t first = (got.start.raw() - guard) / kPage;
        const std::uint64_t end = (got.end.raw() + guard) / kPage;
        if (!oracle_.is_free(first, end)) {
            differ("a range was handed out twice");
        }
        oracle_.take(first, end);
        live_.push_back({got, guard, handle});
        ++successes_;
    }

    void release() {
        if (live_.empty()) {
            return;
        }
        std::swap(live_[below(live_.size())], live_.back());
        const Live victim = live_.back();
        live_.pop_back();
        // Near misses first.
        if (below(8) == 0 && (heap_.release_checked({victim.range.start + kPage, victim.range.end}, victim.handle) ||
                              heap_.release_checked({victim.range.start, victim.range.end + kPage}))) {
            differ("what was not allocated was released");
        }
        // Handles of others are what a confused caller has; old ones come by themselves, when runs are dissolved.
        const VaHandle handle = live_.empty() || below(16) != 0 ? victim.handle : live_[below(live_.size())].handle;
        if (below(4) == 0) {
            heap_.release(victim.range);
        } else if (!heap_.release_checked(victim.range, handle)) {
            differ("a range was not released by its handle");
        }
        if (below(8) == 0 && heap_.release_checked(victim.range, victim.handle)) {
            differ("a range was released twice");
        }
        oracle_.give_back((victim.range.start.raw() - victim.guard) / kPage);
    }

    void look_up() {
        if (live_.empty()) {
            return;
        }
        const Live& known = live_[below(live_.size())];
        const std::uint64_t whole = known.range.size() + 2 * known.guard;
        const auto found = heap_.allocation_at(Va{known.range.start.raw() - known.guard + below(whole)});
        if (!found || found->range != known.range || found->whole.size() != whole || found->retired) {
            differ("a look-up");
        }
    }

    void compare_all() {
        if (!heap_.validate()) {
            differ("an invariant does not hold");
        }
        const auto expected = oracle_.holes();
        std::vector<std::pair<std::uint64_t, std::uint64_t>> holes;
        heap_.visit_holes(VaZone::kMain,
                          [&](VaRange hole) { holes.emplace_back(hole.start.raw() / kPage, hole.end.raw() / kPage); });
        if (holes != expected) {
            differ("the holes");
        }
        const std::uint64_t largest = largest_hole();
        const VaZoneStats stats = heap_.stats(VaZone::kMain);
        if (stats.holes != expected.size() || stats.largest_hole != largest * kPage ||
            stats.allocations != live_.size() || stats.free_bytes + stats.used_bytes != traffic_.zone.size() ||
            stats.free_bytes != heap_.free_bytes(VaZone::kMain)) {
            differ("the statistics");
        }
    }

    [[nodiscard]] std::uint64_t largest_hole() const {
        std::uint64_t largest = 0;
        for (const auto& [first, end] : oracle_.holes()) {
            largest = std::max(largest, end - first);
        }
        return largest;
    }

    const Traffic& traffic_;
    std::mt19937_64 random_;
    VaHeap heap_;
    IntervalOracle oracle_;
    std::vector<Live> live_;
    int operation_ = 0;
    int successes_ = 0;
    int failures_ = 0;
};

}  // namespace

TEST_CASE("random traffic: an allocation succeeds iff the oracle finds a place, and nothing is handed out twice") {
    const std::array kinds = {
        Traffic{"small and crowded", range(3 * kPage, 4 * kMiB + 5 * kPage), 300, 6, 6, 8, 60000},
        Traffic{"tiles in 32 bits", range(32 * kMiB, 288 * kMiB), 250, 9, 9, 12, 50000},
        Traffic{"exec BOs across 4 GiB", range(4 * kGiB - 64 * kMiB, 4 * kGiB + 64 * kMiB), 200, 11, 9, 20, 40000},
        Traffic{"the whole 48 bits", range(0, kMaxVaEnd), 200, 35, 35, 36, 50000},
        Traffic{"the top of the space", range(kMaxVaEnd - 7 * kGiB - kPage, kMaxVaEnd), 150, 19, 19, 24, 30000},
    };
    for (const Traffic& kind : kinds) {
        for (const Paths& paths : kAllPaths) {
            constexpr std::uint64_t kSeed = 0x6772616eULL;
            INFO("traffic: " << kind.name << ", seed " << kSeed << ", with " << paths.text());
            Run(kind, kSeed, paths).run();
        }
    }
}

TEST_CASE("zones that touch: what comes and goes at their common edge is found in the zone where it is") {
    constexpr std::uint64_t kSeed = 0x65646765ULL;
    constexpr std::uint64_t kPages = 600;  // of each zone
    INFO("seed " << kSeed);
    std::mt19937_64 random(kSeed);
    const auto below = [&](std::uint64_t bound) {
        return std::uniform_int_distribution<std::uint64_t>(0, bound - 1)(random);
    };
    VaHeap heap = heap_over({.zones = {range(0, kPages * kPage), range(kPages * kPage, 2 * kPages * kPage), {}}});
    std::vector<bool> taken(2 * kPages);
    for (int step = 0; step < 100000; ++step) {
        // Waves in both zones: nodes of the index begin and end on either side of the edge.
        const bool low = below(4) != 0;
        const bool filling = step / (low ? 700 : 5000) % 2 == 0;
        const std::uint64_t page = low ? kPages - 1 - below(60) : kPages + below(kPages);
        const VaRange one = sized(page * kPage, kPage);
        if (taken[page] != heap.is_allocated(one)) {
            FAIL("a look-up of page " << page << " at step " << step);
        }
        if (taken[page] && (!filling || below(8) == 0)) {
            heap.release(one);
            taken[page] = false;
        } else if (!taken[page] && (filling || below(8) == 0)) {
            REQUIRE(heap.allocate_at(one).has_value());
            taken[page] = true;
        }
        if (step % 1024 == 0 && !heap.validate()) {
            FAIL("an invariant at step " << step);
        }
    }
    CHECK(heap.validate());
}
