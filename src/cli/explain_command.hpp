// granule explain: the plan for a change of a VM as a trace had it at a given call, without making the change.
#pragma once

#include <CLI/CLI.hpp>

#include "src/cli/exit_code.hpp"

namespace granule::cli {

// The command runs while `app` parses; its end is put into `exit_code`.
void add_explain_command(CLI::App& app, ExitCode& exit_code);

}  // namespace granule::cli
