// Page numbers in order, and how many of them are below another one: the search in every node of the mapping tree.
//
// A page number has 36 bits. The upper 32 are compared four at a time; the lower four are elsewhere, and looked at only
// where the upper ones are equal.
//
//     page    | upper: 35:4, minus 2^31 as the compare is a signed one | lower: 3:0 |
//
// All of a node's upper halves are compared, from which no branch and no load depends on the outcome: a binary search is
// six loads one after the other, and half of its branches are mispredicted. What is not in use holds kNoUpper, which is
// below nothing.
//
// The vectors are those of the compiler (16 bytes: SSE2, NEON), so that there is nothing to find out at run time; wider
// ones would save eight instructions, and cost the call through a pointer that selects them.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "mali/address.hpp"

namespace granule {

inline constexpr std::uint64_t kPagesOfVa = kMaxVaEnd / kPageBytes;  // 2^36
inline constexpr unsigned kLowerBits = 4;
inline constexpr std::int32_t kNoUpper = INT32_MAX;

// A page number in its two halves. The end of the space, 2^36, is upper 2^32 - 1 and lower 16: behind its last page.
struct SplitPage {
    std::int32_t upper;
    std::uint32_t lower;

    [[nodiscard]] static constexpr SplitPage of(std::uint64_t page) noexcept {
        const std::uint64_t upper = (page - (page >> 36U)) >> kLowerBits;
        return {static_cast<std::int32_t>(static_cast<std::uint32_t>(upper) ^ kSign),
                static_cast<std::uint32_t>(page - (upper << kLowerBits))};
    }
    // Of a page below the end of the space.
    [[nodiscard]] static constexpr SplitPage of_page(std::uint64_t page) noexcept {
        assert(page < kPagesOfVa);
        return {static_cast<std::int32_t>(static_cast<std::uint32_t>(page >> kLowerBits) ^ kSign),
                static_cast<std::uint32_t>(page) & ((1U << kLowerBits) - 1)};
    }
    [[nodiscard]] constexpr std::uint64_t joined() const noexcept {
        return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(upper) ^ kSign) << kLowerBits) + lower;
    }

private:
    static constexpr std::uint32_t kSign = std::uint32_t{1} << 31U;
};

// Sixteen bytes that are moved, added and compared as one.
using UpperLanes = std::int32_t __attribute__((vector_size(16)));
inline constexpr unsigned kUpperLanes = 4;

template <class T>
[[nodiscard]] inline UpperLanes load_lanes(const T* from) noexcept {
    UpperLanes lanes;
    std::memcpy(&lanes, from, sizeof(lanes));
    return lanes;
}

[[nodiscard]] inline unsigned sum_of(UpperLanes lanes) noexcept {
    lanes += __builtin_shufflevector(lanes, lanes, 2, 3, 0, 1);
    lanes += __builtin_shufflevector(lanes, lanes, 1, 0, 3, 2);
    return static_cast<unsigned>(lanes[0]);
}

// How many of `size` are below `limit`. Several sums, so that an addition need not wait for the one before. They are
// aligned to 16 bytes, which makes loads operands of the comparisons.
template <unsigned size>
[[nodiscard]] inline unsigned count_below(const std::int32_t* uppers, std::int32_t limit) noexcept {
    static_assert(size % (2 * kUpperLanes) == 0);
    const auto* from = static_cast<const std::int32_t*>(__builtin_assume_aligned(uppers, 16));
    const UpperLanes limits = {limit, limit, limit, limit};
    UpperLanes even = {};
    UpperLanes odd = {};
#pragma GCC unroll 8
    for (unsigned at = 0; at < size; at += 2 * kUpperLanes) {
        even += load_lanes(from + at) < limits;
        odd += load_lanes(from + at + kUpperLanes) < limits;
    }
    return 0 - sum_of(even + odd);
}

// The same by halving, one at a time.
[[nodiscard]] inline unsigned count_below_by_halving(const std::int32_t* uppers, unsigned count,
                                                     std::int32_t limit) noexcept {
    unsigned below = 0;
    while (count > 0) {
        const unsigned half = (count + 1) / 2;
        below += uppers[below + half - 1] < limit ? half : 0;
        count -= half;
    }
    return below;
}

}  // namespace granule
