// The colour of a pixel: the "shader". It runs on the GPU, whose texels come out of GPU memory, and in the reference, whose
// texels come from nowhere: `Source` is where they come from.
//
//     std::uint32_t resident_level(const Tile&)   the finest level, not finer than the tile's, that is resident there
//     Pixel texel(level, x, y)                    of a tile that is
//
// Which texels a pixel needs is four of one level, around the point that it sees. If not all of their tiles are resident, it
// falls back to the finest level that has something for all of them, and so on: what Vulkan has residency codes and
// minimum LODs for. It ends in the tail, which is always there.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

#include "rendering/picture.hpp"
#include "rendering/terrain.hpp"
#include "rendering/texel_block.hpp"
#include "virtual-texture/camera.hpp"
#include "virtual-texture/texture_layout.hpp"

namespace streaming {

using rendering::Pixel;

// How a level is filtered for one point: between the texels (x0, y0) and (x1, y1), in 1/256.
struct Taps {
    std::uint32_t x0 = 0;
    std::uint32_t x1 = 0;
    std::uint32_t y0 = 0;
    std::uint32_t y1 = 0;
    std::uint32_t x_weight = 0;
    std::uint32_t y_weight = 0;
};

[[nodiscard]] inline Taps taps_at(const Footprint& footprint, std::uint32_t level) noexcept {
    const auto last = static_cast<std::int32_t>((kTextureSide >> level) - 1);
    const float scale = 256.0F / static_cast<float>(1U << level);
    const auto x = static_cast<std::int32_t>(std::floor(footprint.x * scale)) - 128;
    const auto y = static_cast<std::int32_t>(std::floor(footprint.y * scale)) - 128;
    const auto clamped = [last](std::int32_t texel) { return static_cast<std::uint32_t>(std::clamp(texel, 0, last)); };
    return {clamped(x >> 8),
            clamped((x >> 8) + 1),
            clamped(y >> 8),
            clamped((y >> 8) + 1),
            static_cast<std::uint32_t>(x & 255),
            static_cast<std::uint32_t>(y & 255)};
}

// What became of a pixel.
struct Shaded {
    Pixel colour = 0;
    bool textured = false;
    bool fell_back = false;
};

inline constexpr Vec3 kSkyAbove{0.24F, 0.42F, 0.66F};
inline constexpr Vec3 kHaze{0.80F, 0.86F, 0.91F};

template <class Source>
[[nodiscard]] std::uint32_t level_for(Source& source, const Footprint& footprint) {
    for (std::uint32_t level = footprint.level;;) {
        const Taps taps = taps_at(footprint, level);
        const std::uint32_t left = taps.x0 / kTileSide;
        const std::uint32_t right = taps.x1 / kTileSide;
        const std::uint32_t top = taps.y0 / kTileSide;
        const std::uint32_t bottom = taps.y1 / kTileSide;
        std::uint32_t usable = source.resident_level({level, left, top});
        if (left != right || top != bottom) {
            usable =
                std::max({usable, source.resident_level({level, right, top}),
                          source.resident_level({level, left, bottom}), source.resident_level({level, right, bottom})});
        }
        if (usable == level) {
            return level;
        }
        level = usable;
    }
}

template <class Source>
[[nodiscard]] Shaded shade(Source& source, const Camera& camera, int x, int y) {
    const Vec3 ray = ray_through(camera, x, y);
    const std::optional<Footprint> footprint = project(camera, ray);
    if (!footprint) {
        return {rendering::to_pixel(mix(kHaze, kSkyAbove, rendering::clamp01(ray.z * 4.0F))), false, false};
    }
    Vec3 ground = rendering::kDeepSea;
    Shaded shaded;
    if (on_texture(*footprint)) {
        const std::uint32_t level = level_for(source, *footprint);
        const Taps t = taps_at(*footprint, level);
        ground = rendering::to_colour(rendering::blend(
            rendering::blend(source.texel(level, t.x0, t.y0), source.texel(level, t.x1, t.y0), t.x_weight),
            rendering::blend(source.texel(level, t.x0, t.y1), source.texel(level, t.x1, t.y1), t.x_weight),
            t.y_weight));
        shaded.textured = true;
        shaded.fell_back = level != footprint->level;
    }
    const float haze = rendering::smoothstep(1000.0F, 13000.0F, footprint->distance);
    shaded.colour = rendering::to_pixel(mix(ground, kHaze, haze));
    return shaded;
}

}  // namespace streaming
