#include "tests/kernel/inside/fdinfo.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/text_file.hpp"

namespace granule::kernel_test {

FdInfo FdInfo::parse(std::string_view text) {
    FdInfo info;
    for (const std::string_view line : split_lines(text)) {
        const std::size_t colon = line.find(':');
        if (colon == std::string_view::npos) {
            throw ProbeError("fdinfo: not \"key: value\": " + std::string(line));
        }
        const std::size_t value = line.find_first_not_of(" \t", colon + 1);
        info.values_.emplace(line.substr(0, colon), value == std::string_view::npos ? "" : line.substr(value));
    }
    return info;
}

FdInfo FdInfo::of(int fd) {
    return parse(read_text("/proc/self/fdinfo/" + std::to_string(fd)));
}

std::optional<std::string> FdInfo::value(std::string_view key) const {
    const auto found = values_.find(key);
    return found == values_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::uint64_t> FdInfo::bytes(std::string_view key) const {
    const std::optional<std::string> text = value(key);
    if (!text) {
        return std::nullopt;
    }
    const std::vector<std::string_view> words = split_words(*text);
    const std::optional<std::uint64_t> count =
        words.empty() || words.size() > 2 ? std::nullopt : decimal_value(words[0]);
    const std::string_view unit = words.size() == 2 ? words[1] : std::string_view{};
    if (count && unit.empty()) {
        return count;
    }
    if (count && unit == "KiB") {
        return *count << 10;
    }
    if (count && unit == "MiB") {
        return *count << 20;
    }
    throw ProbeError("fdinfo: not a number of bytes: " + std::string(key) + ": " + *text);
}

}  // namespace granule::kernel_test
