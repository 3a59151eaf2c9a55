#include "virtual-texture/reference.hpp"

#include "virtual-texture/shading.hpp"

namespace streaming {
namespace {

class PlainSource {
public:
    PlainSource(PlainTexture& texture, const std::vector<bool>& resident) : texture_(texture), resident_(resident) {}

    [[nodiscard]] std::uint32_t resident_level(Tile tile) const {
        while (tile.level < kTailLevel && !resident_[tile_number(tile)]) {
            tile = parent_of(tile);
        }
        return tile.level;
    }
    [[nodiscard]] Pixel texel(std::uint32_t level, std::uint32_t x, std::uint32_t y) {
        return texture_.texel(level, x, y);
    }

private:
    PlainTexture& texture_;
    const std::vector<bool>& resident_;
};

}  // namespace

Comparison Reference::compare(const rendering::Picture& picture, const Camera& camera,
                              const std::vector<bool>& resident) {
    PlainSource source(texture_, resident);
    Comparison result;
    for (int y = 0; y < picture.height; ++y) {
        for (int x = 0; x < picture.width; ++x) {
            const Shaded expected = shade(source, camera, x, y);
            ++result.pixels;
            result.textured += expected.textured ? 1U : 0U;
            result.fell_back += expected.fell_back ? 1U : 0U;
            if (picture.at(x, y) != expected.colour) {
                if (result.wrong == 0) {
                    result.first_wrong_x = x;
                    result.first_wrong_y = y;
                }
                ++result.wrong;
            }
        }
    }
    return result;
}

}  // namespace streaming
