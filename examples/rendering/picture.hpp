// A picture of RGBA8 pixels in plain memory, what is drawn on it for people, and the PNG file that it becomes.
//
// A pixel is one 32-bit word, red in its lowest byte: the bytes in memory are R G B A, as in a PNG.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rendering {

using Pixel = std::uint32_t;

[[nodiscard]] constexpr Pixel rgb(unsigned red, unsigned green, unsigned blue) noexcept {
    return red | green << 8 | blue << 16 | 0xFF000000U;
}

struct Picture {
    int width = 0;
    int height = 0;
    std::vector<Pixel> pixels;  // row by row, from the top

    Picture() = default;
    Picture(int picture_width, int picture_height, Pixel fill = rgb(0, 0, 0))
        : width(picture_width),
          height(picture_height),
          pixels(static_cast<std::size_t>(picture_width) * static_cast<std::size_t>(picture_height), fill) {}

    [[nodiscard]] Pixel& at(int x, int y) noexcept {
        return pixels[static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x)];
    }
    [[nodiscard]] Pixel at(int x, int y) const noexcept {
        return pixels[static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x)];
    }

    // What is outside of the picture is not drawn.
    void fill(int x, int y, int box_width, int box_height, Pixel colour) noexcept;
    // In capitals; a letter is 4 pixels wide with the gap after it and 5 high, times `scale`.
    void write(int x, int y, std::string_view text, Pixel colour, int scale) noexcept;
};

struct Size {
    int width = 0;
    int height = 0;
};

// "800x600": 16 to 4096 each.
[[nodiscard]] std::optional<Size> parse_size(std::string_view text) noexcept;

// FNV-1a of the size and the pixels.
[[nodiscard]] std::uint64_t checksum(const Picture& picture) noexcept;

// Writes `path` whole or not at all: to a file beside it first, which is renamed. Throws std::runtime_error.
void write_png(const Picture& picture, const std::string& path);

}  // namespace rendering
