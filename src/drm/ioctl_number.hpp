// The numbers of DRM drivers' ioctls, as Linux include/uapi/asm-generic/ioctl.h builds them on arm, arm64, riscv and x86:
//
//      31 30 29           16 15            8 7             0
//     +-----+---------------+---------------+---------------+
//     | dir |     size      |   'd' = 0x64  |   0x40 + id   |
//     +-----+---------------+---------------+---------------+
//
// `size` is that of the argument. The DRM core looks the call up by its id alone: it fills up a shorter argument with
// zeroes and cuts a longer one, so that the newest struct works with every driver.
#pragma once

#include <cstddef>

namespace granule {

enum class IoctlDirection : unsigned { kWrite = 1, kRead = 2, kBoth = 3 };  // as user space sees it

template <class Argument>
[[nodiscard]] consteval unsigned long drm_ioctl_number(IoctlDirection direction, unsigned id) noexcept {
    static_assert(sizeof(Argument) < (std::size_t{1} << 14));
    constexpr unsigned kFirstOfDriver = 0x40;
    constexpr unsigned kType = 'd';
    return (static_cast<unsigned long>(direction) << 30) | (static_cast<unsigned long>(sizeof(Argument)) << 16) |
           (kType << 8) | (kFirstOfDriver + id);
}

}  // namespace granule
