#include "virtual-texture/texture.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "rendering/glyphs.hpp"
#include "rendering/terrain.hpp"

namespace streaming {
namespace {

using rendering::blend;
using rendering::kBlockTexels;
using rendering::Pixel;
using rendering::rgb;
using rendering::TexelBlock;

static_assert(kTextureSide == rendering::kTerrainSide);

constexpr std::uint32_t kTileBlocks = kTileSide / kBlockTexels;

// Of each level, for its frame and its name.
constexpr std::array<Pixel, kLevels> kLevelColours{rgb(255, 255, 255), rgb(255, 226, 90), rgb(120, 230, 255),
                                                   rgb(255, 140, 200), rgb(255, 90, 60),  rgb(150, 120, 255),
                                                   rgb(90, 255, 150),  rgb(255, 255, 0)};

// The name of a tile, in letters of 6 x 10 texels from (8, 8) on.
struct Name {
    static constexpr std::uint32_t kLeft = 8;
    static constexpr std::uint32_t kTop = 8;
    static constexpr std::uint32_t kScale = 2;

    // Whether the texel (x, y) of the tile is part of a letter.
    [[nodiscard]] static bool has(const std::string& text, std::uint32_t x, std::uint32_t y) {
        if (x < kLeft || y < kTop) {
            return false;
        }
        const std::uint32_t column = (x - kLeft) / kScale;
        const std::uint32_t row = (y - kTop) / kScale;
        const std::size_t letter = column / rendering::kGlyphAdvance;
        const std::uint32_t inside = column % rendering::kGlyphAdvance;
        return letter < text.size() && row < rendering::kGlyphHeight && inside < rendering::kGlyphWidth &&
               rendering::glyph_has(text[letter], static_cast<int>(inside), static_cast<int>(row));
    }
    // The rows of blocks that it is in.
    [[nodiscard]] static bool may_be_in(std::uint32_t block_y) {
        return block_y >= kTop / kBlockTexels && block_y <= (kTop + kScale * rendering::kGlyphHeight) / kBlockTexels;
    }
};

void draw_frame(TexelBlock& block, std::uint32_t level, std::uint32_t x, std::uint32_t y) {
    constexpr std::uint32_t kWeight = 96;  // of 256
    for (std::uint32_t i = 0; i < kBlockTexels; ++i) {
        if (y == 0) {
            block[i] = blend(block[i], kLevelColours[level], kWeight);
        }
        if (x == 0 && (y != 0 || i != 0)) {
            Pixel& texel = block[std::size_t{i} * kBlockTexels];
            texel = blend(texel, kLevelColours[level], kWeight);
        }
    }
}

void draw_name(TexelBlock& block, const Tile& tile, std::uint32_t x, std::uint32_t y) {
    const std::string text = fmt::format("{}:{},{}", tile.level, tile.x, tile.y);
    for (std::uint32_t j = 0; j < kBlockTexels; ++j) {
        for (std::uint32_t i = 0; i < kBlockTexels; ++i) {
            if (Name::has(text, x * kBlockTexels + i, y * kBlockTexels + j)) {
                Pixel& texel = block[std::size_t{j} * kBlockTexels + i];
                texel = blend(texel, kLevelColours[tile.level], 160);
            }
        }
    }
}

}  // namespace

TexelBlock texture_block(std::uint32_t level, std::uint32_t x, std::uint32_t y) {
    TexelBlock block = rendering::terrain_block(level, x, y);
    const std::uint32_t inside_x = x % kTileBlocks;
    const std::uint32_t inside_y = y % kTileBlocks;
    if (inside_x == 0 || inside_y == 0) {
        draw_frame(block, level, inside_x, inside_y);
    } else if (Name::may_be_in(inside_y)) {
        draw_name(block, {level, x / kTileBlocks, y / kTileBlocks}, inside_x, inside_y);
    }
    return block;
}

void make_tile(const Tile& tile, std::span<std::byte> to) {
    for (std::uint32_t y = 0; y < kTileBlocks; ++y) {
        for (std::uint32_t x = 0; x < kTileBlocks; ++x) {
            const TexelBlock block = texture_block(tile.level, tile.x * kTileBlocks + x, tile.y * kTileBlocks + y);
            std::memcpy(to.subspan((std::size_t{y} * kTileBlocks + x) * sizeof(block)).data(), block.data(),
                        sizeof(block));
        }
    }
}

PlainTexture::PlainTexture() : entries_(std::size_t{1} << 17) {}

Pixel PlainTexture::texel(std::uint32_t level, std::uint32_t x, std::uint32_t y) {
    const std::uint32_t block_x = x / kBlockTexels;
    const std::uint32_t block_y = y / kBlockTexels;
    const std::uint32_t key = level << 24 | block_y << 12 | block_x;
    Entry& entry = entries_[(key * 0x9E3779B1U) >> 15];
    if (entry.key != key) {
        entry = {key, texture_block(level, block_x, block_y)};
    }
    return entry.block[std::size_t{y % kBlockTexels} * kBlockTexels + x % kBlockTexels];
}

}  // namespace streaming
