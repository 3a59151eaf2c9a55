// A frame as the GPU draws it: everything that it knows is in GPU memory, from one address on.
//
//     FrameJob --> feedback buffer: which tile each 8th pixel of each 8th row wants          written first
//              --> residency map: a byte a tile, the finest level that is resident there     read
//              --> texture: tiles in sparse VA                                               read
//              --> framebuffer                                                               written
#pragma once

#include <cstdint>

#include "rendering/gpu_memory.hpp"
#include "rendering/line_cache.hpp"
#include "virtual-texture/camera.hpp"

namespace streaming {

inline constexpr int kFeedbackStep = 8;
inline constexpr std::uint32_t kFeedbackAhead = 2;  // frames
inline constexpr std::uint32_t kNoTile = UINT32_MAX;

struct FrameJob {
    Camera camera;
    Camera ahead;             // of the feedback: where the flight is when the tiles can be there, kFeedbackAhead later
    std::uint32_t frame = 0;  // which of the 64 pixels of each 8 x 8 is asked
    std::uint64_t framebuffer = 0;
    std::uint64_t feedback = 0;  // 32 bits each, row by row: a tile's number, or kNoTile
    std::uint64_t residency = 0;
    std::uint64_t texture = 0;
    std::int32_t width = 0;
    std::int32_t height = 0;
};

// How many the feedback has of a picture's side.
[[nodiscard]] constexpr int feedback_count(int pixels) noexcept {
    return (pixels + kFeedbackStep - 1) / kFeedbackStep;
}

// What the feedback has in (column, row) for a frame.
[[nodiscard]] std::uint32_t feedback_at(const Camera& camera, std::uint32_t frame, int column, int row) noexcept;

// `cache` is emptied first: what was bound or written before the frame's fence is seen.
void draw_frame(rendering::GpuMemory& memory, rendering::LineCache& cache, std::uint64_t job);

}  // namespace streaming
