// Tile by tile: clears the tile buffer, rasterises the tile's polygon list into it, and writes what came out to the
// framebuffer, once. Coverage and depth for four samples a pixel, colour once a pixel.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "rendering/texel_block.hpp"
#include "triangle/gpu.hpp"
#include "triangle/raster.hpp"
#include "triangle/sampler.hpp"

namespace triangle {
namespace {

using rendering::clamp01;
using rendering::mix;

constexpr float kHorizon = 0.42F;  // where the sky ends, of the picture's height

struct BoundDraw {
    Draw draw;
    std::optional<Sampler> sampler;
};

// One triangle, ready to be asked about each pixel.
struct Primitive {
    std::array<ShadedVertex, 3> vertex;
    RasterTriangle raster;
    BoundDraw* bound = nullptr;
};

// `member` of the three vertices, as seen at a point with these weights (perspective-correct, not normalised).
template <class T>
T interpolate(const Primitive& primitive, Vec3 weights, T ShadedVertex::*member) {
    const auto& v = primitive.vertex;
    return (v[0].*member) * weights.x + (v[1].*member) * weights.y + (v[2].*member) * weights.z;
}

Vec3 perspective(const Primitive& primitive, Point p) {
    const Vec3 flat = primitive.raster.weights(p);
    const auto& v = primitive.vertex;
    const Vec3 over_w{flat.x * v[0].inverse_w, flat.y * v[1].inverse_w, flat.z * v[2].inverse_w};
    return over_w * (1.0F / (over_w.x + over_w.y + over_w.z));
}

Vec2 uv_at(const Primitive& primitive, Point p) {
    const Vec3 weights = perspective(primitive, p);
    const auto& v = primitive.vertex;
    return {v[0].uv.x * weights.x + v[1].uv.x * weights.y + v[2].uv.x * weights.z,
            v[0].uv.y * weights.x + v[1].uv.y * weights.y + v[2].uv.y * weights.z};
}

class FragmentStage {
public:
    FragmentStage(rendering::GpuMemory& memory, const FragmentJob& job, GpuCounters& counters)
        : memory_(memory), job_(job), counters_(counters), cache_(std::make_unique<rendering::LineCache>(memory)) {
        draws_.reserve(job.draw_count);
        for (std::uint32_t i = 0; i < job.draw_count; ++i) {
            BoundDraw bound{memory_.load<Draw>(job.draws + i * sizeof(Draw)), std::nullopt};
            if (bound.draw.texture != 0) {
                bound.sampler.emplace(*cache_, memory_.load<TextureDescriptor>(bound.draw.texture));
            }
            draws_.push_back(bound);
        }
    }

    void draw_tile(int column, int row) {
        clear(row);
        const std::uint64_t tile = static_cast<std::uint64_t>(row) * job_.columns + static_cast<std::uint64_t>(column);
        auto va = memory_.load<PolygonList>(job_.lists + tile * sizeof(PolygonList)).first;
        while (va != 0) {
            const auto chunk = memory_.load<PolygonChunk>(va);
            for (std::uint32_t i = 0; i < chunk.count; ++i) {
                rasterise(fetch(chunk.entry[i]), column * kTileSide, row * kTileSide);
            }
            va = chunk.next;
        }
        resolve(column * kTileSide, row * kTileSide);
    }

    [[nodiscard]] std::uint64_t cache_fetches() const noexcept { return cache_->fetches(); }

private:
    [[nodiscard]] GpuVa row_va(int row) const noexcept {
        return job_.tile_buffer + static_cast<std::uint64_t>(row) * sizeof(TileRow);
    }

    void clear(int tile_row) {
        for (int y = 0; y < kTileSide; ++y) {
            const float down = static_cast<float>(tile_row * kTileSide + y) / static_cast<float>(job_.height);
            TileRow row;
            row.colour.fill(rendering::to_pixel(mix(job_.sky_above, job_.sky_below, clamp01(down / kHorizon))));
            row.depth.fill(1.0F);
            memory_.store(row_va(y), row);
        }
    }

    Primitive fetch(std::uint32_t entry) {
        BoundDraw& bound = draws_.at(entry >> 24);
        const std::uint64_t triangle = entry & 0xFFFFFFU;
        const auto index =
            memory_.load<std::array<std::uint32_t, 3>>(bound.draw.indices + triangle * sizeof(std::uint32_t) * 3);
        std::array<ShadedVertex, 3> vertex;
        for (std::size_t i = 0; i < 3; ++i) {
            vertex[i] = memory_.load<ShadedVertex>(bound.draw.shaded + index[i] * sizeof(ShadedVertex));
        }
        return {vertex, RasterTriangle(vertex[0], vertex[1], vertex[2]), &bound};
    }

    void rasterise(const Primitive& primitive, int left, int top) {
        for (int y = 0; y < kTileSide; ++y) {
            if (!primitive.raster.touches(left, top + y, kTileSide, 1)) {
                continue;
            }
            auto row = memory_.load<TileRow>(row_va(y));
            bool changed = false;
            for (int x = 0; x < kTileSide; ++x) {
                const Point corner{(left + x) * kSubpixel, (top + y) * kSubpixel};
                const unsigned hit = visible_samples(primitive, corner, &row.depth[index_of(x)]);
                if (hit == 0) {
                    continue;
                }
                const Pixel colour = shade(primitive, corner, hit);
                for (std::size_t sample = 0; sample < kSamples; ++sample) {
                    if ((hit >> sample & 1U) != 0) {
                        row.colour[index_of(x) + sample] = colour;
                    }
                }
                changed = true;
            }
            if (changed) {
                memory_.store(row_va(y), row);
            }
        }
    }

