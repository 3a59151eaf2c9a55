// A mapping in 24 bytes, as the leaves of the mapping tree hold it.
//
//            63              28 27 26        3 2   0
//   key     | start page       | - | bias high | flags |     ordered by start page
//            63              28 27                     0
//   place   | pages - 1        | bias low              |
//   owner   | BO          63:32| serial            31:0|
//
// The bias is VA page - offset page, modulo 2^52: any VA below 2^48 with any offset up to 2^64. Cutting a mapping at
// either end leaves its bias alone, and so everything but the start and the number of pages.
//
// Thread-safety: values. Nothing fails; `pack` asserts that the mapping is whole pages within [0, 2^48].
#pragma once

#include <cassert>
#include <cstdint>

#include "allocator/mapping.hpp"
#include "mali/address.hpp"

namespace granule {

struct MappingEntry {
    static constexpr unsigned kStartShift = 28;

    // What is not the key; leaves keep it apart so that a search reads keys only.
    struct Rest {
        std::uint64_t place;
        std::uint64_t owner;

        [[nodiscard]] constexpr std::uint64_t pages() const noexcept { return (place >> kStartShift) + 1; }
        constexpr void set_pages(std::uint64_t pages) noexcept {
            place = (pages - 1) << kStartShift | (place & kLowMask);
        }
    };

    std::uint64_t key;
    Rest rest;

    [[nodiscard]] static constexpr std::uint64_t start_page(std::uint64_t key) noexcept { return key >> kStartShift; }
    [[nodiscard]] constexpr std::uint64_t start() const noexcept { return start_page(key); }
    [[nodiscard]] constexpr std::uint64_t pages() const noexcept { return rest.pages(); }
    [[nodiscard]] constexpr std::uint64_t end() const noexcept { return start() + pages(); }  // exclusive, in pages

    // The part of this entry from page `start` on, which is inside it.
    [[nodiscard]] constexpr MappingEntry from(std::uint64_t start) const noexcept {
        assert(this->start() <= start && start < end());
        MappingEntry part = *this;
        part.key = start << kStartShift | (key & kLowMask);
        part.rest.set_pages(end() - start);
        return part;
    }

    [[nodiscard]] static constexpr MappingEntry pack(const Mapping& mapping) noexcept {
        assert(!mapping.va.empty() && mapping.va.is_aligned(kPageBytes) && mapping.va.end.raw() <= kMaxVaEnd);
        assert(mapping.shows.sparse() || mapping.shows.offset.is_aligned(kPageBytes));
        const std::uint64_t start = mapping.va.start.raw() / kPageBytes;
        const std::uint64_t pages = mapping.va.size() / kPageBytes;
        const std::uint64_t bias =
            mapping.shows.sparse() ? 0 : (start - mapping.shows.offset.raw() / kPageBytes) & kBiasMask;
        const MapFlags& flags = mapping.shows.flags;
        const std::uint64_t flag_bits =
            (flags.readonly ? kReadonly : 0) | (flags.noexec ? kNoexec : 0) | (flags.uncached ? kUncached : 0);
        return {start << kStartShift | (bias >> kStartShift) << kFlagBits | flag_bits,
                {(pages - 1) << kStartShift | (bias & kLowMask), static_cast<std::uint64_t>(mapping.shows.bo) << 32U |
                                                                     static_cast<std::uint64_t>(mapping.shows.serial)}};
    }

    [[nodiscard]] constexpr Mapping unpack() const noexcept {
        Backing shows;
        shows.bo = static_cast<BoId>(rest.owner >> 32U);
        shows.serial = static_cast<BindSerial>(rest.owner & UINT32_MAX);
        shows.flags = {(key & kReadonly) != 0, (key & kNoexec) != 0, (key & kUncached) != 0};
        if (!shows.sparse()) {
            const std::uint64_t bias = ((key & kLowMask) >> kFlagBits) << kStartShift | (rest.place & kLowMask);
            shows.offset = BoOffset{((start() - bias) & kBiasMask) * kPageBytes};
        }
        return {{Va{start() * kPageBytes}, Va{end() * kPageBytes}}, shows};
    }

private:
    static constexpr std::uint64_t kLowMask = (std::uint64_t{1} << kStartShift) - 1;
    static constexpr unsigned kFlagBits = 3;
    static constexpr std::uint64_t kReadonly = 1;
    static constexpr std::uint64_t kNoexec = 2;
    static constexpr std::uint64_t kUncached = 4;
    static constexpr std::uint64_t kBiasMask = (std::uint64_t{1} << 52U) - 1;
};
static_assert(sizeof(MappingEntry) == 24);

}  // namespace granule
