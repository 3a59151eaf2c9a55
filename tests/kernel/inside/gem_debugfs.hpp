// What the drivers show of BOs and GPU VAs in debugfs, read and typed.
//
// What there is (Debian arm64 kernels, DRI directory /sys/kernel/debug/dri/128):
//
//     kernel    panthor            panfrost
//     6.12      gpuvas             -
//     6.16      gpuvas, gems       -
//     6.18      gpuvas, gems       gems
//     7.2, 7.3  gpuvas, gems       gems
//
// - gpuvas lists every VM, the firmware's ("panthor-MCU-VM") too, until it is destroyed, and every mapping, with the
//   kernel's address of the BO; a sparse mapping is one of the file's dummy BO. There is no id of a VM: VMs stand in
//   the order of their creation.
// - gems lists every GEM object of the device until it is freed, with the task that created it; handles and mappings
//   hold references. From 7.3 on every open file of panthor has one of its own, of 2 MiB, without a name: the dummy.
// - Where there is no gems: fdinfo.hpp (bytes behind this file's handles), gem_handles.hpp (its handles), gem_counter.hpp
//   (objects that live, on any kernel).
//
// Failure: ProbeError for text that is not what the drivers write; nullopt where a file does not exist.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mali/address.hpp"

namespace granule::kernel_test {

struct GemObject {
    std::string creator;  // the name of the task
    int pid = 0;
    std::uint32_t references = 0;
    std::uint64_t size = 0;
    std::uint64_t resident = 0;
    bool imported = false;
    bool exported = false;
    bool of_kernel = false;  // panthor: made by the driver itself (firmware, ring buffers, heaps)
    std::string label;

    bool operator==(const GemObject&) const = default;
};

struct GpuVa {
    VaRange range;
    std::uint64_t object = 0;  // the kernel's address of the BO
    std::uint64_t offset = 0;  // in the BO

    bool operator==(const GpuVa&) const = default;
};

struct GpuVaSpace {
    std::string name;
    std::vector<GpuVa> vas;  // ascending

    bool operator==(const GpuVaSpace&) const = default;
};

[[nodiscard]] std::vector<GemObject> parse_gems(std::string_view text);
[[nodiscard]] std::vector<GpuVaSpace> parse_gpuvas(std::string_view text);

inline constexpr const char* kDriDirectory = "/sys/kernel/debug/dri/128";

[[nodiscard]] std::optional<std::vector<GemObject>> read_gems(const std::string& directory = kDriDirectory);
// Those that a task `pid` (this process, by default) created and the driver did not make for itself.
[[nodiscard]] std::optional<std::vector<GemObject>> read_own_gems(const std::string& directory = kDriDirectory);
// The VMs of user space: without the firmware's.
[[nodiscard]] std::optional<std::vector<GpuVaSpace>> read_gpuvas(const std::string& directory = kDriDirectory);

}  // namespace granule::kernel_test
