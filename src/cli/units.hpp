// Numbers and texts as a person reads them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "mali/address.hpp"

namespace granule::cli {

// "0", "512 B", "64 KiB", "1.21 GiB": three digits, and exact where it ends in none after the point.
[[nodiscard]] std::string bytes_text(std::uint64_t bytes);
// Exact below a million; "1.23M" above.
[[nodiscard]] std::string count_text(std::uint64_t count);
// "0x7fff00000000".
[[nodiscard]] std::string hex(std::uint64_t value);
// "[0x7fff00000000, 0x7fff00010000) 64 KiB".
[[nodiscard]] std::string range_text(const VaRange& range);
// "4K", "2M", "1G".
[[nodiscard]] const char* leaf_text(LeafSize size) noexcept;
// `text` without control characters, which would be a terminal's to obey: labels come from traces.
[[nodiscard]] std::string printable(std::string_view text);
// `text` and a line break, in lines of at most `columns`, each with `indent` spaces in front; longer words stay whole.
[[nodiscard]] std::string wrapped(std::string_view text, std::size_t indent, std::size_t columns = 120);

}  // namespace granule::cli
