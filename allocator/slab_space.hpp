// Free space inside slabs: who has which bytes of the BOs that small buffers share.
//
// A slab is a run of bytes that somebody owns whole (a BO). It is cut into pieces without gaps; a piece is free, has an
// owner, or waits for fences (piece_queue.hpp). The free pieces of all slabs are in one set of bins by size, so that one
// look at two bitmaps finds room, however many slabs there are. Structure, invariants and costs: slab_space.md.
//
// Contract
//   Exactness   Offsets and sizes are multiples of the grain (16 bytes or more); alignment is of the offset in the slab.
//               If `allocate` fails for want of room, no free piece has 17/16 of (size + alignment) bytes; one that fits
//               with less may be missed, so that the search stays short.
//   P4          `release` and `remove_slab` allocate nothing and cannot fail. The node that a piece comes back with is
//               the one that it was allocated with.
//   Failure     kNoRoom, kOutOfMemory, kBadRequest; nothing changed.
//   Complexity  add_slab, remove_slab, allocate, release, find: O(1).
//   Placement   The smallest bin that fits: small before large, and a slab that is free as a whole last. The lowest place
//               in it that is aligned; what lies before it stays free.
//   Memory      32 B a piece, free ones too: of n that have owners at most 2n + slabs. From `memory`, kept until the end.
//   Thread-safety: none; the pool's lock covers it.
//
// What it does not do: know BOs, or what the bytes are.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "allocator/node_memory.hpp"
#include "allocator/node_table.hpp"
#include "mali/result.hpp"

namespace granule {

// A slab: small numbers, used again when a slab is gone, so that its owner keeps what it knows in an array.
enum class SlabId : std::uint32_t {};

// A piece that has an owner. Of a piece that is gone, the id does not come back before 2^32 others have had its node.
// 0 is none.
enum class PieceId : std::uint64_t {};

struct SlabPiece {
    PieceId id{};
    SlabId slab{};
    std::uint64_t offset = 0;  // in the slab
    std::uint64_t bytes = 0;   // asked for, rounded up to the grain
    std::uint64_t asked = 0;   // asked for

    constexpr bool operator==(const SlabPiece&) const noexcept = default;
};

enum class SlabError : std::uint8_t {
    kBadRequest,   // a size or alignment that breaks a rule
    kNoRoom,       // no slab has room for it
    kOutOfMemory,  // no node
};

struct SlabStatistics {
    std::uint64_t slabs = 0;
    std::uint64_t idle_slabs = 0;  // in which nobody has anything
    std::uint64_t pieces = 0;      // that have owners
    std::uint64_t retired = 0;     // that wait for fences
    std::uint64_t slab_bytes = 0;
    std::uint64_t piece_bytes = 0;  // of `pieces`, with their rounding
    std::uint64_t asked_bytes = 0;  // of `pieces`, without
    std::uint64_t retired_bytes = 0;
    std::uint64_t free_bytes = 0;

    constexpr bool operator==(const SlabStatistics&) const noexcept = default;
};

class SlabSpace {
public:
    static constexpr std::uint64_t kLeastGrain = 16;
    static constexpr std::uint64_t kMostGrain = std::uint64_t{1} << 21;
    static constexpr std::uint64_t kMostSlabBytes = std::uint64_t{1} << 33;
    static constexpr std::uint64_t kMostAlignment = std::uint64_t{1} << 32;

    // `grain`: what pieces begin at and have multiples of; a power of two from kLeastGrain to kMostGrain.
    explicit SlabSpace(NodeMemory memory, std::uint64_t grain = kLeastGrain) noexcept;
    SlabSpace(const SlabSpace&) = delete;
    SlabSpace& operator=(const SlabSpace&) = delete;
    ~SlabSpace() = default;  // with all that is in it

    // Makes sure that the next `add_slab` and an `allocate` after it need no memory.
    [[nodiscard]] bool hold_slab() noexcept;
    // A free slab of `bytes`: a multiple of the grain, up to kMostSlabBytes.
    [[nodiscard]] Result<SlabId, SlabError> add_slab(std::uint64_t bytes) noexcept;
    // Precondition: it is idle.
    void remove_slab(SlabId slab) noexcept;
    // Nobody has anything in it.
    [[nodiscard]] bool is_idle(SlabId slab) const noexcept { return slabs_[raw(slab)].is_idle; }
    [[nodiscard]] std::uint64_t bytes_of(SlabId slab) const noexcept { return bytes_in(slabs_[raw(slab)].grains); }

    // At least 1 byte; `alignment`, a power of two up to kMostAlignment, is of the offset in the slab.
    [[nodiscard]] Result<SlabPiece, SlabError> allocate(std::uint64_t bytes, std::uint64_t alignment) noexcept;
    // All of `slab`, which is idle, as one piece of which `asked` bytes (at most 4 GiB less) were asked for. Allocates
    // nothing.
    [[nodiscard]] SlabPiece take_whole(SlabId slab, std::uint64_t asked) noexcept;
    // False: not a piece that has an owner; nothing changed.
    bool release(PieceId piece) noexcept;
    // As `allocate` returned it; nullopt: not a piece that has an owner.
    [[nodiscard]] std::optional<SlabPiece> find(PieceId piece) const noexcept;

    // O(1).
    [[nodiscard]] const SlabStatistics& statistics() const noexcept { return statistics_; }
    // O(free pieces in the highest bin in use).
    [[nodiscard]] std::uint64_t largest_free() const noexcept;
    // Pieces, free ones too.
    [[nodiscard]] std::uint64_t nodes() const noexcept { return pieces_.in_use(); }
    // Memory taken for nodes.
    [[nodiscard]] std::uint64_t node_bytes() const noexcept {
        return pieces_.bytes_reserved() + slabs_.bytes_reserved();
    }

