#include "triangle/frame.hpp"

#include <cmath>
#include <cstddef>
#include <cstring>
#include <numbers>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "rendering/texel_block.hpp"
#include "triangle/mesh.hpp"
#include "triangle/textures.hpp"

namespace triangle {
namespace {

using rendering::cross;
using rendering::dot;
using rendering::normalized;

constexpr Vec3 kEye{0.0F, 2.35F, 7.6F};
constexpr Vec3 kLooksAt{0.0F, 1.55F, 0.0F};
constexpr float kFieldOfView = 40.0F;  // degrees, from top to bottom
const Vec3 kToSun = normalized({0.55F, 0.95F, 0.65F});

float radians(float degrees) {
    return degrees * std::numbers::pi_v<float> / 180.0F;
}

Mat4 translated(Vec3 to) {
    return {{{{1, 0, 0, to.x}, {0, 1, 0, to.y}, {0, 0, 1, to.z}, {0, 0, 0, 1}}}};
}
Mat4 turned_y(float degrees) {
    const float s = std::sin(radians(degrees));
    const float c = std::cos(radians(degrees));
    return {{{{c, 0, s, 0}, {0, 1, 0, 0}, {-s, 0, c, 0}, {0, 0, 0, 1}}}};
}
Mat4 turned_x(float degrees) {
    const float s = std::sin(radians(degrees));
    const float c = std::cos(radians(degrees));
    return {{{{1, 0, 0, 0}, {0, c, -s, 0}, {0, s, c, 0}, {0, 0, 0, 1}}}};
}

// From the world to clip space, depth 0 to w.
Mat4 projection(int width, int height) {
    constexpr float kNear = 0.1F;
    constexpr float kFar = 100.0F;
    const Vec3 back = normalized(kEye - kLooksAt);
    const Vec3 right = normalized(cross({0, 1, 0}, back));
    const Vec3 up = cross(back, right);
    const Mat4 view{{{{right.x, right.y, right.z, -dot(right, kEye)},
                      {up.x, up.y, up.z, -dot(up, kEye)},
                      {back.x, back.y, back.z, -dot(back, kEye)},
                      {0, 0, 0, 1}}}};
    const float f = 1.0F / std::tan(radians(kFieldOfView) / 2);
    const float aspect = static_cast<float>(width) / static_cast<float>(height);
    const Mat4 lens{{{{f / aspect, 0, 0, 0},
                      {0, f, 0, 0},
                      {0, 0, kFar / (kNear - kFar), kNear * kFar / (kNear - kFar)},
                      {0, 0, -1, 0}}}};
    return lens * view;
}

// Along the sun's rays onto the floor, a little above it.
Mat4 shadow() {
    const float x = kToSun.x / kToSun.y;
    const float z = kToSun.z / kToSun.y;
    return {{{{1, -x, 0, 0}, {0, 0, 0, 0.004F}, {0, -z, 1, 0}, {0, 0, 0, 1}}}};
}

class FrameMaker {
public:
    FrameMaker(GpuSpace& space, int width, int height)
        : space_(space), width_(width), height_(height), projection_(projection(width, height)) {}

    GpuVa texture(const std::string& name, const MipChain& chain) {
        TextureDescriptor descriptor;
        descriptor.width = static_cast<std::uint32_t>(chain.front().width);
        descriptor.height = static_cast<std::uint32_t>(chain.front().height);
        descriptor.levels = static_cast<std::uint32_t>(chain.size());
        std::uint64_t bytes = 0;
        for (const rendering::Picture& level : chain) {
            bytes += level.pixels.size() * sizeof(Pixel);
        }
        const Place place = space_.surface(name, bytes);
        std::uint64_t at = 0;
        for (std::size_t i = 0; i < chain.size(); ++i) {
            const rendering::Picture& level = chain[i];
            descriptor.level.at(i) = place.va + at;
            for (int y = 0; y < level.height; ++y) {
                for (int x = 0; x < level.width; ++x) {
                    const Pixel texel = level.at(x, y);
                    const std::uint64_t offset =
                        rendering::texel_offset(static_cast<std::uint32_t>(x), static_cast<std::uint32_t>(y),
                                                static_cast<std::uint32_t>(level.width));
                    place.put(at + offset, std::span<const Pixel>(&texel, 1));
                }
            }
            at += level.pixels.size() * sizeof(Pixel);
        }
        return space_.put(name + ", descriptor", descriptor);
    }

    // The mesh where `world` puts it; and its shadow, if it throws one.
    void draw(const std::string& name, const Mesh& mesh, const Mat4& world, GpuVa texture, std::uint32_t flags,
              float highlight, bool with_shadow, GpuVa floor_texture) {
        Draw draw;
        draw.vertices = space_.put(name + ", vertices", std::span<const Vertex>(mesh.vertices)).va;
        draw.indices = space_.put(name + ", indices", std::span<const std::uint32_t>(mesh.indices)).va;
        draw.vertex_count = static_cast<std::uint32_t>(mesh.vertices.size());
        draw.index_count = static_cast<std::uint32_t>(mesh.indices.size());
        draw.width = static_cast<std::uint32_t>(width_);
        draw.height = static_cast<std::uint32_t>(height_);
        draw.texture = texture;
        draw.flags = flags;
        draw.highlight = highlight;
        add(name, draw, world);
        if (with_shadow) {
            draw.texture = floor_texture;
            draw.flags = kFromFloor | kInShade;
            add(name + "'s shadow", draw, shadow() * world);
        }
    }

