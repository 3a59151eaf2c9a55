// What an address space's three registers say: where its tables are, how the walker reads them, and what the memory
// attribute indices of leaves mean.
//
//                 ARM_MALI_LPAE (ADRMODE "legacy")            AArch64 4K
//     TRANSTAB    root | 7, and | 0x10 where coherent         root
//                 bits 1:0 mode (3 table), bit 2 walk through
//                 the inner cache, bit 4 outer shareable
//     MEMATTR     0x888d88: 0 implementation-defined,         a byte an index, out of the MAIR that Linux has for the
//                 1 write-allocate, 2 as 0                    format: 0 and 2 uncached, 1 write-back
//     TRANSCFG    0                                           6 | (55 - VA bits) << 6 | walker: write-back, read-
//                                                             allocate, and outer shareable where coherent
//
// Invariants: read_translation(translation_config(...)) gives back format, root and (AArch64) VA bits.
// Sources: Linux drivers/iommu/io-pgtable-arm.c (arm_mali_lpae_alloc_pgtable, arm_64_lpae_alloc_pgtable_s1),
// drivers/gpu/drm/panfrost/panfrost_mmu.c, drivers/gpu/drm/panthor/panthor_mmu.c (mair_to_memattr), panthor_regs.h.
//
// Pure functions, constexpr; no state.
#pragma once

#include <cassert>
#include <cstdint>
#include <optional>

#include "mali/address.hpp"
#include "mali/attributes.hpp"

namespace granule::mali {

struct TranslationConfig {
    std::uint64_t transtab = 0;
    std::uint64_t memattr = 0;
    std::uint64_t transcfg = 0;

