// Page-table descriptors: what one 64-bit entry of a table means, in both formats, encoded and decoded.
//
// Geometry (both formats, 4 KiB granule): 512 entries a table, 9 bits of the VA a level.
//
//      VA  47      39 38      30 29      21 20      12 11         0
//         +----------+----------+----------+----------+------------+
//         | level 0  | level 1  | level 2  | level 3  |   offset   |
//         +----------+----------+----------+----------+------------+
//     span of entry: 512 GiB      1 GiB      2 MiB      4 KiB
//     leaf:            never      block      block      page
//
// Entry (bits that neither format uses are zero):
//
//      63   56  55  54 53 52 48 47           12  11  10  9  8 7  6  5 4    2 1    0
//     +-------+----+-----+-----+---------------+---+---+----+----+---+------+------+
//     |   0   |sync| XN  |  0  |   PA[47:12]   |nG |AF | SH | AP | 0 | ATTR | type |
//     +-------+----+-----+-----+---------------+---+---+----+----+---+------+------+
//
//                        ARM_MALI_LPAE                      AArch64 4K (stage 1)
//     type, leaf         1 at levels 1, 2 and 3             1 at levels 1 and 2, 3 at level 3
//     type, table        3 at levels 0 to 2                 3 at levels 0 to 2
//     ATTR (index)       0 uncached, 1 cached, 2 device     the same
//     AP   bit 6         may be read                        may be used unprivileged
//          bit 7         may be written                     may NOT be written
//     SH                 2 (outer), always                  3 (inner) where cached, else 2 (outer)
//     AF, nG             never set                          always set
//     XN                 3: not executable                  the same
//     sync               on table entries of a walk that is not coherent: software's note "cleaned to memory"
//
// Invariants
// - decode(encode_leaf(x)) == expressible(x).
// - 0 is the only empty descriptor.
// - Leaves of one run differ only by + bytes_of(size), so a run is written by adding.
//
// Sources: Linux drivers/iommu/io-pgtable-arm.c (both formats; arm_lpae_prot_to_pte), Arm Architecture Reference Manual
// (VMSAv8-64 stage 1 descriptors).
//
// Pure functions, constexpr: no state, no allocation, no failure. Ranges and alignment are the caller's to check; debug
// builds assert them.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>

#include "mali/address.hpp"
#include "mali/attributes.hpp"

