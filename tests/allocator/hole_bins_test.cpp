// Which bin a hole is in, which is found, and that what is found fits; against a scan of all holes.
#include "allocator/hole_bins.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

using namespace granule;

namespace {

std::unique_ptr<VaBlock> hole(std::uint64_t first, std::uint64_t end) {
    auto made = std::make_unique<VaBlock>(1);
    made->set_first(first);
    made->set_end(end);
    made->become_hole();
    return made;
}

unsigned set_of(std::uint64_t first, std::uint64_t end) {
    return HoleBins::set_of(HoleBins::bin_of(first, end));
}

}  // namespace

TEST_CASE("a hole is in the set of the largest aligned run in it: 2 MiB, 64 KiB or less") {
    CHECK(set_of(0, 512) == 2);
    CHECK(set_of(1, 512) == 1);
    CHECK(set_of(1, 1023) == 1);
    CHECK(set_of(1, 1024) == 2);
    CHECK(set_of(511, 1024) == 2);
    CHECK(set_of(0, 511) == 1);
    CHECK(set_of(16, 32) == 1);
    CHECK(set_of(17, 47) == 0);
    CHECK(set_of(17, 48) == 1);
    CHECK(set_of(3, 4) == 0);
    CHECK(set_of(0, std::uint64_t{1} << kPageNumberBits) == 2);
}

TEST_CASE("classes ascend with the room, without a gap, and are at most an eighth of it wide") {
    unsigned room_class = 0;
    std::uint64_t began = 0;
    for (std::uint64_t room = 0; room < 100000; ++room) {
        const unsigned here = HoleBins::class_of_room(room);
        if (here != room_class) {
            REQUIRE(here == room_class + 1);
            room_class = here;
            began = room;
        }
        if (room > 8 && room - began > began / 8) {
            FAIL("the class of " << room << " began at " << began);
        }
    }
}

TEST_CASE("small before large: a hole of the request's own set is found before those of coarser sets") {
    HoleBins bins;
    const auto page = hole(600, 604);
    const auto granule_64k = hole(1040, 1060);
    const auto window_2m = hole(2048, 4096);
    for (const auto* each : {&window_2m, &granule_64k, &page}) {
        bins.insert(**each);
    }
    CHECK(bins.validate(3));
    CHECK(bins.find({.pages = 3}).hole == page.get());
    CHECK(bins.find({.pages = 5}).hole == granule_64k.get());
    CHECK(bins.find({.pages = 2, .alignment_bits = 4}).hole == granule_64k.get());
    CHECK(bins.find({.pages = 21, .alignment_bits = 4}).hole == window_2m.get());
    CHECK(bins.find({.pages = 1, .alignment_bits = 9}).hole == window_2m.get());
    CHECK(bins.find({.pages = 1, .alignment_bits = 11}).first == 2048);
    CHECK(bins.find({.pages = 2049}).hole == nullptr);
    CHECK(bins.largest() == 2048);
    bins.erase(*window_2m);
    CHECK(bins.largest() == 20);
    CHECK(bins.find({.pages = 1, .alignment_bits = 9}).hole == nullptr);
    bins.erase(*page);
    bins.erase(*granule_64k);
    CHECK(bins.validate(0));
    CHECK(bins.largest() == 0);
}

TEST_CASE("a hole that changes its ends moves to their bin") {
    HoleBins bins;
    const auto one = hole(0, 100);
    bins.insert(*one);
    one->set_end(17);
    CHECK_FALSE(bins.validate(1));
    bins.update(*one);
    CHECK(bins.validate(1));
    CHECK(bins.find({.pages = 18}).hole == nullptr);
    CHECK(bins.find({.pages = 17}).hole == one.get());
}

TEST_CASE(
    "what is found fits, and without alignment, phase and boundary something is found whenever a set promises it") {
    constexpr std::uint64_t kSeed = 0x62696e73;
    INFO("seed " << kSeed);
    std::mt19937_64 random(kSeed);
    const auto below = [&](std::uint64_t bound) {
        return std::uniform_int_distribution<std::uint64_t>(0, bound - 1)(random);
    };
    HoleBins bins;
    std::vector<std::unique_ptr<VaBlock>> holes;
    std::uint64_t found = 0;
    std::uint64_t missed = 0;
    for (int step = 0; step < 30000; ++step) {
        if (holes.size() < 60 && below(5) < 3) {
            const std::uint64_t first = below(std::uint64_t{1} << (4 + below(30)));
            holes.push_back(hole(first, first + 1 + below(std::uint64_t{1} << below(14))));
            bins.insert(*holes.back());
        } else if (!holes.empty()) {
            std::swap(holes[below(holes.size())], holes.back());
            if (below(3) == 0) {
                holes.back()->set_end(holes.back()->first() + 1 + below(3000));
                bins.update(*holes.back());
            } else {
                bins.erase(*holes.back());
                holes.pop_back();
            }
        }
        Shape shape;
        shape.pages = 1 + below(std::uint64_t{1} << below(13));
        shape.alignment_bits = static_cast<unsigned>(below(12));
        shape.phase = below(2) == 0 ? 0 : below(std::uint64_t{1} << shape.alignment_bits);
        shape.direction = below(2) == 0 ? VaDirection::kTopDown : VaDirection::kBottomUp;
        const auto boundary = static_cast<unsigned>(below(20));
        if (boundary > shape.alignment_bits && shape.phase + shape.pages <= std::uint64_t{1} << boundary) {
            shape.boundary_bits = boundary;
        }
        const HoleBins::Place place = bins.find(shape);
        const bool fits = std::any_of(holes.begin(), holes.end(), [&](const auto& each) {
            return shape.place(each->first(), each->end()).has_value();
        });
        if (place.hole != nullptr) {
            ++found;
            if (shape.place(place.hole->first(), place.hole->end()) != place.first) {
                FAIL("not a place at step " << step);
            }
        } else if (fits) {
            ++missed;
        }
        // A hole that is this much larger than the shape fits wherever it begins: one is found.
        const std::uint64_t plenty = shape.pages + shape.phase + (std::uint64_t{1} << shape.alignment_bits) + 512;
        const bool certain = shape.boundary_bits == kPageNumberBits &&
                             std::any_of(holes.begin(), holes.end(),
                                         [&](const auto& each) { return each->pages() >= 9 * plenty / 8 + 512; });
        if (certain && place.hole == nullptr) {
            FAIL("a large hole was not found at step " << step);
        }
        if (step % 64 == 0) {
            std::uint64_t largest = 0;
            for (const auto& each : holes) {
                largest = std::max(largest, each->pages());
            }
            if (!bins.validate(holes.size()) || bins.largest() != largest) {
                FAIL("Z1, Z2 or the largest hole at step " << step);
            }
        }
    }
    CHECK(found > 1000);
    // Bins are quick, not exact.
    CHECK(missed > 0);
}
