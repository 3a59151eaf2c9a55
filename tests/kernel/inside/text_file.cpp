#include "tests/kernel/inside/text_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "tests/kernel/inside/owned_fd.hpp"
#include "tests/kernel/inside/probe_error.hpp"

namespace granule::kernel_test {
namespace {

std::string read_all(const OwnedFd& file, const std::string& path) {
    std::string text;
    std::vector<char> buffer(std::size_t{64} * 1024);
    for (;;) {
        const ssize_t count = read(file.get(), buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            throw ProbeError(path, "read", errno);
        }
        if (count == 0) {
            return text;
        }
        text.append(buffer.data(), static_cast<std::size_t>(count));
    }
}

void write_once(const std::string& path, int flags, std::string_view text) {
    const OwnedFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC | flags));
    if (!file.valid()) {
        throw ProbeError(path, "open to write", errno);
    }
    const ssize_t count = write(file.get(), text.data(), text.size());
    if (count != static_cast<ssize_t>(text.size())) {
        throw ProbeError(path, "write of \"" + std::string(text) + "\"", count < 0 ? errno : EIO);
    }
}

std::optional<std::uint64_t> number(std::string_view text, int base) {
    std::uint64_t value = 0;
    const char* const end = text.data() + text.size();
    const std::from_chars_result result = std::from_chars(text.data(), end, value, base);
    if (text.empty() || result.ec != std::errc{} || result.ptr != end) {
        return std::nullopt;
    }
    return value;
}

}  // namespace

std::string read_text(const std::string& path) {
    const OwnedFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) {
        throw ProbeError(path, "open", errno);
    }
    return read_all(file, path);
}

std::optional<std::string> read_text_if_there(const std::string& path) {
    const OwnedFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid() && errno == ENOENT) {
        return std::nullopt;
    }
    if (!file.valid()) {
        throw ProbeError(path, "open", errno);
    }
    return read_all(file, path);
}

void write_text(const std::string& path, std::string_view text) {
    write_once(path, O_TRUNC, text);
}

void append_text(const std::string& path, std::string_view text) {
    write_once(path, O_APPEND, text);
}

std::vector<std::string_view> split_lines(std::string_view text) {
    std::vector<std::string_view> lines;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        lines.push_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return lines;
}

std::vector<std::string_view> split_words(std::string_view line) {
    constexpr std::string_view kBlanks = " \t";
    std::vector<std::string_view> words;
    std::size_t start = line.find_first_not_of(kBlanks);
    while (start != std::string_view::npos) {
        const std::size_t end = std::min(line.find_first_of(kBlanks, start), line.size());
        words.push_back(line.substr(start, end - start));
        start = line.find_first_not_of(kBlanks, end);
    }
    return words;
}

std::string hex(std::uint64_t value) {
    std::array<char, 18> text{'0', 'x'};
    const std::to_chars_result result = std::to_chars(text.data() + 2, text.data() + text.size(), value, 16);
    return {text.data(), result.ptr};
}

std::optional<std::uint64_t> hex_value(std::string_view text) {
    if (text.starts_with("0x")) {
        text.remove_prefix(2);
    }
    return number(text, 16);
}

std::optional<std::uint64_t> decimal_value(std::string_view text) {
    return number(text, 10);
}

}  // namespace granule::kernel_test
