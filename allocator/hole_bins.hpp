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
// In each set the first few holes of the bins that may fit are tried, smallest first; then the smallest bin in which
// everything fits. `Shape::place` decides, so that an answer is right for any alignment, phase and boundary.
//
// Invariants
//   Z1  A hole is in the list of the bin that it names, which is the bin of its ends, and in no other.
//   Z2  The bits say which bins are not empty.
//
// What it does not promise: that it finds a hole whenever one fits. HoleIndex does.
// Complexity: insert, erase, find: O(1). largest: the holes of the bins that can hold the largest.
// Memory: 6.8 KB; links are in the blocks. Failure: none. Thread-safety: none.
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
    static constexpr unsigned kBinBits = 3;  // log2 of the bins per power of two
    static constexpr unsigned kPowers = kPageNumberBits + 1 - kBinBits + 1;
    static constexpr unsigned kBinsPerSet = kPowers << kBinBits;
    static constexpr unsigned kSetShift = 9;  // of the set in the number of a bin

    // log2 of the pages that the holes of a set can give away whole: 4 KiB, 64 KiB, 2 MiB.
    static constexpr std::array<unsigned, kSets> kSetBits{0, 4, 9};

    // The bin of holes with this room.
    [[nodiscard]] static constexpr unsigned bin_of_room(std::uint64_t room) noexcept {
        constexpr unsigned kLinear = 1U << kBinBits;
        if (room < kLinear) {
            return static_cast<unsigned>(room);
        }
        const unsigned power = static_cast<unsigned>(std::bit_width(room)) - 1 - kBinBits;
        return (power << kBinBits) + static_cast<unsigned>(room >> power);
    }
    // Which bin a hole with these ends belongs to: its set, then the bin in it.
    [[nodiscard]] static unsigned bin_of(std::uint64_t first, std::uint64_t end) noexcept;

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
    struct Set {
        std::uint64_t powers = 0;                     // bit p: bins_of[p] != 0
        std::array<std::uint8_t, kPowers> bins_of{};  // bit b: bin 8 p + b has a hole
        std::array<VaBlock*, kBinsPerSet> heads{};
    };
    static constexpr unsigned kNoBin = UINT32_MAX;
    static constexpr unsigned kLocalMask = (1U << kSetShift) - 1;
    static constexpr unsigned kBinMask = (1U << kBinBits) - 1;

    void insert(VaBlock& hole, unsigned bin) noexcept;
    // The first bin at or after `from` that has a hole.
    [[nodiscard]] static unsigned next_bin(const Set& set, unsigned from) noexcept;

    std::array<Set, kSets> sets_{};
};

inline unsigned HoleBins::bin_of(std::uint64_t first, std::uint64_t end) noexcept {
    unsigned set = kSets - 1;
    std::uint64_t aligned = align_up(first, (std::uint64_t{1} << kSetBits[2]));
    if (aligned + (std::uint64_t{1} << kSetBits[2]) > end) {
        aligned = align_up(first, (std::uint64_t{1} << kSetBits[1]));
        set = 1;
        if (aligned + (std::uint64_t{1} << kSetBits[1]) > end) {
            aligned = first;
            set = 0;
        }
    }
    return set << kSetShift | bin_of_room(end - aligned);
}

inline void HoleBins::insert(VaBlock& hole, unsigned bin) noexcept {
    Set& set = sets_[bin >> kSetShift];
    const unsigned local = bin & kLocalMask;
    VaBlock*& head = set.heads[local];
    hole.set_bin(bin);
    hole.free = {nullptr, head};
    if (head != nullptr) {
        head->free.prev = &hole;
    } else {
        const unsigned power = local >> kBinBits;
        set.bins_of[power] = static_cast<std::uint8_t>(set.bins_of[power] | 1U << (local & kBinMask));
        set.powers |= std::uint64_t{1} << power;
    }
    head = &hole;
}

inline void HoleBins::erase(VaBlock& hole) noexcept {
    if (hole.free.next != nullptr) {
        hole.free.next->free.prev = hole.free.prev;
    }
    if (hole.free.prev != nullptr) {
        hole.free.prev->free.next = hole.free.next;
        return;
    }
    Set& set = sets_[hole.bin() >> kSetShift];
    const unsigned local = hole.bin() & kLocalMask;
    assert(set.heads[local] == &hole);
    set.heads[local] = hole.free.next;
    if (hole.free.next == nullptr) {
        const unsigned power = local >> kBinBits;
        set.bins_of[power] = static_cast<std::uint8_t>(set.bins_of[power] & ~(1U << (local & kBinMask)));
        if (set.bins_of[power] == 0) {
            set.powers &= ~(std::uint64_t{1} << power);
        }
    }
}

}  // namespace granule
