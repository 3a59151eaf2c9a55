// A mapping as the C interface shows it, as a value and in words.
#pragma once

#include <granule/inspect.h>

#include <cstdint>
#include <string_view>

#include "allocator/mapping.hpp"
#include "src/c_api/convert.hpp"
#include "src/c_api/text.hpp"

namespace granule::c_api {

[[nodiscard]] inline granule_mapping to_c(const Mapping& mapping) noexcept {
    granule_mapping shown{};
    shown.va = to_c(mapping.va);
    shown.bo_offset = mapping.shows.offset.raw();
    shown.bo_id = static_cast<std::uint32_t>(mapping.shows.bo);
    shown.flags = to_c(mapping.shows.flags);
    shown.serial = static_cast<std::uint32_t>(mapping.shows.serial);
    return shown;
}

[[nodiscard]] constexpr bool is_empty(const granule_range& range) noexcept {
    return range.start == range.end;
}

// ", read-only, no-exec": granule_map_flags.
inline void write_flags(TextWriter& out, std::uint32_t flags) noexcept {
    out.text((flags & GRANULE_MAP_READ_ONLY) != 0 ? ", read-only" : "");
    out.text((flags & GRANULE_MAP_NO_EXEC) != 0 ? ", no-exec" : "");
    out.text((flags & GRANULE_MAP_UNCACHED) != 0 ? ", uncached" : "");
}

}  // namespace granule::c_api
