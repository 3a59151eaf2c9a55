#include "src/cli/gpus_command.hpp"

#include <fmt/format.h>

#include <string>

#include "mali/gpu_model.hpp"
#include "src/cli/text_table.hpp"
#include "src/cli/write_file.hpp"

namespace granule::cli {
namespace {

std::string names_of(const mali::GpuModel& model) {
    std::string names(model.name);
    for (const std::string_view alias : model.aliases) {
        if (!alias.empty()) {
            names += fmt::format(", {}", alias);
        }
    }
    return names;
}

void run() {
    TextTable table({
        {"", "id"},
        {"", "name", true},
        {"", "family", true},
        {"", "arch"},
        {"VA", "bits"},
        {"PA", "bits"},
        {"", "AS"},
        {"page", "table", true},
        {"", "driver", true},
    });
    for (const mali::GpuModel& model : mali::gpu_models()) {
        table.add_row({
            fmt::format("{:#06x}", model.product_id),
            names_of(model),
            to_string(model.family),
            std::to_string(model.arch),
            std::to_string(model.va_bits),
            std::to_string(model.pa_bits),
            std::to_string(model.address_spaces),
            model.format == mali::Format::kMaliLpae ? "ARM_MALI_LPAE" : "AArch64 4K",
            to_string(model.driver),
        });
    }
    print(table.text());
}

}  // namespace

void add_gpus_command(CLI::App& app) {
    CLI::App& command = *app.add_subcommand("gpus", "List the GPUs that --gpu and traces may name");
    command.footer(
        "AS: address spaces, the hardware slots that VMs occupy. Ids are those of GPU_ID, upper half.\n"
        "Example:\n"
        "  granule gpus | grep panthor");
    command.callback(run);
}

}  // namespace granule::cli
