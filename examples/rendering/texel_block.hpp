// Textures as Malis lay them out: blocks of 4 x 4 texels, 64 bytes, one cache line; the blocks row by row.
//
//     +----+----+----+--         a fetch of any texel brings its 15 neighbours, whichever way a triangle is turned
//     | 0  | 1  | 2  |
//     +----+----+----+--
//     | n  |n+1 |            n = width / 4
//
// Filtering is done on bytes in whole numbers, so that any two who read the same texels get the same colour.
#pragma once

#include <array>
#include <cstdint>

#include "rendering/picture.hpp"
#include "rendering/vector.hpp"

namespace rendering {

inline constexpr std::uint32_t kBlockTexels = 4;  // a side
inline constexpr std::uint64_t kTexelBytes = 4;

using TexelBlock = std::array<Pixel, std::size_t{kBlockTexels} * kBlockTexels>;  // row by row

// Where the texel (x, y) of an image of `width` (a multiple of 4) is, in bytes from its beginning.
[[nodiscard]] constexpr std::uint64_t texel_offset(std::uint32_t x, std::uint32_t y, std::uint32_t width) noexcept {
    const std::uint64_t block = std::uint64_t{y / kBlockTexels} * (width / kBlockTexels) + x / kBlockTexels;
    const std::uint64_t inside = std::uint64_t{y % kBlockTexels} * kBlockTexels + x % kBlockTexels;
    return block * sizeof(TexelBlock) + inside * kTexelBytes;
}

// From `a` to `b`, `weight` of 256.
[[nodiscard]] constexpr Pixel blend(Pixel a, Pixel b, std::uint32_t weight) noexcept {
    // Two channels at a time, each with 8 bits of room above it.
    constexpr std::uint32_t kEven = 0x00FF00FF;
    const std::uint32_t even = ((a & kEven) * (256 - weight) + (b & kEven) * weight) >> 8 & kEven;
    const std::uint32_t odd = ((a >> 8 & kEven) * (256 - weight) + (b >> 8 & kEven) * weight) & ~kEven;
    return even | odd;
}

[[nodiscard]] constexpr Vec3 to_colour(Pixel pixel) noexcept {
    constexpr float kScale = 1.0F / 255.0F;
    return {static_cast<float>(pixel & 0xFF) * kScale, static_cast<float>(pixel >> 8 & 0xFF) * kScale,
            static_cast<float>(pixel >> 16 & 0xFF) * kScale};
}
[[nodiscard]] constexpr Pixel to_pixel(Vec3 colour) noexcept {
    const auto byte = [](float channel) { return static_cast<unsigned>(clamp01(channel) * 255.99F); };
    return rgb(byte(colour.x), byte(colour.y), byte(colour.z));
}

}  // namespace rendering
