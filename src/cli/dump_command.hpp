// granule dump: page tables, mappings and granules of the VMs of a trace at a given call.
#pragma once

#include <CLI/CLI.hpp>

namespace granule::cli {

// The command runs while `app` parses.
void add_dump_command(CLI::App& app);

}  // namespace granule::cli
