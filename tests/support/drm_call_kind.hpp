// The calls of DrmCalls and the ioctls behind them by name, and with which errnos a kernel can answer each.
//
// For failure injection and for counting: so that "every call failing with every errno it can return" is a loop.
// EINTR and EAGAIN are not in the lists: drmIoctl makes such a call again. ENODEV is: it is what every ioctl of a file
// answers once the device is gone.
// Sources: Linux include/uapi/drm/panthor_drm.h, panfrost_drm.h and the drivers behind them; drm_syncobj.c, drm_prime.c.
#pragma once

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>

#include "src/drm/kernel_facts.hpp"

namespace granule::test {

enum class DrmCallKind : std::uint8_t {
    kOpen,
    kDuplicate,
    kVersion,
    kMap,
    kReadText,
    kCloseHandle,
    kExportHandle,
    kImportHandle,
    kDmaBufBytes,
    kSyncobjCreate,
    kSyncobjDestroy,
    kSyncobjExport,
    kSyncobjImport,
    kSyncobjWait,
    kSyncobjSignal,
    kSyncobjQuery,
    // panthor
    kDevQuery,
    kVmCreate,
    kVmDestroy,
    kVmBind,
    kVmGetState,
    kBoCreate,
    kBoMmapOffset,
    kBoSetLabel,
    kSetUserMmioOffset,
    kBoSync,
    kBoQueryInfo,
    // panfrost
    kWaitBo,
    kCreateBo,
    kMmapBo,
    kGetParam,
    kGetBoOffset,
    kMadvise,
    kSetLabelBo,
    kSyncBo,
    kQueryBoInfo,
    kOther,  // an ioctl that has no name here
};
inline constexpr std::size_t kDrmCallKinds = static_cast<std::size_t>(DrmCallKind::kOther) + 1;

[[nodiscard]] const char* to_string(DrmCallKind kind) noexcept;
[[nodiscard]] DrmCallKind ioctl_kind(DrmDriver driver, unsigned long request) noexcept;
// What it can fail with, the most likely first. Never empty but for kOther.
[[nodiscard]] std::span<const int> possible_errors(DrmCallKind kind) noexcept;
// Whether the call gives something back: where it fails, the device is gone, or we are wrong about what we have.
[[nodiscard]] bool gives_back(DrmCallKind kind) noexcept;

// A number for each kind.
class DrmCallCounts {
public:
    [[nodiscard]] std::uint64_t& operator[](DrmCallKind kind) noexcept {
        return counts_[static_cast<std::size_t>(kind)];
    }
    [[nodiscard]] std::uint64_t operator[](DrmCallKind kind) const noexcept {
        return counts_[static_cast<std::size_t>(kind)];
    }

private:
    std::array<std::uint64_t, kDrmCallKinds> counts_{};
};

}  // namespace granule::test
