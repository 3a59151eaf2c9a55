#include "allocator/va_partition.hpp"

#include <cassert>
#include <new>
#include <type_traits>

namespace granule {

static_assert(std::is_trivially_destructible_v<VaBlock>, "the pool ends without looking at the blocks in use");
static_assert(sizeof(VaBlock) == 192 || sizeof(void*) != 8, "a block is three cache lines");

VaZoneStats VaPartition::Zone::stats() const noexcept {
    VaZoneStats now = counters;
    now.range = {Va{first << kPageBits}, Va{end << kPageBits}};
    now.largest_hole = holes.largest() << kPageBits;
    return now;
}

VaPartition::VaPartition(NodeMemory memory) noexcept : nodes_(memory, sizeof(VaBlock), alignof(VaBlock)) {}

bool VaPartition::open(VaZone which, VaRange range) noexcept {
    if (!set_aside(1)) {
        return false;
    }
    Zone& opened = zone(which);
    opened.first = range.start.raw() >> kPageBits;
    opened.end = range.end.raw() >> kPageBits;
    VaBlock& hole = new_block(opened.first, opened.end);
    link_between(opened, nullptr, hole, nullptr);
    opened.holes.insert(hole);
    count(opened, hole, true);
    return true;
}

VaPartition::Zone* VaPartition::zone_of(std::uint64_t page) noexcept {
    for (Zone& candidate : zones_) {
        if (candidate.first <= page && page < candidate.end) {
            return &candidate;
        }
    }
    return nullptr;
}

VaBlock* VaPartition::block_at(std::uint64_t page) noexcept {
    Zone* in = zone_of(page);
    // B1: one block begins at or before the page and reaches beyond it.
    return in == nullptr ? nullptr : in->by_address.find(kAddressOrder, {0, page, page + 1}, VaDirection::kTopDown);
}

VaBlock* VaPartition::allocated(VaRange range) noexcept {
    VaBlock* block = block_at(range.start.raw() >> kPageBits);
    const bool is_it = block != nullptr && block->state == VaBlock::State::kAllocated && block->range() == range;
    return is_it ? block : nullptr;
}

std::uint64_t VaPartition::carve_needs(const VaBlock& hole, std::uint64_t first, std::uint64_t end) noexcept {
    return (hole.first < first ? 1U : 0U) + (end < hole.end ? 1U : 0U);
}

//      |                    hole                    |
//      |   hole below  |   allocation   | hole above |
//
// The hole's node becomes the allocation, so that one that is taken whole needs no node.
VaBlock& VaPartition::carve(VaBlock& hole, std::uint64_t first, std::uint64_t end, std::uint64_t guard) noexcept {
    assert(hole.is_hole() && hole.first <= first && first < end && end <= hole.end);
    Zone& in = *zone_of(first);
    const std::uint64_t below_first = hole.first;
    const std::uint64_t above_end = hole.end;

    count(in, hole, false);
    in.holes.erase(hole);
    in.by_address.erase(kAddressOrder, hole);
    hole.first = first;
    hole.end = end;
    hole.guard = guard;
    hole.state = VaBlock::State::kAllocated;
    in.by_address.insert(kAddressOrder, hole);
    count(in, hole, true);

    if (below_first < first) {
        VaBlock& below = new_block(below_first, first);
        link_between(in, hole.prev, below, &hole);
        in.holes.insert(below);
        count(in, below, true);
    }
    if (end < above_end) {
        VaBlock& above = new_block(end, above_end);
        link_between(in, &hole, above, hole.next);
        in.holes.insert(above);
        count(in, above, true);
    }
    return hole;
}

void VaPartition::retire(VaBlock& block, const FenceWait<VaBlock>& points) noexcept {
    assert(block.state == VaBlock::State::kAllocated);
    Zone& in = *zone_of(block.first);
    count(in, block, false);
    block.become_retired(points);
    count(in, block, true);
}

void VaPartition::release(VaBlock& block) noexcept {
    assert(!block.is_hole());
    Zone& in = *zone_of(block.first);
    count(in, block, false);
    in.by_address.erase(kAddressOrder, block);
    if (VaBlock* below = block.prev; below != nullptr && below->is_hole()) {
        block.first = below->first;
        unlink(in, *below);
    }
    if (VaBlock* above = block.next; above != nullptr && above->is_hole()) {
        block.end = above->end;
        unlink(in, *above);
    }
    block.become_hole();
    in.by_address.insert(kAddressOrder, block);
    in.holes.insert(block);
    count(in, block, true);
}

VaBlock& VaPartition::new_block(std::uint64_t first, std::uint64_t end) noexcept {
    return *::new (nodes_.take()) VaBlock(first, end);
}

void VaPartition::link_between(Zone& in, VaBlock* prev, VaBlock& block, VaBlock* next) noexcept {
    block.prev = prev;
    block.next = next;
    (prev == nullptr ? in.lowest : prev->next) = &block;
    if (next != nullptr) {
        next->prev = &block;
    }
    in.by_address.insert(kAddressOrder, block);
}

// A hole that becomes part of its neighbour goes.
void VaPartition::unlink(Zone& in, VaBlock& hole) noexcept {
    count(in, hole, false);
    in.holes.erase(hole);
    in.by_address.erase(kAddressOrder, hole);
    (hole.prev == nullptr ? in.lowest : hole.prev->next) = hole.next;
    if (hole.next != nullptr) {
        hole.next->prev = hole.prev;
    }
    nodes_.give_back(&hole);
}

void VaPartition::count(Zone& in, const VaBlock& block, bool arrives) noexcept {
    const std::uint64_t one = arrives ? 1 : UINT64_MAX;  // modulo 2^64, one less
    const std::uint64_t bytes = (block.pages() << kPageBits) * one;
    switch (block.state) {
        case VaBlock::State::kHole:
            in.counters.holes += one;
            in.counters.free_bytes += bytes;
            break;
        case VaBlock::State::kAllocated:
            in.counters.allocations += one;
            in.counters.used_bytes += bytes;
            break;
        case VaBlock::State::kRetired:
            in.counters.retired += one;
            in.counters.retired_bytes += bytes;
            break;
    }
}

bool VaPartition::validate() const noexcept {
    std::uint64_t all_blocks = 0;
    for (const Zone& in : zones_) {
        Zone recount;
        std::uint64_t blocks = 0;
        std::uint64_t covered = in.first;
        const VaBlock* prev = nullptr;
        for (const VaBlock* block = in.lowest; block != nullptr; prev = block, block = block->next) {
            const bool in_order = block->prev == prev && block->first == covered && block->first < block->end;
            const bool merged = prev == nullptr || !prev->is_hole() || !block->is_hole();
            const bool guarded = block->is_hole() ? block->guard == 0 : 2 * block->guard < block->pages();
            if (!in_order || !merged || !guarded) {
                return false;
            }
            covered = block->end;
            count(recount, *block, true);
            ++blocks;
        }
        if (covered != in.end || !in.by_address.validate(kAddressOrder, blocks) || !in.holes.validate(in.lowest) ||
            !(recount.counters == in.counters)) {
            return false;
        }
        all_blocks += blocks;
    }
    return all_blocks == nodes_.in_use();
}

}  // namespace granule
