// Sizes of BOs that are used again: eight an octave.
//
// Up to 8 pages every number of pages is a class; above, an octave has eight, equally far apart:
//
//     pages   1 2 3 4 5 6 7 8 | 9 10 11 12 13 14 15 16 | 18 20 22 24 26 28 30 32 | 36 40 44 ...
//
// So a BO has less than an eighth more than the whole pages that were asked for: the step of an octave is an eighth of
// where it begins. Powers of two, what drivers ask for most, cost nothing. Why eight: bo_cache.md.
#pragma once

#include <bit>
#include <cstdint>

#include "mali/address.hpp"

namespace granule {

inline constexpr std::uint64_t kSizeClassesPerOctave = 8;

// The least class of at least `bytes`, which are 1 to 2^48.
[[nodiscard]] constexpr std::uint64_t size_class_of(std::uint64_t bytes) noexcept {
    const std::uint64_t pages = align_up(bytes, kPageBytes) / kPageBytes;
    if (pages <= kSizeClassesPerOctave) {
        return pages * kPageBytes;
    }
    // pages is above 2^(n-1) and at most 2^n.
    const auto n = static_cast<unsigned>(std::bit_width(pages - 1));
    const std::uint64_t step = (std::uint64_t{1} << (n - 1)) / kSizeClassesPerOctave;
    return align_up(pages, step) * kPageBytes;
}

}  // namespace granule
