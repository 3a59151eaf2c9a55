// The holes of one zone by size: finds one that fits in a constant number of steps, or gives up.
//
// Sets. A hole is in one of three sets, by the largest run that it can give away whole:
//
//      |  2 MiB window   |  2 MiB window   |     set       holes with
//         [==== hole ====|=================|=  2 MiB       an aligned 2 MiB run
//              [=|====|====|=)                 64 KiB      else an aligned 64 KiB run: up to 4 MiB - 8 KiB
//                  [=|=)                       4 KiB       neither: up to 128 KiB - 8 KiB
//
// A search begins in the set of the request's own alignment and goes on to the coarser ones. So whole 2 MiB windows
// stay whole while there is room in windows that are cut, and 64 KiB granules likewise.
//
// Bins. Within a set, holes are sorted by their room: the pages from the first place that is aligned for the set up to
// the end of the hole. Eight bins per power of two; a bit for each power says whether it has a hole, and eight bits in
// it which bins do.
//
//      room  0 1 .. 7 | 8 9 .. 15 | 16 18 20 .. 30 | 32 36 .. 60 | ...
//      bin   0 1 .. 7 | 8 9 .. 15 | 16 17 18 .. 23 | 24 25 .. 31 | ...
//
// The bins of all sets are numbered in the order in which they are searched, each set from a multiple of 64 on, and
// there is one bit for each:
//
//      set       4 KiB       64 KiB                      2 MiB
//      number    0 .. 23     64 + (16 .. 63)             128 + (56 .. 279) - 56
//
// In each set the first few holes of the bins that may fit are tried, smallest first; then the smallest bin in which
// everything fits. `Shape::place` decides, so that an answer is right for any alignment, phase and boundary.
//
// Invariants
//   Z1  A hole is in the list of the bin that it names, which is the bin of its ends, and in no other.
//   Z2  The bit of a bin says whether it is not empty.
//
// What it does not promise: that it finds a hole whenever one fits. HoleIndex does.
// Complexity: insert, erase, find: O(1). largest: the holes of the bins that can hold the largest.
// Memory: 2.8 KB; links are in the blocks. Failure: none. Thread-safety: none.
#pragma once

#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "allocator/shape.hpp"
#include "allocator/va_block.hpp"

namespace granule {

class HoleBins {
public:
    struct Place {
        VaBlock* hole = nullptr;
        std::uint64_t first = 0;
    };

    static constexpr unsigned kSets = 3;
    // log2 of the pages that the holes of a set can give away whole: 4 KiB, 64 KiB, 2 MiB.
    static constexpr std::array<unsigned, kSets> kSetBits{0, 4, 9};

    // The class of a room. Consecutive, from 0 on.
    [[nodiscard]] static constexpr unsigned class_of_room(std::uint64_t room) noexcept {
        const unsigned power = static_cast<unsigned>(std::bit_width(room | 1U << kClassBits)) - 1 - kClassBits;
        return (power << kClassBits) + static_cast<unsigned>(room >> power);
    }
    // Which bin a hole with these ends belongs to.
    [[nodiscard]] static constexpr unsigned bin_of(std::uint64_t first, std::uint64_t end) noexcept;
    // Which set the holes of a bin are in.
    [[nodiscard]] static constexpr unsigned set_of(unsigned bin) noexcept {
        return bin < kSetFirst[1] ? 0 : bin < kSetFirst[2] ? 1 : 2;
    }

    // A hole that is in no bin.
    void insert(VaBlock& hole) noexcept { insert(hole, bin_of(hole.first(), hole.end())); }
    void erase(VaBlock& hole) noexcept;
    // The ends of a hole in a bin changed.
    void update(VaBlock& hole) noexcept {
        if (const unsigned bin = bin_of(hole.first(), hole.end()); bin != hole.bin()) {
            erase(hole);
            insert(hole, bin);
        }
    }

    // A hole that fits, and where in it; or none.
    [[nodiscard]] Place find(const Shape& shape) const noexcept;

    // Pages of the largest hole.
    [[nodiscard]] std::uint64_t largest() const noexcept;

    // Z1 and Z2 hold, and there are `holes` holes. O(n).
    [[nodiscard]] bool validate(std::uint64_t holes) const noexcept;

private:
    static constexpr unsigned kClassBits = 3;  // log2 of the classes per power of two
    static constexpr unsigned kWordBits = 64;
    static constexpr unsigned kNoBin = UINT32_MAX;
    // The first number of each set, and the first beyond the last one's.
    static constexpr std::array<unsigned, kSets + 1> kSetFirst{0, 64, 128, 384};
    // What a class is counted from in a set: no hole of the last set has less room than 2 MiB.
    static constexpr std::array<unsigned, kSets> kLeastClass{0, 0, 56};

    // The search, for what places the shape. `own`: the first set. `sure`: the first class in which every hole fits.
    template <class Placer>
    [[nodiscard]] Place find(const Placer& placer, unsigned own, unsigned least, unsigned sure) const noexcept;
    // The first number from `from` on that is a bin's with a hole, and below `end`, a multiple of 64. from <= end
    [[nodiscard]] unsigned next_bin(unsigned from, unsigned end) const noexcept;
    void insert(VaBlock& hole, unsigned bin) noexcept;

    static constexpr unsigned kBins = 345;  // up to that of the whole space

    std::array<std::uint64_t, kSetFirst[kSets] / kWordBits> used_{};  // bit b: bin b has a hole
    std::array<VaBlock*, kBins> heads_{};
};

// Without a branch: which set it is cannot be foreseen.
constexpr unsigned HoleBins::bin_of(std::uint64_t first, std::uint64_t end) noexcept {
    constexpr std::uint64_t kWindow = std::uint64_t{1} << kSetBits[2];
    constexpr std::uint64_t kGranule = std::uint64_t{1} << kSetBits[1];
    const std::uint64_t window = align_up(first, kWindow);
    const std::uint64_t granule = align_up(first, kGranule);
    const bool has_granule = granule + kGranule <= end;
    const bool has_window = window + kWindow <= end;
    std::uint64_t from = has_granule ? granule : first;
    unsigned base = has_granule ? kSetFirst[1] : 0;
    from = has_window ? window : from;
    base = has_window ? kSetFirst[2] - kLeastClass[2] : base;
    return base + class_of_room(end - from);
}

// Lists are linked by the pointer that leads to each hole, be it the head or the one before it, so that going is the
// same everywhere; and neither call branches on what is beside a hole, which cannot be foreseen either.
inline void HoleBins::insert(VaBlock& hole, unsigned bin) noexcept {
    VaBlock*& head = heads_[bin];
    VaBlock* const next = head;
    VaBlock** nobody = nullptr;
    hole.set_bin(bin);
    hole.free = {&head, next};
    *(next != nullptr ? &next->free.link : &nobody) = &hole.free.next;
    head = &hole;
    used_[bin / kWordBits] |= std::uint64_t{1} << (bin % kWordBits);
}

inline void HoleBins::erase(VaBlock& hole) noexcept {
    VaBlock* const next = hole.free.next;
    VaBlock** const link = hole.free.link;
    VaBlock** nobody = nullptr;
    assert(*link == &hole);
    *link = next;
    *(next != nullptr ? &next->free.link : &nobody) = link;
    const unsigned bin = hole.bin();
    used_[bin / kWordBits] &= ~(static_cast<std::uint64_t>(heads_[bin] == nullptr) << (bin % kWordBits));
}

}  // namespace granule
