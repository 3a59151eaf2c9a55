#include "allocator/hole_bins.hpp"

#include <algorithm>
#include <bit>
#include <cassert>

namespace granule {

namespace {

// Holes tried in the bins of a set that may fit, before the bins in which all fit.
constexpr int kTries = 3;

constexpr std::uint64_t pages_of(unsigned bits) noexcept {
    return std::uint64_t{1} << bits;
}

// The least room of a class.
constexpr std::uint64_t least_room(unsigned room_class) noexcept {
    constexpr unsigned kLinear = 8;
    if (room_class < 2 * kLinear) {
        return room_class;
    }
    const unsigned power = room_class / kLinear - 1;
    return std::uint64_t{room_class % kLinear + kLinear} << power;
}

constexpr unsigned class_of_room(std::uint64_t room) noexcept {
    return HoleBins::class_of_room(room);
}
static_assert(class_of_room(31) == 23 && least_room(23) == 30 && class_of_room(32) == 24 && least_room(24) == 32);
static_assert(least_room(class_of_room(pages_of(kPageNumberBits))) == pages_of(kPageNumberBits));

// The first class in which every hole has at least this room, which is not 0.
constexpr unsigned class_above(std::uint64_t room) noexcept {
    return class_of_room(room - 1) + 1;
}
static_assert(class_above(30) == 23 && class_above(31) == 24 && class_above(32) == 24);

// The finest set whose holes have the alignment of the shape.
unsigned own_set(const Shape& shape) noexcept {
    static_assert(HoleBins::kSets == 3);
    return static_cast<unsigned>(shape.alignment_bits > HoleBins::kSetBits[0]) +
           static_cast<unsigned>(shape.alignment_bits > HoleBins::kSetBits[1]);
}

// Room that is enough for the shape, wherever a hole of the set or of a coarser one begins.
std::uint64_t sure_room(const Shape& shape, unsigned set) noexcept {
    // From a multiple of `turn` on, the first place is `phase` behind it and touches no boundary. A room begins at a
    // multiple of the set's alignment, so that the next multiple of `turn` is at most this far away.
    const unsigned set_bits = HoleBins::kSetBits[set];
    const unsigned turn = shape.boundary_bits < kPageNumberBits ? shape.boundary_bits : shape.alignment_bits;
    const std::uint64_t to_turn = turn > set_bits ? pages_of(turn) - pages_of(set_bits) : 0;
    return to_turn + shape.phase + shape.pages;
}

}  // namespace

// Sets begin at whole words, and the holes of each have a class that it has a bin for.
static_assert(HoleBins::bin_of(1, 31) == 23 && HoleBins::bin_of(1, 1023) == 127);
static_assert(HoleBins::bin_of(0, 512) == 128 && HoleBins::bin_of(0, pages_of(kPageNumberBits)) == 344);

inline unsigned HoleBins::next_bin(unsigned from, unsigned end) const noexcept {
    std::uint64_t asked = ~std::uint64_t{0} << (from % kWordBits);
    for (unsigned word = from / kWordBits; word != end / kWordBits; ++word) {
        if (const std::uint64_t found = used_[word] & asked; found != 0) {
            return word * kWordBits + static_cast<unsigned>(std::countr_zero(found));
        }
        asked = ~std::uint64_t{0};
    }
    return kNoBin;
}

template <class Placer>
[[gnu::always_inline]] inline HoleBins::Place HoleBins::find(const Placer& placer, unsigned own, unsigned least,
                                                             unsigned sure) const noexcept {
    for (unsigned set = own; set < kSets; ++set) {
        const unsigned end = kSetFirst[set + 1];
        // Where a set has no bin for a class that is too small for it, all of its holes have more room than that.
        const unsigned first_bin = kSetFirst[set] + (std::max(least, kLeastClass[set]) - kLeastClass[set]);
        const unsigned sure_bin = kSetFirst[set] + (std::max(sure, kLeastClass[set]) - kLeastClass[set]);
        if (first_bin >= end) {
            continue;
        }
        unsigned bin = next_bin(first_bin, end);
        for (int tries = kTries; bin < sure_bin;) {
            VaBlock* hole = heads_[bin];
            do {
                if (const auto first = placer.place(hole->first(), hole->end()); first.has_value()) {
                    return {hole, *first};
                }
                hole = hole->free.next;
            } while (--tries > 0 && hole != nullptr);
            if (tries > 0) {
                bin = next_bin(bin + 1, end);
            } else {
                bin = sure_bin < end ? next_bin(sure_bin, end) : kNoBin;
            }
        }
        if (bin != kNoBin) {
            VaBlock* const hole = heads_[bin];
            const auto first = placer.place(hole->first(), hole->end());
            assert(first.has_value());
            return {hole, *first};
        }
    }
    return {};
}

HoleBins::Place HoleBins::find(const Shape& shape) const noexcept {
    // Pages before the first place that is aligned for the set are not in the room, but the shape may use them if it is
    // aligned less: then a hole with less room than the shape has pages may do, and is not looked for here.
    const unsigned own = own_set(shape);
    const unsigned least = class_of_room(shape.pages);
    if (shape.is_plain() && shape.alignment_bits <= kSetBits[kSets - 1]) {
        return find(PlainShape(shape), own, least, class_above(shape.pages));
    }
    return find(shape, own, least, class_above(sure_room(shape, own)));
}

std::uint64_t HoleBins::largest() const noexcept {
    std::uint64_t most = 0;
    unsigned below = kSetFirst[kSets];  // all bins from here on were looked at
    while (below > 0) {
        const unsigned word = (below - 1) / kWordBits;
        const std::uint64_t bits = used_[word] & (~std::uint64_t{0} >> (kWordBits - 1 - (below - 1) % kWordBits));
        if (bits == 0) {
            below = word * kWordBits;
            continue;
        }
        below = word * kWordBits + static_cast<unsigned>(std::bit_width(bits)) - 1;
        const unsigned set = set_of(below);
        // A hole has less than one alignment more than its room.
        const unsigned next_class = below - kSetFirst[set] + kLeastClass[set] + 1;
        if (least_room(next_class) + pages_of(kSetBits[set]) <= most) {
            below = kSetFirst[set];
            continue;
        }
        for (const VaBlock* hole = heads_[below]; hole != nullptr; hole = hole->free.next) {
            most = std::max(most, hole->pages());
        }
    }
    return most;
}

bool HoleBins::validate(std::uint64_t holes) const noexcept {
    std::uint64_t found = 0;
    for (unsigned bin = 0; bin < kBins; ++bin) {
        const VaBlock* const* link = &heads_[bin];
        for (const VaBlock* hole = heads_[bin]; hole != nullptr; link = &hole->free.next, hole = hole->free.next) {
            const bool here = hole->is_hole() && hole->free.link == link && hole->bin() == bin &&
                              bin == bin_of(hole->first(), hole->end());
            if (!here || ++found > holes) {
                return false;
            }
        }
        if (((used_[bin / kWordBits] >> (bin % kWordBits) & 1U) != 0) != (heads_[bin] != nullptr)) {
            return false;
        }
    }
    return found == holes;
}

}  // namespace granule
