// The zones of a VA heap, cut into blocks: the state that VaHeap and ReuseQueue share.
//
// Invariants
//   B1  The blocks of a zone are in address order, touch each other and cover the zone exactly.
//   B2  No two neighbours are holes.
//   B3  Every block is in the address index (A1 to A4); exactly the holes are in the bins of their zone (Z1, Z2).
//   B4  The counters of a zone are the sums over its blocks; what is free is the rest of the zone.
//   B5  Every hole is in the exact index of its zone (H1, H2), or in the list of blocks that it has yet to look at.
//   B6  A zone that exists has bins; it has an exact index once one was asked. No other zone has either.
//
// P4: cutting a block out of a hole needs at most two blocks more and their places in the address index, and they
// are set aside before anything changes (`set_aside`). Nothing else takes memory but a search that needs the exact
// index: `release` turns a block into a hole and only ever gives back.
//
// Complexity: carve, retire, release: O(1), but for splitting and joining nodes of the address index
//             (address_index.hpp) and, where a hole was in the exact index, O(log n). find: hole_bins.hpp, then
//             hole_index.hpp.
// Memory    : blocks and their places in the address index (77 B each, about); per zone that exists 2.8 KB of bins and,
//             from the first search that these did not answer, 2 KB of roots and a node (136 B) per hole.
// Thread-safety: none. It does not move: ReuseQueue points to it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "allocator/address_index.hpp"
#include "allocator/hole_bins.hpp"
#include "allocator/hole_index.hpp"
#include "allocator/indexed_pool.hpp"
#include "allocator/node_memory.hpp"
#include "allocator/shape.hpp"
#include "allocator/va_block.hpp"
#include "allocator/va_request.hpp"
#include "mali/address.hpp"

namespace granule {

// One zone at one moment. All but `largest_hole` are counters.
struct VaZoneStats {
    VaRange range{};
    std::uint64_t free_bytes = 0;
    std::uint64_t used_bytes = 0;     // allocated, guards included
    std::uint64_t retired_bytes = 0;  // released, but waiting for fences
    std::uint64_t allocations = 0;
    std::uint64_t retired = 0;
    std::uint64_t holes = 0;
    std::uint64_t largest_hole = 0;  // bytes

    constexpr bool operator==(const VaZoneStats&) const noexcept = default;
};

class VaPartition {
public:
    struct Zone {
        std::uint64_t first = 0;  // pages; first == end: there is no such zone
        std::uint64_t end = 0;
        VaBlock* lowest = nullptr;
        // Of the blocks that are allocated or retired, and of the holes how many; the rest is left to `stats`.
        VaZoneStats counters;
        std::uint64_t slots_bytes = 0;  // of the blocks that are cut into slots
        HoleBins* bins = nullptr;       // where there is the zone
        HoleIndex* holes = nullptr;     // from the first search that the bins did not answer

        [[nodiscard]] bool exists() const noexcept { return first != end; }
        [[nodiscard]] std::uint64_t free_bytes() const noexcept {
            return ((end - first) << kPageBits) - counters.used_bytes - counters.retired_bytes - slots_bytes;
        }
    };

    // Where a request goes.
    struct Place {
        VaBlock* hole = nullptr;  // null: there is no place, or no memory to find out
        std::uint64_t first = 0;  // the first page, guards included
        bool out_of_memory = false;
    };

    // `use_bins`: look for holes in the bins first; else always in the exact index.
    VaPartition(NodeMemory memory, bool use_bins) noexcept;
    VaPartition(const VaPartition&) = delete;
    VaPartition& operator=(const VaPartition&) = delete;
    ~VaPartition();

    // Takes what a zone needs and one block, and makes a hole of it. Precondition: a non-empty range that overlaps no
    // other zone.
    [[nodiscard]] bool open(VaZone zone, VaRange range) noexcept;

    [[nodiscard]] Zone& zone(VaZone which) noexcept { return zones_[static_cast<std::size_t>(which)]; }
    [[nodiscard]] const Zone& zone(VaZone which) const noexcept { return zones_[static_cast<std::size_t>(which)]; }
    // The zone that a page is in, or null.
    [[nodiscard]] const Zone* zone_of(std::uint64_t page) const noexcept;
    // The block that a page is in, or null where the page is outside every zone.
    [[nodiscard]] VaBlock* block_at(std::uint64_t page) const noexcept;
    // By VaBlock::number, or what may be one: null where there never was such a block. The block may be in any state,
    // kUnused too.
    [[nodiscard]] VaBlock* find_block(std::uint32_t number) const noexcept { return blocks_.find(number); }

