// The tables of a replay: a row for each trace, and what their columns mean.
#pragma once

#include <span>
#include <string>

#include "src/cli/trace_report.hpp"

namespace granule::cli {

[[nodiscard]] std::string replay_table(std::span<const TraceReport> reports);
[[nodiscard]] std::string replay_legend();

// What DRM devices' kernels were asked, beside what each program's own driver asked of its kernel. Empty: no trace was
// replayed on one.
[[nodiscard]] std::string kernel_table(std::span<const TraceReport> reports);
[[nodiscard]] std::string kernel_legend();

}  // namespace granule::cli
