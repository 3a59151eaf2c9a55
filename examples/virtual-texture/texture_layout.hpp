// The sparse texture: 16384 x 16384 texels, its mips, and where each tile is in GPU VA.
//
// A tile is 128 x 128 texels of 4 bytes, 64 KiB: Vulkan's standard block of this format. Levels 0 to 4 come and go tile by
// tile; levels 5 to 7, the tail, are 21 tiles that are always there, so that there is something to fall back to.
//
//     VA    |      level 0       | level 1 | level 2 | level 3 | 4 | tail |      64 KiB a tile, 1.4 GiB in all
//
// In levels 0 to 4 the 32 tiles that share 2 MiB of VA, a window, are neighbours: 8 x 4 of them.
#pragma once

#include <cstdint>

namespace streaming {

inline constexpr std::uint32_t kTextureSide = 16384;
inline constexpr std::uint32_t kTileSide = 128;
inline constexpr std::uint64_t kTileBytes = 65536;
inline constexpr std::uint32_t kLevels = 8;
inline constexpr std::uint32_t kTailLevel = 5;

inline constexpr std::uint32_t kWindowTiles = 32;
inline constexpr std::uint32_t kWindowWidth = 8;
inline constexpr std::uint32_t kWindowHeight = 4;
inline constexpr std::uint64_t kWindowBytes = kWindowTiles * kTileBytes;

struct Tile {
    std::uint32_t level = 0;
    std::uint32_t x = 0;
    std::uint32_t y = 0;
};

// A side of a level, in tiles.
[[nodiscard]] constexpr std::uint32_t tiles_across(std::uint32_t level) noexcept {
    return kTextureSide / kTileSide >> level;
}

// Tiles are numbered as they lie in VA. The first one of a level:
[[nodiscard]] constexpr std::uint32_t first_tile(std::uint32_t level) noexcept {
    std::uint32_t first = 0;
    for (std::uint32_t finer = 0; finer < level; ++finer) {
        first += tiles_across(finer) * tiles_across(finer);
    }
    return first;
}

inline constexpr std::uint32_t kFirstTailTile = first_tile(kTailLevel);
inline constexpr std::uint32_t kTiles = first_tile(kLevels);
inline constexpr std::uint32_t kTailTiles = kTiles - kFirstTailTile;
inline constexpr std::uint64_t kTextureBytes = (kTiles + kWindowTiles - 1) / kWindowTiles * kWindowBytes;
static_assert(kFirstTailTile % kWindowTiles == 0 && kTailTiles == 21);

// For texel look-ups: `first` is first_tile(tile.level), which the caller has at hand.
[[nodiscard]] constexpr std::uint32_t tile_number(const Tile& tile, std::uint32_t first) noexcept {
    const std::uint32_t across = tiles_across(tile.level);
    if (tile.level >= kTailLevel) {
        return first + tile.y * across + tile.x;
    }
    const std::uint32_t window = tile.y / kWindowHeight * (across / kWindowWidth) + tile.x / kWindowWidth;
    return first + window * kWindowTiles + tile.y % kWindowHeight * kWindowWidth + tile.x % kWindowWidth;
}
[[nodiscard]] constexpr std::uint32_t tile_number(const Tile& tile) noexcept {
    return tile_number(tile, first_tile(tile.level));
}

// The other way round.
[[nodiscard]] constexpr Tile tile_of(std::uint32_t number) noexcept {
    std::uint32_t level = 0;
    while (number >= first_tile(level + 1)) {
        ++level;
    }
    const std::uint32_t inside = number - first_tile(level);
    const std::uint32_t across = tiles_across(level);
    if (level >= kTailLevel) {
        return {level, inside % across, inside / across};
    }
    const std::uint32_t window = inside / kWindowTiles;
    const std::uint32_t place = inside % kWindowTiles;
    return {level, window % (across / kWindowWidth) * kWindowWidth + place % kWindowWidth,
            window / (across / kWindowWidth) * kWindowHeight + place / kWindowWidth};
}

// The tile of the next coarser level that shows the same.
[[nodiscard]] constexpr Tile parent_of(const Tile& tile) noexcept {
    return {tile.level + 1, tile.x / 2, tile.y / 2};
}

static_assert(tile_number(tile_of(12345)) == 12345 && tile_number(tile_of(kTiles - 1)) == kTiles - 1);

}  // namespace streaming
