// Where a request goes in a hole: some cases by hand, and all cases of a small space against a scan of all starts.
#include "allocator/shape.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>
#include <optional>

using namespace granule;

namespace {

constexpr std::uint64_t kSpaceEnd = std::uint64_t{1} << kPageNumberBits;

// Is every rule of the shape kept by a range that starts here?
bool keeps_rules(const Shape& shape, std::uint64_t start) {
    const std::uint64_t last = start + shape.pages - 1;
    return (start & ((std::uint64_t{1} << shape.alignment_bits) - 1)) == shape.phase &&
           start >> shape.boundary_bits == last >> shape.boundary_bits;
}

std::optional<std::uint64_t> scan(const Shape& shape, std::uint64_t first, std::uint64_t end) {
    std::optional<std::uint64_t> found;
    for (std::uint64_t start = first; start + shape.pages <= end; ++start) {
        if (keeps_rules(shape, start)) {
            found = start;
            if (shape.direction == VaDirection::kBottomUp) {
                break;
            }
        }
    }
    return found;
}

// Calls `visit` for every shape of a space of 2^5 pages: each size, alignment, phase, boundary and direction.
template <class Visitor>
void for_each_shape(Visitor&& visit) {
    constexpr unsigned kMostBits = 5;
    for (const VaDirection direction : {VaDirection::kTopDown, VaDirection::kBottomUp}) {
        for (unsigned alignment_bits = 0; alignment_bits < 4; ++alignment_bits) {
            for (std::uint64_t phase = 0; phase < std::uint64_t{1} << alignment_bits; ++phase) {
                for (std::uint64_t pages = 1; pages <= 9; ++pages) {
                    Shape shape{.pages = pages, .alignment_bits = alignment_bits, .phase = phase};
                    shape.direction = direction;
                    visit(shape);
                    for (unsigned boundary = alignment_bits + 1; boundary <= kMostBits; ++boundary) {
                        if (phase + pages <= std::uint64_t{1} << boundary) {
                            shape.boundary_bits = boundary;
                            visit(shape);
                        }
                    }
                }
            }
        }
    }
}

}  // namespace

TEST_CASE("top-down is the highest place, bottom-up the lowest") {
    Shape shape{.pages = 3, .alignment_bits = 2, .phase = 1};
    CHECK(shape.place(2, 20) == 17);
    CHECK(shape.place(2, 19) == 13);
    shape.direction = VaDirection::kBottomUp;
    CHECK(shape.place(2, 20) == 5);
    CHECK(shape.place(1, 20) == 1);
    CHECK(shape.place(2, 7) == std::nullopt);
    CHECK(shape.place(2, 8) == 5);
}

TEST_CASE("a boundary moves the range to the other side of it") {
    Shape shape{.pages = 4, .boundary_bits = 3};
    CHECK(shape.place(5, 12) == 8);
    CHECK(shape.place(5, 11) == std::nullopt);
    CHECK(shape.place(3, 11) == 4);
    shape.direction = VaDirection::kBottomUp;
    CHECK(shape.place(5, 12) == 8);
    CHECK(shape.place(4, 12) == 4);
    CHECK(shape.last_residue() == 4);
}

TEST_CASE("the whole space is a hole, and its last page a place") {
    const Shape all{.pages = kSpaceEnd};
    CHECK(all.place(0, kSpaceEnd) == 0);
    CHECK(all.place(1, kSpaceEnd) == std::nullopt);
    const Shape page{.pages = 1};
    CHECK(page.place(0, kSpaceEnd) == kSpaceEnd - 1);
    const Shape beyond{.pages = 2 * kSpaceEnd};  // as large as guards on both sides can make it
    CHECK(beyond.place(0, kSpaceEnd) == std::nullopt);
    CHECK(PlainShape(beyond).place(0, kSpaceEnd) == std::nullopt);
    const Shape aligned{.pages = 1, .alignment_bits = kPageNumberBits - 1};
    CHECK(aligned.place(0, kSpaceEnd) == kSpaceEnd / 2);
    CHECK(aligned.place(1, kSpaceEnd / 2) == std::nullopt);
    CHECK(PlainShape(aligned).place(1, kSpaceEnd / 2) == std::nullopt);
}

TEST_CASE("every shape in every hole of a small space, and at the end of the large one, goes where a scan finds it") {
    constexpr std::uint64_t kPages = 32;
    std::uint64_t placed = 0;
    std::uint64_t refused = 0;
    for (const std::uint64_t base : {std::uint64_t{0}, kSpaceEnd - kPages}) {
        for_each_shape([&](const Shape& shape) {
            for (std::uint64_t first = base; first < base + kPages; ++first) {
                for (std::uint64_t end = first + 1; end <= base + kPages; ++end) {
                    const auto expected = scan(shape, first, end);
                    ++(expected.has_value() ? placed : refused);
                    if (shape.place(first, end) != expected ||
                        (shape.is_plain() && PlainShape(shape).place(first, end) != expected)) {
                        FAIL(shape.pages << " pages, alignment " << shape.alignment_bits << ", phase " << shape.phase
                                         << ", boundary " << shape.boundary_bits << " in " << first << " to " << end);
                    }
                }
            }
        });
    }
    CHECK(placed > 100'000);
    CHECK(refused > 100'000);
}

TEST_CASE("the last residue is the highest start in a window of the boundary") {
    for_each_shape([](const Shape& shape) {
        if (shape.boundary_bits < kPageNumberBits) {
            Shape highest = shape;
            highest.direction = VaDirection::kTopDown;
            if (scan(highest, 0, std::uint64_t{1} << shape.boundary_bits) != shape.last_residue()) {
                FAIL("boundary " << shape.boundary_bits << ", pages " << shape.pages << ", phase " << shape.phase);
            }
        }
    });
}
