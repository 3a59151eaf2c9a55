// A mapping in pages, and the half of it that no cut changes in 15 bytes: how the mapping tree sees mappings.
//
//            63        55            3 2   0
//   place   | 9 unused | bias, 52 bits| flags |
//   owner   | BO          63:32| serial   31:0|
//
//   in a leaf:   | owner, 8 bytes | place, 7 bytes |
//
// The bias is VA page - offset page, modulo 2^52: any VA below 2^48 with any offset up to 2^64. Cutting a mapping at
// either end leaves its bias alone, and so everything but its first page and the number of pages.
//
// Thread-safety: values. Nothing fails; `pack` asserts that the mapping is whole pages within [0, 2^48].
#pragma once

#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "allocator/mapping.hpp"
#include "mali/address.hpp"

namespace granule {

// What every page of a mapping shows, told from the page's own number.
struct ShownPages {
    std::uint64_t place;
    std::uint64_t owner;

    constexpr bool operator==(const ShownPages&) const noexcept = default;
};

// The same without the unused byte.
class PackedShownPages {
public:
    // In place, because to copy what was just written so, by two stores that overlap, would wait for both.
    void pack(const ShownPages& shown) noexcept {
        assert(shown.place >> kPlaceBits == 0);
        const std::uint64_t place = shown.place << (64 - kPlaceBits);
        std::memcpy(bytes_.data() + kPlaceAt, &place, sizeof(place));
        std::memcpy(bytes_.data(), &shown.owner, sizeof(shown.owner));
    }
    [[nodiscard]] ShownPages unpack() const noexcept {
        ShownPages shown{};
        std::memcpy(&shown.place, bytes_.data() + kPlaceAt, sizeof(shown.place));
        std::memcpy(&shown.owner, bytes_.data(), sizeof(shown.owner));
        shown.place >>= 64 - kPlaceBits;
        return shown;
    }
    bool operator==(const PackedShownPages&) const noexcept = default;

private:
    static_assert(std::endian::native == std::endian::little, "the first byte of eight is the lowest");
    static constexpr unsigned kPlaceBits = 56;
    static constexpr std::size_t kPlaceAt = 7;  // eight bytes, of which the first is the owner's last

    std::array<std::byte, 15> bytes_;
};

struct MappingEntry {
    std::uint64_t start;  // a page number
    std::uint64_t pages;
    ShownPages shown;

    [[nodiscard]] constexpr std::uint64_t end() const noexcept { return start + pages; }  // exclusive

    [[nodiscard]] static constexpr MappingEntry pack(const Mapping& mapping) noexcept {
        assert(!mapping.va.empty() && mapping.va.is_aligned(kPageBytes) && mapping.va.end.raw() <= kMaxVaEnd);
        assert(mapping.shows.sparse() || mapping.shows.offset.is_aligned(kPageBytes));
        const std::uint64_t start = mapping.va.start.raw() / kPageBytes;
        const std::uint64_t bias =
            mapping.shows.sparse() ? 0 : (start - mapping.shows.offset.raw() / kPageBytes) & kBiasMask;
        const MapFlags& flags = mapping.shows.flags;
        const std::uint64_t flag_bits =
            (flags.readonly ? kReadonly : 0) | (flags.noexec ? kNoexec : 0) | (flags.uncached ? kUncached : 0);
        return {start,
                mapping.va.size() / kPageBytes,
                {bias << kFlagBits | flag_bits, static_cast<std::uint64_t>(mapping.shows.bo) << 32U |
                                                    static_cast<std::uint64_t>(mapping.shows.serial)}};
    }

    [[nodiscard]] constexpr Mapping unpack() const noexcept {
        Backing shows;
        shows.bo = static_cast<BoId>(shown.owner >> 32U);
        shows.serial = static_cast<BindSerial>(shown.owner & UINT32_MAX);
        shows.flags = {(shown.place & kReadonly) != 0, (shown.place & kNoexec) != 0, (shown.place & kUncached) != 0};
        if (!shows.sparse()) {
            shows.offset = BoOffset{((start - (shown.place >> kFlagBits)) & kBiasMask) * kPageBytes};
        }
        return {{Va{start * kPageBytes}, Va{end() * kPageBytes}}, shows};
    }

private:
    static constexpr unsigned kFlagBits = 3;
    static constexpr std::uint64_t kReadonly = 1;
    static constexpr std::uint64_t kNoexec = 2;
    static constexpr std::uint64_t kUncached = 4;
    static constexpr std::uint64_t kBiasMask = (std::uint64_t{1} << 52U) - 1;
};
static_assert(sizeof(PackedShownPages) == 15);

}  // namespace granule
