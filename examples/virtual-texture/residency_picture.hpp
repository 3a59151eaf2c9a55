// The state of the whole texture as a picture: a square a tile, level 0 on the left, the coarser ones beside it. Its colour
// says whether the tile is resident, and which leaf shows its place.
#pragma once

#include <cstdint>
#include <granule/granule.hpp>
#include <string_view>

#include "rendering/picture.hpp"
#include "virtual-texture/residency.hpp"

namespace streaming {

// `range`: of the texture in `vm`. What `frame` wanted is brighter.
[[nodiscard]] rendering::Picture residency_picture(const granule::Vm& vm, granule_range range,
                                                   const Residency& residency, std::uint32_t frame,
                                                   std::string_view title);

}  // namespace streaming
