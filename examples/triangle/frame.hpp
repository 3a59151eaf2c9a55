// A frame: everything that the GPU needs for the scene, put into GPU memory, with the job list that draws it.
#pragma once

#include <cstdint>

#include "rendering/picture.hpp"
#include "triangle/gpu_space.hpp"
#include "triangle/gpu_structs.hpp"

namespace triangle {

struct Frame {
    GpuVa jobs = 0;
    Place framebuffer;
    int width = 0;
    int height = 0;

    // What is in the framebuffer.
    [[nodiscard]] rendering::Picture picture() const;
};

[[nodiscard]] Frame make_frame(GpuSpace& space, int width, int height);

}  // namespace triangle
