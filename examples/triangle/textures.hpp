// The pictures on the bodies, each with its mips.
#pragma once

#include <vector>

#include "rendering/picture.hpp"

namespace triangle {

// From the largest to the smallest: 4 texels on the shorter side.
using MipChain = std::vector<rendering::Picture>;

[[nodiscard]] MipChain make_checkerboard();  // the floor's
[[nodiscard]] MipChain make_weave();         // the ring's
[[nodiscard]] MipChain make_crate();         // the cube's
[[nodiscard]] MipChain make_island();        // the ball's: the terrain that examples/virtual-texture flies over

}  // namespace triangle
