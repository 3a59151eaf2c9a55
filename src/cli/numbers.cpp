#include "src/cli/numbers.hpp"

#include <charconv>
#include <system_error>

namespace granule::cli {
namespace {

// The power of two that a suffix stands for; nullopt: no such suffix.
std::optional<unsigned> shift_of(std::string_view suffix) noexcept {
    if (suffix.empty()) {
        return 0;
    }
    if (suffix.size() != 1 && suffix.substr(1) != "iB") {
        return std::nullopt;
    }
    switch (suffix.front()) {
        case 'K':
        case 'k':
            return 10;
        case 'M':
        case 'm':
            return 20;
        case 'G':
        case 'g':
            return 30;
        default:
            return std::nullopt;
    }
}

}  // namespace

std::optional<std::uint64_t> parse_number(std::string_view text) noexcept {
    int base = 10;
    if (text.starts_with("0x") || text.starts_with("0X")) {
        base = 16;
        text.remove_prefix(2);
    }
    std::uint64_t value = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value, base);
    if (error != std::errc{}) {
        return std::nullopt;
    }
    const auto shift = shift_of({rest, static_cast<std::size_t>(end - rest)});
    if (!shift || (value << *shift) >> *shift != value) {
        return std::nullopt;
    }
    return value << *shift;
}

std::optional<VaRange> parse_range(std::string_view text) noexcept {
    const std::size_t plus = text.find('+');
    if (plus == std::string_view::npos) {
        return std::nullopt;
    }
    const auto start = parse_number(text.substr(0, plus));
    const auto size = parse_number(text.substr(plus + 1));
    if (!start || !size) {
        return std::nullopt;
    }
    return VaRange::from_size(Va{*start}, *size);
}

}  // namespace granule::cli
