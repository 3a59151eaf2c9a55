// Which samples a triangle covers, in whole numbers: corners in 1/256 of a pixel, edge functions in 64 bits. So two
// triangles with a common edge never both cover a sample on it, and none is left out (the top-left rule).
//
//     a pixel's samples, in 1/16:      . . . . . . # . . .        rotated, so that edges near the axes get four steps too
//                                      . . # . . . . . . .
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "triangle/gpu_structs.hpp"

namespace triangle {

inline constexpr std::int64_t kSubpixel = 256;

struct Point {
    std::int64_t x = 0;  // in 1/256 of a pixel
    std::int64_t y = 0;
};

// The standard pattern of four samples (Vulkan's standardSampleLocations).
inline constexpr std::array<Point, kSamples> kSamplePlaces{{{96, 32}, {224, 96}, {32, 160}, {160, 224}}};
inline constexpr Point kPixelCentre{128, 128};

// e(x, y) = a x + b y + c: above 0 inside.
struct Edge {
    std::int64_t a = 0;
    std::int64_t b = 0;
    std::int64_t c = 0;
    std::int64_t least = 0;  // that is inside: 0 on an upper or left edge, else 1

    [[nodiscard]] std::int64_t at(Point p) const noexcept { return a * p.x + b * p.y + c; }
    [[nodiscard]] bool has(Point p) const noexcept { return at(p) >= least; }
};

// A triangle on the screen, wound so that its area is positive.
class RasterTriangle {
public:
    // Not `visible()`: it has no area, or a corner in front of the near plane or far outside of what 64 bits take.
    RasterTriangle(const ShadedVertex& v0, const ShadedVertex& v1, const ShadedVertex& v2) noexcept {
        constexpr float kFarthest = 1e6F;
        const std::array<const ShadedVertex*, 3> vertices{&v0, &v1, &v2};
        for (std::size_t i = 0; i < 3; ++i) {
            const ShadedVertex& v = *vertices[i];
            if (!(v.inverse_w > 0) || !(std::fabs(v.x) < kFarthest) || !(std::fabs(v.y) < kFarthest)) {
                return;
            }
            corner_[i] = {std::llround(v.x * static_cast<float>(kSubpixel)),
                          std::llround(v.y * static_cast<float>(kSubpixel))};
        }
        area_ = cross(corner_[0], corner_[1], corner_[2]);
        const std::int64_t turn = area_ < 0 ? -1 : 1;
        area_ *= turn;
        for (std::size_t i = 0; i < 3; ++i) {  // edge i is opposite to corner i
            const Point from = corner_[(i + 1) % 3];
            const Point to = corner_[(i + 2) % 3];
            Edge& edge = edge_[i];
            edge.a = turn * (from.y - to.y);
            edge.b = turn * (to.x - from.x);
            edge.c = -(edge.a * from.x + edge.b * from.y);
            const bool upper_or_left = edge.a > 0 || (edge.a == 0 && edge.b > 0);
            edge.least = upper_or_left ? 0 : 1;
        }
    }

    [[nodiscard]] bool visible() const noexcept { return area_ > 0; }
    [[nodiscard]] bool covers(Point p) const noexcept { return edge_[0].has(p) && edge_[1].has(p) && edge_[2].has(p); }
    // What part each corner has in `p`; together 1.
    [[nodiscard]] Vec3 weights(Point p) const noexcept {
        const float scale = 1.0F / static_cast<float>(area_);
        return {static_cast<float>(edge_[0].at(p)) * scale, static_cast<float>(edge_[1].at(p)) * scale,
                static_cast<float>(edge_[2].at(p)) * scale};
    }
    // Whether it may touch the box [x, x + width] x [y, y + height], in pixels: not all of the box is behind one edge.
    [[nodiscard]] bool touches(std::int64_t x, std::int64_t y, std::int64_t width, std::int64_t height) const noexcept {
        const Point low{x * kSubpixel, y * kSubpixel};
        const Point high{(x + width) * kSubpixel, (y + height) * kSubpixel};
        for (const Edge& edge : edge_) {
            if (edge.at({edge.a > 0 ? high.x : low.x, edge.b > 0 ? high.y : low.y}) < 0) {
                return false;
            }
        }
        return true;
    }
    [[nodiscard]] const std::array<Point, 3>& corners() const noexcept { return corner_; }

private:
    static std::int64_t cross(Point a, Point b, Point c) noexcept {
        return (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
    }

    std::array<Point, 3> corner_{};
    std::array<Edge, 3> edge_{};
    std::int64_t area_ = 0;
};

}  // namespace triangle
