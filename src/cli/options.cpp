#include "src/cli/options.hpp"

#include <array>
#include <span>

#include "src/cli/exit_code.hpp"
#include "src/cli/numbers.hpp"

namespace granule::cli {
namespace {

constexpr std::array kKernels{KernelBehaviour::kSplits, KernelBehaviour::kRefuses, KernelBehaviour::kOopses,
                              KernelBehaviour::kRealigns};
constexpr std::array kPolicies{UnmapPolicy::kReject, UnmapPolicy::kSplit, UnmapPolicy::kEnlarge};
constexpr std::array kLeafPolicies{LeafPolicy::kLargest, LeafPolicy::kPage};
constexpr std::array kMemories{BoMemory::kHuge, BoMemory::kContiguous, BoMemory::kScattered};

// The names of all values, as "a|b|c".
template <class T>
std::string names_of(std::span<const T> values, const std::string& between) {
    std::string names;
    for (const T value : values) {
        names += (names.empty() ? "" : between) + to_string(value);
    }
    return names;
}

// An option whose value is one of a few, by the names that to_string gives them.
template <class T, class Chosen>
CLI::Option* add_choice(CLI::App& command, const std::string& name, Chosen& chosen, std::span<const T> values,
                        const std::string& description) {
    return command
        .add_option_function<std::string>(
            name,
            [name, values, &chosen](const std::string& text) {
                for (const T value : values) {
                    if (text == to_string(value)) {
                        chosen = value;
                        return;
                    }
                }
                throw CLI::ValidationError(name, "'" + text + "' is none of " + names_of(values, ", "));
            },
            description)
        ->type_name(names_of(values, "|"));
}

}  // namespace

const char* to_string(BoMemory memory) noexcept {
    switch (memory) {
        case BoMemory::kHuge:
            return "huge";
        case BoMemory::kContiguous:
            return "contiguous";
        case BoMemory::kScattered:
            return "scattered";
    }
    return "?";
}

void add_device_options(CLI::App& command, replay::Options& options) {
    command
        .add_option_function<std::string>(
            "--gpu",
            [&options](const std::string& text) {
                options.gpu = mali::find_gpu_model(text);
                if (options.gpu == nullptr) {
                    throw CLI::ValidationError(
                        "--gpu", "'" + text + "' is no known GPU: a name such as G610 or an id such as 0xa867; " +
                                     "'granule gpus' lists them");
                }
            },
            "replay on this GPU instead of the one in the trace: G610, 0xa867, ...")
        ->type_name("ID");
    add_choice<KernelBehaviour>(command, "--kernel", options.kernel, kKernels,
                                "what the kernel does with an unmap of a part of a leaf")
        ->default_str(to_string(replay::kSoftKernel));
    add_choice<LeafPolicy>(command, "--leaves", options.leaves, kLeafPolicies, "how maps are cut into leaves")
        ->default_str(to_string(options.leaves));
    add_choice<BoMemory>(command, "--memory", options.memory, kMemories, "what the memory behind BOs is made of")
        ->default_str(to_string(options.memory));
}

void add_drm_option(CLI::App& command, replay::Options& options) {
    command
        .add_option("--device", options.device,
                    "replay on this render node of a panthor or panfrost GPU instead of the soft device; 'granule "
                    "devices' lists them. --kernel then overrides what was found out about its kernel")
        ->type_name("PATH")
        ->check(CLI::Validator([](const std::string& path) { return std::string(path.empty() ? "no path" : ""); }, ""));
}

void check_device_options(const CLI::App& command, const replay::Options& options) {
    if (options.device.empty()) {
        return;
    }
    for (const char* const name : {"--gpu", "--memory"}) {
        if (command.count(name) != 0) {
            throw CommandError(ExitCode::kBadInput, std::string(name) + " is for the soft device: " + options.device +
                                                        " has a GPU and memory of its own; leave out " + name +
                                                        " or --device");
        }
    }
}

void add_policy_option(CLI::App& command, UnmapPolicy& policy, const std::string& description) {
    add_choice<UnmapPolicy>(command, "--unmap-policy", policy, kPolicies, description)->default_str(to_string(policy));
}

CLI::Option* add_number_option(CLI::App& command, const std::string& name, std::optional<std::uint64_t>& value,
                               unsigned bits, const std::string& description) {
    return command
        .add_option_function<std::string>(
            name,
            [name, bits, &value](const std::string& text) {
                value = parse_number(text);
                if (!value || (bits < 64 && *value >> bits != 0)) {
                    throw CLI::ValidationError(name, "'" + text + "' is no number below 2^" + std::to_string(bits) +
                                                         ": 4096, 0x1000, 64K, 2M, 1G");
                }
            },
            description)
        ->type_name("N");
}

CLI::Option* add_range_option(CLI::App& command, const std::string& name, std::optional<VaRange>& value,
                              const std::string& description) {
    return command
        .add_option_function<std::string>(
            name,
            [name, &value](const std::string& text) {
                value = parse_range(text);
                if (!value) {
                    throw CLI::ValidationError(
                        name, "'" + text + "' is no range below 2^48: VA+SIZE, such as 0x7fff00000000+64K");
                }
            },
            description)
        ->type_name("VA+SIZE");
}

void add_vm_options(CLI::App& command, VmChoice& choice) {
    add_number_option(command, "--process", choice.process, 32, "the VM's process, where the trace has several");
    add_number_option(command, "--file", choice.file, 32, "the VM's open DRM file");
    add_number_option(command, "--vm", choice.vm, 32, "the VM's id (panfrost: 0)");
}

}  // namespace granule::cli
