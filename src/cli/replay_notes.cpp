#include "src/cli/replay_notes.hpp"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "src/cli/replay_trace.hpp"
#include "src/cli/units.hpp"

namespace granule::cli {
namespace {

// Sentences of one kind that are printed; the JSON has all.
constexpr std::size_t kSentences = 3;
constexpr std::size_t kFindings = 10;

void add_more(std::string& text, std::size_t all, std::size_t shown) {
    if (all > shown) {
        text += fmt::format("    and {} more, see --json\n", all - shown);
    }
}

std::string findings_text(const TraceReport& report) {
    const auto& findings = report.result.findings;
    std::string text;
    for (std::size_t i = 0; i < findings.size() && i < kFindings; ++i) {
        text += wrapped(fmt::format("line {}: {}", findings[i].line, printable(findings[i].what)), 2);
    }
    add_more(text, findings.size(), kFindings);
    return text;
}

// A kind of leftover: how many, how much, and the first few in words.
struct Group {
    std::uint64_t bytes = 0;
    std::vector<const replay::Leftover*> members;
};

std::string leftovers_text(const TraceReport& report) {
    std::map<replay::Leftover::Kind, Group> groups;
    for (const replay::Leftover& leftover : report.result.leftovers) {
        Group& group = groups[leftover.kind];
        group.bytes += leftover.bytes;
        group.members.push_back(&leftover);
    }
    std::string text;
    for (const auto& [kind, group] : groups) {
        text += fmt::format("  {} x {}", group.members.size(), replay::to_string(kind));
        text += group.bytes == 0 ? "\n" : fmt::format(", {}\n", bytes_text(group.bytes));
        for (std::size_t i = 0; i < group.members.size() && i < kSentences; ++i) {
            text += wrapped(printable(group.members[i]->sentence), 4);
        }
        add_more(text, group.members.size(), kSentences);
    }
    return text;
}

}  // namespace

std::string replay_notes(const TraceReport& report, bool only_findings) {
    const std::string name = printable(trace_name(report.path));
    std::string text;
    if (const std::string findings = findings_text(report); !findings.empty()) {
        text += name + ": broken:\n" + findings;
    }
    if (only_findings) {
        return text;
    }
    if (const std::string leftovers = leftovers_text(report); !leftovers.empty()) {
        const char* const how = report.result.killed ? " (it was killed)" : "";
        text += fmt::format("{}: left behind by the program{}:\n{}", name, how, leftovers);
    }
    return text;
}

}  // namespace granule::cli
