// Names of buffers and places in them, as the allocator layer knows them: numbers that src/ gives meaning to.
#pragma once

#include <cstdint>

#include "mali/address.hpp"

namespace granule {

// A byte offset into a BO.
using BoOffset = Address<struct BoOffsetKind>;

// Which BO a mapping shows. 0 is no BO: a sparse mapping, whose reads are harmless and whose writes vanish.
enum class BoId : std::uint32_t {};
inline constexpr BoId kNoBo{0};

// Which bind made a mapping: the serial number that src/ gives to each, for reports (P6).
enum class BindSerial : std::uint32_t {};

// What the GPU may do with a mapping, as DRM_PANTHOR_VM_BIND_OP_MAP_* (Linux include/uapi/drm/panthor_drm.h).
struct MapFlags {
    bool readonly = false;
    bool noexec = false;
    bool uncached = false;

    constexpr bool operator==(const MapFlags&) const noexcept = default;
};

// What a VA shows.
struct Backing {
    BoId bo = kNoBo;
    BoOffset offset;  // of the first byte; without meaning (0) where sparse
    MapFlags flags;
    BindSerial serial{};

    [[nodiscard]] constexpr bool sparse() const noexcept { return bo == kNoBo; }
    // The same backing `bytes` further on.
    [[nodiscard]] constexpr Backing advanced(std::uint64_t bytes) const noexcept {
        Backing further = *this;
        if (!sparse()) {
            further.offset = offset + bytes;
        }
        return further;
    }
    constexpr bool operator==(const Backing&) const noexcept = default;
};

// A run of GPU VA that shows a run of one BO with one set of flags.
struct Mapping {
    VaRange va;
    Backing shows;

    // The part of this mapping inside `range`, which overlaps it.
    [[nodiscard]] constexpr Mapping clipped(const VaRange& range) const noexcept {
        const VaRange part = va.intersection(range);
        return {part, shows.advanced(part.start - va.start)};
    }
    constexpr bool operator==(const Mapping&) const noexcept = default;
};

}  // namespace granule
