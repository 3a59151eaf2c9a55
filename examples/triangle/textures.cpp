#include "triangle/textures.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <utility>

#include "rendering/noise.hpp"
#include "rendering/terrain.hpp"
#include "rendering/texel_block.hpp"

namespace triangle {
namespace {

using rendering::blend;
using rendering::Picture;
using rendering::to_pixel;
using rendering::Vec3;

MipChain with_mips(Picture largest) {
    constexpr int kSmallest = static_cast<int>(rendering::kBlockTexels);
    MipChain chain;
    chain.push_back(std::move(largest));
    while (std::min(chain.back().width, chain.back().height) > kSmallest) {
        const Picture& above = chain.back();
        Picture half(above.width / 2, above.height / 2);
        for (int y = 0; y < half.height; ++y) {
            for (int x = 0; x < half.width; ++x) {
                half.at(x, y) = blend(blend(above.at(2 * x, 2 * y), above.at(2 * x + 1, 2 * y), 128),
                                      blend(above.at(2 * x, 2 * y + 1), above.at(2 * x + 1, 2 * y + 1), 128), 128);
            }
        }
        chain.push_back(std::move(half));
    }
    return chain;
}

// A picture of a function of the block: `make(block_x, block_y)` is 4 x 4 colours.
template <class Make>
Picture from_blocks(int width, int height, Make&& make) {
    constexpr int kBlock = static_cast<int>(rendering::kBlockTexels);
    Picture picture(width, height);
    for (int y = 0; y < height; y += kBlock) {
        for (int x = 0; x < width; x += kBlock) {
            const rendering::TexelBlock block = make(x, y);
            for (int i = 0; i < kBlock * kBlock; ++i) {
                picture.at(x + i % kBlock, y + i / kBlock) = block[static_cast<std::size_t>(i)];
            }
        }
    }
    return picture;
}

// Something rough: three octaves, around 0.
rendering::NoiseBlock grain(int x, int y, int cell) {
    rendering::NoiseBlock sum{};
    float amplitude = 1.0F;
    for (int size = cell; size >= 8; size /= 2) {
        const float scale = 1.0F / static_cast<float>(size);
        const rendering::NoiseBlock octave =
            rendering::gradient_noise(static_cast<std::uint32_t>(x / size), static_cast<std::uint32_t>(y / size),
                                      static_cast<float>(x % size) * scale + scale / 2,
                                      static_cast<float>(y % size) * scale + scale / 2, scale, 7);
        for (std::size_t j = 0; j < 4; ++j) {
            sum.value[j] += octave.value[j] * amplitude;
        }
        amplitude *= 0.6F;
    }
    return sum;
}

// `colour(x, y, grain)` for each texel.
template <class Colour>
Picture textured(int width, int height, int cell, Colour&& colour) {
    return from_blocks(width, height, [&](int left, int top) {
        const rendering::NoiseBlock noise = grain(left, top, cell);
        rendering::TexelBlock block{};
        for (int j = 0; j < 4; ++j) {
            for (int i = 0; i < 4; ++i) {
                block[static_cast<std::size_t>(j) * 4 + static_cast<std::size_t>(i)] =
                    to_pixel(colour(left + i, top + j, noise.value[static_cast<std::size_t>(j)][i]));
            }
        }
        return block;
    });
}

}  // namespace

MipChain make_checkerboard() {
    constexpr int kSide = 512;
    return with_mips(textured(kSide, kSide, 128, [](int x, int y, float rough) {
        const bool light = (x < kSide / 2) == (y < kSide / 2);
        const int joint = std::min(std::min(x % (kSide / 2), kSide / 2 - 1 - x % (kSide / 2)),
                                   std::min(y % (kSide / 2), kSide / 2 - 1 - y % (kSide / 2)));
        const Vec3 stone = light ? Vec3{0.86F, 0.84F, 0.79F} : Vec3{0.27F, 0.33F, 0.38F};
        return stone * ((joint < 3 ? 0.72F : 1.0F) + rough * 0.16F);
    }));
}

MipChain make_weave() {
    constexpr int kSide = 512;
    return with_mips(textured(kSide, kSide, 64, [](int x, int y, float rough) {
        constexpr int kBand = kSide / 4;
        const int along = (x + y) % kSide;
        const int across = (x - y + kSide) % kSide;
        const bool over = (along / kBand + across / kBand) % 2 == 0;
        const int inside = over ? along % kBand : across % kBand;
        const float round = std::sin(std::numbers::pi_v<float> * (static_cast<float>(inside) + 0.5F) / kBand);
        const Vec3 band = over ? Vec3{0.93F, 0.62F, 0.20F} : Vec3{0.70F, 0.26F, 0.16F};
        return band * (0.45F + 0.6F * std::sqrt(round) + rough * 0.14F);
    }));
}

MipChain make_crate() {
    constexpr int kSide = 256;
    Picture picture = textured(kSide, kSide, 64, [](int x, int y, float rough) {
        const int edge = std::min(std::min(x, kSide - 1 - x), std::min(y, kSide - 1 - y));
        const bool frame = edge < 26;
        const bool gap = edge == 26 || edge == 27 || edge == 0 || (!frame && x % 51 < 2);
        const Vec3 wood = frame ? Vec3{0.50F, 0.36F, 0.22F} : Vec3{0.68F, 0.51F, 0.32F};
        return wood * ((gap ? 0.55F : 1.0F) + rough * 0.30F);
    });
    picture.write(58, 92, "GRANULE", rendering::rgb(70, 38, 20), 5);
    picture.write(74, 132, "2M 2M 2M 4K", rendering::rgb(70, 38, 20), 2);
    return with_mips(std::move(picture));
}

MipChain make_island() {
    constexpr int kBlock = static_cast<int>(rendering::kBlockTexels);
    return with_mips(from_blocks(1024, 1024, [](int x, int y) {
        return rendering::terrain_block(4, static_cast<std::uint32_t>(x / kBlock),
                                        static_cast<std::uint32_t>(y / kBlock));
    }));
}

}  // namespace triangle
