// The nodes of the mapping tree: what is in them, and the search in one.
//
//   Leaf   | seats 64 x 2 B | starts 64 x 4 B | lengths 64 x 4 B | shown 63 x 15 B | count | reach | free |  25 cache lines
//   Inner  | count | fences 8 x 4 B | first pages 64 x (4 B + 1 B) | children 60 x 8 B |                        848 bytes
//
// In a leaf the three arrays before `shown` are in the order of VA; what an entry shows stays where it was put until the
// entry goes, and `seats` says where that is. So an entry that comes or goes moves ten bytes of each entry behind it
// and not 25, and a cut touches no `shown` at all.
//
//     seat      | 2 unused | length, lower 4 bits | start, lower 4 bits | place in `shown`: 6 bits |
//
// Lengths are kept as pages - 1. Thread-safety: none; nothing here allocates or fails.
//
// A leaf is searched and moved in by one of several paths, which do the same; `NodePath` says which. By AVX-512 the whole leaf
// is moved by a fixed number of instructions, so that no branch depends on how much of it is behind.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "allocator/mapping_entry.hpp"
#include "allocator/sorted_pages.hpp"

namespace granule {

// The reach of what is no leaf.
inline constexpr std::int32_t kNowhere = INT32_MIN;

enum class NodePath : std::uint8_t {
    kPlain,    // halving, memmove, no hints: to find a difference
    kVectors,  // sixteen bytes at a time: SSE2, NEON
    kAvx512,   // AVX-512F and BW
};
inline constexpr std::array kNodePaths = {NodePath::kPlain, NodePath::kVectors, NodePath::kAvx512};

// Whether this build and this CPU have it. Thread-safe.
[[nodiscard]] bool has_node_path(NodePath path) noexcept;
[[nodiscard]] inline NodePath widest_node_path() noexcept {
    return has_node_path(NodePath::kAvx512) ? NodePath::kAvx512 : NodePath::kVectors;
}

struct alignas(64) MappingLeaf {
    static constexpr unsigned kMost = 63;
    static constexpr unsigned kLanes = kMost + 1;  // of the ordered arrays: the last is never in use
    static constexpr std::uint64_t kAllFree = (std::uint64_t{1} << kMost) - 1;
    static constexpr unsigned kLeast = 28;

    // Start, length and place of an entry, as the ordered arrays hold them.
    struct Piece {
        std::int32_t start;
        std::uint32_t length;
        std::uint16_t seat;

        [[nodiscard]] static Piece of(std::uint64_t start, std::uint64_t pages, unsigned place) noexcept {
            const SplitPage split = SplitPage::of_page(start);
            const std::uint64_t length = pages - 1;
            const auto seat =
                (static_cast<unsigned>(length & kLowerMask) << kLengthShift) | (split.lower << kStartShift) | place;
            return {split.upper, static_cast<std::uint32_t>(length >> kLowerBits), static_cast<std::uint16_t>(seat)};
        }
    };

    // The entries of some leaves in order, on their way to others. The places in the seats are without meaning.
    template <unsigned leaves>
    struct Run {
        unsigned count = 0;
        std::array<std::uint16_t, std::size_t{leaves} * kMost> seats;
        std::array<std::int32_t, std::size_t{leaves} * kMost> starts;
        std::array<std::uint32_t, std::size_t{leaves} * kMost> lengths;
        std::array<PackedShownPages, std::size_t{leaves} * kMost> shown;
    };

    std::array<std::uint16_t, kLanes> seats;
    std::array<std::int32_t, kLanes> starts;
    std::array<std::uint32_t, kLanes> lengths;
    std::array<PackedShownPages, kMost> shown;
    std::uint16_t count;
    // All pages from the first entry's on belong to this leaf up to here, and perhaps beyond: the upper half of a page.
    // kNowhere in a leaf that is not in the tree, which stays a leaf (mapping_tree.hpp): a hint may still lead to it.
    std::int32_t reach;
    std::uint64_t free;  // a bit for each place in `shown` that no entry has

