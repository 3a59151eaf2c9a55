// The VA heap over a tiny space, completely: every occupancy against every request, and every script of four
// operations, compared with a bitmap in which places are tried one by one.
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "allocator/va_heap.hpp"
#include "tests/allocator/va_heap_fixture.hpp"
#include "tests/allocator/va_oracle.hpp"

using namespace granule;
using namespace granule::test;

namespace {

// A space of `units` units of 2^scale pages each, which begins at unit `base`. With a larger scale the same small
// patterns exercise the classes of larger alignments and the higher levels.
struct Space {
    unsigned scale;
    unsigned base;
    unsigned units;

    [[nodiscard]] std::uint64_t unit() const { return kPageBytes << scale; }
    [[nodiscard]] std::uint64_t at(std::uint64_t index) const { return (base + index) * unit(); }
    [[nodiscard]] VaRange range() const { return test::range(at(0), at(units)); }
};

// Bit i: unit i is taken.
using Bitmap = std::uint32_t;

Bitmap bits(std::uint64_t first, std::uint64_t count) {
    return static_cast<Bitmap>(((std::uint64_t{1} << count) - 1) << first);
}

// The first unit of a place for `request` (guards outside), if there is one: tries them all.
std::optional<unsigned> oracle_place(const Space& space, Bitmap taken, const VaRequest& request) {
    const auto size = static_cast<unsigned>(request.size / space.unit());
    const auto guard = static_cast<unsigned>(request.guard / space.unit());
    for (unsigned start = guard; start + size + guard <= space.units; ++start) {
        if ((taken & bits(start - guard, size + 2 * guard)) == 0 && satisfies(request, space.at(start) / kPageBytes)) {
            return start;
        }
    }
    return std::nullopt;
}

// Every request whose terms are whole units and differ in this space.
std::vector<VaRequest> requests_for(const Space& space, unsigned most_units, unsigned alignments) {
    std::vector<VaRequest> all;
    for (std::uint64_t size = 1; size <= most_units; ++size) {
        for (unsigned alignment = 0; alignment < alignments; ++alignment) {
            for (std::uint64_t phase = 0; phase < std::uint64_t{1} << alignment; ++phase) {
                for (const std::uint64_t boundary : {0U, 1U, 2U, 4U, 8U}) {
                    for (const std::uint64_t guard : {0U, 1U}) {
                        for (const VaDirection direction : {VaDirection::kTopDown, VaDirection::kBottomUp}) {
                            all.push_back({.size = size * space.unit(),
                                           .alignment = space.unit() << alignment,
                                           .phase = phase * space.unit(),
                                           .direction = direction,
                                           .boundary = boundary * space.unit(),
                                           .guard = guard * space.unit()});
                        }
                    }
                }
            }
        }
    }
    return all;
}

void explain(const VaRequest& request) {
    MESSAGE("size " << request.size << " alignment " << request.alignment << " phase " << request.phase << " boundary "
                    << request.boundary << " guard " << request.guard << " direction "
                    << static_cast<int>(request.direction));
}

// One request against the oracle; gives back what it was given. False where they differ.
bool agrees(const Space& space, VaHeap& heap, Bitmap taken, const VaRequest& request) {
    const std::optional<unsigned> place = oracle_place(space, taken, request);
    const auto result = heap.allocate(request);
    if (!result) {
        const auto code = result.error().code;
        return !place && (code == VaError::Code::kOutOfVa || code == VaError::Code::kBadRequest);
    }
    const std::uint64_t first = (result->start.raw() - request.guard - space.at(0)) / space.unit();
    const std::uint64_t count = (request.size + 2 * request.guard) / space.unit();
    const bool right = place && result->size() == request.size && result->start.raw() % space.unit() == 0 &&
                       result->start.raw() - request.guard >= space.at(0) && first + count <= space.units &&
                       (taken & bits(first, count)) == 0 && satisfies(request, result->start.raw() / kPageBytes);
    return heap.release_checked(*result).has_value() && right;
}

// All occupancies of the space, each against all requests.
void check_all_occupancies(const Space& space, const std::vector<VaRequest>& requests, const Paths& paths) {
    INFO("with " << paths.text());
    CAPTURE(space.scale);
    CAPTURE(space.base);
    for (Bitmap taken = 0; taken < Bitmap{1} << space.units; ++taken) {
        VaHeap heap = heap_of(space.range(), paths);
        for (unsigned unit = 0; unit < space.units; ++unit) {
            if ((taken & bits(unit, 1)) != 0 && !heap.allocate_at(sized(space.at(unit), space.unit()))) {
                FAIL("unit " << unit << " of a free space could not be taken");
            }
        }
        for (const VaRequest& request : requests) {
            if (!agrees(space, heap, taken, request)) {
                explain(request);
                FAIL("differs from the oracle where the taken units are " << taken);
            }
        }
        REQUIRE(heap.validate());
    }
}

}  // namespace

