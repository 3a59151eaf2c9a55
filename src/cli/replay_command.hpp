// granule replay: traces played on a software Mali or a real one, one after the other, and what came of it.
#pragma once

#include <CLI/CLI.hpp>

#include "src/cli/exit_code.hpp"

namespace granule::cli {

// The command runs while `app` parses; its end is put into `exit_code`.
void add_replay_command(CLI::App& app, ExitCode& exit_code);

}  // namespace granule::cli
