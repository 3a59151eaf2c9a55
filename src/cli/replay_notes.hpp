// What is said below the table about each trace: broken promises first, then what the program left behind.
#pragma once

#include <string>

#include "src/cli/trace_report.hpp"

namespace granule::cli {

// Empty where there is nothing to say. With `only_findings` the leftovers, which are the program's, are not mentioned.
[[nodiscard]] std::string replay_notes(const TraceReport& report, bool only_findings);

}  // namespace granule::cli
