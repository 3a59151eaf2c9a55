// The calls that a trace may have, and how to read each one's own fields.
//
// To teach the reader a call: a struct in call.hpp, a function that reads its fields and a line in the table of the
// file of its driver, and its fields in tests/traces/README.md. Internal to the trace reader.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "src/trace/call.hpp"
#include "src/trace/fields.hpp"

namespace granule::trace {

struct KnownCall {
    std::string_view name;
    // Sets `what` of a call whose header is read.
    void (*read)(Fields& fields, Call& call);
};

// Each sorted by name.
[[nodiscard]] std::span<const KnownCall> cpu_and_drm_calls() noexcept;
[[nodiscard]] std::span<const KnownCall> panfrost_calls() noexcept;
[[nodiscard]] std::span<const KnownCall> panthor_calls() noexcept;

// nullptr where there is no such call.
[[nodiscard]] const KnownCall* find_known_call(std::string_view name) noexcept;
// "known are cpu.mmap, cpu.munmap, ...", for whoever wrote another.
[[nodiscard]] std::string known_call_names();

constexpr bool by_name(const KnownCall& a, const KnownCall& b) noexcept {
    return a.name < b.name;
}

// Calls that do nothing to memory: their fields are not looked at.
inline void read_other(Fields& /*fields*/, Call& call) {
    call.what.emplace<OtherCall>();
}

}  // namespace granule::trace
