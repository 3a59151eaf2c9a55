// The zones of a VA heap, cut into blocks: the state that VaHeap and ReuseQueue share.
//
// Invariants
//   B1  The blocks of a zone are in address order, touch each other and cover the zone exactly.
//   B2  No two neighbours are holes.
//   B3  Every block is in its zone's address tree; exactly the holes are in its hole index (H1, H2).
//   B4  The counters of a zone are the sums over its blocks.
//
// P4: cutting a block out of a hole needs at most two nodes more, and they are set aside before anything changes
// (`set_aside`). Nothing else takes a node: `release` turns a block into a hole and only ever gives nodes back.
//
// Complexity: everything but `validate` is a constant number of tree operations (block_tree.hpp).
// Thread-safety: none. It does not move: ReuseQueue points to it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "allocator/block_tree.hpp"
#include "allocator/hole_index.hpp"
#include "allocator/node_memory.hpp"
#include "allocator/node_pool.hpp"
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
        BlockTree by_address;
        HoleIndex holes;
        VaZoneStats counters;

        [[nodiscard]] bool exists() const noexcept { return first != end; }
        [[nodiscard]] VaZoneStats stats() const noexcept;
    };

    explicit VaPartition(NodeMemory memory) noexcept;

    // Sets one block aside and makes a hole of it. Precondition: a non-empty range that overlaps no other zone.
    [[nodiscard]] bool open(VaZone zone, VaRange range) noexcept;

    [[nodiscard]] Zone& zone(VaZone which) noexcept { return zones_[static_cast<std::size_t>(which)]; }
    [[nodiscard]] const Zone& zone(VaZone which) const noexcept { return zones_[static_cast<std::size_t>(which)]; }
    // The zone that a page is in, or null.
    [[nodiscard]] Zone* zone_of(std::uint64_t page) noexcept;
    // The block that a page is in, or null where the page is outside every zone.
    [[nodiscard]] VaBlock* block_at(std::uint64_t page) noexcept;
    // The allocated (not retired) block whose range this is, or null.
    [[nodiscard]] VaBlock* allocated(VaRange range) noexcept;

    // Makes sure of `blocks` more nodes. False: there are not so many, and nothing changed.
    [[nodiscard]] bool set_aside(std::uint64_t blocks) noexcept { return nodes_.reserve(nodes_.in_use() + blocks); }
    // Nodes that `carve` takes for the same arguments.
    [[nodiscard]] static std::uint64_t carve_needs(const VaBlock& hole, std::uint64_t first,
                                                   std::uint64_t end) noexcept;
    // [first, end) of `hole`, with `guard` pages at both its ends, becomes an allocation. Precondition: set_aside.
    VaBlock& carve(VaBlock& hole, std::uint64_t first, std::uint64_t end, std::uint64_t guard) noexcept;

    // An allocated block waits for fences from now on.
    void retire(VaBlock& block, const FenceWait<VaBlock>& points) noexcept;
    // An allocated or retired block becomes a hole, or part of the holes beside it. The block is gone.
    void release(VaBlock& block) noexcept;

    // B1 to B4, H1, H2, T1 and T2. O(n).
    [[nodiscard]] bool validate() const noexcept;
    [[nodiscard]] std::uint64_t node_bytes() const noexcept { return nodes_.bytes_reserved(); }

private:
    [[nodiscard]] VaBlock& new_block(std::uint64_t first, std::uint64_t end) noexcept;
    void link_between(Zone& zone, VaBlock* prev, VaBlock& block, VaBlock* next) noexcept;
    void unlink(Zone& zone, VaBlock& block) noexcept;
    static void count(Zone& zone, const VaBlock& block, bool arrives) noexcept;

    std::array<Zone, kVaZones> zones_{};
    NodePool nodes_;
};

}  // namespace granule
