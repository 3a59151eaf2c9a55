// granule gpus: the GPUs that --gpu and traces may name.
#pragma once

#include <CLI/CLI.hpp>

namespace granule::cli {

void add_gpus_command(CLI::App& app);

}  // namespace granule::cli