    // Calls `visitor(SlabId)` for each idle slab, the one that became idle last first. The visitor may remove the slab
    // that it is called with, and changes nothing else.
    template <class Visitor>
    void visit_idle(Visitor&& visitor) {
        for (std::uint32_t slab = first_idle_; slab != kNone;) {
            const std::uint32_t next = slabs_[slab].next;
            visitor(SlabId{slab});
            slab = next;
        }
    }

    // What a piece is, as `visit` shows it.
    enum class State : std::uint8_t { kFree, kOwned, kRetired };
    // Calls `visitor(State, offset, bytes)` for the pieces of a slab in order.
    template <class Visitor>
    void visit(SlabId slab, Visitor&& visitor) const {
        for (std::uint32_t at = slabs_[raw(slab)].lowest; at != kNone; at = pieces_[at].next) {
            visitor(pieces_[at].state(), bytes_in(pieces_[at].first), bytes_in(pieces_[at].grains()));
        }
    }

    // Do all invariants (slab_space.md) hold? O(n).
    [[nodiscard]] bool validate() const noexcept;

private:
    friend class PieceQueue;

    static constexpr std::uint32_t kNone = UINT32_MAX;
    // Bins: one a size below 16 grains, then 16 an octave, up to 2^29 grains (kMostSlabBytes).
    static constexpr unsigned kBinsLog2 = 4;
    static constexpr unsigned kBinsPerRow = 1U << kBinsLog2;
    static constexpr unsigned kRows = 31 - kBinsLog2;
    // Free pieces of a bin that are looked at before the next bin is: those that may be too small, or aligned badly.
    static constexpr unsigned kTries = 8;

    struct Piece {
        std::uint32_t first = 0;       // grain in the slab
        std::uint32_t size_state = 0;  // grains * 4 + state
        std::uint32_t prev = kNone;    // neighbours in the slab
        std::uint32_t next = kNone;
        std::uint32_t left = kNone;   // kFree: in its bin. kOwned: bytes that were not asked for
        std::uint32_t right = kNone;  // kFree: in its bin. kRetired: another one that waits for the same
        std::uint32_t slab = 0;
        std::uint32_t generation = 0;  // goes up whenever a piece stops having an owner

        [[nodiscard]] State state() const noexcept { return static_cast<State>(size_state & 3U); }
        [[nodiscard]] std::uint32_t grains() const noexcept { return size_state >> 2U; }
        void set(std::uint32_t grains, State state) noexcept {
            size_state = grains << 2U | static_cast<std::uint32_t>(state);
        }
    };
    static_assert(sizeof(Piece) == 32);  // two in a cache line
    struct Slab {
        std::uint32_t lowest = kNone;  // piece
        std::uint32_t grains = 0;
        std::uint32_t prev = kNone;  // idle ones
        std::uint32_t next = kNone;  // ... or, of the node table, unused ones
        bool is_idle = false;
        bool exists = false;
    };
    struct Bin {
        unsigned row = 0;
        unsigned column = 0;
    };
    struct Place {
        std::uint32_t piece = kNone;  // a free one
        std::uint32_t first = 0;      // where in it
    };

    [[nodiscard]] static constexpr std::uint32_t raw(SlabId slab) noexcept { return static_cast<std::uint32_t>(slab); }
    [[nodiscard]] std::uint64_t bytes_in(std::uint32_t grains) const noexcept {
        return std::uint64_t{grains} << grain_log2_;
    }
    [[nodiscard]] static Bin bin_of(std::uint32_t grains) noexcept;
    // The first bin at or after `bin` that has a piece; row == kRows: none.
    [[nodiscard]] Bin next_bin(Bin bin) const noexcept;
    [[nodiscard]] Place find_place(std::uint32_t grains, std::uint32_t alignment) const noexcept;

    void insert(std::uint32_t free) noexcept;  // into its bin
    void remove(std::uint32_t free) noexcept;
    [[nodiscard]] std::uint32_t cut(std::uint32_t piece, std::uint32_t grains) noexcept;  // returns the upper part
    void join_next(std::uint32_t piece) noexcept;
    void become_idle(std::uint32_t slab) noexcept;
    void become_busy(std::uint32_t slab) noexcept;

    [[nodiscard]] std::uint32_t owned(PieceId piece) const noexcept;  // kNone: it is not
    [[nodiscard]] SlabPiece give(std::uint32_t piece, std::uint64_t asked) noexcept;
    [[nodiscard]] SlabPiece describe(std::uint32_t piece) const noexcept;
    void end_ownership(std::uint32_t piece) noexcept;
    void become_free(std::uint32_t piece) noexcept;  // of nobody's

    // For PieceQueue. `retire` needs a piece that has an owner; the other two one that is retired.
    void retire(std::uint32_t piece) noexcept;
    void release_retired(std::uint32_t piece) noexcept;
    [[nodiscard]] std::uint32_t& next_waiting(std::uint32_t piece) noexcept { return pieces_[piece].right; }

    // For `validate` (slab_audit.cpp).
    [[nodiscard]] bool slab_holds(std::uint32_t slab, SlabStatistics& sums, std::uint64_t& free_pieces) const noexcept;
    [[nodiscard]] bool bins_hold(std::uint64_t& free_pieces) const noexcept;

    unsigned grain_log2_;
    NodeTable<Piece> pieces_;
    NodeTable<Slab> slabs_;
    std::uint32_t first_idle_ = kNone;
    std::uint32_t rows_ = 0;                                            // which have a piece
    std::array<std::uint16_t, kRows> columns_{};                        // by row: which bins have one
    std::array<std::array<std::uint32_t, kBinsPerRow>, kRows> bins_{};  // first piece
    SlabStatistics statistics_;
};

}  // namespace granule
