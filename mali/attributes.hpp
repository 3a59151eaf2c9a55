// What a leaf allows and how it is cached: the attributes that both formats express, each with its own bits.
//
// These are the io-pgtable prot flags (Linux include/linux/io-pgtable.h, iommu.h: READ, WRITE, CACHE, NOEXEC, MMIO,
// PRIV) as a value. Which bits they become is the matter of descriptor.hpp.
#pragma once

#include <cstdint>

namespace granule::mali {

enum class MemoryType : std::uint8_t { kUncached = 0, kCached = 1, kDevice = 2 };

struct LeafAttributes {
    bool read = true;
    bool write = true;
    bool execute = false;
    bool privileged = false;  // AArch64 only: ARM_MALI_LPAE has no such bit and ignores it
    MemoryType memory = MemoryType::kCached;

    constexpr bool operator==(const LeafAttributes&) const noexcept = default;
};

enum class Format : std::uint8_t { kMaliLpae, kAarch64_4k };

}  // namespace granule::mali
