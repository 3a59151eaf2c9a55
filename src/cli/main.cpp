// The program `granule`: its commands, and how each of them ends.
#include <CLI/CLI.hpp>
#include <exception>
#include <string>

#include "src/cli/devices_command.hpp"
#include "src/cli/dump_command.hpp"
#include "src/cli/exit_code.hpp"
#include "src/cli/explain_command.hpp"
#include "src/cli/gpus_command.hpp"
#include "src/cli/replay_command.hpp"
#include "src/cli/units.hpp"
#include "src/cli/write_file.hpp"

namespace {

using granule::cli::CommandError;
using granule::cli::ExitCode;

void complain(const std::string& what) {
    granule::cli::print_error("granule: " + granule::cli::printable(what) + "\n");
}

// "granule replay", where the command line got as far as that.
std::string command_of(const CLI::App& app) {
    const auto chosen = app.get_subcommands();
    return chosen.empty() ? "granule" : "granule " + chosen.front()->get_name();
}

ExitCode run(int count, char** arguments) {
    CLI::App app(
        "granule: GPU memory management for Arm Mali, every unmap in whole granules.\n"
        "Replays memory traffic of real programs on a software Mali, and shows what happens to its page tables.",
        "granule");
    app.set_version_flag("--version", "granule " GRANULE_VERSION);
    app.require_subcommand(1);
    app.footer(
        "Help on one of them: granule COMMAND --help\n"
        "Example:\n"
        "  granule replay --verify tests/traces/*.jsonl.xz");
    ExitCode code = ExitCode::kGood;
    granule::cli::add_replay_command(app, code);
    granule::cli::add_explain_command(app, code);
    granule::cli::add_dump_command(app);
    granule::cli::add_gpus_command(app);
    granule::cli::add_devices_command(app);
    try {
        app.parse(count, arguments);
        granule::cli::finish_output();
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
            app.exit(error);  // --help, --version
            granule::cli::finish_output();
            return ExitCode::kGood;
        }
        complain(error.what());
        granule::cli::print_error("See " + command_of(app) + " --help\n");
        return ExitCode::kBadInput;
    }
    return code;
}

}  // namespace

int main(int count, char** arguments) {
    try {
        return static_cast<int>(run(count, arguments));
    } catch (const CommandError& error) {
        complain(error.what());
        return static_cast<int>(error.code());
    } catch (const std::exception& error) {
        complain(error.what());
        return static_cast<int>(ExitCode::kBadInput);
    }
}
