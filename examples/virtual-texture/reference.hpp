// The same frame without any paging: no VA, no bind, no cache. Which level a pixel falls back to follows from the set of
// tiles that were resident; its texels are computed.
#pragma once

#include <cstdint>
#include <vector>

#include "rendering/picture.hpp"
#include "virtual-texture/camera.hpp"
#include "virtual-texture/texture.hpp"

namespace streaming {

struct Comparison {
    std::uint64_t pixels = 0;
    std::uint64_t textured = 0;
    std::uint64_t fell_back = 0;  // of `textured`: to a coarser level than wanted
    std::uint64_t wrong = 0;
    int first_wrong_x = 0;
    int first_wrong_y = 0;
};

class Reference {
public:
    // `resident`: by number of tile.
    [[nodiscard]] Comparison compare(const rendering::Picture& picture, const Camera& camera,
                                     const std::vector<bool>& resident);

private:
    PlainTexture texture_;
};

}  // namespace streaming
