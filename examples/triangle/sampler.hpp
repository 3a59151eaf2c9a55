// The texture unit: filtered texels of a texture in GPU memory, through the texture cache.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "rendering/line_cache.hpp"
#include "rendering/texel_block.hpp"
#include "triangle/gpu_structs.hpp"

namespace triangle {

class Sampler {
public:
    Sampler(rendering::LineCache& cache, const TextureDescriptor& texture) noexcept
        : cache_(cache), texture_(texture) {}

    // Trilinear. `right`, `down`: the uv of the neighbouring pixels, which say how small the texture is seen.
    [[nodiscard]] Vec3 sample(Vec2 uv, Vec2 right, Vec2 down) {
        const auto width = static_cast<float>(texture_.width);
        const auto height = static_cast<float>(texture_.height);
        const auto step = [&](Vec2 to) {
            const float du = (to.x - uv.x) * width;
            const float dv = (to.y - uv.y) * height;
            return du * du + dv * dv;
        };
        const float x_step = step(right);
        const float y_step = step(down);
        // Between the longer and the shorter step: sharper than the longer one, which would blur what is seen at an angle.
        const float texels = std::sqrt(std::max(x_step, y_step)) * 0.5F + std::sqrt(std::min(x_step, y_step)) * 0.5F;
        const auto last = static_cast<float>(texture_.levels - 1);
        const float level = std::clamp(std::log2(std::max(texels, 1.0F)), 0.0F, last);
        const auto lower = static_cast<std::uint32_t>(level);
        const auto upper = std::min(lower + 1, texture_.levels - 1);
        const auto weight = static_cast<std::uint32_t>((level - static_cast<float>(lower)) * 256.0F);
        return rendering::to_colour(rendering::blend(bilinear(uv, lower), bilinear(uv, upper), weight));
    }

private:
    [[nodiscard]] Pixel bilinear(Vec2 uv, std::uint32_t level) {
        const std::uint32_t width = texture_.width >> level;
        const std::uint32_t height = texture_.height >> level;
        // In 1/256 of a texel from the middle of the first one.
        const std::int64_t x = static_cast<std::int64_t>(std::floor(uv.x * static_cast<float>(width) * 256.0F)) - 128;
        const std::int64_t y = static_cast<std::int64_t>(std::floor(uv.y * static_cast<float>(height) * 256.0F)) - 128;
        const auto wrapped = [](std::int64_t texel, std::uint32_t size) {
            return static_cast<std::uint32_t>(static_cast<std::uint64_t>(texel) & (size - 1));
        };
        const std::uint32_t x0 = wrapped(x >> 8, width);
        const std::uint32_t x1 = wrapped((x >> 8) + 1, width);
        const std::uint32_t y0 = wrapped(y >> 8, height);
        const std::uint32_t y1 = wrapped((y >> 8) + 1, height);
        const auto texel = [&](std::uint32_t tx, std::uint32_t ty) {
            return cache_.load<Pixel>(texture_.level[level] + rendering::texel_offset(tx, ty, width));
        };
        const auto x_weight = static_cast<std::uint32_t>(x & 255);
        const auto y_weight = static_cast<std::uint32_t>(y & 255);
        return rendering::blend(rendering::blend(texel(x0, y0), texel(x1, y0), x_weight),
                                rendering::blend(texel(x0, y1), texel(x1, y1), x_weight), y_weight);
    }

    rendering::LineCache& cache_;
    const TextureDescriptor texture_;
};

}  // namespace triangle
