// The JSON of a replay: { "traces": [ ... ] }, an object for each trace, in the order of the command line.
#pragma once

#include <span>

#include "src/cli/json.hpp"
#include "src/cli/trace_report.hpp"

namespace granule::cli {

[[nodiscard]] Json replay_json(std::span<const TraceReport> reports);

}  // namespace granule::cli