    constexpr bool operator==(const TranslationConfig&) const noexcept = default;
};

namespace transtab {
inline constexpr std::uint64_t kModeMask = 3;
inline constexpr std::uint64_t kModeIdentity = 2;
inline constexpr std::uint64_t kModeTable = 3;
inline constexpr std::uint64_t kReadInner = std::uint64_t{1} << 2;
inline constexpr std::uint64_t kShareOuter = std::uint64_t{1} << 4;
inline constexpr std::uint64_t kAddressMask = (kMaxVaEnd - 1) & ~(kPageBytes - 1);
}  // namespace transtab

namespace transcfg {
inline constexpr std::uint64_t kModeMask = 0xf;
inline constexpr std::uint64_t kModeLegacy = 0;  // TRANSTAB says
inline constexpr std::uint64_t kModeUnmapped = 1;
inline constexpr std::uint64_t kModeIdentity = 2;
inline constexpr std::uint64_t kModeAarch64_4k = 6;
inline constexpr unsigned kInaBitsShift = 6;
inline constexpr std::uint64_t kInaBitsMask = std::uint64_t{0x1f} << kInaBitsShift;
inline constexpr unsigned kInaBitsFrom = 55;  // the field is this less the VA bits
inline constexpr std::uint64_t kWalkWriteBack = std::uint64_t{2} << 24;
inline constexpr std::uint64_t kWalkOuterShareable = std::uint64_t{2} << 28;
inline constexpr std::uint64_t kWalkReadAllocate = std::uint64_t{1} << 30;
}  // namespace transcfg

// The memory attributes that Linux gives the indices of each format, before they become MEMATTR.
inline constexpr std::uint64_t kMaliMemattr = 0x0000'0000'0088'8d88;
// MAIR_EL1: 0 non-cacheable, 1 write-back, 2 device, 3 to 7 unused. Linux builds the value in an int, and the sign of
// index 3 fills the upper half.
inline constexpr std::uint64_t kAarch64Mair = 0xffff'ffff'f404'ff44;

// MEMATTR of the AArch64 modes for a MAIR. A byte: bits 7:6 cacheability (1 none, 2 write-back), 5:4 shareability
// (0 within the GPU, 1 the CPU's inner domain), 3:2 allocation policy is explicit (3), 1 read-, 0 write-allocate.
[[nodiscard]] constexpr std::uint64_t memattr_from_mair(std::uint64_t mair, bool coherent) noexcept {
    constexpr std::uint64_t kNonCacheable = 0x4c;
    constexpr std::uint64_t kWriteBack = 0x8c;
    constexpr std::uint64_t kCpuInner = 0x10;
    std::uint64_t memattr = 0;
    for (unsigned index = 0; index < 8; ++index) {
        const std::uint64_t outer = (mair >> (8 * index + 4)) & 0xf;
        const std::uint64_t inner = (mair >> (8 * index)) & 0xf;
        // In a MAIR nibble bit 2 means write-back and bits 1:0 its allocation hints; an outer nibble without hints is
        // device or plain non-cacheable. The GPU caches what is write-back on both sides, and nothing else.
        const bool write_back = (outer & 3) != 0 && (outer & 4) != 0 && (inner & 4) != 0;
        const std::uint64_t value = write_back ? kWriteBack | (inner & 3) | (coherent ? kCpuInner : 0) : kNonCacheable;
        memattr |= value << (8 * index);
    }
    return memattr;
}

// The registers of an address space whose root table is at `root`. `coherent`: the GPU snoops the CPU's caches.
[[nodiscard]] constexpr TranslationConfig translation_config(Format format, unsigned va_bits, bool coherent,
                                                             Pa root) noexcept {
    assert(root.is_aligned(kPageBytes) && root.raw() < kMaxVaEnd);
    assert(va_bits > 12 && va_bits <= kMaxVaBits);
    if (format == Format::kMaliLpae) {
        return {
            root.raw() | transtab::kReadInner | transtab::kModeTable | (coherent ? transtab::kShareOuter : 0),
            kMaliMemattr,
            transcfg::kModeLegacy,
        };
    }
    const std::uint64_t ina_bits = transcfg::kInaBitsFrom - va_bits;
    return {
        root.raw(),
        memattr_from_mair(kAarch64Mair, coherent),
        transcfg::kModeAarch64_4k | (ina_bits << transcfg::kInaBitsShift) | transcfg::kWalkWriteBack |
            transcfg::kWalkReadAllocate | (coherent ? transcfg::kWalkOuterShareable : 0),
    };
}

// The registers of an address space that translates nothing.
inline constexpr TranslationConfig kUnmappedConfig{0, 0, transcfg::kModeUnmapped};

enum class AddressMode : std::uint8_t { kUnmapped, kIdentity, kTable };

// What the walker reads out of the registers.
struct Translation {
    AddressMode mode = AddressMode::kUnmapped;
    Format format = Format::kMaliLpae;  // kTable
    unsigned va_bits = kMaxVaBits;      // kTable; ARM_MALI_LPAE does not say, and walks all 48
    Pa root;                            // kTable
};

// nullopt: a mode that this code does not know (64 KiB granules, reserved values). GPUs without TRANSCFG read as 0
// there.
[[nodiscard]] constexpr std::optional<Translation> read_translation(std::uint64_t transtab_value,
                                                                    std::uint64_t transcfg_value) noexcept {
    const Pa root{transtab_value & transtab::kAddressMask};
    switch (transcfg_value & transcfg::kModeMask) {
        case transcfg::kModeLegacy:
            switch (transtab_value & transtab::kModeMask) {
                case transtab::kModeTable:
                    return Translation{AddressMode::kTable, Format::kMaliLpae, kMaxVaBits, root};
                case transtab::kModeIdentity:
                    return Translation{AddressMode::kIdentity, Format::kMaliLpae, kMaxVaBits, Pa{}};
                case 0:
                    return Translation{};
                default:
                    return std::nullopt;
            }
        case transcfg::kModeUnmapped:
            return Translation{};
        case transcfg::kModeIdentity:
            return Translation{AddressMode::kIdentity, Format::kAarch64_4k, kMaxVaBits, Pa{}};
        case transcfg::kModeAarch64_4k: {
            const std::uint64_t ina_bits = (transcfg_value & transcfg::kInaBitsMask) >> transcfg::kInaBitsShift;
            const auto va_bits = transcfg::kInaBitsFrom - static_cast<unsigned>(ina_bits);
            if (va_bits > kMaxVaBits) {
                return std::nullopt;
            }
            return Translation{AddressMode::kTable, Format::kAarch64_4k, va_bits, root};
        }
        default:
            return std::nullopt;
    }
}

}  // namespace granule::mali
