#include "virtual-texture/frame_memory.hpp"

#include <cstring>
#include <span>
#include <string>

#include "rendering/granule_call.hpp"
#include "virtual-texture/gpu_frame.hpp"

namespace streaming {

using rendering::checked;

FrameMemory::FrameMemory(granule::Device& device, granule::Vm& vm, int width, int height)
    : width_(width),
      height_(height),
      feedback_entries_(static_cast<std::size_t>(feedback_count(width)) *
                        static_cast<std::size_t>(feedback_count(height))),
      pool_(checked(granule::Device::create_pool(vm), "a pool")) {
    constexpr std::uint64_t kBlock2M = 2U << 20;
    const std::uint64_t bytes =
        static_cast<std::uint64_t>(width) * static_cast<std::uint64_t>(height) * sizeof(rendering::Pixel);
    for (Side& side : sides_) {
        granule::Bo framebuffer =
            checked(device.create_bo((bytes + kBlock2M - 1) / kBlock2M * kBlock2M, "framebuffer"), "a framebuffer");
        side.framebuffer = checked(vm.map(framebuffer, GRANULE_MAP_NO_EXEC), "a framebuffer");
        side.pixels = checked(framebuffer.map(), "a framebuffer");  // the mapping keeps the BO
        side.feedback = checked(pool_.alloc(feedback_entries_ * sizeof(std::uint32_t)), "a feedback buffer");
        side.residency = checked(pool_.alloc(kTiles), "a residency map");
        side.job = checked(pool_.alloc(sizeof(FrameJob)), "a job");
    }
}

FrameMemory::~FrameMemory() {
    for (const Side& side : sides_) {
        for (const granule_buffer* buffer : {&side.feedback, &side.residency, &side.job}) {
            static_cast<void>(granule_pool_free(pool_.get(), buffer, nullptr, 0));
        }
    }
}

void FrameMemory::prepare(std::uint32_t frame, const Camera& camera, const Camera& ahead, std::uint64_t texture,
                          const Residency& residency) {
    const Side& at = side(frame);
    residency.write_map({static_cast<std::byte*>(at.residency.cpu), kTiles});
    const FrameJob job{camera, ahead, frame, at.framebuffer, at.feedback.va, at.residency.va, texture, width_, height_};
    std::memcpy(at.job.cpu, &job, sizeof(job));
}

rendering::Picture FrameMemory::picture(std::uint32_t frame) const {
    rendering::Picture picture(width_, height_);
    std::memcpy(picture.pixels.data(), side(frame).pixels, picture.pixels.size() * sizeof(rendering::Pixel));
    return picture;
}

std::vector<std::uint32_t> FrameMemory::feedback(std::uint32_t frame) const {
    std::vector<std::uint32_t> feedback(feedback_entries_);
    std::memcpy(feedback.data(), side(frame).feedback.cpu, feedback.size() * sizeof(std::uint32_t));
    return feedback;
}

}  // namespace streaming
