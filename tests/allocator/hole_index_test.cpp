// Where in a hole a shape goes, against every place tried; and which of the holes that fit is taken.
#include "allocator/hole_index.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <optional>

using namespace granule;

namespace {

std::optional<std::uint64_t> tried_place(const Shape& shape, std::uint64_t first, std::uint64_t end) {
    std::optional<std::uint64_t> best;
    for (std::uint64_t start = first; start + shape.pages <= end; ++start) {
        const bool aligned = start % (std::uint64_t{1} << shape.alignment_bits) == shape.phase;
        const bool inside = start >> shape.boundary_bits == (start + shape.pages - 1) >> shape.boundary_bits;
        if (aligned && inside && (!best || shape.direction == VaDirection::kTopDown)) {
            best = start;
        }
    }
    return best;
}

}  // namespace

TEST_CASE("place is the highest or lowest start that satisfies the shape, or nothing, for every small hole") {
    for (unsigned alignment_bits = 0; alignment_bits <= 4; ++alignment_bits) {
        for (const unsigned boundary_bits : {1U, 2U, 3U, 4U, 5U, kPageNumberBits}) {
            for (std::uint64_t phase = 0; phase < std::uint64_t{1} << alignment_bits; ++phase) {
                for (std::uint64_t pages = 1; pages <= 9; ++pages) {
                    if (boundary_bits <= alignment_bits || phase + pages > std::uint64_t{1} << boundary_bits) {
                        continue;  // the caller's part: hole_index.hpp
                    }
                    for (const VaDirection direction : {VaDirection::kTopDown, VaDirection::kBottomUp}) {
                        const Shape shape{pages, alignment_bits, phase, boundary_bits, direction};
                        for (std::uint64_t first = 0; first < 34; ++first) {
                            for (std::uint64_t end = first + 1; end <= 36; ++end) {
                                if (shape.place(first, end) != tried_place(shape, first, end)) {
                                    FAIL("pages " << pages << " alignment " << alignment_bits << " phase " << phase
                                                  << " boundary " << boundary_bits << " in " << first << ".." << end);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

TEST_CASE("a hole in the smallest window is taken first, and then the direction decides") {
    HoleIndex index;
    HoleNode large(4096, 8192);  // a level above: 16 MiB
    HoleNode across(500, 524);   // 24 pages, but across a 2 MiB multiple: in a window of 4 MiB
    HoleNode low(1024, 1048);    // inside one window of 32 pages
    HoleNode high(2048, 2072);
    for (HoleNode* hole : {&large, &high, &across, &low}) {
        index.insert(*hole);
    }
    std::array<std::uint64_t, HoleIndex::kLevels> levels{};
    for (const HoleNode* hole : {&large, &high, &across, &low}) {
        ++levels[HoleIndex::level_of(*hole)];
    }
    CHECK(index.validate(levels));
    CHECK_FALSE(index.validate({}));
    Shape shape{.pages = 20, .direction = VaDirection::kBottomUp};
    CHECK(index.find(shape) == &low);
    shape.direction = VaDirection::kTopDown;
    CHECK(index.find(shape) == &high);
    index.erase(high);
    CHECK(index.find(shape) == &low);
    index.erase(low);
    CHECK(index.find(shape) == &across);
    CHECK(index.largest() == 4096);
    shape.boundary_bits = 9;  // not across 2 MiB: neither 12 pages before nor 12 behind are enough
    CHECK(index.find(shape) == &large);
    index.erase(large);
    CHECK(index.find(shape) == nullptr);
    shape.pages = 12;
    CHECK(index.find(shape) == &across);
    index.erase(across);
    CHECK(index.find(shape) == nullptr);
    CHECK(index.largest() == 0);
    CHECK(index.validate({}));
}
