#include "src/trace/shared_fields.hpp"

#include <array>
#include <string_view>

#include "mali/address.hpp"

namespace granule::trace {

std::string label(Fields& fields) {
    const std::string_view text = fields.string("label", "labels are strings");
    if (text.size() > kMaxLabelBytes) {
        fields.reject("label", "labels are at most 4096 bytes long");
        return {};
    }
    return std::string(text);
}

void cache_ops(Fields& fields, std::vector<CacheOp>& out) {
    constexpr std::string_view kCacheOpText =
        "a cache operation is [h, 0 flush or 1 flush and invalidate, offset, size]";
    fields.each("ops", kCacheOpText, [&](std::size_t index, simdjson::dom::element value) {
        std::array<std::uint64_t, 4> parts{};
        if (!Fields::to_integers(value, parts) || !kHandle.holds(parts[0]) || !kBoolean.holds(parts[1]) ||
            !checked_add(parts[2], parts[3])) {
            fields.reject_element("ops", index, value, kCacheOpText);
            return;
        }
        out.push_back({handle_of<GemHandle>(parts[0]), parts[1] != 0, BoOffset{parts[2]}, parts[3]});
    });
}

}  // namespace granule::trace