    [[nodiscard]] unsigned place(unsigned at) const noexcept { return seats[at] & kPlaceMask; }
    [[nodiscard]] std::uint64_t start(unsigned at) const noexcept {
        return SplitPage{starts[at], start_lower(at)}.joined();
    }
    [[nodiscard]] std::uint64_t pages(unsigned at) const noexcept {
        return ((static_cast<std::uint64_t>(lengths[at]) << kLowerBits) | (unsigned{seats[at]} >> kLengthShift)) + 1;
    }
    [[nodiscard]] std::uint64_t end(unsigned at) const noexcept { return start(at) + pages(at); }
    [[nodiscard]] std::uint64_t first_page() const noexcept { return start(0); }
    [[nodiscard]] MappingEntry entry(unsigned at) const noexcept {
        return {start(at), pages(at), shown[place(at)].unpack()};
    }
    [[nodiscard]] Piece piece(unsigned at) const noexcept { return {starts[at], lengths[at], seats[at]}; }

    // Whether all of [`start`, `end`), which is not empty, is known to belong to this leaf.
    [[nodiscard]] bool holds(std::uint64_t first, std::uint64_t end) const noexcept {
        return SplitPage::of_page(end - 1).upper < reach && start(0) <= first;
    }

    // How many entries start below `page`.
    template <NodePath path>
    [[nodiscard]] unsigned rank_below(std::uint64_t page) const noexcept {
        const SplitPage split = SplitPage::of_page(page);
        return on_from(count_uppers_below<path>(split.upper), split);
    }
    // How many start at `page` or below. From the other side, so that neither has
    // anything to correct where all starts and `page` are multiples of sixteen pages.
    template <NodePath path>
    [[nodiscard]] unsigned rank_through(std::uint64_t page) const noexcept {
        const SplitPage split = SplitPage::of_page(page);
        unsigned through = count;
        if (split.upper != kNoUpper) {
            through = count_uppers_below<path>(split.upper + 1);
        }
        while (through != 0 && starts[through - 1] == split.upper && start_lower(through - 1) > split.lower) {
            --through;
        }
        return through;
    }
    void clear() noexcept;
    template <unsigned leaves>
    void append_to(Run<leaves>& run) const noexcept {
        std::copy_n(seats.data(), count, run.seats.data() + run.count);
        std::copy_n(starts.data(), count, run.starts.data() + run.count);
        std::copy_n(lengths.data(), count, run.lengths.data() + run.count);
        for (unsigned at = 0; at < count; ++at) {
            run.shown[run.count + at] = shown[place(at)];
        }
        run.count += count;
    }
    // The leaf becomes entries [`from`, `end`) of the run.
    template <unsigned leaves>
    void assign(const Run<leaves>& run, unsigned from, unsigned end) noexcept {
        assert(end - from <= kMost);
        clear();
        count = static_cast<std::uint16_t>(end - from);
        free = kAllFree & (kAllFree << count);
        for (unsigned at = 0; at < count; ++at) {
            seats[at] = static_cast<std::uint16_t>((run.seats[from + at] & ~kPlaceMask) | at);
        }
        std::copy_n(run.starts.data() + from, count, starts.data());
        std::copy_n(run.lengths.data() + from, count, lengths.data());
        std::copy_n(run.shown.data() + from, count, shown.data());
    }
    void put(unsigned at, const Piece& piece) noexcept {
        starts[at] = piece.start;
        lengths[at] = piece.length;
        seats[at] = piece.seat;
    }
    void set_pages(unsigned at, std::uint64_t pages) noexcept {
        const std::uint64_t length = pages - 1;
        lengths[at] = static_cast<std::uint32_t>(length >> kLowerBits);
        const auto lower = static_cast<unsigned>(length & kLowerMask) << kLengthShift;
        seats[at] = static_cast<std::uint16_t>((seats[at] & kNotLength) | lower);
    }
    // The ordered arrays behind `from` go to `to`, and the count follows. Places are the caller's.
    template <NodePath path>
    void move_rest(unsigned from, unsigned to) noexcept;

private:
    void move_by_eights(unsigned from, unsigned to, unsigned moved) noexcept;
    // The AVX-512 path: mapping_node_x86.cpp.
    [[nodiscard]] unsigned count_uppers_below_avx512(std::int32_t limit) const noexcept;
    void move_rest_avx512(unsigned from, unsigned to) noexcept;

