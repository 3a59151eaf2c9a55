#include "src/cli/replay_command.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/cli/interrupt.hpp"
#include "src/cli/options.hpp"
#include "src/cli/progress.hpp"
#include "src/cli/replay_json.hpp"
#include "src/cli/replay_notes.hpp"
#include "src/cli/replay_table.hpp"
#include "src/cli/replay_trace.hpp"
#include "src/cli/units.hpp"
#include "src/cli/write_file.hpp"

namespace granule::cli {
namespace {

struct Arguments {
    replay::Options options;
    std::optional<std::uint64_t> calls;
    std::vector<std::string> traces;
    std::string json;
    bool quiet = false;
};

std::vector<TraceReport> replay_all(const Arguments& arguments) {
    std::vector<TraceReport> reports;
    for (const std::string& path : arguments.traces) {
        Progress progress(!arguments.quiet);
        reports.push_back(replay_trace(path, arguments.options, arguments.calls, progress));
        progress.remove();
        const TraceReport& report = reports.back();
        if (!report.error.empty()) {
            print_error("granule: " + printable(report.error) + "\n");
        }
        if (report.verdict == Verdict::kInterrupted) {
            break;
        }
    }
    return reports;
}

std::string text_of(const std::vector<TraceReport>& reports, bool quiet) {
    std::string text;
    if (!quiet) {
        text = replay_table(reports) + "\n" + replay_legend();
        if (const std::string asked = kernel_table(reports); !asked.empty()) {
            text += "\n" + asked + "\n" + kernel_legend();
        }
    }
    for (const TraceReport& report : reports) {
        const std::string notes = replay_notes(report, quiet);
        text += notes.empty() || quiet ? notes : "\n" + notes;
    }
    return text;
}

ExitCode run(const Arguments& arguments) {
    catch_interrupts();
    std::optional<OutputFile> json;
    if (!arguments.json.empty()) {
        json.emplace(arguments.json);
    }
    const std::vector<TraceReport> reports = replay_all(arguments);
    ExitCode code = ExitCode::kGood;
    for (const TraceReport& report : reports) {
        code = worse(code, exit_code_of(report.verdict));
    }
    // Before the text: what reads that may go away (`| head`), and this program with it. Half a run is no result.
    if (json && code != ExitCode::kInterrupted) {
        json->write(to_text(replay_json(reports)));
    }
    if (arguments.json != "-") {
        print(text_of(reports, arguments.quiet));
    }
    if (code == ExitCode::kInterrupted) {
        print_error("granule: interrupted: the counts are those until then\n");
    }
    return code;
}

}  // namespace

void add_replay_command(CLI::App& app, ExitCode& exit_code) {
    const auto arguments = std::make_shared<Arguments>();
    CLI::App& command =
        *app.add_subcommand("replay", "Replay traces on a software Mali or a real one, every unmap in whole granules");
    add_drm_option(command, arguments->options);
    add_device_options(command, arguments->options);
    add_policy_option(command, arguments->options.policy, "what to do where a bind cuts a granule");
    command.add_flag("--verify", arguments->options.verify,
                     "compare the translation of every page that a call touched with an oracle");
    add_number_option(command, "--calls", arguments->calls, 64, "play only so many calls of each trace");
    command
        .add_option("--json", arguments->json,
                    "write all results to this file; -: to standard output, and nothing else")
        ->type_name("FILE");
    command.add_flag("--quiet", arguments->quiet, "print nothing but what is wrong");
    command.add_option("TRACE", arguments->traces, ".jsonl or .jsonl.xz")->required()->type_name("");
    command.footer(
        "Exit code: 0 good; 1 a promise broken, a mismatch or a refused bind; 2 bad usage or a bad trace; 130 "
        "interrupted.\n"
        "Example:\n"
        "  granule replay --verify --kernel refuses --json result.json tests/traces/*.jsonl.xz");
    command.callback([arguments, &command, &exit_code] {
        check_device_options(command, arguments->options);
        exit_code = run(*arguments);
    });
}

}  // namespace granule::cli
