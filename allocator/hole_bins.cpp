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

// The least room of a bin.
constexpr std::uint64_t least_room(unsigned bin) noexcept {
    constexpr unsigned kLinear = 1U << HoleBins::kBinBits;
    if (bin < 2 * kLinear) {
        return bin;
    }
    const unsigned power = (bin >> HoleBins::kBinBits) - 1;
    return std::uint64_t{(bin & (kLinear - 1)) + kLinear} << power;
}

static_assert(HoleBins::bin_of_room(std::uint64_t{1} << kPageNumberBits) < HoleBins::kBinsPerSet);
static_assert(HoleBins::kBinsPerSet <= 1U << HoleBins::kSetShift);
static_assert(HoleBins::bin_of_room(31) == 23 && least_room(23) == 30 && HoleBins::bin_of_room(32) == 24 &&
              least_room(24) == 32);

// The first bin in which every hole has at least this room.
constexpr unsigned bin_above(std::uint64_t room) noexcept {
    const unsigned bin = HoleBins::bin_of_room(room);
    return least_room(bin) == room ? bin : bin + 1;
}

// The finest set whose holes have the alignment of the shape.
unsigned own_set(const Shape& shape) noexcept {
    return shape.alignment_bits == 0 ? 0 : shape.alignment_bits <= HoleBins::kSetBits[1] ? 1 : 2;
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

// The first bin at or after `from` that has a hole.
inline unsigned HoleBins::next_bin(const Set& set, unsigned from) noexcept {
    const unsigned power = from >> kBinBits;
    if (power >= kPowers) {
        return kNoBin;
    }
    const unsigned here = static_cast<unsigned>(set.bins_of[power]) >> (from & kBinMask);
    if (here != 0) {
        return from + static_cast<unsigned>(std::countr_zero(here));
    }
    const std::uint64_t above = set.powers >> power >> 1;
    if (above == 0) {
        return kNoBin;
    }
    const unsigned found = power + 1 + static_cast<unsigned>(std::countr_zero(above));
    return (found << kBinBits) + static_cast<unsigned>(std::countr_zero(static_cast<unsigned>(set.bins_of[found])));
}

HoleBins::Place HoleBins::find(const Shape& shape) const noexcept {
    // Pages before the first place that is aligned for the set are not in the room, but the shape may use them if it is
    // aligned less: then a hole with less room than the shape has pages may do, and is not looked for here.
    const unsigned own = own_set(shape);
    const unsigned least = bin_of_room(shape.pages);
    const unsigned sure = bin_above(sure_room(shape, own));
    for (unsigned s = own; s < kSets; ++s) {
        const Set& set = sets_[s];
        int tries = kTries;
        for (unsigned bin = next_bin(set, least); bin != kNoBin; bin = next_bin(set, bin + 1)) {
            if (bin < sure && tries == 0) {
                bin = next_bin(set, sure);
                if (bin == kNoBin) {
                    break;
                }
            }
            for (VaBlock* hole = set.heads[bin]; hole != nullptr; hole = hole->free.next) {
                if (const auto first = shape.place(hole->first(), hole->end()); first.has_value()) {
                    return {hole, *first};
                }
                assert(bin < sure);
                if (--tries == 0) {
                    break;
                }
            }
        }
    }
    return {};
}

std::uint64_t HoleBins::largest() const noexcept {
    std::uint64_t most = 0;
    for (unsigned s = 0; s < kSets; ++s) {
        const Set& set = sets_[s];
        for (std::uint64_t left = set.powers; left != 0;) {
            const auto power = static_cast<unsigned>(std::bit_width(left)) - 1;
            left &= ~(std::uint64_t{1} << power);
            for (auto bins = static_cast<unsigned>(set.bins_of[power]); bins != 0;) {
                const auto bin = static_cast<unsigned>(std::bit_width(bins)) - 1;
                bins &= ~(1U << bin);
                const unsigned local = (power << kBinBits) + bin;
                // A hole has less than one alignment more than its room.
                if (least_room(local + 1) + pages_of(kSetBits[s]) <= most) {
                    left = 0;
                    break;
                }
                for (const VaBlock* hole = set.heads[local]; hole != nullptr; hole = hole->free.next) {
                    most = std::max(most, hole->pages());
                }
            }
        }
    }
    return most;
}

bool HoleBins::validate(std::uint64_t holes) const noexcept {
    std::uint64_t found = 0;
    for (unsigned s = 0; s < kSets; ++s) {
        const Set& set = sets_[s];
        for (unsigned local = 0; local < kBinsPerSet; ++local) {
            const unsigned power = local >> kBinBits;
            const bool bit = (set.bins_of[power] >> (local & kBinMask) & 1U) != 0;
            const VaBlock* prev = nullptr;
            for (const VaBlock* hole = set.heads[local]; hole != nullptr; prev = hole, hole = hole->free.next) {
                const bool here = hole->is_hole() && hole->free.prev == prev &&
                                  hole->bin() == (s << kSetShift | local) &&
                                  hole->bin() == bin_of(hole->first(), hole->end());
                if (!here || ++found > holes) {
                    return false;
                }
            }
            if (bit != (set.heads[local] != nullptr) ||
                ((set.powers >> power & 1U) != 0) != (set.bins_of[power] != 0)) {
                return false;
            }
        }
    }
    return found == holes;
}

}  // namespace granule