    static constexpr unsigned kPlaceMask = 63;
    static constexpr unsigned kStartShift = 6;
    static constexpr unsigned kLengthShift = 10;
    static constexpr std::uint64_t kLowerMask = 15;
    static constexpr unsigned kNotLength = (1U << kLengthShift) - 1;

    [[nodiscard]] std::uint32_t start_lower(unsigned at) const noexcept {
        return (unsigned{seats[at]} >> kStartShift) & kLowerMask;
    }
    template <NodePath path>
    [[nodiscard]] unsigned count_uppers_below(std::int32_t limit) const noexcept {
        if constexpr (path == NodePath::kAvx512) {
            return count_uppers_below_avx512(limit);
        } else if constexpr (path == NodePath::kVectors) {
            return count_below<kLanes>(starts.data(), limit);
        } else {
            return count_below_by_halving(starts.data(), kLanes, limit);
        }
    }
    // On from `at` while starts are in the same sixteen pages as `split`, and below.
    [[nodiscard]] unsigned on_from(unsigned at, const SplitPage& split) const noexcept {
        while (at < count && starts[at] == split.upper && start_lower(at) < split.lower) {
            ++at;
        }
        return at;
    }
};

// A child is a MappingLeaf at level 1, a MappingInner above. The search has two steps: every sixteenth first page is in
// `fences` too, which say where the others of the sixteen are.
struct alignas(16) MappingInner {
    static constexpr unsigned kMost = 60;
    static constexpr unsigned kLeast = 20;
    static constexpr unsigned kGroup = 16;
    static constexpr unsigned kGroups = kMost / kGroup + 1;
    static constexpr unsigned kFences = 2 * kUpperLanes;  // as few as can be searched at once

    struct Child {
        std::uint64_t first_page;
        void* node;
    };
    // The children of some nodes in order, on their way to others.
    template <unsigned nodes>
    struct Run {
        unsigned count = 0;
        std::array<Child, std::size_t{nodes} * kMost> children;
    };

    alignas(16) std::uint32_t count;
    alignas(16) std::array<std::int32_t, kFences> fences;            // the last of each sixteen
    std::array<std::int32_t, std::size_t{kGroups} * kGroup> firsts;  // upper halves
    std::array<std::uint8_t, std::size_t{kGroups} * kGroup> lowers;
    std::array<void*, kMost> children;

    [[nodiscard]] std::uint64_t first_page(unsigned at) const noexcept {
        return SplitPage{firsts[at], lowers[at]}.joined();
    }
    [[nodiscard]] std::uint64_t first_page() const noexcept { return first_page(0); }

    // The child that `page` belongs to: the last that begins at or below it, or the first. Children begin 28 pages apart
    // at least, so that of two no upper halves are equal.
    template <bool fast>
    [[nodiscard]] unsigned child_of(std::uint64_t page) const noexcept {
        const SplitPage split = SplitPage::of_page(page);
        unsigned through = 0;
        if constexpr (fast) {
            // All of the last sixteen are never in use, so that its fence is below nothing.
            const unsigned group = count_below<kFences>(fences.data(), split.upper) * kGroup;
            through = group + count_below<kGroup>(firsts.data() + group, split.upper);
        } else {
            through = count_below_by_halving(firsts.data(), count, split.upper);
        }
        if (firsts[through] == split.upper && through < count && lowers[through] <= split.lower) [[unlikely]] {
            ++through;
        }
        return through - (through != 0 ? 1U : 0U);
    }

