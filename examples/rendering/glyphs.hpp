// Letters of 3 x 5 pixels, for labels in textures and legends in pictures.
//
// A glyph is five octal digits, its rows from the top, each the three pixels of a row from the left: 025755 is an A:
//
//     2   . # .
//     5   # . #
//     7   # # #
//     5   # . #
//     5   # . #
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace rendering {

inline constexpr int kGlyphWidth = 3;
inline constexpr int kGlyphHeight = 5;
inline constexpr int kGlyphAdvance = 4;

inline constexpr std::array<std::uint16_t, 26> kLetters{
    025755, 065656, 034443, 065556, 074647, 074644, 034553, 055755, 072227, 011152, 055655, 044447, 057755,
    065555, 025552, 065644, 025563, 065655, 034216, 072222, 055557, 055552, 055775, 055255, 055222, 071247,
};
inline constexpr std::array<std::uint16_t, 10> kDigits{
    075557, 026227, 071747, 071717, 055711, 074717, 074757, 071122, 075757, 075717,
};

// Small letters look like capitals; what has no glyph is blank.
[[nodiscard]] constexpr std::uint16_t glyph_of(char letter) noexcept {
    if (letter >= 'A' && letter <= 'Z') {
        return kLetters[static_cast<std::size_t>(letter - 'A')];
    }
    if (letter >= 'a' && letter <= 'z') {
        return kLetters[static_cast<std::size_t>(letter - 'a')];
    }
    if (letter >= '0' && letter <= '9') {
        return kDigits[static_cast<std::size_t>(letter - '0')];
    }
    switch (letter) {
        case ',':
            return 000024;
        case '.':
            return 000002;
        case ':':
            return 002020;
        case '-':
            return 000700;
        case '+':
            return 002720;
        case '=':
            return 007070;
        case '/':
            return 011244;
        case '%':
            return 051245;
        case '(':
            return 024442;
        case ')':
            return 021112;
        default:
            return 0;
    }
}

// Whether the pixel of `letter` at (column, row), inside 3 x 5, is set.
[[nodiscard]] constexpr bool glyph_has(char letter, int column, int row) noexcept {
    const int bit = (kGlyphHeight - 1 - row) * kGlyphWidth + (kGlyphWidth - 1 - column);
    return (glyph_of(letter) >> bit & 1) != 0;
}

}  // namespace rendering
