#include "src/cli/devices_command.hpp"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <system_error>

#include "src/cli/devices_report.hpp"
#include "src/cli/exit_code.hpp"
#include "src/cli/write_file.hpp"
#include "src/drm/device_list.hpp"

namespace granule::cli {
namespace {

struct Arguments {
    bool probe = true;
    std::string json;
};

void run(const Arguments& arguments) {
    std::optional<OutputFile> json_file;
    if (!arguments.json.empty()) {
        json_file.emplace(arguments.json);
    }
    KernelFactsOptions options;
    options.probe = arguments.probe;
    const auto devices = list_drm_devices(system_drm_calls(), options, NodeMemory::process());
    if (!devices) {
        throw CommandError(ExitCode::kBadInput, fmt::format("cannot list DRM devices: {}: {}", devices.error().call,
                                                            std::generic_category().message(devices.error().error)));
    }
    if (json_file) {
        json_file->write(to_text(devices_json(devices->view())));
    }
    if (arguments.json != "-") {
        print(devices_text(devices->view()));
    }
}

}  // namespace

void add_devices_command(CLI::App& app) {
    const auto arguments = std::make_shared<Arguments>();
    CLI::App& command =
        *app.add_subcommand("devices", "List the DRM devices of this machine and what their kernels do");
    command.add_flag("!--no-probe", arguments->probe,
                     "do not try out what an unmap of a part of a leaf does, where that would be safe");
    command.add_option("--json", arguments->json, "write it to this file; -: to standard output, instead of the text")
        ->type_name("FILE");
    command.footer(
        "An unmap of a part of a leaf: splits, refuses, oopses, realigns (what --kernel takes).\n"
        "Example:\n"
        "  granule devices --json - | grep behaviour");
    command.callback([arguments] { run(*arguments); });
}

}  // namespace granule::cli