    void clear() noexcept;
    void append(const Child& child) noexcept;
    template <unsigned nodes>
    void append_to(Run<nodes>& run) const noexcept {
        for (unsigned at = 0; at < count; ++at) {
            run.children[run.count++] = {first_page(at), children[at]};
        }
    }
    template <unsigned nodes>
    void assign(const Run<nodes>& run, unsigned from, unsigned end) noexcept {
        clear();
        for (; from < end; ++from) {
            append(run.children[from]);
        }
    }
    void set_first_page(unsigned at, std::uint64_t page) noexcept {
        const SplitPage split = SplitPage::of(page);
        firsts[at] = split.upper;
        lowers[at] = static_cast<std::uint8_t>(split.lower);
        if (at % kGroup == kGroup - 1) {
            fences[at / kGroup] = split.upper;
        }
    }
    // The children behind `from` go to `to`, and the count follows.
    void move_rest(unsigned from, unsigned to) noexcept;
};

static_assert(sizeof(MappingLeaf) == 1600 && offsetof(MappingLeaf, shown) % 64 == 0);
static_assert(MappingInner::kGroups <= MappingInner::kFences &&
              MappingInner::kMost < MappingInner::kGroups * MappingInner::kGroup);

// Eight entries of the ordered arrays.
struct MappingOctet {
    UpperLanes low_starts;
    UpperLanes high_starts;
    UpperLanes low_lengths;
    UpperLanes high_lengths;
    UpperLanes seats;

    static constexpr unsigned kEntries = 8;

    [[nodiscard]] static MappingOctet load(const MappingLeaf& leaf, unsigned at) noexcept {
        return {load_lanes(leaf.starts.data() + at), load_lanes(leaf.starts.data() + at + kUpperLanes),
                load_lanes(leaf.lengths.data() + at), load_lanes(leaf.lengths.data() + at + kUpperLanes),
                load_lanes(leaf.seats.data() + at)};
    }
    void store(MappingLeaf& leaf, unsigned at) const noexcept {
        std::memcpy(leaf.starts.data() + at, &low_starts, sizeof(low_starts));
        std::memcpy(leaf.starts.data() + at + kUpperLanes, &high_starts, sizeof(high_starts));
        std::memcpy(leaf.lengths.data() + at, &low_lengths, sizeof(low_lengths));
        std::memcpy(leaf.lengths.data() + at + kUpperLanes, &high_lengths, sizeof(high_lengths));
        std::memcpy(leaf.seats.data() + at, &seats, sizeof(seats));
    }
};

// One loop over the three arrays and for both directions, because each loop and each direction costs a mispredicted branch:
// ascending, with the next eight loaded before these are stored, as what moves up does so by two at most. What is left of
// eights goes with an eight that overlaps with the others.
inline void MappingLeaf::move_by_eights(unsigned from, unsigned to, unsigned moved) noexcept {
    constexpr unsigned kEight = MappingOctet::kEntries;
    assert(to < from + kEight);
    if (moved < kEight) {
        std::array<Piece, kEight> pieces;
        for (unsigned at = 0; at < moved; ++at) {
            pieces[at] = piece(from + at);
        }
        for (unsigned at = 0; at < moved; ++at) {
            put(to + at, pieces[at]);
        }
        return;
    }
    const unsigned last = moved - kEight;
    const MappingOctet highest = MappingOctet::load(*this, from + last);
    MappingOctet next = MappingOctet::load(*this, from);
    for (unsigned at = 0; at < last; at += kEight) {
        const MappingOctet eight = next;
        next = MappingOctet::load(*this, from + std::min(at + kEight, last));
        eight.store(*this, to + at);
    }
    highest.store(*this, to + last);
}

template <NodePath path>
inline void MappingLeaf::move_rest(unsigned from, unsigned to) noexcept {
    const unsigned used = count;
    const unsigned moved = used - from;
    const unsigned left = to + moved;
    assert(from <= used && left <= kMost && to <= from + 2);
    if constexpr (path == NodePath::kAvx512) {
        move_rest_avx512(from, to);
        return;
    }
    count = static_cast<std::uint16_t>(left);
    if constexpr (path == NodePath::kPlain) {
        std::memmove(starts.data() + to, starts.data() + from, moved * sizeof(starts[0]));
        std::memmove(lengths.data() + to, lengths.data() + from, moved * sizeof(lengths[0]));
        std::memmove(seats.data() + to, seats.data() + from, moved * sizeof(seats[0]));
    } else {
        move_by_eights(from, to, moved);
    }
    for (unsigned at = left; at < used; ++at) {
        starts[at] = kNoUpper;
    }
}

}  // namespace granule
