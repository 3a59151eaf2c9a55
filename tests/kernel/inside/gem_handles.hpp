// The GEM handles that an open file has: asked one by one, so on any kernel.
//
// There is no list of them. But every driver answers ENOENT to an unknown handle in an ioctl that changes nothing else:
// panthor's BO_MMAP_OFFSET (it reserves a place in the device file for mmap, at most) and panfrost's GET_BO_OFFSET.
// Handles are the lowest free numbers from 1 on.
//
// Failure: ProbeError for errors of the ioctl's that say neither "there is no such handle" (ENOENT) nor "there is"
// (success; EPERM: it may not be mapped by the CPU; EINVAL: it is not mapped by the GPU).
#pragma once

#include <cstdint>
#include <vector>

namespace granule::kernel_test {

enum class Driver : std::uint8_t { kPanthor, kPanfrost };

// The handles up to `last` that `fd` has, ascending.
[[nodiscard]] std::vector<std::uint32_t> open_gem_handles(int fd, Driver driver, std::uint32_t last = 4096);

}  // namespace granule::kernel_test
