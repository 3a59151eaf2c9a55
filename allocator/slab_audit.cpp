// SlabSpace::validate: every invariant of slab_space.md, by looking at everything.
#include <cstdint>

#include "allocator/slab_space.hpp"

namespace granule {

// S1 to S3 and S5 of one slab; adds up what is in it.
bool SlabSpace::slab_holds(std::uint32_t number, SlabStatistics& sums, std::uint64_t& free_pieces) const noexcept {
    const Slab& slab = slabs_[number];
    std::uint32_t end = 0;
    std::uint32_t prev = kNone;
    for (std::uint32_t at = slab.lowest; at != kNone; prev = at, at = pieces_[at].next) {
        const Piece& piece = pieces_[at];
        const std::uint64_t bytes = bytes_in(piece.grains());
        if (piece.first != end || piece.grains() == 0 || piece.prev != prev || piece.slab != number) {
            return false;
        }
        end += piece.grains();
        switch (piece.state()) {
            case State::kFree:
                if (prev != kNone && pieces_[prev].state() == State::kFree) {
                    return false;
                }
                ++free_pieces;
                sums.free_bytes += bytes;
                break;
            case State::kOwned:
                ++sums.pieces;
                sums.piece_bytes += bytes;
                sums.asked_bytes += bytes - piece.left;
                break;
            case State::kRetired:
                ++sums.retired;
                sums.retired_bytes += bytes;
                break;
        }
    }
    const Piece& lowest = pieces_[slab.lowest];
    const bool idle = lowest.state() == State::kFree && lowest.next == kNone;
    ++sums.slabs;
    sums.slab_bytes += bytes_in(slab.grains);
    sums.idle_slabs += idle ? 1U : 0U;
    return end == slab.grains && idle == slab.is_idle;
}

// S4: what is in the bins is free and in the right one, and bitmaps say which have something. Counts it.
bool SlabSpace::bins_hold(std::uint64_t& free_pieces) const noexcept {
    for (unsigned row = 0; row < kRows; ++row) {
        if (((rows_ >> row & 1U) != 0) != (columns_[row] != 0)) {
            return false;
        }
        for (unsigned column = 0; column < kBinsPerRow; ++column) {
            const std::uint32_t head = bins_[row][column];
            if (((std::uint32_t{columns_[row]} >> column & 1U) != 0) != (head != kNone)) {
                return false;
            }
            std::uint32_t left = kNone;
            for (std::uint32_t at = head; at != kNone; left = at, at = pieces_[at].right) {
                const Bin bin = bin_of(pieces_[at].grains());
                if (pieces_[at].state() != State::kFree || pieces_[at].left != left || bin.row != row ||
                    bin.column != column) {
                    return false;
                }
                ++free_pieces;
            }
        }
    }
    return true;
}

bool SlabSpace::validate() const noexcept {
    SlabStatistics sums;
    std::uint64_t free_pieces = 0;
    for (std::uint32_t number = 0; number < slabs_.touched(); ++number) {
        if (slabs_[number].exists && !slab_holds(number, sums, free_pieces)) {
            return false;
        }
    }
    std::uint64_t idle = 0;
    std::uint32_t prev = kNone;
    for (std::uint32_t at = first_idle_; at != kNone; prev = at, at = slabs_[at].next) {
        if (!slabs_[at].exists || !slabs_[at].is_idle || slabs_[at].prev != prev) {
            return false;
        }
        ++idle;
    }
    std::uint64_t in_bins = 0;
    return bins_hold(in_bins) && in_bins == free_pieces && idle == sums.idle_slabs && sums == statistics_ &&
           pieces_.in_use() == free_pieces + sums.pieces + sums.retired && slabs_.in_use() == sums.slabs;
}

}  // namespace granule
