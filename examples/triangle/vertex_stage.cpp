// Vertices to where they are on the screen.
#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "triangle/gpu.hpp"

namespace triangle {
namespace {

using rendering::Vec4;
using rendering::xyz;

constexpr std::uint32_t kBatch = 256;  // vertices that are read, and written, at once
constexpr float kNear = 0.05F;
constexpr float kFloorTexture = 0.5F;  // how often it repeats in a unit of the world

ShadedVertex shade(const Vertex& in, const Uniforms& uniforms, const Draw& draw) {
    const Vec4 world = uniforms.world * Vec4{in.position.x, in.position.y, in.position.z, 1.0F};
    const Vec4 clip = uniforms.projection * world;
    ShadedVertex out;
    if (clip.w > kNear) {
        out.inverse_w = 1.0F / clip.w;
        out.x = (clip.x * out.inverse_w * 0.5F + 0.5F) * static_cast<float>(draw.width);
        out.y = (0.5F - clip.y * out.inverse_w * 0.5F) * static_cast<float>(draw.height);
        out.depth = clip.z * out.inverse_w;
    }
    out.world = xyz(world);
    out.normal = xyz(uniforms.world * Vec4{in.normal.x, in.normal.y, in.normal.z, 0.0F});
    const bool floor = (draw.flags & kFromFloor) != 0;
    out.colour = floor ? Vec3{1, 1, 1} : in.colour;
    out.uv = floor ? Vec2{world.x * kFloorTexture, world.z * kFloorTexture} : in.uv;
    return out;
}

}  // namespace

void run_vertex_stage(rendering::GpuMemory& memory, GpuVa payload, GpuCounters& counters) {
    const auto draw = memory.load<Draw>(payload);
    const auto uniforms = memory.load<Uniforms>(draw.uniforms);
    std::vector<Vertex> in(kBatch);
    std::vector<ShadedVertex> out(kBatch);
    for (std::uint32_t first = 0; first < draw.vertex_count; first += kBatch) {
        const std::size_t count = std::min(kBatch, draw.vertex_count - first);
        const std::span<Vertex> vertices(in.data(), count);
        memory.read(draw.vertices + first * sizeof(Vertex), std::as_writable_bytes(vertices));
        for (std::size_t i = 0; i < count; ++i) {
            out[i] = shade(vertices[i], uniforms, draw);
        }
        memory.write(draw.shaded + first * sizeof(ShadedVertex),
                     std::as_bytes(std::span<const ShadedVertex>(out.data(), count)));
    }
    counters.vertices += draw.vertex_count;
}

}  // namespace triangle
