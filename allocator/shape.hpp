// A request as the inside of the VA heap sees it: in pages, with its guards as part of it.
//
// Exactness: `place` answers with a start if and only if the hole has one. O(1).
// Failure: none. Thread-safety: values.
#pragma once

#include <cassert>
#include <cstdint>
#include <optional>

#include "allocator/va_block.hpp"
#include "allocator/va_request.hpp"

namespace granule {

struct Shape {
    std::uint64_t pages = 1;
    unsigned alignment_bits = 0;
    std::uint64_t phase = 0;                   // of the first guard page
    unsigned boundary_bits = kPageNumberBits;  // where there is a boundary: above alignment_bits,
                                               // and phase + pages <= 2^boundary_bits
    VaDirection direction = VaDirection::kTopDown;

    // The highest (top-down) or lowest start in [first, end) that satisfies everything.
    [[nodiscard]] std::optional<std::uint64_t> place(std::uint64_t first, std::uint64_t end) const noexcept;
    // The highest place of a start within a window of 2^boundary_bits.
    [[nodiscard]] std::uint64_t last_residue() const noexcept;
    // Is there nothing but size and alignment to it? See PlainShape.
    [[nodiscard]] bool is_plain() const noexcept { return phase == 0 && boundary_bits >= kPageNumberBits; }
};

// A shape without phase and boundary: `place` answers what that of the shape does, without a branch on the way.
class PlainShape {
public:
    explicit PlainShape(const Shape& shape) noexcept
        : pages_(shape.pages),
          low_bits_((std::uint64_t{1} << shape.alignment_bits) - 1),
          bottom_up_(shape.direction == VaDirection::kBottomUp) {
        assert(shape.is_plain());
    }
    [[nodiscard]] std::optional<std::uint64_t> place(std::uint64_t first, std::uint64_t end) const noexcept {
        const std::uint64_t lowest = (first + low_bits_) & ~low_bits_;
        const std::uint64_t highest =
            (end - pages_) & ~low_bits_;  // far above `end` where there are fewer pages below it
        const std::uint64_t start = bottom_up_ ? lowest : highest;
        const unsigned fits = static_cast<unsigned>(first <= start) & static_cast<unsigned>(start <= end) &
                              static_cast<unsigned>(pages_ + start <= end);
        return fits != 0 ? std::optional{start} : std::nullopt;
    }

private:
    std::uint64_t pages_;
    std::uint64_t low_bits_;
    bool bottom_up_;
};

inline std::uint64_t Shape::last_residue() const noexcept {
    return phase + align_down((std::uint64_t{1} << boundary_bits) - pages - phase, std::uint64_t{1} << alignment_bits);
}

inline std::optional<std::uint64_t> Shape::place(std::uint64_t first, std::uint64_t end) const noexcept {
    if (end - first < pages) {
        return std::nullopt;
    }
    const std::uint64_t alignment = std::uint64_t{1} << alignment_bits;
    const std::uint64_t window = std::uint64_t{1} << boundary_bits;
    if (direction == VaDirection::kBottomUp) {
        std::uint64_t start = first + ((phase - first) & (alignment - 1));
        if ((start & (window - 1)) + pages > window) {
            start = align_up(start, window) + phase;
        }
        return start <= end - pages ? std::optional{start} : std::nullopt;
    }
    const std::uint64_t latest = end - pages;
    const std::uint64_t back = (latest - phase) & (alignment - 1);
    if (back > latest) {
        return std::nullopt;
    }
    std::uint64_t start = latest - back;
    if ((start & (window - 1)) + pages > window) {
        start = align_down(start, window) + last_residue();
    }
    return start >= first ? std::optional{start} : std::nullopt;
}

}  // namespace granule
