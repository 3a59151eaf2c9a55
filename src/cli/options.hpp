// The options that several commands share.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "mali/address.hpp"
#include "src/replay/replay.hpp"

namespace granule::cli {

[[nodiscard]] const char* to_string(BoMemory memory) noexcept;

// --gpu, --kernel, --leaves, --memory: which soft device.
void add_device_options(CLI::App& command, replay::Options& options);
// --device: a DRM device instead.
void add_drm_option(CLI::App& command, replay::Options& options);
// CommandError where an option was given that is not for the device that was chosen.
void check_device_options(const CLI::App& command, const replay::Options& options);
// --unmap-policy.
void add_policy_option(CLI::App& command, UnmapPolicy& policy, const std::string& description);

// An option with a number (numbers.hpp) that fits into `bits`.
CLI::Option* add_number_option(CLI::App& command, const std::string& name, std::optional<std::uint64_t>& value,
                               unsigned bits, const std::string& description);
// An option with VA+SIZE.
CLI::Option* add_range_option(CLI::App& command, const std::string& name, std::optional<VaRange>& value,
                              const std::string& description);

// Which VM of a trace; what is not given fits all.
struct VmChoice {
    std::optional<std::uint64_t> process;
    std::optional<std::uint64_t> file;
    std::optional<std::uint64_t> vm;

    [[nodiscard]] bool fits(const replay::VmView& view) const noexcept {
        return (!process || *process == view.process) && (!file || *file == view.file) && (!vm || *vm == view.vm);
    }
};
// --process, --file, --vm.
void add_vm_options(CLI::App& command, VmChoice& choice);

}  // namespace granule::cli
