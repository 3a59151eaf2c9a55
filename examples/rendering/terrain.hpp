// A coloured relief map as a function of the place: 16384 x 16384 texels and its mips, none of it stored anywhere.
//
// An island: noise in eleven octaves, coloured by height and lit from the north-west. A mip leaves out the octaves that it
// could not show, instead of averaging texels: so a texel of any level costs the same.
#pragma once

#include <cstdint>

#include "rendering/texel_block.hpp"

namespace rendering {

inline constexpr std::uint32_t kTerrainSide = 16384;  // texels of level 0

// Where the sea is that lies around the island, for what is beyond the map.
inline constexpr Vec3 kDeepSea{0.075F, 0.20F, 0.34F};

// The block of 4 x 4 texels in column `x`, row `y` (in blocks) of `level`: 0 to 12, where there is one block.
[[nodiscard]] TexelBlock terrain_block(std::uint32_t level, std::uint32_t x, std::uint32_t y) noexcept;

}  // namespace rendering
