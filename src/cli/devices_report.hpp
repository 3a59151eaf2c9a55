// What was found out about DRM devices, as text and as JSON.
#pragma once

#include <span>
#include <string>

#include "src/cli/json.hpp"
#include "src/drm/device_list.hpp"

namespace granule::cli {

// A table, then what there is to know about what it says. Without devices: what one would need.
[[nodiscard]] std::string devices_text(std::span<const DrmDeviceEntry> devices);
[[nodiscard]] Json devices_json(std::span<const DrmDeviceEntry> devices);

}  // namespace granule::cli