TEST_CASE("every request in every occupancy of nine pages succeeds iff there is a place, and gets one") {
    for (const Paths& paths : kAllPaths) {
        for (const unsigned base : {0U, 13U}) {
            const Space space{0, base, 9};
            check_all_occupancies(space, requests_for(space, 5, 4), paths);
        }
    }
}

TEST_CASE("the same at larger scales: all classes of alignments, up to the end of the 48-bit space") {
    for (const Space space : {Space{2, 3, 6}, Space{3, 62, 6}, Space{7, 1, 6}, Space{8, 6, 6}, Space{12, 11, 6},
                              Space{19, 5, 6}, Space{26, 3, 6}, Space{32, 0, 6}, Space{32, 10, 6}, Space{31, 26, 6}}) {
        for (const Paths& paths : {kNoFastPath, kDefaultPaths, kEagerSlots}) {
            check_all_occupancies(space, requests_for(space, 3, 4), paths);
        }
    }
}

TEST_CASE("unaligned ends: one page more or less than a unit makes the difference, for every class") {
    for (const unsigned scale : {1U, 4U, 5U, 9U, 10U, 15U, 16U, 21U, 22U, 29U, 30U}) {
        CAPTURE(scale);
        const std::uint64_t unit = kPageBytes << scale;
        const VaRequest request{.size = unit, .alignment = unit};
        for (const std::uint64_t base : {unit, 7 * unit}) {
            const auto fits = [&](std::uint64_t start, std::uint64_t end, const VaRequest& wanted) {
                VaHeap heap = heap_of(range(start, end));
                return heap.allocate(wanted).has_value();
            };
            CHECK(fits(base, base + unit, request));
            CHECK_FALSE(fits(base + kPage, base + 2 * unit - kPage, request));
            CHECK(fits(base + kPage, base + 2 * unit, request));
            VaRequest phased = request;
            phased.phase = unit - kPage;
            CHECK(fits(base - kPage, base + unit - kPage, phased));
            CHECK(fits(base, base + 2 * unit - kPage, phased));
            CHECK_FALSE(fits(base, base + 2 * unit - 2 * kPage, phased));
            const VaRequest bounded{.size = unit, .boundary = unit};
            CHECK_FALSE(fits(base + kPage, base + 2 * unit - kPage, bounded));
            CHECK(fits(base + kPage, base + 2 * unit, bounded));
            CHECK(fits(base, base + unit + kPage, bounded));
        }
    }
}

// Every script of up to four operations, each allocating one of some requests, or at a fixed address, or releasing one
// of the live ranges. The whole state is compared at the end: each script's beginnings are scripts of their own.
namespace {

class Scripts {
public:
    Scripts(Space space, const Paths& paths) : space_(space), paths_(paths) {
        const std::uint64_t unit = space.unit();
        for (const VaDirection direction : {VaDirection::kTopDown, VaDirection::kBottomUp}) {
            requests_.push_back({.size = unit, .direction = direction});
            requests_.push_back({.size = 3 * unit, .direction = direction});
            requests_.push_back({.size = unit, .alignment = 4 * unit, .phase = unit, .direction = direction});
            requests_.push_back({.size = 2 * unit, .alignment = 2 * unit, .direction = direction});
            requests_.push_back({.size = 2 * unit, .direction = direction, .boundary = 4 * unit});
            requests_.push_back({.size = unit, .direction = direction, .guard = unit});
        }
        fixed_ = {{0, 1, 0}, {3, 2, 0}, {5, 1, 1}, {6, 2, 0}};
    }

    void run_all(std::size_t length) { extend(length); }
    [[nodiscard]] std::uint64_t scripts() const { return scripts_; }

private:
    struct Fixed {
        unsigned first;
        unsigned count;
        unsigned guard;
    };
    struct Live {
        VaRange range;
        Bitmap taken;
    };

