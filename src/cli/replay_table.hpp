// The table of a replay: a row for each trace, and what its columns mean.
#pragma once

#include <span>
#include <string>

#include "src/cli/trace_report.hpp"

namespace granule::cli {

[[nodiscard]] std::string replay_table(std::span<const TraceReport> reports);
[[nodiscard]] std::string replay_legend();

}  // namespace granule::cli
