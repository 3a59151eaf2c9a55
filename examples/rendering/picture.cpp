#include "rendering/picture.hpp"

#include <png.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include "rendering/glyphs.hpp"

namespace rendering {

void Picture::fill(int x, int y, int box_width, int box_height, Pixel colour) noexcept {
    const int left = std::max(x, 0);
    const int right = std::min(x + box_width, width);
    for (int row = std::max(y, 0); row < std::min(y + box_height, height); ++row) {
        for (int column = left; column < right; ++column) {
            at(column, row) = colour;
        }
    }
}

void Picture::write(int x, int y, std::string_view text, Pixel colour, int scale) noexcept {
    for (const char letter : text) {
        for (int row = 0; row < kGlyphHeight; ++row) {
            for (int column = 0; column < kGlyphWidth; ++column) {
                if (glyph_has(letter, column, row)) {
                    fill(x + column * scale, y + row * scale, scale, scale, colour);
                }
            }
        }
        x += kGlyphAdvance * scale;
    }
}

std::optional<Size> parse_size(std::string_view text) noexcept {
    const auto parse = [](std::string_view digits, int& value) {
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
        return error == std::errc{} && end == digits.data() + digits.size() && value >= 16 && value <= 4096;
    };
    const std::size_t cross = text.find('x');
    Size size;
    if (cross == std::string_view::npos || !parse(text.substr(0, cross), size.width) ||
        !parse(text.substr(cross + 1), size.height)) {
        return std::nullopt;
    }
    return size;
}

std::uint64_t checksum(const Picture& picture) noexcept {
    std::uint64_t hash = 0xCBF29CE484222325U;
    const auto add = [&hash](std::uint32_t word) {
        for (unsigned shift = 0; shift < 32; shift += 8) {
            hash = (hash ^ (word >> shift & 0xFFU)) * 0x100000001B3U;
        }
    };
    add(static_cast<std::uint32_t>(picture.width));
    add(static_cast<std::uint32_t>(picture.height));
    for (const Pixel pixel : picture.pixels) {
        add(pixel);
    }
    return hash;
}

void write_png(const Picture& picture, const std::string& path) {
    const std::string unfinished = path + ".part";
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = static_cast<png_uint_32>(picture.width);
    image.height = static_cast<png_uint_32>(picture.height);
    image.format = PNG_FORMAT_RGBA;
    if (png_image_write_to_file(&image, unfinished.c_str(), 0, picture.pixels.data(), 0, nullptr) == 0) {
        unlink(unfinished.c_str());
        throw std::runtime_error(unfinished + ": " + static_cast<const char*>(image.message));
    }
    if (std::rename(unfinished.c_str(), path.c_str()) != 0) {
        const std::string why = std::strerror(errno);
        unlink(unfinished.c_str());
        throw std::runtime_error(path + ": " + why);
    }
}

}  // namespace rendering