    static std::size_t index_of(int x) { return static_cast<std::size_t>(x) * kSamples; }

    // Which samples of a pixel are covered and in front of what is there; a bit each. Their depth becomes the triangle's.
    static unsigned visible_samples(const Primitive& primitive, Point corner, float* depth) {
        unsigned hit = 0;
        for (std::size_t sample = 0; sample < kSamples; ++sample) {
            const Point p{corner.x + kSamplePlaces[sample].x, corner.y + kSamplePlaces[sample].y};
            if (!primitive.raster.covers(p)) {
                continue;
            }
            const float here = interpolate(primitive, primitive.raster.weights(p), &ShadedVertex::depth);
            if (here < depth[sample]) {
                depth[sample] = here;
                hit |= 1U << sample;
            }
        }
        return hit;
    }

    Pixel shade(const Primitive& primitive, Point corner, unsigned hit) {
        ++counters_.shaded_pixels;
        Point p{corner.x + kPixelCentre.x, corner.y + kPixelCentre.y};
        if (!primitive.raster.covers(p)) {  // never outside of the triangle, where uv would be anything
            const Point& place = kSamplePlaces[static_cast<std::size_t>(std::countr_zero(hit))];
            p = {corner.x + place.x, corner.y + place.y};
        }
        const Vec3 weights = perspective(primitive, p);
        const Draw& draw = primitive.bound->draw;
        Vec3 colour = interpolate(primitive, weights, &ShadedVertex::colour);
        if (primitive.bound->sampler) {
            colour =
                colour * primitive.bound->sampler->sample(uv_at(primitive, p), uv_at(primitive, {p.x + kSubpixel, p.y}),
                                                          uv_at(primitive, {p.x, p.y + kSubpixel}));
        }
        const Vec3 world = interpolate(primitive, weights, &ShadedVertex::world);
        colour = light(draw, colour, world, interpolate(primitive, weights, &ShadedVertex::normal));
        const Vec3 away = world - job_.eye;
        return rendering::to_pixel(
            mix(colour, job_.sky_below, rendering::smoothstep(9.0F, 30.0F, std::sqrt(dot(away, away)))));
    }

    [[nodiscard]] Vec3 light(const Draw& draw, Vec3 colour, Vec3 world, Vec3 normal) const {
        const Vec3 to_eye = normalized(job_.eye - world);
        normal = normalized(normal);
        if (dot(normal, to_eye) < 0.0F) {
            normal = normal * -1.0F;  // seen from behind
        }
        const Vec3 ambient = mix(Vec3{0.20F, 0.19F, 0.20F}, Vec3{0.42F, 0.46F, 0.52F}, normal.y * 0.5F + 0.5F);
        if ((draw.flags & kInShade) != 0) {
            return colour * ambient;
        }
        const float sun = std::max(dot(normal, job_.to_sun), 0.0F);
        const float shine = std::max(dot(normal, normalized(job_.to_sun + to_eye)), 0.0F);
        const float highlight = sun > 0.0F ? draw.highlight * std::pow(shine, 48.0F) : 0.0F;
        return colour * (ambient + Vec3{0.78F, 0.74F, 0.66F} * sun) + Vec3{1.0F, 0.97F, 0.9F} * highlight;
    }

    // The middle of each pixel's samples, to the framebuffer: 64 bytes a row.
    void resolve(int left, int top) {
        const int width = std::min(kTileSide, static_cast<int>(job_.width) - left);
        const int height = std::min(kTileSide, static_cast<int>(job_.height) - top);
        for (int y = 0; y < height; ++y) {
            const auto row = memory_.load<TileRow>(row_va(y));
            std::array<Pixel, kTileSide> resolved{};
            for (int x = 0; x < width; ++x) {
                const Pixel* samples = &row.colour[index_of(x)];
                resolved[static_cast<std::size_t>(x)] = rendering::blend(
                    rendering::blend(samples[0], samples[1], 128), rendering::blend(samples[2], samples[3], 128), 128);
            }
            const auto first = static_cast<std::uint64_t>(top + y) * job_.width + static_cast<std::uint64_t>(left);
            memory_.write(job_.framebuffer + first * sizeof(Pixel),
                          std::as_bytes(std::span<const Pixel>(resolved.data(), static_cast<std::size_t>(width))));
        }
    }

    rendering::GpuMemory& memory_;
    const FragmentJob job_;
    GpuCounters& counters_;
    std::unique_ptr<rendering::LineCache> cache_;  // empty at first: a job sees all that was written before it
    std::vector<BoundDraw> draws_;
};

}  // namespace

void run_fragment_stage(rendering::GpuMemory& memory, GpuVa payload, GpuCounters& counters) {
    const auto job = memory.load<FragmentJob>(payload);
    FragmentStage stage(memory, job, counters);
    for (std::uint32_t row = 0; row < job.rows; ++row) {
        for (std::uint32_t column = 0; column < job.columns; ++column) {
            stage.draw_tile(static_cast<int>(column), static_cast<int>(row));
        }
    }
    counters.cache_fetches += stage.cache_fetches();
}

}  // namespace triangle