    // The jobs for what was drawn.
    Frame finish() {
        const auto columns = static_cast<std::uint32_t>((width_ + kTileSide - 1) / kTileSide);
        const auto rows = static_cast<std::uint32_t>((height_ + kTileSide - 1) / kTileSide);
        constexpr std::uint64_t kHeapBytes = 2U << 20;
        const std::uint64_t frame_bytes =
            static_cast<std::uint64_t>(width_) * static_cast<std::uint64_t>(height_) * sizeof(Pixel);
        const GpuVa draws = space_.put("draw table", std::span<const Draw>(draws_)).va;
        const Place heap = space_.surface("tiler heap", kHeapBytes);
        const GpuVa lists = space_.buffer("polygon lists", std::uint64_t{columns} * rows * sizeof(PolygonList)).va;
        Frame frame{0, space_.surface("framebuffer", frame_bytes), width_, height_};

        const auto count = static_cast<std::uint32_t>(draws_.size());
        const TilerJob tiler{draws, lists, heap.va, heap.va + kHeapBytes, count, columns, rows, 0};
        FragmentJob fragment;
        fragment.draws = draws;
        fragment.lists = lists;
        fragment.tile_buffer = space_.buffer("tile buffer", sizeof(TileRow) * kTileSide).va;
        fragment.framebuffer = frame.framebuffer.va;
        fragment.draw_count = count;
        fragment.columns = columns;
        fragment.rows = rows;
        fragment.width = static_cast<std::uint32_t>(width_);
        fragment.height = static_cast<std::uint32_t>(height_);
        fragment.sky_above = {0.27F, 0.45F, 0.66F};
        fragment.sky_below = {0.80F, 0.86F, 0.90F};
        fragment.eye = kEye;
        fragment.to_sun = kToSun;

        std::vector<Job> jobs;
        jobs.reserve(draws_.size() + 2);
        for (std::size_t i = 0; i < draws_.size(); ++i) {
            jobs.push_back({JobType::kVertex, 0, draws + i * sizeof(Draw), 0});
        }
        jobs.push_back({JobType::kTiler, 0, space_.put("tiler job", tiler), 0});
        jobs.push_back({JobType::kFragment, 0, space_.put("fragment job", fragment), 0});
        const Place list = space_.buffer("job list", jobs.size() * sizeof(Job));
        for (std::size_t i = 0; i + 1 < jobs.size(); ++i) {
            jobs[i].next = list.va + (i + 1) * sizeof(Job);
        }
        list.put(0, std::span<const Job>(jobs));
        frame.jobs = list.va;
        return frame;
    }

private:
    void add(const std::string& name, Draw draw, const Mat4& world) {
        draw.uniforms = space_.put(name + ", uniforms", Uniforms{world, projection_});
        draw.shaded = space_.buffer(name + ", shaded", draw.vertex_count * sizeof(ShadedVertex)).va;
        draws_.push_back(draw);
    }

    GpuSpace& space_;
    const int width_;
    const int height_;
    const Mat4 projection_;
    std::vector<Draw> draws_;
};

}  // namespace

rendering::Picture Frame::picture() const {
    rendering::Picture picture(width, height);
    std::memcpy(picture.pixels.data(), framebuffer.cpu.data(), framebuffer.cpu.size());
    return picture;
}

Frame make_frame(GpuSpace& space, int width, int height) {
    FrameMaker maker(space, width, height);
    const GpuVa floor = maker.texture("checkerboard", make_checkerboard());
    const GpuVa weave = maker.texture("weave", make_weave());
    const GpuVa crate = maker.texture("crate", make_crate());
    const GpuVa island = maker.texture("island", make_island());

    const Mat4 ring = translated({0.0F, 2.02F, 0.0F}) * turned_y(-24.0F) * turned_x(-8.0F);
    maker.draw("floor", make_floor(-24, 24, -40, 5, 48), Mat4::identity(), floor, kFromFloor, 0.0F, false, floor);
    maker.draw("triangle", make_triangle(1.05F), translated({0.0F, 1.92F, 0.1F}) * turned_y(12.0F), 0, 0, 0.25F, true,
               floor);
    maker.draw("ring", make_torus(1.55F, 0.40F, 96, 36, {8.0F, 2.0F}), ring, weave, 0, 0.55F, true, floor);
    maker.draw("cube", make_cube(1.15F), translated({-2.75F, 0.58F, 0.3F}) * turned_y(28.0F), crate, 0, 0.05F, true,
               floor);
    maker.draw("ball", make_sphere(0.72F, 64, 32), translated({2.55F, 0.72F, 0.5F}) * turned_y(165.0F), island, 0,
               0.35F, true, floor);
    return maker.finish();
}

}  // namespace triangle
