#include "rendering/noise.hpp"

#include "rendering/vector.hpp"

namespace rendering {
namespace {

std::uint32_t hash(std::uint32_t x, std::uint32_t y, std::uint32_t seed) noexcept {
    std::uint32_t h = x * 0x8DA6B343U ^ y * 0xD8163841U ^ seed * 0xCB1AB31FU;
    h = (h ^ h >> 15) * 0x2C1B3C6DU;
    h = (h ^ h >> 12) * 0x297A2D39U;
    return h ^ h >> 15;
}

// One of 16 directions, all of length 1.
Vec2 direction(std::uint32_t x, std::uint32_t y, std::uint32_t seed) noexcept {
    constexpr float kC1 = 0.92387953F;  // cos(22.5 degrees), and so on
    constexpr float kC2 = 0.70710678F;
    constexpr float kC3 = 0.38268343F;
    constexpr std::array<Vec2, 16> kDirections{{{1, 0},
                                                {kC1, kC3},
                                                {kC2, kC2},
                                                {kC3, kC1},
                                                {0, 1},
                                                {-kC3, kC1},
                                                {-kC2, kC2},
                                                {-kC1, kC3},
                                                {-1, 0},
                                                {-kC1, -kC3},
                                                {-kC2, -kC2},
                                                {-kC3, -kC1},
                                                {0, -1},
                                                {kC3, -kC1},
                                                {kC2, -kC2},
                                                {kC1, -kC3}}};
    return kDirections[hash(x, y, seed) >> 28];
}

Float4 all(float value) noexcept {
    return Float4{value, value, value, value};
}

// 6 t^5 - 15 t^4 + 10 t^3: no kinks in value or slope where cells meet. And its derivative.
Float4 fade(Float4 t) noexcept {
    return t * t * t * (t * (t * 6.0F - 15.0F) + 10.0F);
}
Float4 fade_slope(Float4 t) noexcept {
    return t * t * (t * (t * 30.0F - 60.0F) + 30.0F);
}

}  // namespace

NoiseBlock gradient_noise(std::uint32_t cell_x, std::uint32_t cell_y, float x, float y, float step,
                          std::uint32_t seed) noexcept {
    const Vec2 g00 = direction(cell_x, cell_y, seed);
    const Vec2 g10 = direction(cell_x + 1, cell_y, seed);
    const Vec2 g01 = direction(cell_x, cell_y + 1, seed);
    const Vec2 g11 = direction(cell_x + 1, cell_y + 1, seed);
    const Float4 fx = Float4{0, 1, 2, 3} * step + x;
    const Float4 u = fade(fx);
    const Float4 du = fade_slope(fx);
    NoiseBlock block;
    for (std::size_t j = 0; j < 4; ++j) {
        const Float4 fy = all(y + static_cast<float>(j) * step);
        const Float4 v = fade(fy);
        const Float4 dv = fade_slope(fy);
        // How far the plane of each corner has risen here.
        const Float4 a = fx * g00.x + fy * g00.y;
        const Float4 b = (fx - 1.0F) * g10.x + fy * g10.y;
        const Float4 c = fx * g01.x + (fy - 1.0F) * g01.y;
        const Float4 d = (fx - 1.0F) * g11.x + (fy - 1.0F) * g11.y;
        const Float4 twist = a - b - c + d;
        block.value[j] = a + u * (b - a) + v * (c - a) + u * v * twist;
        block.dx[j] = g00.x + u * (g10.x - g00.x) + v * (g01.x - g00.x) + u * v * (g00.x - g10.x - g01.x + g11.x) +
                      du * ((b - a) + v * twist);
        block.dy[j] = g00.y + u * (g10.y - g00.y) + v * (g01.y - g00.y) + u * v * (g00.y - g10.y - g01.y + g11.y) +
                      dv * ((c - a) + u * twist);
    }
    return block;
}

}  // namespace rendering
