// The lock region: which VAs an MMU command covers, as AS_LOCKADDR encodes it.
//
// The hardware locks a naturally aligned power of two. The least one that covers [start, end) follows from the highest
// bit in which its first and last byte differ; a range that straddles a large boundary locks far more than it asks for:
//
//     0x1ff000          0x201000
//         |--- request ---|
//  |------------------------------------------------------|   locked: 4 MiB at 0
//  0                  0x200000                         0x400000
//
//     AS_LOCKADDR  63                              12 11    6 5     0
//                 +----------------------------------+-------+-------+
//                 |            VA[63:12]             |   0   | width |   region is 2^(width + 1) bytes
//                 +----------------------------------+-------+-------+
//
// Invariants: `locked` covers the request; it is naturally aligned, not below the smallest region, and no smaller such
// region covers the request. locked_by(lockaddr) == locked.
// Sources: Linux drivers/gpu/drm/panfrost/panfrost_mmu.c and drivers/gpu/drm/panthor/panthor_mmu.c (lock_region).
//
// Pure functions; no state, no failure.
#pragma once

#include <bit>
#include <cassert>
#include <cstdint>

#include "mali/address.hpp"

namespace granule::mali {

// log2 of the smallest region. Midgard's hardware can lock 4 KiB; Linux locks 32 KiB on every generation.
inline constexpr unsigned kSmallestLockMidgardHardware = 12;
inline constexpr unsigned kSmallestLockLog2 = 15;

struct LockRegion {
    std::uint64_t lockaddr = 0;  // for AS_LOCKADDR
    VaRange locked;              // what the hardware locks for it

    constexpr bool operator==(const LockRegion&) const noexcept = default;
};

inline constexpr std::uint64_t kLockWidthMask = 0x3f;

// Every VA, whatever the VA bits: what an address space is flushed with before it gets a new owner.
inline constexpr LockRegion kLockEverything{kLockWidthMask, VaRange{Va{0}, Va{kMaxVaEnd}}};

// What a raw AS_LOCKADDR locks. Address bits below the region's size are ignored, as the hardware does; regions that
// reach past 2^48 end there.
[[nodiscard]] constexpr VaRange locked_by(std::uint64_t lockaddr) noexcept {
    const auto log2 = static_cast<unsigned>(lockaddr & kLockWidthMask) + 1U;
    if (log2 >= kMaxVaBits) {
        return kLockEverything.locked;
    }
    const std::uint64_t bytes = std::uint64_t{1} << log2;
    const std::uint64_t start = align_down(lockaddr & (kMaxVaEnd - 1), bytes);
    return {Va{start}, Va{start + bytes}};
}

// The least region that covers `request`, which is not empty. `smallest_log2` is GpuModel::smallest_lock_log2 or what
// the kernel at hand uses.
[[nodiscard]] constexpr LockRegion lock_region(VaRange request, unsigned smallest_log2 = kSmallestLockLog2) noexcept {
    assert(request.start < request.end && request.end.raw() <= kMaxVaEnd);
    assert(smallest_log2 >= kSmallestLockMidgardHardware && smallest_log2 <= kMaxVaBits);
    const std::uint64_t first = request.start.raw();
    const std::uint64_t differing = first ^ (request.end.raw() - 1);
    const auto covering = static_cast<unsigned>(std::bit_width(differing));
    const unsigned width = (covering > smallest_log2 ? covering : smallest_log2) - 1;
    // Bit `width` of the address is inside the region and ignored; clearing only the bits below it is what Linux
    // writes, and keeps the values comparable.
    const std::uint64_t lockaddr = align_down(first, std::uint64_t{1} << width) | width;
    return {lockaddr, locked_by(lockaddr)};
}

}  // namespace granule::mali
