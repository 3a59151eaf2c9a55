#include "allocator/slab_space.hpp"

#include <algorithm>
#include <bit>
#include <cassert>

namespace granule {

SlabSpace::SlabSpace(NodeMemory memory, std::uint64_t grain) noexcept
    : grain_log2_(static_cast<unsigned>(std::countr_zero(grain))), pieces_(memory), slabs_(memory) {
    assert(std::has_single_bit(grain) && grain >= kLeastGrain && grain <= kMostGrain);
    for (auto& row : bins_) {
        row.fill(kNone);
    }
}

// Below 16 grains one bin a size; above, 16 bins an octave: the four bits below the highest one choose.
//
//     grains       1 ... 15 | 16 17 ... 31 | 32-33 34-35 ... 62-63 | 64-67 ...
//     row              0    |      1       |           2           |    3
SlabSpace::Bin SlabSpace::bin_of(std::uint32_t grains) noexcept {
    if (grains < kBinsPerRow) {
        return {0, grains};
    }
    const unsigned log2 = static_cast<unsigned>(std::bit_width(grains)) - 1;
    return {log2 - kBinsLog2 + 1, grains >> (log2 - kBinsLog2) & (kBinsPerRow - 1)};
}

SlabSpace::Bin SlabSpace::next_bin(Bin bin) const noexcept {
    if (bin.row < kRows) {
        const std::uint32_t columns = std::uint32_t{columns_[bin.row]} >> bin.column;
        if (columns != 0) {
            return {bin.row, bin.column + static_cast<unsigned>(std::countr_zero(columns))};
        }
    }
    const std::uint32_t rows = bin.row + 1 < kRows ? rows_ >> (bin.row + 1) : 0;
    if (rows == 0) {
        return {kRows, 0};
    }
    const unsigned row = bin.row + 1 + static_cast<unsigned>(std::countr_zero(rows));
    return {row, static_cast<unsigned>(std::countr_zero(columns_[row]))};
}

namespace {

// Where a run of `grains` begins in [first, first + size); UINT32_MAX: it does not fit.
std::uint32_t place_in(std::uint32_t first, std::uint32_t size, std::uint32_t grains,
                       std::uint32_t alignment) noexcept {
    const std::uint32_t start = (first + (alignment - 1)) & ~(alignment - 1);
    const std::uint32_t front = start - first;
    return front <= size && grains <= size - front ? start : UINT32_MAX;
}

}  // namespace

// Three questions, each cheap: does one of the first pieces of the request's own bin fit, though that bin also has
// smaller ones; where there is an alignment, is one of the first larger pieces aligned as it is; and is there a piece in
// a bin where all are large enough for any alignment.
SlabSpace::Place SlabSpace::find_place(std::uint32_t grains, std::uint32_t alignment) const noexcept {
    unsigned tries = kTries;
    const auto try_bin = [&](Bin bin) noexcept -> Place {
        for (std::uint32_t at = bins_[bin.row][bin.column]; at != kNone && tries != 0; at = pieces_[at].right) {
            --tries;
            const std::uint32_t first = place_in(pieces_[at].first, pieces_[at].grains(), grains, alignment);
            if (first != UINT32_MAX) {
                return {at, first};
            }
        }
        return {};
    };
    const Bin own = bin_of(grains);
    if (const Place place = try_bin(own); place.piece != kNone) {
        return place;
    }
    if (alignment != 1) {
        tries = kTries;
        for (Bin bin = next_bin({own.row, own.column + 1}); bin.row != kRows && tries != 0;
             bin = next_bin({bin.row, bin.column + 1})) {
            if (const Place place = try_bin(bin); place.piece != kNone) {
                return place;
            }
        }
    }
    const Bin enough = bin_of(grains + (alignment - 1));
    const Bin bin = next_bin({enough.row, enough.column + 1});
    if (bin.row == kRows) {
        return {};
    }
    const std::uint32_t at = bins_[bin.row][bin.column];
    return {at, place_in(pieces_[at].first, pieces_[at].grains(), grains, alignment)};
}

void SlabSpace::insert(std::uint32_t free) noexcept {
    const Bin bin = bin_of(pieces_[free].grains());
    std::uint32_t& head = bins_[bin.row][bin.column];
    pieces_[free].left = kNone;
    pieces_[free].right = head;
    if (head != kNone) {
        pieces_[head].left = free;
    }
    head = free;
    columns_[bin.row] = static_cast<std::uint16_t>(columns_[bin.row] | 1U << bin.column);
    rows_ |= 1U << bin.row;
    statistics_.free_bytes += bytes_in(pieces_[free].grains());
}

void SlabSpace::remove(std::uint32_t free) noexcept {
    const Piece& piece = pieces_[free];
    statistics_.free_bytes -= bytes_in(piece.grains());
    if (piece.right != kNone) {
        pieces_[piece.right].left = piece.left;
    }
    if (piece.left != kNone) {
        pieces_[piece.left].right = piece.right;
        return;
    }
    const Bin bin = bin_of(piece.grains());
    bins_[bin.row][bin.column] = piece.right;
    if (piece.right == kNone) {
        columns_[bin.row] = static_cast<std::uint16_t>(columns_[bin.row] & ~(1U << bin.column));
        if (columns_[bin.row] == 0) {
            rows_ &= ~(1U << bin.row);
        }
    }
}

std::uint32_t SlabSpace::cut(std::uint32_t piece, std::uint32_t grains) noexcept {
    const std::uint32_t upper = pieces_.take();
    Piece& low = pieces_[piece];
    Piece& high = pieces_[upper];
    high.first = low.first + grains;
    high.set(low.grains() - grains, State::kFree);
    high.prev = piece;
    high.next = low.next;
    high.slab = low.slab;
    if (low.next != kNone) {
        pieces_[low.next].prev = upper;
    }
    low.next = upper;
    low.set(grains, State::kFree);
    return upper;
}

// The lower one stays: a slab's lowest piece keeps its number for as long as there is the slab.
void SlabSpace::join_next(std::uint32_t piece) noexcept {
    Piece& low = pieces_[piece];
    const std::uint32_t upper = low.next;
    low.set(low.grains() + pieces_[upper].grains(), State::kFree);
    low.next = pieces_[upper].next;
    if (low.next != kNone) {
        pieces_[low.next].prev = piece;
    }
    pieces_.give_back(upper);
}

void SlabSpace::become_idle(std::uint32_t number) noexcept {
    Slab& slab = slabs_[number];
    slab.is_idle = true;
    slab.prev = kNone;
    slab.next = first_idle_;
    if (first_idle_ != kNone) {
        slabs_[first_idle_].prev = number;
    }
    first_idle_ = number;
    ++statistics_.idle_slabs;
}

void SlabSpace::become_busy(std::uint32_t number) noexcept {
    Slab& slab = slabs_[number];
    slab.is_idle = false;
    if (slab.next != kNone) {
        slabs_[slab.next].prev = slab.prev;
    }
    if (slab.prev != kNone) {
        slabs_[slab.prev].next = slab.next;
    } else {
        first_idle_ = slab.next;
    }
    --statistics_.idle_slabs;
}

bool SlabSpace::hold_slab() noexcept {
    // The slab's piece, and two that an allocation may cut off it.
    return slabs_.reserve(slabs_.in_use() + 1) && pieces_.reserve(pieces_.in_use() + 3);
}

Result<SlabId, SlabError> SlabSpace::add_slab(std::uint64_t bytes) noexcept {
    if (bytes == 0 || (bytes & (bytes_in(1) - 1)) != 0 || bytes > kMostSlabBytes) {
        return fail(SlabError::kBadRequest);
    }
    if (!hold_slab()) {
        return fail(SlabError::kOutOfMemory);
    }
    const std::uint32_t number = slabs_.take();
    const std::uint32_t lowest = pieces_.take();
    Piece& piece = pieces_[lowest];
    piece.first = 0;
    piece.set(static_cast<std::uint32_t>(bytes >> grain_log2_), State::kFree);
    piece.prev = kNone;
    piece.next = kNone;
    piece.slab = number;
    Slab& slab = slabs_[number];
    slab.lowest = lowest;
    slab.grains = piece.grains();
    slab.exists = true;
    insert(lowest);
    become_idle(number);
    ++statistics_.slabs;
    statistics_.slab_bytes += bytes;
    return SlabId{number};
}

void SlabSpace::remove_slab(SlabId slab) noexcept {
    const std::uint32_t number = raw(slab);
    assert(slabs_[number].exists && slabs_[number].is_idle);
    statistics_.slab_bytes -= bytes_of(slab);
    --statistics_.slabs;
    become_busy(number);
    remove(slabs_[number].lowest);
    pieces_.give_back(slabs_[number].lowest);
    slabs_[number].exists = false;
    slabs_.give_back(number);
}

Result<SlabPiece, SlabError> SlabSpace::allocate(std::uint64_t bytes, std::uint64_t alignment) noexcept {
    if (bytes == 0 || !std::has_single_bit(alignment) || alignment > kMostAlignment) {
        return fail(SlabError::kBadRequest);
    }
    if (bytes > kMostSlabBytes) {
        return fail(SlabError::kNoRoom);
    }
    const auto grains = static_cast<std::uint32_t>((bytes + (bytes_in(1) - 1)) >> grain_log2_);
    const auto aligned = static_cast<std::uint32_t>(std::max<std::uint64_t>(alignment >> grain_log2_, 1));
    const Place place = find_place(grains, aligned);
    if (place.piece == kNone) {
        return fail(SlabError::kNoRoom);
    }
    if (!pieces_.reserve(pieces_.in_use() + 2)) {
        return fail(SlabError::kOutOfMemory);
    }
    std::uint32_t piece = place.piece;
    remove(piece);
    if (const std::uint32_t number = pieces_[piece].slab; slabs_[number].is_idle) {
        become_busy(number);
    }
    if (const std::uint32_t front = place.first - pieces_[piece].first; front != 0) {
        const std::uint32_t upper = cut(piece, front);
        insert(piece);
        piece = upper;
    }
    if (pieces_[piece].grains() != grains) {
        insert(cut(piece, grains));
    }
    return give(piece, bytes);
}

SlabPiece SlabSpace::take_whole(SlabId slab, std::uint64_t asked) noexcept {
    const std::uint32_t number = raw(slab);
    assert(slabs_[number].exists && slabs_[number].is_idle && asked <= bytes_of(slab));
    const std::uint32_t piece = slabs_[number].lowest;
    remove(piece);
    become_busy(number);
    return give(piece, asked);
}

SlabPiece SlabSpace::give(std::uint32_t piece, std::uint64_t asked) noexcept {
    Piece& given = pieces_[piece];
    const std::uint64_t bytes = bytes_in(given.grains());
    assert(bytes - asked <= UINT32_MAX);
    given.set(given.grains(), State::kOwned);
    given.left = static_cast<std::uint32_t>(bytes - asked);
    ++statistics_.pieces;
    statistics_.piece_bytes += bytes;
    statistics_.asked_bytes += asked;
    return describe(piece);
}

SlabPiece SlabSpace::describe(std::uint32_t piece) const noexcept {
    const Piece& given = pieces_[piece];
    const std::uint64_t bytes = bytes_in(given.grains());
    return {PieceId{std::uint64_t{given.generation} << 32U | (std::uint64_t{piece} + 1)}, SlabId{given.slab},
            bytes_in(given.first), bytes, bytes - given.left};
}

std::uint32_t SlabSpace::owned(PieceId id) const noexcept {
    const auto number = static_cast<std::uint32_t>(id);
    if (number == 0 || number > pieces_.touched()) {
        return kNone;
    }
    const Piece& piece = pieces_[number - 1];
    const bool same = piece.generation == static_cast<std::uint64_t>(id) >> 32U;
    return same && piece.state() == State::kOwned ? number - 1 : kNone;
}

std::optional<SlabPiece> SlabSpace::find(PieceId id) const noexcept {
    const std::uint32_t piece = owned(id);
    if (piece == kNone) {
        return std::nullopt;
    }
    return describe(piece);
}

void SlabSpace::end_ownership(std::uint32_t piece) noexcept {
    Piece& given = pieces_[piece];
    const std::uint64_t bytes = bytes_in(given.grains());
    --statistics_.pieces;
    statistics_.piece_bytes -= bytes;
    statistics_.asked_bytes -= bytes - given.left;
    ++given.generation;
}

void SlabSpace::become_free(std::uint32_t piece) noexcept {
    pieces_[piece].set(pieces_[piece].grains(), State::kFree);
    const std::uint32_t next = pieces_[piece].next;
    if (next != kNone && pieces_[next].state() == State::kFree) {
        remove(next);
        join_next(piece);
    }
    const std::uint32_t prev = pieces_[piece].prev;
    if (prev != kNone && pieces_[prev].state() == State::kFree) {
        remove(prev);
        join_next(prev);
        piece = prev;
    }
    insert(piece);
    if (pieces_[piece].prev == kNone && pieces_[piece].next == kNone) {
        become_idle(pieces_[piece].slab);
    }
}

bool SlabSpace::release(PieceId id) noexcept {
    const std::uint32_t piece = owned(id);
    if (piece == kNone) {
        return false;
    }
    end_ownership(piece);
    become_free(piece);
    return true;
}

void SlabSpace::retire(std::uint32_t piece) noexcept {
    end_ownership(piece);
    pieces_[piece].set(pieces_[piece].grains(), State::kRetired);
    ++statistics_.retired;
    statistics_.retired_bytes += bytes_in(pieces_[piece].grains());
}

void SlabSpace::release_retired(std::uint32_t piece) noexcept {
    --statistics_.retired;
    statistics_.retired_bytes -= bytes_in(pieces_[piece].grains());
    become_free(piece);
}

std::uint64_t SlabSpace::largest_free() const noexcept {
    if (rows_ == 0) {
        return 0;
    }
    const unsigned row = static_cast<unsigned>(std::bit_width(rows_)) - 1;
    const unsigned column = static_cast<unsigned>(std::bit_width(columns_[row])) - 1;
    std::uint32_t most = 0;
    for (std::uint32_t at = bins_[row][column]; at != kNone; at = pieces_[at].right) {
        most = std::max(most, pieces_[at].grains());
    }
    return bytes_in(most);
}

}  // namespace granule