namespace granule::mali {

inline constexpr unsigned kLastLevel = 3;
inline constexpr unsigned kBitsPerLevel = 9;
inline constexpr unsigned kPageShift = 12;

// ---- geometry ----

// The level at which leaves of this size stand: 1 GiB at 1, 2 MiB at 2, 4 KiB at 3.
[[nodiscard]] constexpr unsigned leaf_level(LeafSize size) noexcept {
    return kLastLevel - static_cast<unsigned>(size);
}

// The inverse, for levels 1 to 3: level 0 has no leaves.
[[nodiscard]] constexpr LeafSize leaf_size_at(unsigned level) noexcept {
    assert(level >= 1 && level <= kLastLevel);
    return static_cast<LeafSize>(kLastLevel - level);
}

[[nodiscard]] constexpr unsigned shift_at(unsigned level) noexcept {
    assert(level <= kLastLevel);
    return kPageShift + kBitsPerLevel * (kLastLevel - level);
}

// Bytes of VA that one entry of this level spans.
[[nodiscard]] constexpr std::uint64_t span_at(unsigned level) noexcept {
    return std::uint64_t{1} << shift_at(level);
}

// Which of the 512 entries of a table of this level translates `va`. `va` is below 2^48.
[[nodiscard]] constexpr unsigned index_at(Va va, unsigned level) noexcept {
    return static_cast<unsigned>(va.raw() >> shift_at(level)) & ((1U << kBitsPerLevel) - 1U);
}

// The level of the root table. Mali's own format walks four levels whatever the size of the space; AArch64 walks as
// many as the VA bits fill.
[[nodiscard]] constexpr unsigned start_level(Format format, unsigned va_bits) noexcept {
    assert(va_bits > kPageShift && va_bits <= kMaxVaBits);
    if (format == Format::kMaliLpae) {
        return 0;
    }
    return kLastLevel + 1 - (va_bits - kPageShift + kBitsPerLevel - 1) / kBitsPerLevel;
}

// Entries of the root table that VAs of this many bits reach: 1 to 512. The rest of its page stays empty.
[[nodiscard]] constexpr std::size_t root_entries(Format format, unsigned va_bits) noexcept {
    const unsigned shift = shift_at(start_level(format, va_bits));
    return va_bits <= shift ? 1 : std::size_t{1} << (va_bits - shift);
}

// ---- entries ----

namespace bits {
inline constexpr std::uint64_t kTypeMask = 3;
inline constexpr std::uint64_t kTypeBlock = 1;
inline constexpr std::uint64_t kTypeTable = 3;
inline constexpr std::uint64_t kTypeAarch64Page = 3;
inline constexpr unsigned kAttrIndexShift = 2;
inline constexpr std::uint64_t kAttrIndexMask = std::uint64_t{7} << kAttrIndexShift;
inline constexpr std::uint64_t kMaliRead = std::uint64_t{1} << 6;
inline constexpr std::uint64_t kMaliWrite = std::uint64_t{1} << 7;
inline constexpr std::uint64_t kAarch64Unprivileged = std::uint64_t{1} << 6;
inline constexpr std::uint64_t kAarch64ReadOnly = std::uint64_t{1} << 7;
inline constexpr std::uint64_t kOuterShareable = std::uint64_t{2} << 8;
inline constexpr std::uint64_t kInnerShareable = std::uint64_t{3} << 8;
inline constexpr std::uint64_t kAccessFlag = std::uint64_t{1} << 10;
inline constexpr std::uint64_t kNotGlobal = std::uint64_t{1} << 11;
inline constexpr std::uint64_t kAddressMask = (kMaxVaEnd - 1) & ~(kPageBytes - 1);  // PA[47:12]
inline constexpr std::uint64_t kExecuteNever = std::uint64_t{3} << 53;
inline constexpr std::uint64_t kSoftwareSync = std::uint64_t{1} << 55;
}  // namespace bits

// What the attributes become once they are bits, where a format has no bits for them:
// - ARM_MALI_LPAE has no privilege: `privileged` is dropped.
// - AArch64 stage 1 has no leaf that may not be read: write-only becomes read-write. (A leaf that may be neither read
//   nor written is refused before it gets here; the least that this format can grant is read-only, and that it
//   becomes.)
[[nodiscard]] constexpr LeafAttributes expressible(Format format, LeafAttributes attributes) noexcept {
    if (format == Format::kMaliLpae) {
        attributes.privileged = false;
    } else {
        attributes.read = true;
    }
    return attributes;
}

// The bits of a leaf but its address. Callers that write runs take this once.
[[nodiscard, gnu::always_inline]] constexpr std::uint64_t leaf_bits(Format format, LeafSize size,
                                                                    const LeafAttributes& attributes) noexcept {
    std::uint64_t descriptor = bits::kTypeBlock;
    descriptor |= static_cast<std::uint64_t>(attributes.memory) << bits::kAttrIndexShift;
    if (format == Format::kMaliLpae) {
        // Mali's "inner" is within the GPU and "outer" is the system: outer even where cached.
        descriptor |= bits::kOuterShareable;
        descriptor |= attributes.read ? bits::kMaliRead : 0;
        descriptor |= attributes.write ? bits::kMaliWrite : 0;
    } else {
        descriptor |= size == LeafSize::k4K ? bits::kTypeAarch64Page : 0;
        descriptor |= attributes.memory == MemoryType::kCached ? bits::kInnerShareable : bits::kOuterShareable;
        descriptor |= attributes.write ? 0 : bits::kAarch64ReadOnly;
        descriptor |= attributes.privileged ? 0 : bits::kAarch64Unprivileged;
        descriptor |= bits::kAccessFlag | bits::kNotGlobal;
    }
    descriptor |= attributes.execute ? 0 : bits::kExecuteNever;
    return descriptor;
}

// `pa` is a multiple of the leaf size and below 2^48: nothing masks it, and a block with stray low bits would translate
// to somewhere else.
[[nodiscard, gnu::always_inline]] constexpr std::uint64_t encode_leaf(Format format, LeafSize size, Pa pa,
                                                                      const LeafAttributes& attributes) noexcept {
    assert(pa.is_aligned(bytes_of(size)) && pa.raw() < kMaxVaEnd);
    return pa.raw() | leaf_bits(format, size, attributes);
}

// An entry of level 0 to 2 that points to the table at `next`. Where the walk does not snoop the CPU's caches the entry
// carries the software sync bit, as Linux leaves it once it has cleaned the entry to memory.
[[nodiscard]] constexpr std::uint64_t encode_table([[maybe_unused]] Format format, Pa next,
                                                   bool coherent_walk) noexcept {
    assert(next.is_aligned(kPageBytes) && next.raw() < kMaxVaEnd);
    return next.raw() | bits::kTypeTable | (coherent_walk ? 0 : bits::kSoftwareSync);
}

enum class EntryKind : std::uint8_t {
    kEmpty,    // 0: translates nothing
    kLeaf,     //
    kTable,    //
    kInvalid,  // not 0, and nothing that this format writes at this level; the GPU faults on most of them
};

struct Entry {
    EntryKind kind = EntryKind::kEmpty;
    Pa pa;                          // leaf: of its start; table: of the next table
    LeafSize size = LeafSize::k4K;  // leaf
    LeafAttributes attributes;      // leaf
    bool access_flag = true;  // leaf: false only in AArch64 with AF clear, on which the GPU raises an access flag fault
    bool software_sync = false;  // bit 55

