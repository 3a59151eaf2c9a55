// What frames have in GPU memory, twice: framebuffers, BOs of their own; feedback, residency maps and jobs, from a pool.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <granule/granule.hpp>
#include <vector>

#include "rendering/picture.hpp"
#include "virtual-texture/camera.hpp"
#include "virtual-texture/residency.hpp"

namespace streaming {

class FrameMemory {
public:
    FrameMemory(granule::Device& device, granule::Vm& vm, int width, int height);
    ~FrameMemory();
    FrameMemory(const FrameMemory&) = delete;
    FrameMemory& operator=(const FrameMemory&) = delete;

    // Writes what the GPU needs for `frame`; frame - 2 is drawn.
    void prepare(std::uint32_t frame, const Camera& camera, const Camera& ahead, std::uint64_t texture,
                 const Residency& residency);
    [[nodiscard]] std::uint64_t job(std::uint32_t frame) const noexcept { return side(frame).job.va; }

    // What the GPU made, once it is drawn.
    [[nodiscard]] rendering::Picture picture(std::uint32_t frame) const;
    [[nodiscard]] std::vector<std::uint32_t> feedback(std::uint32_t frame) const;

private:
    struct Side {
        std::uint64_t framebuffer = 0;
        const std::byte* pixels = nullptr;
        granule_buffer feedback{};
        granule_buffer residency{};
        granule_buffer job{};
    };

    [[nodiscard]] const Side& side(std::uint32_t frame) const noexcept { return sides_[frame % 2]; }

    const int width_;
    const int height_;
    std::size_t feedback_entries_;
    granule::Pool pool_;
    std::array<Side, 2> sides_{};
};

}  // namespace streaming
