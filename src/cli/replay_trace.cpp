#include "src/cli/replay_trace.hpp"

#include <fmt/format.h>

#include <exception>
#include <string_view>
#include <utility>

#include "src/cli/interrupt.hpp"
#include "src/cli/units.hpp"
#include "src/trace/reader.hpp"

namespace granule::cli {
namespace {

std::string progress_line(const std::string& path, const trace::Reader& reader, const replay::Replay& replay) {
    std::uint64_t mapped = 0;
    for (const replay::VmView& vm : replay.vms()) {
        mapped += vm.object->statistics().mapped_bytes;
    }
    std::string percent;
    if (reader.bytes_total() != 0) {
        percent = fmt::format(" {:3}%", reader.bytes_consumed() * 100 / reader.bytes_total());
    }
    return fmt::format("{}{}  {} calls  {} mapped", printable(trace_name(path)), percent,
                       count_text(replay.counts().calls), bytes_text(mapped));
}

void fail_with(TraceReport& report, const trace::TraceError& error) {
    report.verdict = Verdict::kBadTrace;
    report.error = error.message();
    report.error_line = error.line;
}

void fail_with(TraceReport& report, const replay::Stop& stop) {
    report.verdict = stop.kind == replay::Stop::Kind::kRefused ? Verdict::kRefused : Verdict::kBadTrace;
    report.error = stop_message(report.path, stop);
    report.error_line = stop.line;
}

// Plays until the end, a failure or Ctrl-C, and says so in the report. The verdict of the end itself is not known yet.
void play(trace::Reader& reader, replay::Replay& replay, TraceReport& report, Progress& progress) {
    report.verdict = Verdict::kGood;
    for (trace::Call call; !report.calls || replay.counts().calls < *report.calls;) {
        if (interrupted()) {
            report.verdict = Verdict::kInterrupted;
            return;
        }
        const auto more = reader.next(call);
        if (!more) {
            fail_with(report, more.error());
            return;
        }
        if (!*more) {
            report.whole = true;
            return;
        }
        if (const auto played = replay.play(call); !played) {
            fail_with(report, played.error());
            return;
        }
        if (progress.due()) {
            progress.show(progress_line(report.path, reader, replay));
        }
    }
}

void replay_file(TraceReport& report, Progress& progress) {
    auto reader = trace::Reader::open(report.path);
    if (!reader) {
        fail_with(report, reader.error());
        return;
    }
    report.meta = reader->meta();
    auto replay = replay::Replay::create(report.options, reader->meta());
    if (!replay) {
        fail_with(report, replay.error());
        return;
    }
    report.started = true;
    report.gpu = replay->gpu();
    report.kernel = replay->kernel();
    if (const KernelFacts* const facts = replay->kernel_facts()) {
        report.kernel_facts = *facts;
    }

    play(*reader, *replay, report, progress);
    if (report.verdict == Verdict::kInterrupted) {
        report.result.counts = replay->counts();
        return;
    }
    report.result = replay->finish();
    if (report.verdict == Verdict::kGood) {
        report.verdict = report.result.good() ? Verdict::kGood : Verdict::kBroken;
    }
    if (!report.whole) {
        // The program did not get to give back what it had.
        report.result.leftovers.clear();
    }
}

}  // namespace

TraceReport replay_trace(const std::string& path, const replay::Options& options, std::optional<std::uint64_t> calls,
                         Progress& progress) {
    TraceReport report;
    report.path = path;
    report.options = options;
    report.calls = calls;
    try {
        replay_file(report, progress);
    } catch (const std::exception& error) {
        // No memory for the oracle, say: the other traces are still worth their lines.
        report.started = false;
        report.verdict = Verdict::kBroken;
        report.error = fmt::format("{}: the replay could not go on: {}", path, error.what());
    }
    return report;
}

std::string stop_message(const std::string& path, const replay::Stop& stop) {
    std::string message = stop.line == 0 ? path : fmt::format("{}:{}", path, stop.line);
    message += ": " + stop.what;
    if (!stop.would_be_right.empty()) {
        message += ": " + stop.would_be_right;
    }
    return message;
}

std::string trace_name(const std::string& path) {
    std::string_view name = path;
    name = name.substr(name.rfind('/') + 1);
    for (const std::string_view ending : {".xz", ".jsonl"}) {
        if (name.size() > ending.size() && name.ends_with(ending)) {
            name.remove_suffix(ending.size());
        }
    }
    return std::string(name);
}

}  // namespace granule::cli
