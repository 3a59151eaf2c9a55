// What the texture shows, as a function of the place: terrain, and on each tile of each level a frame and its name, so that
// a tile that is in the wrong place, or of the wrong level, can be seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "rendering/texel_block.hpp"
#include "virtual-texture/texture_layout.hpp"

namespace streaming {

// 4 x 4 texels; `x`, `y` in blocks from the upper left of the level.
[[nodiscard]] rendering::TexelBlock texture_block(std::uint32_t level, std::uint32_t x, std::uint32_t y);

// All of a tile, as it lies in memory: kTileBytes.
void make_tile(const Tile& tile, std::span<std::byte> to);

// The texture without any paging: remembers blocks that it was asked for, in plain memory.
class PlainTexture {
public:
    PlainTexture();
    [[nodiscard]] rendering::Pixel texel(std::uint32_t level, std::uint32_t x, std::uint32_t y);

private:
    struct Entry {
        std::uint32_t key = UINT32_MAX;
        rendering::TexelBlock block{};
    };
    std::vector<Entry> entries_;
};

}  // namespace streaming