    // Runs the script from the start, so that each one is a heap of its own.
    void run() {
        ++scripts_;
        VaHeap heap = heap_of(space_.range(), paths_);
        std::vector<Live> live;
        for (const std::size_t choice : script_) {
            step(heap, live, choice);
        }
        if (!same(heap, live)) {
            FAIL("the heap differs from the oracle");
        }
    }

    void extend(std::size_t left) {
        if (left == 0) {
            run();
            return;
        }
        for (std::size_t choice = 0; choice < requests_.size() + fixed_.size() + 2; ++choice) {
            script_.push_back(choice);
            extend(left - 1);
            script_.pop_back();
        }
    }

    void step(VaHeap& heap, std::vector<Live>& live, std::size_t choice) const {
        Bitmap taken = 0;
        for (const Live& each : live) {
            taken |= each.taken;
        }
        if (choice < requests_.size()) {
            const VaRequest& request = requests_[choice];
            const auto result = heap.allocate(request);
            if (result.has_value() != oracle_place(space_, taken, request).has_value()) {
                explain(request);
                FAIL("succeeds where there is no place, or fails where there is one");
            }
            if (result) {
                admit(live, taken, *result, request.guard);
            }
            return;
        }
        choice -= requests_.size();
        if (choice < fixed_.size()) {
            const Fixed& fixed = fixed_[choice];
            const VaRange wanted = sized(space_.at(fixed.first), fixed.count * space_.unit());
            const auto result = heap.allocate_at(wanted, fixed.guard * space_.unit());
            const bool free = (taken & bits(fixed.first - fixed.guard, fixed.count + 2 * fixed.guard)) == 0;
            if (result.has_value() != free || (result && *result != wanted)) {
                FAIL("a fixed address");
            }
            if (result) {
                admit(live, taken, wanted, fixed.guard * space_.unit());
            }
            return;
        }
        choice -= fixed_.size();
        // The oldest, or the newest; nothing where nothing is live.
        if (!live.empty()) {
            const auto victim = choice == 0 ? live.begin() : live.end() - 1;
            heap.release(victim->range);
            live.erase(victim);
        }
    }

    void admit(std::vector<Live>& live, Bitmap taken, VaRange range, std::uint64_t guard) const {
        const Bitmap mine = bits((range.start.raw() - guard - space_.at(0)) / space_.unit(),
                                 (range.size() + 2 * guard) / space_.unit());
        if ((taken & mine) != 0) {
            FAIL("overlaps a live range");
        }
        live.push_back({range, mine});
    }

    [[nodiscard]] bool same(const VaHeap& heap, const std::vector<Live>& live) const {
        Bitmap taken = 0;
        for (const Live& each : live) {
            taken |= each.taken;
            if (!heap.is_allocated(each.range)) {
                return false;
            }
        }
        Bitmap seen = 0;
        std::size_t allocations = 0;
        heap.visit_allocations(VaZone::kMain, [&](const VaAllocation& allocation) {
            seen |= bits((allocation.whole.start.raw() - space_.at(0)) / space_.unit(),
                         allocation.whole.size() / space_.unit());
            ++allocations;
        });
        return heap.validate() && seen == taken && allocations == live.size();
    }

    Space space_;
    Paths paths_;
    std::vector<VaRequest> requests_;
    std::vector<Fixed> fixed_;
    std::vector<std::size_t> script_;
    std::uint64_t scripts_ = 0;
};

}  // namespace

TEST_CASE("every script of up to four operations leaves what the bitmap says") {
    for (const Paths& paths : {kDefaultPaths, kEagerSlots}) {
        INFO("with " << paths.text());
        Scripts scripts({0, 2, 9}, paths);
        for (std::size_t length = 1; length <= 4; ++length) {
            scripts.run_all(length);
        }
        CHECK(scripts.scripts() == 18 + 18 * 18 + 18 * 18 * 18 + 18 * 18 * 18 * 18);
    }
    for (const Paths& paths : kAllPaths) {
        INFO("with " << paths.text());
        Scripts scripts({0, 2, 9}, paths);
        scripts.run_all(3);
        CHECK(scripts.scripts() == 18 * 18 * 18);
    }
}
