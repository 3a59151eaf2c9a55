// Which DRM devices are there: the render nodes of the system, each with what is found out about the kernel behind it, or
// why nothing is.
//
// Failure of the list: no memory, or /dev/dri cannot be read; that there is none is an empty list. Failure of a device is
// in its entry.
// Cost: opens every render node once. Thread-safety: any thread.
#pragma once

#include <array>
#include <cstddef>
#include <optional>

#include "allocator/node_memory.hpp"
#include "mali/result.hpp"
#include "src/array.hpp"
#include "src/drm/drm_calls.hpp"
#include "src/drm/kernel_facts.hpp"
#include "src/status.hpp"

namespace granule {

struct DrmDeviceEntry {
    ShortLabel path;     // "/dev/dri/renderD128"
    ShortLabel bus;      // "platform fb000000.gpu", "pci 0000:01:00.0"; empty: unknown
    DrmVersion version;  // without name: it was not found out
    std::optional<KernelFacts> facts;
    OsError error{};  // why there are no facts: kNotSupported: a driver that is not a Mali's
};

// Linux has 64 render nodes at most; later ones are left out.
inline constexpr std::size_t kMaxDrmDevices = 64;

[[nodiscard]] Result<Array<DrmDeviceEntry>, OsError> list_drm_devices(DrmCalls& calls,
                                                                      const KernelFactsOptions& options,
                                                                      NodeMemory memory) noexcept;

// One device, by the path of its node.
[[nodiscard]] DrmDeviceEntry look_at_drm_device(DrmCalls& calls, const char* path,
                                                const KernelFactsOptions& options) noexcept;

}  // namespace granule
