#include "src/cli/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace granule::cli {
namespace {

// Three significant digits: 1.21, 12.1, 121, 1021; and no digits after the point where they would all be zeros.
std::string three_digits(double value, bool whole) {
    const int decimals = whole || value >= 99.95 ? 0 : (value >= 9.995 ? 1 : 2);
    return fmt::format("{:.{}f}", value, decimals);
}

}  // namespace

std::string bytes_text(std::uint64_t bytes) {
    static constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes == 0) {
        return "0";
    }
    std::size_t unit = 0;
    while (unit + 1 < kUnits.size() && bytes >> (10 * (unit + 1)) != 0) {
        ++unit;
    }
    const std::uint64_t one = std::uint64_t{1} << (10 * unit);
    const double value = static_cast<double>(bytes) / static_cast<double>(one);
    return three_digits(value, bytes % one == 0) + " " + kUnits.at(unit);
}

std::string count_text(std::uint64_t count) {
    if (count < 1'000'000) {
        return std::to_string(count);
    }
    if (count < 1'000'000'000) {
        return three_digits(static_cast<double>(count) / 1e6, false) + "M";
    }
    return three_digits(static_cast<double>(count) / 1e9, false) + "G";
}

std::string hex(std::uint64_t value) {
    return fmt::format("{:#x}", value);
}

std::string range_text(const VaRange& range) {
    return fmt::format("[{:#x}, {:#x}) {}", range.start.raw(), range.end.raw(), bytes_text(range.size()));
}

const char* leaf_text(LeafSize size) noexcept {
    switch (size) {
        case LeafSize::k4K:
            return "4K";
        case LeafSize::k2M:
            return "2M";
        case LeafSize::k1G:
            return "1G";
    }
    return "?";
}

std::string printable(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7f) {
            out += fmt::format("\\x{:02x}", byte);
        } else {
            out += c;
        }
    }
    return out;
}

std::string wrapped(std::string_view text, std::size_t indent, std::size_t columns) {
    std::string out;
    std::size_t used = columns;  // of the line at the end of `out`: none yet
    while (!text.empty()) {
        const std::string_view word = text.substr(0, text.find(' '));
        if (used != columns && used + 1 + word.size() <= columns) {
            out += ' ';
            used += 1;
        } else {
            out += (out.empty() ? "" : "\n") + std::string(indent, ' ');
            used = indent;
        }
        out += word;
        used += word.size();
        text.remove_prefix(std::min(word.size() + 1, text.size()));
    }
    return out + "\n";
}

}  // namespace granule::cli
