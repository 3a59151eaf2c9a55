// JSON as the commands write it: members in the order of insertion, addresses as hexadecimal strings, sizes as numbers.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "mali/address.hpp"
#include "src/cli/units.hpp"

namespace granule::cli {

using Json = nlohmann::ordered_json;

[[nodiscard]] inline Json range_json(const VaRange& range) {
    return {{"start", hex(range.start.raw())}, {"end", hex(range.end.raw())}, {"bytes", range.size()}};
}

// Paths may have bytes that are no UTF-8; they are replaced.
[[nodiscard]] inline std::string to_text(const Json& json) {
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace granule::cli
