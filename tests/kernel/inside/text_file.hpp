// The kernel's text files (procfs, debugfs, tracefs) whole: what they hold, and writes of one string.
//
// - A read asks until the file ends: these files have no size.
// - A write is one write(2): the kernel's parsers take a command per call.
// - hex and hex_value: how addresses are written in all these files and in the messages of this folder.
//
// Failure: ProbeError, or nullopt where "there is no such file" is an answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace granule::kernel_test {

[[nodiscard]] std::string read_text(const std::string& path);

// nullopt: there is no such file. Everything else that fails is an error.
[[nodiscard]] std::optional<std::string> read_text_if_there(const std::string& path);

void write_text(const std::string& path, std::string_view text);
// At the end of what the file holds: kprobe_events takes its commands so.
void append_text(const std::string& path, std::string_view text);

// Without the newlines; a last line without one counts.
[[nodiscard]] std::vector<std::string_view> split_lines(std::string_view text);
// The words of a line, which any number of blanks and tabs separate.
[[nodiscard]] std::vector<std::string_view> split_words(std::string_view line);

// "0x1000"
[[nodiscard]] std::string hex(std::uint64_t value);
// Of "0x1000" or "1000", all of it; nullopt for anything else.
[[nodiscard]] std::optional<std::uint64_t> hex_value(std::string_view text);
// Of "4096", all of it.
[[nodiscard]] std::optional<std::uint64_t> decimal_value(std::string_view text);

}  // namespace granule::kernel_test