    constexpr bool operator==(const Entry&) const noexcept = default;
};

// Total: every (level 0 to 3, descriptor) has a meaning. kInvalid are
// - reserved types: bit 0 clear, type 1 at level 0, type 3 at level 3 of ARM_MALI_LPAE, type 1 at level 3 of AArch64;
// - leaves with a memory attribute index above 2, which translation_config.hpp leaves undefined;
// - blocks whose PA is not a multiple of their size.
[[nodiscard]] constexpr Entry decode(Format format, unsigned level, std::uint64_t descriptor) noexcept {
    assert(level <= kLastLevel);
    Entry entry;
    if (descriptor == 0) {
        return entry;
    }
    entry.kind = EntryKind::kInvalid;
    entry.pa = Pa{descriptor & bits::kAddressMask};
    entry.software_sync = (descriptor & bits::kSoftwareSync) != 0;

    const std::uint64_t type = descriptor & bits::kTypeMask;
    if (level < kLastLevel && type == bits::kTypeTable) {
        entry.kind = EntryKind::kTable;
        return entry;
    }
    const bool aarch64_page = format == Format::kAarch64_4k && level == kLastLevel;
    const std::uint64_t attr_index = (descriptor & bits::kAttrIndexMask) >> bits::kAttrIndexShift;
    if (level == 0 || type != (aarch64_page ? bits::kTypeAarch64Page : bits::kTypeBlock) ||
        attr_index > static_cast<std::uint64_t>(MemoryType::kDevice) || !entry.pa.is_aligned(span_at(level))) {
        return entry;
    }
    entry.kind = EntryKind::kLeaf;
    entry.size = leaf_size_at(level);
    entry.attributes.memory = static_cast<MemoryType>(attr_index);
    // One of the two XN bits is enough to forbid execution to somebody; nothing here writes one alone.
    entry.attributes.execute = (descriptor & bits::kExecuteNever) == 0;
    if (format == Format::kMaliLpae) {
        entry.attributes.read = (descriptor & bits::kMaliRead) != 0;
        entry.attributes.write = (descriptor & bits::kMaliWrite) != 0;
    } else {
        entry.attributes.read = true;
        entry.attributes.write = (descriptor & bits::kAarch64ReadOnly) == 0;
        entry.attributes.privileged = (descriptor & bits::kAarch64Unprivileged) == 0;
        entry.access_flag = (descriptor & bits::kAccessFlag) != 0;
    }
    return entry;
}

static_assert(encode_leaf(Format::kMaliLpae, LeafSize::k2M, Pa{3 * kBlock2MBytes}, LeafAttributes{}) ==
                  encode_leaf(Format::kMaliLpae, LeafSize::k2M, Pa{2 * kBlock2MBytes}, LeafAttributes{}) +
                      bytes_of(LeafSize::k2M),
              "a run of leaves is written by adding the leaf size");

}  // namespace granule::mali