    // A hole of the zone with a place for the shape. Exact: null without `out_of_memory` means that there is none.
    [[nodiscard]] Place find(Zone& zone, const Shape& shape) noexcept {
        if (use_bins_ && zone.exists()) {
            if (const HoleBins::Place place = zone.bins->find(shape); place.hole != nullptr) {
                return {place.hole, place.first};
            }
        }
        return find_exactly(zone, shape);
    }
    // Pages of the zone's largest hole. O(1) after a `find` that found nothing; else the holes of the fullest bins may
    // be looked at.
    [[nodiscard]] std::uint64_t largest_hole(const Zone& zone) const noexcept;
    [[nodiscard]] VaZoneStats stats(VaZone zone) const noexcept;

    // Makes sure of `blocks` blocks more, and of their places in the address index. False: there is not so much memory,
    // and nothing changed.
    [[nodiscard]] bool set_aside(std::uint64_t blocks) noexcept {
        return blocks_.reserve(blocks_.in_use() + blocks) && by_address_.set_aside(blocks);
    }
    // Blocks that `carve` takes for the same arguments.
    [[nodiscard]] static std::uint64_t carve_needs(const VaBlock& hole, std::uint64_t first,
                                                   std::uint64_t end) noexcept {
        return (hole.first() < first ? 1U : 0U) + (end < hole.end() ? 1U : 0U);
    }
    // [first, end) of `hole`, with `guard` pages at both its ends, becomes an allocation. Precondition: set_aside.
    VaBlock& carve(VaBlock& hole, std::uint64_t first, std::uint64_t end, std::uint64_t guard) noexcept;

    // An allocated block waits for fences from now on.
    void retire(VaBlock& block, VaWait& waits) noexcept;
    // An allocated block without guards is cut into slots from now on. The counters of the zone do not cover it.
    void become_slots(VaBlock& block, std::uint32_t run) noexcept;
    // A block of any state but kHole becomes a hole, or part of the holes beside it. The block is gone.
    void release(VaBlock& block) noexcept;

    // B1 to B6, A1 to A4, Z1, Z2, H1, H2, T1 and T2. O(n log n).
    [[nodiscard]] bool validate() const noexcept;
    [[nodiscard]] std::uint64_t blocks() const noexcept { return blocks_.in_use(); }
    // Memory that was written, and memory that was asked for.
    [[nodiscard]] std::uint64_t bytes_touched() const noexcept;
    [[nodiscard]] std::uint64_t bytes_reserved() const noexcept;

private:
    // What the exact index says, after it has learned of all holes.
    [[nodiscard]] Place find_exactly(Zone& zone, const Shape& shape) noexcept;
    [[nodiscard]] bool index_listed() noexcept;
    [[nodiscard]] bool has_index(Zone& zone) noexcept;
    [[nodiscard]] std::uint64_t zone_bytes() const noexcept;
    // Takes a hole whose ends change, or that goes, out of the exact index.
    void forget(Zone& zone, VaBlock& hole) noexcept;
    void list(VaBlock& hole) noexcept;
    void arrived(Zone& zone, VaBlock& hole) noexcept;
    void changed(Zone& zone, VaBlock& hole) noexcept;
    void left(Zone& zone, VaBlock& hole) noexcept;
    [[nodiscard]] VaBlock& new_block(std::size_t zone, std::uint64_t first, std::uint64_t end) noexcept;
    static void link_after(VaBlock& below, VaBlock& block) noexcept;
    void drop(VaBlock& block) noexcept;
    [[nodiscard]] Zone& zone_of(const VaBlock& block) noexcept { return zones_[block.zone()]; }

    NodeMemory memory_;
    std::array<Zone, kVaZones> zones_{};
    VaBlock* listed_ = nullptr;  // blocks that may be holes that the exact index does not know
    bool use_bins_;
    IndexedPool<VaBlock> blocks_;
    AddressIndex by_address_;
    IndexedPool<HoleNode> hole_nodes_;
};

}  // namespace granule
