// The MMU's registers: offsets in the GPU's MMIO page, commands, and the bits in them.
//
//     0x0000  GPU control    GPU_ID, MMU_FEATURES, AS_PRESENT, GPU_INT_*, GPU_CMD
//     0x2000  MMU control    MMU_INT_*
//     0x2400  AS 0           64 bytes an address space, up to 16
//     0x2440  AS 1
//     ...
//
// 64-bit registers are two 32-bit ones, low half first.
// Sources: Linux drivers/gpu/drm/panfrost/panfrost_regs.h, drivers/gpu/drm/panthor/panthor_regs.h.
//
// Constants and pure functions; no state.
#pragma once

#include <cassert>
#include <cstdint>

namespace granule::mali::reg {

// ---- GPU control ----
inline constexpr std::uint32_t kGpuId = 0x000;
inline constexpr std::uint32_t kMmuFeatures = 0x014;  // see MmuFeatures in gpu_model.hpp
inline constexpr std::uint32_t kAsPresent = 0x018;    // bit n: AS n exists
inline constexpr std::uint32_t kGpuIntRawStat = 0x020;
inline constexpr std::uint32_t kGpuIntClear = 0x024;
inline constexpr std::uint32_t kGpuIntMask = 0x028;
inline constexpr std::uint32_t kGpuIntStat = 0x02c;
inline constexpr std::uint32_t kGpuCmd = 0x030;

inline constexpr std::uint32_t kGpuIntCleanCachesCompleted = 1U << 17;  // the flush that GPU_CMD started is done

// ---- MMU control ----
inline constexpr std::uint32_t kMmuIntRawStat = 0x2000;
inline constexpr std::uint32_t kMmuIntClear = 0x2004;
inline constexpr std::uint32_t kMmuIntMask = 0x2008;
inline constexpr std::uint32_t kMmuIntStat = 0x200c;

// ---- one address space: offsets from as_base ----
inline constexpr std::uint32_t kAsTranstab = 0x00;
inline constexpr std::uint32_t kAsMemattr = 0x08;
inline constexpr std::uint32_t kAsLockaddr = 0x10;
inline constexpr std::uint32_t kAsCommand = 0x18;
inline constexpr std::uint32_t kAsFaultStatus = 0x1c;
inline constexpr std::uint32_t kAsFaultAddress = 0x20;
inline constexpr std::uint32_t kAsStatus = 0x28;
inline constexpr std::uint32_t kAsTranscfg = 0x30;    // Bifrost and later
inline constexpr std::uint32_t kAsFaultExtra = 0x38;  // Bifrost and later
inline constexpr std::uint32_t kHighHalf = 4;         // the upper 32 bits of a 64-bit register

inline constexpr unsigned kMaxAddressSpaces = 16;
inline constexpr std::uint32_t kAsBase = 0x2400;
inline constexpr std::uint32_t kAsStride = 0x40;

[[nodiscard]] constexpr std::uint32_t as_base(unsigned as) noexcept {
    assert(as < kMaxAddressSpaces);
    return kAsBase + as * kAsStride;
}

inline constexpr std::uint32_t kAsStatusActive = 1U << 0;  // a command is under way

}  // namespace granule::mali::reg

namespace granule::mali {

// AS_COMMAND. A flush ends the lock that it finds: no UNLOCK follows it.
enum class AsCommand : std::uint32_t {
    kNop = 0,
    kUpdate = 1,    // TRANSTAB, MEMATTR and TRANSCFG take effect
    kLock = 2,      // accesses to the region in LOCKADDR stall
    kUnlock = 3,    //
    kFlushPt = 4,   // the locked region leaves the TLBs and the L2's page-table lines; T60x: FLUSH, as kFlushMem
    kFlushMem = 5,  // the same, and its data leaves the L2
};

// GPU_CMD FLUSH_CACHES of CSF GPUs: what each cache does with its lines.
enum class CacheAction : std::uint32_t { kNone = 0, kClean = 1, kInvalidate = 2, kCleanInvalidate = 3 };

[[nodiscard]] constexpr std::uint32_t flush_caches_command(CacheAction l2, CacheAction load_store,
                                                           CacheAction other) noexcept {
    constexpr std::uint32_t kFlushCaches = 4;
    return kFlushCaches | (static_cast<std::uint32_t>(l2) << 8) | (static_cast<std::uint32_t>(load_store) << 12) |
           (static_cast<std::uint32_t>(other) << 16);
}

// What FLUSH_PT was: enough where only translations changed.
inline constexpr std::uint32_t kGpuFlushPt =
    flush_caches_command(CacheAction::kCleanInvalidate, CacheAction::kNone, CacheAction::kNone);
// What FLUSH_MEM was: for an address space that gets a new owner.
inline constexpr std::uint32_t kGpuFlushMem =
    flush_caches_command(CacheAction::kCleanInvalidate, CacheAction::kCleanInvalidate, CacheAction::kNone);
// Everything that may hold data of an unmapped page.
inline constexpr std::uint32_t kGpuFlushAll =
    flush_caches_command(CacheAction::kCleanInvalidate, CacheAction::kCleanInvalidate, CacheAction::kInvalidate);

}  // namespace granule::mali
