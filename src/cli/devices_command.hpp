// granule devices: the DRM devices of this machine, and what is known of the kernel behind each.
#pragma once

#include <CLI/CLI.hpp>

namespace granule::cli {

void add_devices_command(CLI::App& app);

}  // namespace granule::cli
