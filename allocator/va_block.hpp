// A block: the unit that a VaHeap's zones are cut into. Every page of a zone is in exactly one block.
//
//      |  hole  | allocated (guard + range + guard) | allocated | retired |     hole     |
//       lowest <-> ------------------- neighbours in address order ------------------ <->
//
// One node type for all states, so that a state changes without memory (P4): a hole that is taken whole becomes the
// allocation, a released allocation becomes the hole, and a retired one keeps the points that it waits for where a hole
// keeps its links.
//
// Internal to VaHeap and ReuseQueue. Page numbers (VA / 4 KiB) throughout: they fit 36 bits, ends are at most 2^36.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "allocator/fence_queue.hpp"
#include "mali/address.hpp"

namespace granule {

inline constexpr unsigned kPageBits = 12;
inline constexpr unsigned kPageNumberBits = kMaxVaBits - kPageBits;

struct VaBlock;

// The place of a block in one BlockTree.
struct BlockLinks {
    std::array<VaBlock*, 2> child{};
};

// Trees that a hole is in, one per class of alignments: hole_index.hpp.
inline constexpr std::size_t kHoleClasses = 7;

struct VaBlock {
    enum class State : std::uint8_t { kHole, kAllocated, kRetired };

    VaBlock(std::uint64_t first_page, std::uint64_t end_page) noexcept : first(first_page), end(end_page), by_class{} {}

    std::uint64_t first;
    std::uint64_t end;
    VaBlock* prev = nullptr;  // in the same zone
    VaBlock* next = nullptr;
    BlockLinks by_address;
    std::uint64_t guard = 0;  // pages at both ends of an allocation
    State state = State::kHole;
    union {
        std::array<BlockLinks, kHoleClasses> by_class;  // kHole
        FenceWait<VaBlock> wait;                        // kRetired: its points, and its place in a ReuseQueue
    };

    [[nodiscard]] std::uint64_t pages() const noexcept { return end - first; }
    [[nodiscard]] bool is_hole() const noexcept { return state == State::kHole; }
    // With its guards.
    [[nodiscard]] VaRange whole() const noexcept { return {Va{first << kPageBits}, Va{end << kPageBits}}; }
    // Without them: what the owner was given.
    [[nodiscard]] VaRange range() const noexcept {
        return {Va{(first + guard) << kPageBits}, Va{(end - guard) << kPageBits}};
    }

    // The state that needs the union's other member. Holes and allocations use `by_class` or nothing.
    void become_retired(const FenceWait<VaBlock>& points) noexcept {
        state = State::kRetired;
        std::construct_at(&wait, points);
    }
    void become_hole() noexcept {
        state = State::kHole;
        guard = 0;
        std::construct_at(&by_class);
    }
};

}  // namespace granule
