#include "tests/kernel/inside/gem_handles.hpp"

#include <sys/ioctl.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <vector>

#include "src/drm/panfrost_uapi.hpp"
#include "src/drm/panthor_uapi.hpp"
#include "tests/kernel/inside/probe_error.hpp"

namespace granule::kernel_test {
namespace {

// 0 or an errno.
int ask(int fd, Driver driver, std::uint32_t handle) {
    int result = 0;
    if (driver == Driver::kPanthor) {
        drm_panthor_bo_mmap_offset argument;
        argument.handle = handle;
        result = ioctl(fd, panthor::kBoMmapOffset, &argument);
    } else {
        drm_panfrost_get_bo_offset argument;
        argument.handle = handle;
        result = ioctl(fd, panfrost::kGetBoOffset, &argument);
    }
    return result == 0 ? 0 : errno;
}

}  // namespace

std::vector<std::uint32_t> open_gem_handles(int fd, Driver driver, std::uint32_t last) {
    std::vector<std::uint32_t> handles;
    for (std::uint32_t handle = 1; handle <= last; ++handle) {
        const int error = ask(fd, driver, handle);
        if (error == ENOENT) {
            continue;
        }
        if (error != 0 && error != EPERM && error != EINVAL) {
            throw ProbeError("handle " + std::to_string(handle), "is it there?", error);
        }
        handles.push_back(handle);
    }
    return handles;
}

}  // namespace granule::kernel_test
