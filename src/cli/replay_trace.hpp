// Plays one trace from its first call to its last, or to one named before; to the first that fails; or until Ctrl-C.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "src/cli/progress.hpp"
#include "src/cli/trace_report.hpp"

namespace granule::cli {

// Of the first `calls` calls, or all.
[[nodiscard]] TraceReport replay_trace(const std::string& path, const replay::Options& options,
                                       std::optional<std::uint64_t> calls, Progress& progress);

// "x.jsonl:412: what: what would be right".
[[nodiscard]] std::string stop_message(const std::string& path, const replay::Stop& stop);

// The last part of a path, without .xz and .jsonl: what the trace is called.
[[nodiscard]] std::string trace_name(const std::string& path);

}  // namespace granule::cli
