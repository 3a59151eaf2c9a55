// What lies in GPU memory: the job list, descriptors, and what the stages hand to each other. The GPU finds all of it from
// one address, as a Mali finds its job chain.
//
//     job: VERTEX ------> Draw ----> vertices, uniforms;             writes shaded vertices
//      | next
//     job: TILER -------> TilerJob --> Draw table --> indices, shaded vertices;
//      |                                              writes polygon lists into the tiler heap
//     job: FRAGMENT ----> FragmentJob --> polygon lists, Draw table, textures; tile buffer; writes the framebuffer
//
// All of it is plain data, in the byte order of the machine.
#pragma once

#include <array>
#include <cstdint>

#include "rendering/picture.hpp"
#include "rendering/vector.hpp"

namespace triangle {

using rendering::Mat4;
using rendering::Pixel;
using rendering::Vec2;
using rendering::Vec3;

using GpuVa = std::uint64_t;  // 0: none

inline constexpr int kTileSide = 16;  // pixels, as on all Malis
inline constexpr int kSamples = 4;    // a pixel

enum class JobType : std::uint32_t { kVertex = 1, kTiler = 2, kFragment = 3 };

struct Job {
    JobType type{};
    std::uint32_t reserved = 0;
    GpuVa payload = 0;  // Draw, TilerJob, FragmentJob
    GpuVa next = 0;
};

struct Vertex {
    Vec3 position;
    Vec3 normal;
    Vec3 colour;
    Vec2 uv;
};

struct Uniforms {
    Mat4 world;       // from the mesh
    Mat4 projection;  // from the world to clip space
};

// What a vertex became: in pixels from the upper left, and what is interpolated.
struct ShadedVertex {
    float x = 0;
    float y = 0;
    float depth = 0;      // 0 near, 1 far
    float inverse_w = 0;  // not above 0: in front of the near plane, and its triangles are not drawn
    Vec3 world;
    Vec3 normal;
    Vec3 colour;
    Vec2 uv;
};

enum DrawFlags : std::uint32_t {
    kFromFloor =
        1U << 0,  // uv is where it is in the world, the colour white: a shadow looks like the floor that it lies on
    kInShade = 1U << 1,  // no sun, no highlight
};

struct Draw {
    GpuVa vertices = 0;
    GpuVa indices = 0;  // 32 bits each, three a triangle
    GpuVa uniforms = 0;
    GpuVa shaded = 0;   // ShadedVertex, as many as vertices
    GpuVa texture = 0;  // TextureDescriptor; 0: the vertices' colour only
    std::uint32_t vertex_count = 0;
    std::uint32_t index_count = 0;
    std::uint32_t flags = 0;
    std::uint32_t width = 0;  // of the framebuffer
    std::uint32_t height = 0;
    float highlight = 0;
};

inline constexpr std::uint32_t kMaxLevels = 12;

// Levels of blocks of 4 x 4 texels (rendering/texel_block.hpp), each half as large as the one before it. Repeats.
struct TextureDescriptor {
    std::uint32_t width = 0;  // powers of two
    std::uint32_t height = 0;
    std::uint32_t levels = 0;
    std::uint32_t reserved = 0;
    std::array<GpuVa, kMaxLevels> level{};
};

// A polygon list is a chain of chunks, a cache line each.
struct PolygonChunk {
    static constexpr std::uint32_t kEntries = 12;
    GpuVa next = 0;
    std::uint32_t count = 0;
    std::uint32_t reserved = 0;
    std::array<std::uint32_t, kEntries> entry{};  // which draw, in the upper 8 bits, and which of its triangles
};
static_assert(sizeof(PolygonChunk) == 64);

// Of one tile. In the order of the draws.
struct PolygonList {
    GpuVa first = 0;
    GpuVa last = 0;
};

struct TilerJob {
    GpuVa draws = 0;
    GpuVa lists = 0;  // PolygonList, row by row
    GpuVa heap = 0;   // chunks are taken from its beginning on
    GpuVa heap_end = 0;
    std::uint32_t draw_count = 0;
    std::uint32_t columns = 0;  // of tiles
    std::uint32_t rows = 0;
    std::uint32_t reserved = 0;
};

// A row of a tile: the samples of each pixel side by side.
struct TileRow {
    std::array<Pixel, std::size_t{kTileSide} * kSamples> colour{};
    std::array<float, std::size_t{kTileSide} * kSamples> depth{};
};

struct FragmentJob {
    GpuVa draws = 0;
    GpuVa lists = 0;
    GpuVa tile_buffer = 0;  // TileRow, kTileSide of them
    GpuVa framebuffer = 0;  // Pixel, row by row
    std::uint32_t draw_count = 0;
    std::uint32_t columns = 0;
    std::uint32_t rows = 0;
    std::uint32_t width = 0;
    std::uint32_t height = 0;
    std::uint32_t reserved = 0;
    Vec3 sky_above;
    Vec3 sky_below;  // also what is far away fades to it
    Vec3 eye;
    Vec3 to_sun;
};

}  // namespace triangle
