// The flight over the texture, which lies in the plane z = 0, one unit a texel; and what a pixel of it sees.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>

#include "rendering/vector.hpp"
#include "virtual-texture/texture_layout.hpp"

namespace streaming {

using rendering::Vec3;

// Plain data: the GPU reads it from memory.
struct Camera {
    Vec3 eye;
    Vec3 corner;  // the direction of the upper left of the picture
    Vec3 right;   // from there, a pixel
    Vec3 down;
    float texel_area = 0;  // that a pixel sees at |direction.z| 1
};

// At `part`, 0 to 1, of the way.
[[nodiscard]] Camera camera_at(float part, int width, int height);

// Where the middle of a pixel meets the plane.
struct Footprint {
    float x = 0;  // in texels of level 0
    float y = 0;
    float distance = 0;
    std::uint32_t level = 0;  // whose texels are not much smaller than the pixel
};

[[nodiscard]] inline Vec3 ray_through(const Camera& camera, int x, int y) noexcept {
    return camera.corner + camera.right * (static_cast<float>(x) + 0.5F) + camera.down * (static_cast<float>(y) + 0.5F);
}

// Nothing: the sky. May be beyond the texture: see `on_texture`.
[[nodiscard]] inline std::optional<Footprint> project(const Camera& camera, Vec3 ray) noexcept {
    constexpr float kHorizon = -0.005F;
    if (ray.z > kHorizon) {
        return std::nullopt;
    }
    const float reach = camera.eye.z / -ray.z;
    Footprint footprint{camera.eye.x + ray.x * reach, camera.eye.y + ray.y * reach, reach, 0};
    constexpr float kMostTexels = 5.0F;  // a pixel: sharper than 2, and few of them flicker
    // The plane is seen through a projective map: what a pixel covers of it goes with the cube of the depth.
    const float area = camera.texel_area / -(ray.z * ray.z * ray.z);
    float most = kMostTexels;
    while (area > most && footprint.level < kLevels - 1) {
        most *= 4.0F;
        ++footprint.level;
    }
    return footprint;
}

[[nodiscard]] inline bool on_texture(const Footprint& footprint) noexcept {
    constexpr auto kSide = static_cast<float>(kTextureSide);
    return footprint.x >= 0 && footprint.x < kSide && footprint.y >= 0 && footprint.y < kSide;
}

// The tile that a pixel there wants.
[[nodiscard]] inline Tile wanted_tile(const Footprint& footprint) noexcept {
    return {footprint.level, static_cast<std::uint32_t>(footprint.x) / kTileSide >> footprint.level,
            static_cast<std::uint32_t>(footprint.y) / kTileSide >> footprint.level};
}

}  // namespace streaming
