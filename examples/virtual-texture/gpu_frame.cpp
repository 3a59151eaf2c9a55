#include "virtual-texture/gpu_frame.hpp"

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "rendering/texel_block.hpp"
#include "virtual-texture/shading.hpp"

namespace streaming {
namespace {

// Texels and residency from GPU memory, through the cache.
class SparseSource {
public:
    SparseSource(rendering::LineCache& cache, const FrameJob& job) : cache_(cache), job_(job) {
        for (std::uint32_t level = 0; level < kLevels; ++level) {
            first_[level] = first_tile(level);
        }
    }

    [[nodiscard]] std::uint32_t resident_level(const Tile& tile) {
        return cache_.load<std::uint8_t>(job_.residency + tile_number(tile, first_[tile.level]));
    }
    [[nodiscard]] Pixel texel(std::uint32_t level, std::uint32_t x, std::uint32_t y) {
        const std::uint32_t number = tile_number({level, x / kTileSide, y / kTileSide}, first_[level]);
        return cache_.load<Pixel>(job_.texture + number * kTileBytes +
                                  rendering::texel_offset(x % kTileSide, y % kTileSide, kTileSide));
    }

private:
    rendering::LineCache& cache_;
    const FrameJob& job_;
    std::array<std::uint32_t, kLevels> first_{};
};

void write_feedback(rendering::GpuMemory& memory, const FrameJob& job) {
    const int columns = feedback_count(job.width);
    std::vector<std::uint32_t> row(static_cast<std::size_t>(columns));
    std::uint64_t va = job.feedback;
    for (int y = 0; y < feedback_count(job.height); ++y) {
        for (int x = 0; x < columns; ++x) {
            row[static_cast<std::size_t>(x)] = feedback_at(job.ahead, job.frame, x, y);
        }
        memory.write(va, std::as_bytes(std::span(row)));
        va += row.size() * sizeof(std::uint32_t);
    }
}

}  // namespace

std::uint32_t feedback_at(const Camera& camera, std::uint32_t frame, int column, int row) noexcept {
    // 29 and 64 have no common divisor: after 64 frames each pixel was asked once.
    const int turn = static_cast<int>(frame * 29 % (kFeedbackStep * kFeedbackStep));
    const std::optional<Footprint> footprint = project(
        camera,
        ray_through(camera, column * kFeedbackStep + turn % kFeedbackStep, row * kFeedbackStep + turn / kFeedbackStep));
    return footprint && on_texture(*footprint) ? tile_number(wanted_tile(*footprint)) : kNoTile;
}

void draw_frame(rendering::GpuMemory& memory, rendering::LineCache& cache, std::uint64_t job_va) {
    cache.invalidate();
    const auto job = memory.load<FrameJob>(job_va);
    write_feedback(memory, job);
    SparseSource source(cache, job);
    std::vector<Pixel> row(static_cast<std::size_t>(job.width));
    std::uint64_t va = job.framebuffer;
    for (int y = 0; y < job.height; ++y) {
        for (int x = 0; x < job.width; ++x) {
            row[static_cast<std::size_t>(x)] = shade(source, job.camera, x, y).colour;
        }
        memory.write(va, std::as_bytes(std::span<const Pixel>(row)));
        va += row.size() * sizeof(Pixel);
    }
}

}  // namespace streaming
