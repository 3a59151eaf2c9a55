// Numbers and ranges as a person types them: 0x7fff00000000, 4096, 64K, 2M, 1G, 0x1000+64K.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "mali/address.hpp"

namespace granule::cli {

// Decimal or 0x hexadecimal, with K, M or G (also KiB, MiB, GiB) for powers of 1024. nullopt: not such a number, or 2^64
// and more.
[[nodiscard]] std::optional<std::uint64_t> parse_number(std::string_view text) noexcept;

// "VA+SIZE". nullopt: malformed, or not within [0, 2^48].
[[nodiscard]] std::optional<VaRange> parse_range(std::string_view text) noexcept;

}  // namespace granule::cli
