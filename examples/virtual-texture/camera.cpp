#include "virtual-texture/camera.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <numbers>

namespace streaming {
namespace {

using rendering::cross;
using rendering::normalized;

struct Stop {
    Vec3 eye;
    float pitch;  // degrees below the horizon
};

// Over the island from the south-west to the north-east, down to the coast and up again.
constexpr std::array<Stop, 6> kPath{{
    {{3000, 13200, 1500}, 21},
    {{3900, 11700, 800}, 18},
    {{5000, 10400, 300}, 15},
    {{6700, 9800, 220}, 14},
    {{8300, 8800, 520}, 17},
    {{9400, 7300, 1300}, 22},
}};

// Through b at 0 and c at 1, without a kink there (Catmull and Rom).
float between(float a, float b, float c, float d, float t) {
    return b + 0.5F * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
}

struct Place {
    Vec3 eye;
    float pitch;
};

Place place_at(float part) {
    const float along = std::clamp(part, 0.0F, 1.0F) * static_cast<float>(kPath.size() - 1);
    const std::size_t i = std::min(static_cast<std::size_t>(along), kPath.size() - 2);
    const float t = along - static_cast<float>(i);
    const Stop& a = kPath.at(i == 0 ? 0 : i - 1);
    const Stop& b = kPath.at(i);
    const Stop& c = kPath.at(i + 1);
    const Stop& d = kPath.at(std::min(i + 2, kPath.size() - 1));
    return {{between(a.eye.x, b.eye.x, c.eye.x, d.eye.x, t), between(a.eye.y, b.eye.y, c.eye.y, d.eye.y, t),
             between(a.eye.z, b.eye.z, c.eye.z, d.eye.z, t)},
            between(a.pitch, b.pitch, c.pitch, d.pitch, t)};
}

}  // namespace

Camera camera_at(float part, int width, int height) {
    constexpr float kAhead = 0.03F;      // of the way: where it looks
    constexpr float kHalfWidth = 0.62F;  // of the picture, at distance 1: 64 degrees
    const Place here = place_at(part);
    // At the end of the way the last piece of it says which way is ahead.
    const float from = std::min(part, 1.0F - kAhead);
    Vec3 ahead = place_at(from + kAhead).eye - place_at(from).eye;
    ahead.z = 0;
    ahead = normalized(ahead);
    const float pitch = here.pitch * std::numbers::pi_v<float> / 180.0F;
    const Vec3 forward = ahead * std::cos(pitch) + Vec3{0, 0, -std::sin(pitch)};
    const Vec3 right = normalized(cross(ahead, {0, 0, -1}));
    const Vec3 down = cross(right, forward);

    const float pixel = 2 * kHalfWidth / static_cast<float>(width);
    Camera camera;
    camera.eye = here.eye;
    camera.right = right * pixel;
    camera.down = down * pixel;
    camera.corner = forward + right * -kHalfWidth + down * (-0.5F * pixel * static_cast<float>(height));
    camera.texel_area = here.eye.z * here.eye.z * pixel * pixel;
    return camera;
}

}  // namespace streaming
