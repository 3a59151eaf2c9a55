// What `granule replay` has to say about one trace. Data only: the table, the notes and the JSON are made of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "src/cli/exit_code.hpp"
#include "src/drm/kernel_facts.hpp"
#include "src/replay/replay.hpp"
#include "src/replay/result.hpp"
#include "src/trace/call.hpp"

namespace granule::cli {

enum class Verdict : std::uint8_t {
    kGood,         // played to its end, and every promise kept
    kBroken,       // played to its end; see the findings
    kRefused,      // a bind was refused; see the error
    kBadTrace,     // no trace, or none of a program that ran; see the error
    kInterrupted,  // Ctrl-C: the counts are those until then
};

[[nodiscard]] constexpr const char* to_string(Verdict verdict) noexcept {
    switch (verdict) {
        case Verdict::kGood:
            return "good";
        case Verdict::kBroken:
            return "broken";
        case Verdict::kRefused:
            return "refused";
        case Verdict::kBadTrace:
            return "bad trace";
        case Verdict::kInterrupted:
            return "interrupted";
    }
    return "?";
}

[[nodiscard]] constexpr ExitCode exit_code_of(Verdict verdict) noexcept {
    switch (verdict) {
        case Verdict::kGood:
            return ExitCode::kGood;
        case Verdict::kBroken:
        case Verdict::kRefused:
            return ExitCode::kBroken;
        case Verdict::kBadTrace:
            return ExitCode::kBadInput;
        case Verdict::kInterrupted:
            return ExitCode::kInterrupted;
    }
    return ExitCode::kBroken;
}

struct TraceReport {
    std::string path;
    Verdict verdict = Verdict::kBadTrace;
    std::string error;             // kRefused, kBadTrace: file, line, what, what would be right
    std::uint64_t error_line = 0;  // 0: the whole file
    bool started = false;          // false: nothing was played, and what is below says nothing
    trace::Meta meta;
    const mali::GpuModel* gpu = nullptr;  // nullptr: one that is not known
    KernelBehaviour kernel = replay::kSoftKernel;
    std::optional<KernelFacts> kernel_facts;  // none: the soft device
    replay::Options options;
    std::optional<std::uint64_t> calls;  // how many of them to play; none: all
    bool whole = false;                  // it was played to its last call
    replay::ReplayResult result;
};

}  // namespace granule::cli
