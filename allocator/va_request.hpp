// What is asked of a VaHeap, and what it answers when it cannot: the vocabulary of va_heap.hpp, without its machinery.
//
// Thread-safety: values.
#pragma once

#include <cstddef>
#include <cstdint>

#include "mali/address.hpp"

namespace granule {

// A named part of the space. Zones do not overlap; a request names one.
enum class VaZone : std::uint8_t {
    kLow,  // below 4 GiB: what 32-bit pointers must reach
    kMain,
    kReplay,  // fixed addresses of capture and replay
};
inline constexpr std::size_t kVaZones = 3;

enum class VaDirection : std::uint8_t { kTopDown, kBottomUp };

//          guard      size       guard
//       |---------|===========|---------|      start mod alignment == phase
//                 ^ start                      no multiple of boundary strictly inside the whole of it
//
// With a guard, a range neither begins nor ends at a multiple of its boundary: what Panfrost asks of executable BOs at
// 4 GiB (panfrost_drm_mm_color_adjust in Linux drivers/gpu/drm/panfrost/panfrost_mmu.c).
struct VaRequest {
    std::uint64_t size = 0;
    std::uint64_t alignment = kPageBytes;  // a power of two, 4 KiB to 2^47
    std::uint64_t phase = 0;               // a multiple of 4 KiB below `alignment`
    VaZone zone = VaZone::kMain;
    VaDirection direction = VaDirection::kTopDown;
    std::uint64_t boundary = 0;  // 0, or a power of two (at least 4 KiB) that neither range nor guards cross
    std::uint64_t guard = 0;     // bytes that stay unused before and after it; a multiple of 4 KiB

    constexpr bool operator==(const VaRequest&) const noexcept = default;
};

// Where a heap keeps an allocation: what makes giving it back a matter of one look. A hint, never trusted: the range
// decides, and a handle that is stale or somebody else's only costs the search that it was to spare.
enum class VaHandle : std::uint64_t { kNone = 0 };

// An allocation with its handle.
struct VaLease {
    VaRange range;
    VaHandle handle = VaHandle::kNone;

    constexpr bool operator==(const VaLease&) const noexcept = default;
};

struct VaError {
    enum class Code : std::uint8_t {
        kBadRequest,    // breaks a rule: `why` says which
        kOutOfVa,       // no place in the zone satisfies the request
        kOutOfMemory,   // no node
        kOccupied,      // fixed address: `occupant` is in the way
        kNotAllocated,  // nothing to release: `occupant` is what is there, if anything is
    };
    Code code = Code::kBadRequest;
    const char* why = "";             // static text
    VaRange occupant{};               // kOccupied, kNotAllocated: the allocation there, with its guards; or empty
    std::uint64_t largest_hole = 0;   // kOutOfVa: bytes of the largest hole of the zone
    std::uint64_t behind_fences = 0;  // kOutOfVa: bytes of the zone that only wait for fences (reuse_queue.hpp)

    constexpr bool operator==(const VaError&) const noexcept = default;
};

}  // namespace granule
