#include "src/cli/devices_report.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#include "src/cli/text_table.hpp"
#include "src/cli/units.hpp"

namespace granule::cli {
namespace {

struct Feature {
    const char* name;
    bool KernelFacts::*has;
};

constexpr std::array kFeatures{
    Feature{"labels", &KernelFacts::labels},         Feature{"cached BOs", &KernelFacts::cpu_cached_bos},
    Feature{"BO info", &KernelFacts::bo_query_info}, Feature{"sparse", &KernelFacts::sparse},
    Feature{"huge pages", &KernelFacts::huge_pages}, Feature{"coherent", &KernelFacts::coherent},
};

std::string driver_text(const DrmVersion& version) {
    return fmt::format("{} {}.{}", printable(version.name.view()), version.major, version.minor);
}

std::string gpu_text(const KernelFacts& facts) {
    return facts.gpu != nullptr ? std::string(facts.gpu->name) : fmt::format("unknown, {:#x}", facts.gpu_id);
}

std::string features_text(const KernelFacts& facts) {
    std::string text;
    for (const Feature& feature : kFeatures) {
        if (facts.*feature.has) {
            text += (text.empty() ? "" : ", ") + std::string(feature.name);
        }
    }
    return text;
}

// Why there are no facts.
std::string error_text(const DrmDeviceEntry& device) {
    const OsError& error = device.error;
    if (error.status == Status::kNotSupported) {
        return device.version.name.view().empty() ? "not supported"
                                                  : driver_text(device.version) + ": no driver that granule knows";
    }
    std::string text = fmt::format("{}: {}", error.call, std::generic_category().message(error.error));
    if (error.error == EACCES || error.error == EPERM) {
        text += " (its group, often 'render' or 'video', may use it)";
    }
    return text;
}

std::string title_text(const DrmDeviceEntry& device) {
    const std::string bus = printable(device.bus.view());
    return printable(device.path.view()) + (bus.empty() ? "" : ", " + bus);
}

bool maps_whole_bos(const KernelFacts& facts) {
    return facts.driver == DrmDriver::kPanfrost;
}

// "4K, 2M".
std::vector<std::string> leaf_names(LeafSizes sizes) {
    std::vector<std::string> names;
    for (const LeafSize size : {LeafSize::k4K, LeafSize::k2M, LeafSize::k1G}) {
        if ((sizes & bytes_of(size)) != 0) {
            names.emplace_back(leaf_text(size));
        }
    }
    return names;
}

constexpr const char* kNoDevice =
    "No DRM render node (/dev/dri/renderD*): no GPU with a kernel driver, or it cannot be seen from here.\n"
    "A Mali needs a kernel with panthor (from G610 on) or panfrost. All but the devices themselves works without one:\n"
    "granule replay, explain and dump play on a Mali in software.\n";

constexpr const char* kNotKnown =
    "Known from 'unknown': nobody has measured what this kernel does with an unmap of a part of a leaf. It gets the "
    "sequences of a kernel that oopses, which are safe on all.";

constexpr const char* kProbed =
    "Known from 'probe': it refused an unmap of a part of a leaf, which its release should carry out.";

}  // namespace

std::string devices_text(std::span<const DrmDeviceEntry> devices) {
    if (devices.empty()) {
        return kNoDevice;
    }
    TextTable table({
        {"", "driver", true},
        {"", "kernel", true},
        {"", "GPU", true},
        {"VA", "bits"},
        {"PA", "bits"},
        {"unmap of a", "part of a leaf", true},
        {"known", "from", true},
        {"", "features", true},
    });
    bool unknown = false;
    bool probed = false;
    for (const DrmDeviceEntry& device : devices) {
        if (!device.facts) {
            table.add_row(title_text(device), error_text(device), {});
            continue;
        }
        const KernelFacts& facts = *device.facts;
        unknown = unknown || facts.behaviour_from == KernelFacts::From::kUnknown;
        probed = probed || facts.behaviour_from == KernelFacts::From::kProbe;
        table.add_row(title_text(device), {},
                      {
                          driver_text(facts.version),
                          printable(facts.release_text.view()),
                          gpu_text(facts),
                          std::to_string(facts.va_bits),
                          std::to_string(facts.pa_bits),
                          maps_whole_bos(facts) ? "whole BOs only" : to_string(facts.behaviour),
                          to_string(facts.behaviour_from),
                          features_text(facts),
                      });
    }
    return table.text() + (unknown ? wrapped(kNotKnown, 0) : "") + (probed ? wrapped(kProbed, 0) : "");
}

Json devices_json(std::span<const DrmDeviceEntry> devices) {
    Json list = Json::array();
    for (const DrmDeviceEntry& device : devices) {
        Json json{{"path", device.path.view()}, {"bus", device.bus.view()}};
        if (!device.facts) {
            json["error"] = error_text(device);
            list.push_back(std::move(json));
            continue;
        }
        const KernelFacts& facts = *device.facts;
        json["error"] = nullptr;
        json["driver"] = to_string(facts.driver);
        json["version"] = fmt::format("{}.{}.{}", facts.version.major, facts.version.minor, facts.version.patch);
        json["kernel"] = facts.release_text.view();
        json["gpu"] = facts.gpu != nullptr ? Json(facts.gpu->name) : Json();
        json["gpu_id"] = hex(facts.gpu_id);
        json["va_bits"] = facts.va_bits;
        json["pa_bits"] = facts.pa_bits;
        json["leaves"] = leaf_names(facts.leaf_sizes);
        json["vm_space"] = range_json(facts.vm_space);
        json["behaviour"] = maps_whole_bos(facts) ? Json() : Json(to_string(facts.behaviour));
        json["behaviour_from"] = to_string(facts.behaviour_from);
        Json features = Json::object();
        for (const Feature& feature : kFeatures) {
            features[feature.name] = facts.*feature.has;
        }
        json["features"] = std::move(features);
        list.push_back(std::move(json));
    }
    return {{"devices", std::move(list)}};
}

}  // namespace granule::cli
