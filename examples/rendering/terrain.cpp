#include "rendering/terrain.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdlib>

#include "rendering/noise.hpp"
#include "rendering/vector.hpp"

namespace rendering {
namespace {

constexpr std::uint32_t kLargestCell = 4096;
constexpr std::uint32_t kSmallestCell = 8;
constexpr float kGain = 0.5F;  // of each octave, against the one before it
constexpr std::uint32_t kSeed = 20;

struct Relief {
    NoiseBlock land;      // height and slope, a texel of level 0
    NoiseBlock moisture;  // value only
};

void add(NoiseBlock& sum, const NoiseBlock& octave, float amplitude, float cell) {
    for (std::size_t j = 0; j < 4; ++j) {
        sum.value[j] += octave.value[j] * amplitude;
        sum.dx[j] += octave.dx[j] * (amplitude / cell);
        sum.dy[j] += octave.dy[j] * (amplitude / cell);
    }
}

Relief relief_of(std::uint32_t level, std::uint32_t x, std::uint32_t y) noexcept {
    const std::uint32_t texel = 1U << level;  // in texels of level 0
    const std::uint32_t left = x * kBlockTexels * texel;
    const std::uint32_t top = y * kBlockTexels * texel;
    Relief relief;
    float amplitude = 1.0F;
    std::uint32_t octave = 0;
    // A block lies in one cell of each octave: cells are powers of two, and no smaller than it.
    const std::uint32_t smallest = std::max(kSmallestCell, texel * kBlockTexels);
    for (std::uint32_t cell = kLargestCell; cell >= smallest; cell /= 2) {
        const float scale = 1.0F / static_cast<float>(cell);
        const float step = static_cast<float>(texel) * scale;
        const auto noise = [&](std::uint32_t seed) {
            return gradient_noise(left / cell, top / cell, static_cast<float>(left % cell) * scale + step * 0.5F,
                                  static_cast<float>(top % cell) * scale + step * 0.5F, step, seed);
        };
        add(relief.land, noise(kSeed + octave), amplitude, static_cast<float>(cell));
        if (octave >= 2 && octave < 5) {
            add(relief.moisture, noise(kSeed + 100 + octave), amplitude * 3.0F, static_cast<float>(cell));
        }
        amplitude *= kGain;
        ++octave;
    }
    return relief;
}

struct Stop {
    float height;
    Vec3 dry;
    Vec3 wet;
};

// Colours by height, from the deep sea to the snow.
constexpr std::array<Stop, 9> kRamp{{
    {-0.60F, kDeepSea, kDeepSea},
    {-0.20F, {0.10F, 0.33F, 0.47F}, {0.10F, 0.33F, 0.47F}},
    {-0.02F, {0.28F, 0.60F, 0.63F}, {0.25F, 0.57F, 0.61F}},
    {0.00F, {0.86F, 0.79F, 0.60F}, {0.78F, 0.74F, 0.55F}},
    {0.05F, {0.68F, 0.66F, 0.38F}, {0.40F, 0.56F, 0.26F}},
    {0.22F, {0.56F, 0.54F, 0.30F}, {0.20F, 0.40F, 0.18F}},
    {0.42F, {0.52F, 0.44F, 0.33F}, {0.33F, 0.40F, 0.25F}},
    {0.58F, {0.52F, 0.48F, 0.45F}, {0.48F, 0.47F, 0.45F}},
    {0.72F, {0.96F, 0.97F, 0.99F}, {0.95F, 0.96F, 0.99F}},
}};

Vec3 colour_of(float height, float moisture) noexcept {
    const float wet = smoothstep(-0.25F, 0.25F, moisture);
    if (height <= kRamp.front().height) {
        return kDeepSea;
    }
    for (std::size_t i = 1; i < kRamp.size(); ++i) {
        const Stop& upper = kRamp[i];
        if (height < upper.height) {
            const Stop& lower = kRamp[i - 1];
            const float t = (height - lower.height) / (upper.height - lower.height);
            return mix(mix(lower.dry, lower.wet, wet), mix(upper.dry, upper.wet, wet), t);
        }
    }
    return mix(kRamp.back().dry, kRamp.back().wet, wet);
}

// How much lower the ground is towards the edge of the map: the island ends before it.
float sea_bias(float x, float y) noexcept {
    constexpr float kHalf = static_cast<float>(kTerrainSide) / 2;
    const float dx = (x - kHalf) / kHalf;
    const float dy = (y - kHalf) / kHalf;
    const float r2 = dx * dx + dy * dy;
    return r2 * r2 * 1.4F;
}

}  // namespace

TexelBlock terrain_block(std::uint32_t level, std::uint32_t x, std::uint32_t y) noexcept {
    constexpr float kSteepness = 850.0F;  // height 1 in texels
    constexpr Vec3 kSun{-0.52F, -0.52F, 0.68F};
    const Relief relief = relief_of(level, x, y);
    const auto texel = static_cast<float>(1U << level);
    TexelBlock block{};
    for (std::size_t j = 0; j < kBlockTexels; ++j) {
        for (std::size_t i = 0; i < kBlockTexels; ++i) {
            const float east = (static_cast<float>(std::size_t{x} * kBlockTexels + i) + 0.5F) * texel;
            const float south = (static_cast<float>(std::size_t{y} * kBlockTexels + j) + 0.5F) * texel;
            const float height = relief.land.value[j][i] * 1.25F + 0.22F - sea_bias(east, south);
            const float depth = 1.0F - smoothstep(-0.05F, 0.02F, height);  // waves, not the sea's ground
            const float steep = kSteepness * (1.0F - 0.92F * depth);
            const Vec3 normal = normalized({-relief.land.dx[j][i] * steep, -relief.land.dy[j][i] * steep, 1.0F});
            const float sun = std::max(dot(normal, kSun), 0.0F) / kSun.z;
            const float lit = 0.38F + 0.62F * std::min(sun, 1.45F);
            block[j * kBlockTexels + i] = to_pixel(colour_of(height, relief.moisture.value[j][i]) * lit);
        }
    }
    return block;
}

}  // namespace rendering
