// Vectors and matrices of floats, as much as the renderers need.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>

namespace rendering {

struct Vec2 {
    float x = 0;
    float y = 0;
};

struct Vec3 {
    float x = 0;
    float y = 0;
    float z = 0;
};

struct Vec4 {
    float x = 0;
    float y = 0;
    float z = 0;
    float w = 0;
};

[[nodiscard]] constexpr Vec3 operator+(Vec3 a, Vec3 b) noexcept {
    return {a.x + b.x, a.y + b.y, a.z + b.z};
}
[[nodiscard]] constexpr Vec3 operator-(Vec3 a, Vec3 b) noexcept {
    return {a.x - b.x, a.y - b.y, a.z - b.z};
}
[[nodiscard]] constexpr Vec3 operator*(Vec3 a, float s) noexcept {
    return {a.x * s, a.y * s, a.z * s};
}
[[nodiscard]] constexpr Vec3 operator*(Vec3 a, Vec3 b) noexcept {
    return {a.x * b.x, a.y * b.y, a.z * b.z};
}
[[nodiscard]] constexpr float dot(Vec3 a, Vec3 b) noexcept {
    return a.x * b.x + a.y * b.y + a.z * b.z;
}
[[nodiscard]] constexpr Vec3 cross(Vec3 a, Vec3 b) noexcept {
    return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
[[nodiscard]] inline Vec3 normalized(Vec3 a) noexcept {
    return a * (1.0F / std::sqrt(dot(a, a)));
}
[[nodiscard]] constexpr Vec3 mix(Vec3 a, Vec3 b, float t) noexcept {
    return a + (b - a) * t;
}
[[nodiscard]] constexpr float clamp01(float x) noexcept {
    return x < 0.0F ? 0.0F : (x > 1.0F ? 1.0F : x);
}
// 0 up to `from`, 1 from `to` on, smooth between.
[[nodiscard]] constexpr float smoothstep(float from, float to, float x) noexcept {
    const float t = clamp01((x - from) / (to - from));
    return t * t * (3.0F - 2.0F * t);
}

// Rows; a column vector is multiplied from the right.
struct Mat4 {
    std::array<Vec4, 4> row{};

    [[nodiscard]] static constexpr Mat4 identity() noexcept {
        return {{{{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}}}};
    }
};

[[nodiscard]] constexpr float dot(Vec4 a, Vec4 b) noexcept {
    return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}
[[nodiscard]] constexpr Vec4 operator*(const Mat4& m, Vec4 v) noexcept {
    return {dot(m.row[0], v), dot(m.row[1], v), dot(m.row[2], v), dot(m.row[3], v)};
}
[[nodiscard]] constexpr Mat4 operator*(const Mat4& a, const Mat4& b) noexcept {
    Mat4 product;
    for (std::size_t i = 0; i < 4; ++i) {
        const Vec4 r = a.row[i];
        product.row[i] = {
            r.x * b.row[0].x + r.y * b.row[1].x + r.z * b.row[2].x + r.w * b.row[3].x,
            r.x * b.row[0].y + r.y * b.row[1].y + r.z * b.row[2].y + r.w * b.row[3].y,
            r.x * b.row[0].z + r.y * b.row[1].z + r.z * b.row[2].z + r.w * b.row[3].z,
            r.x * b.row[0].w + r.y * b.row[1].w + r.z * b.row[2].w + r.w * b.row[3].w,
        };
    }
    return product;
}
[[nodiscard]] constexpr Vec3 xyz(Vec4 v) noexcept {
    return {v.x, v.y, v.z};
}

}  // namespace rendering
