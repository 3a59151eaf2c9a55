// Fields that calls of both drivers have. Internal to the trace reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "src/trace/call.hpp"
#include "src/trace/fields.hpp"

namespace granule::trace {

// What Linux takes (PANTHOR_BO_LABEL_MAXLEN, PANFROST_BO_LABEL_MAXLEN: a page); Mesa's longest are of 120 bytes.
inline constexpr std::size_t kMaxLabelBytes = 4096;

inline constexpr Rule kAnyBytes{0, UINT64_MAX, 1, "sizes are integers from 0 to 18446744073709551615"};

// Of a number that kHandle holds for.
template <class Handle>
[[nodiscard]] Handle handle_of(std::uint64_t number) {
    return Handle{static_cast<std::uint32_t>(number)};
}

// The field "label".
[[nodiscard]] std::string label(Fields& fields);
// The field "ops" of panthor.bo_sync and panfrost.sync_bo, added to `out`.
void cache_ops(Fields& fields, std::vector<CacheOp>& out);

}  // namespace granule::trace
