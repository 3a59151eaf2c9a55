// How a test program in the guest says what it found: a line of JSON each, which the runner reads on the host.
//
//     @granule {"test":"panthor maps 2M leaves","passed":true,"what":""}
//     @granule {"table":"leaves","row":{"kernel":"6.18.15","blocks":4}}
//     @granule {"same":"end state","value":"0x1234"}
//     @granule {"expect":"warnings"}
//
// A line is one write(2), so the console of the kernel can stand between lines but not in them. What else a program
// prints is for people; it flushes its own buffers.
//
// Thread-safety: any thread. Failure: none that could be told (the runner misses the line).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace granule::kernel_test {

// `what`: why it failed; or how much it looked at.
void report_test(std::string_view name, bool passed, std::string_view what = {});

// A row of a table that the runner collects over all guests. Columns keep their order.
void report_row(std::string_view table, const nlohmann::ordered_json& row);

// A test over all guests: whoever names it says the same value.
void report_same(std::string_view name, const nlohmann::ordered_json& value);

// What the kernel will do in this guest that would otherwise be a failure. Said before it happens: an oops leaves no
// time afterwards.
enum class Expected : std::uint8_t { kWarnings, kOops };
void report_expected(Expected expected);

// The line without the newline, for tests.
[[nodiscard]] std::string report_line(const nlohmann::ordered_json& object);

}  // namespace granule::kernel_test
