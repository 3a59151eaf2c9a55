// Triangle meshes of simple bodies, in the CPU's memory.
#pragma once

#include <cstdint>
#include <vector>

#include "triangle/gpu_structs.hpp"

namespace triangle {

struct Mesh {
    std::vector<Vertex> vertices;
    std::vector<std::uint32_t> indices;
};

// In the plane z = 0 around the origin: one triangle, its corners red, green and blue.
[[nodiscard]] Mesh make_triangle(float radius);
// Around the z axis; the texture goes round the ring `u` times and round the tube `v` times.
[[nodiscard]] Mesh make_torus(float radius, float tube, std::uint32_t segments, std::uint32_t sides, Vec2 repeat);
[[nodiscard]] Mesh make_sphere(float radius, std::uint32_t segments, std::uint32_t rings);
[[nodiscard]] Mesh make_cube(float side);
// In the plane y = 0, x and z from -side to `side`, of `cells` x `cells` squares.
[[nodiscard]] Mesh make_floor(float left, float right, float far, float near, std::uint32_t cells);

}  // namespace triangle
