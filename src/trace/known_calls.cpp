#include "src/trace/known_calls.hpp"

#include <algorithm>
#include <array>

namespace granule::trace {

const KnownCall* find_known_call(std::string_view name) noexcept {
    for (const std::span<const KnownCall> calls : {cpu_and_drm_calls(), panfrost_calls(), panthor_calls()}) {
        const auto found = std::lower_bound(calls.begin(), calls.end(), KnownCall{name, nullptr}, by_name);
        if (found != calls.end() && found->name == name) {
            return &*found;
        }
    }
    return nullptr;
}

std::string known_call_names() {
    std::string text = "known are";
    const char* separator = " ";
    for (const std::span<const KnownCall> calls : {cpu_and_drm_calls(), panfrost_calls(), panthor_calls()}) {
        for (const KnownCall& call : calls) {
            text += separator;
            text += call.name;
            separator = ", ";
        }
    }
    return text;
}

}  // namespace granule::trace
