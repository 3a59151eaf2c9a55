#include "triangle/mesh.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <numbers>

namespace triangle {
namespace {

using rendering::cross;

constexpr Vec3 kWhite{1, 1, 1};
constexpr float kTurn = 2.0F * std::numbers::pi_v<float>;

// The triangles of a sheet of (columns + 1) x (rows + 1) vertices, row by row from `first`.
void add_sheet(std::vector<std::uint32_t>& indices, std::uint32_t first, std::uint32_t columns, std::uint32_t rows) {
    indices.reserve(indices.size() + std::size_t{columns} * rows * 6);
    for (std::uint32_t row = 0; row < rows; ++row) {
        for (std::uint32_t column = 0; column < columns; ++column) {
            const std::uint32_t a = first + row * (columns + 1) + column;
            const std::uint32_t c = a + columns + 1;
            for (const std::uint32_t index : {a, a + 1, c, a + 1, c + 1, c}) {
                indices.push_back(index);
            }
        }
    }
}

// Calls `make(u, v)`, both 0 to 1, for the vertices of such a sheet.
template <class Make>
Mesh make_sheet(std::uint32_t columns, std::uint32_t rows, Make&& make) {
    Mesh mesh;
    mesh.vertices.reserve((std::size_t{columns} + 1) * (std::size_t{rows} + 1));
    for (std::uint32_t row = 0; row <= rows; ++row) {
        for (std::uint32_t column = 0; column <= columns; ++column) {
            mesh.vertices.push_back(make(static_cast<float>(column) / static_cast<float>(columns),
                                         static_cast<float>(row) / static_cast<float>(rows)));
        }
    }
    add_sheet(mesh.indices, 0, columns, rows);
    return mesh;
}

}  // namespace

Mesh make_triangle(float radius) {
    constexpr float kHalf = 0.8660254F;  // half the side of the triangle in the unit circle
    constexpr Vec3 kForward{0, 0, 1};
    Mesh mesh;
    mesh.vertices = {
        {{0, radius, 0}, kForward, {1.0F, 0.16F, 0.12F}, {}},
        {{-kHalf * radius, -radius * 0.5F, 0}, kForward, {0.12F, 0.85F, 0.2F}, {}},
        {{kHalf * radius, -radius * 0.5F, 0}, kForward, {0.15F, 0.3F, 1.0F}, {}},
    };
    mesh.indices = {0, 1, 2};
    return mesh;
}

Mesh make_torus(float radius, float tube, std::uint32_t segments, std::uint32_t sides, Vec2 repeat) {
    return make_sheet(segments, sides, [=](float u, float v) {
        const float around = u * kTurn;
        const float inside = v * kTurn;
        const Vec3 outward{std::cos(around), std::sin(around), 0};
        const Vec3 normal = outward * std::cos(inside) + Vec3{0, 0, std::sin(inside)};
        return Vertex{outward * radius + normal * tube, normal, kWhite, {u * repeat.x, v * repeat.y}};
    });
}

Mesh make_sphere(float radius, std::uint32_t segments, std::uint32_t rings) {
    return make_sheet(segments, rings, [=](float u, float v) {
        const float around = u * kTurn;
        const float down = v * kTurn / 2;
        const Vec3 normal{std::sin(down) * std::cos(around), std::cos(down), std::sin(down) * std::sin(around)};
        return Vertex{normal * radius, normal, kWhite, {1.0F - u, v}};
    });
}

Mesh make_cube(float side) {
    struct Face {
        Vec3 normal;
        Vec3 right;
    };
    constexpr std::array<Face, 6> kFaces{{{{0, 0, 1}, {1, 0, 0}},
                                          {{1, 0, 0}, {0, 0, -1}},
                                          {{0, 0, -1}, {-1, 0, 0}},
                                          {{-1, 0, 0}, {0, 0, 1}},
                                          {{0, 1, 0}, {1, 0, 0}},
                                          {{0, -1, 0}, {1, 0, 0}}}};
    Mesh mesh;
    mesh.vertices.reserve(kFaces.size() * 4);
    for (const Face& face : kFaces) {
        const auto first = static_cast<std::uint32_t>(mesh.vertices.size());
        const Vec3 down = cross(face.right, face.normal);
        for (const Vec2 corner : {Vec2{0, 0}, Vec2{1, 0}, Vec2{0, 1}, Vec2{1, 1}}) {
            const Vec3 place = face.normal + face.right * (corner.x * 2 - 1) + down * (corner.y * 2 - 1);
            mesh.vertices.push_back({place * (side / 2), face.normal, kWhite, corner});
        }
        add_sheet(mesh.indices, first, 1, 1);
    }
    return mesh;
}

Mesh make_floor(float left, float right, float far, float near, std::uint32_t cells) {
    return make_sheet(cells, cells, [=](float u, float v) {
        return Vertex{{left + u * (right - left), 0, far + v * (near - far)}, {0, 1, 0}, kWhite, {}};
    });
}

}  // namespace triangle
