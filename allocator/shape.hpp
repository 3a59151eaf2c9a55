// A request as the inside of the VA heap sees it: in pages, with its guards as part of it.
//
// Exactness: `place` answers with a start if and only if the hole has one. O(1).
// Failure: none. Thread-safety: values.
#pragma once

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
