// A trace played up to a line: the state that explain and dump look at.
//
// Failure: CommandError, with the line. Thread-safety: none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/cli/options.hpp"
#include "src/replay/replay.hpp"
#include "src/trace/call.hpp"

namespace granule::cli {

struct TracePosition {
    std::string path;
    std::uint64_t line = 0;
    replay::Replay replay;
    std::optional<trace::Call> next;  // the call at `line`, which has not been played; none at the end of the trace

    [[nodiscard]] const mali::GpuModel& gpu() { return *replay.gpu(); }
    // "x.jsonl:412"
    [[nodiscard]] std::string place() const { return path + ":" + std::to_string(line); }
};

// Plays the calls before `line`, which is that of a call (2 and up), or the one after the last.
[[nodiscard]] TracePosition play_to(const std::string& path, std::uint64_t line, const replay::Options& options);

// The VMs that fit the choice; at least one.
[[nodiscard]] std::vector<replay::VmView> choose_vms(const TracePosition& position, const VmChoice& choice);
// The one that fits.
[[nodiscard]] replay::VmView choose_vm(const TracePosition& position, const VmChoice& choice);

}  // namespace granule::cli
