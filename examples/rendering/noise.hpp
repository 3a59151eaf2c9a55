// Gradient noise (Perlin's), for blocks of 4 x 4 points at once, with its slope.
//
// The lattice is hashed from whole numbers, and one function computes every block: whoever asks for the same block gets the
// same bits.
#pragma once

#include <array>
#include <cstdint>

namespace rendering {

// Four floats, one operation for all: SSE, NEON.
using Float4 [[gnu::vector_size(16)]] = float;

// Row by row.
struct NoiseBlock {
    std::array<Float4, 4> value{};  // about -0.7 to 0.7
    std::array<Float4, 4> dx{};     // a cell
    std::array<Float4, 4> dy{};
};

// The points (x + i * step, y + j * step), i and j 0 to 3, of the cell (cell_x, cell_y): 0 <= x, y and the last one below 1.
[[nodiscard]] NoiseBlock gradient_noise(std::uint32_t cell_x, std::uint32_t cell_y, float x, float y, float step,
                                        std::uint32_t seed) noexcept;

}  // namespace rendering
