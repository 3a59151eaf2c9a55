#include "allocator/va_partition.hpp"

#include <cassert>

namespace granule {

namespace {

// A block that is no hole comes into the counters, or leaves them.
void count_used(VaZoneStats& counters, const VaBlock& block, bool arrives) noexcept {
    const std::uint64_t one = arrives ? 1 : UINT64_MAX;  // modulo 2^64, one less
    const std::uint64_t bytes = (block.pages() << kPageBits) * one;
    if (block.state() == VaBlock::State::kAllocated) {
        counters.allocations += one;
        counters.used_bytes += bytes;
    } else if (block.state() == VaBlock::State::kRetired) {
        counters.retired += one;
        counters.retired_bytes += bytes;
    }
}

}  // namespace

static_assert(sizeof(VaBlock) == 64 || sizeof(void*) != 8, "a block is one cache line");

VaPartition::VaPartition(NodeMemory memory, bool use_bins) noexcept
    : use_bins_(use_bins), blocks_(memory), by_address_(memory, blocks_), hole_nodes_(memory) {}

bool VaPartition::open(VaZone which, VaRange range) noexcept {
    if (!set_aside(1) || !hole_nodes_.reserve(1)) {
        return false;
    }
    Zone& opened = zone(which);
    opened.first = range.start.raw() >> kPageBits;
    opened.end = range.end.raw() >> kPageBits;
    VaBlock& hole = new_block(static_cast<std::size_t>(which), opened.first, opened.end);
    hole.prev = nullptr;
    hole.next = nullptr;
    opened.lowest = &hole;
    by_address_.insert(hole);
    hole.become_hole();
    arrived(opened, hole);
    opened.counters.free_bytes = hole.pages() << kPageBits;
    return true;
}

const VaPartition::Zone* VaPartition::zone_of(std::uint64_t page) const noexcept {
    for (const Zone& candidate : zones_) {
        if (candidate.first <= page && page < candidate.end) {
            return &candidate;
        }
    }
    return nullptr;
}

VaBlock* VaPartition::block_at(std::uint64_t page) const noexcept {
    return zone_of(page) != nullptr ? by_address_.find(page) : nullptr;  // B1
}

VaPartition::Place VaPartition::find(Zone& in, const Shape& shape) noexcept {
    if (use_bins_) {
        if (const HoleBins::Place place = in.bins.find(shape); place.hole != nullptr) {
            return {place.hole, place.first};
        }
    }
    if (!index_listed()) {
        return {.out_of_memory = true};
    }
    const HoleNode* node = in.holes.find(shape);
    if (node == nullptr) {
        return {};
    }
    return {node->block, *shape.place(node->first, node->end)};
}

std::uint64_t VaPartition::largest_hole(const Zone& in) const noexcept {
    return listed_ == nullptr ? in.holes.largest() : in.bins.largest();
}

VaZoneStats VaPartition::stats(VaZone which) const noexcept {
    const Zone& in = zone(which);
    VaZoneStats now = in.counters;
    now.range = {Va{in.first << kPageBits}, Va{in.end << kPageBits}};
    now.largest_hole = largest_hole(in) << kPageBits;
    return now;
}

//      |                    hole                    |
//      |   hole below  |   allocation   | hole above |
//
// What is left of the hole stays the same block, if anything is: it may then keep its place in its bin.
VaBlock& VaPartition::carve(VaBlock& hole, std::uint64_t first, std::uint64_t end, std::uint64_t guard) noexcept {
    assert(hole.is_hole() && hole.first() <= first && first < end && end <= hole.end());
    Zone& in = zone_of(hole);
    const std::uint64_t hole_first = hole.first();
    const std::uint64_t hole_end = hole.end();
    in.counters.free_bytes -= (end - first) << kPageBits;
    in.counters.used_bytes += (end - first) << kPageBits;
    ++in.counters.allocations;
    if (hole_first == first && hole_end == end) {
        left(in, hole);
        hole.become_allocated(guard);
        return hole;
    }

    VaBlock& block = new_block(hole.zone(), first, end);
    block.become_allocated(guard);
    if (hole_first < first) {
        hole.set_end(first);
        link_after(hole, block);
        by_address_.insert_between(hole, block, block.next);
        if (end < hole_end) {
            VaBlock& above = new_block(hole.zone(), end, hole_end);
            link_after(block, above);
            by_address_.insert_between(block, above, above.next);
            above.become_hole();
            arrived(in, above);
        }
    } else {
        // The start is the allocation's from now on.
        by_address_.replace(hole, block);
        block.prev = hole.prev;
        block.next = &hole;
        (block.prev == nullptr ? in.lowest : block.prev->next) = &block;
        hole.prev = &block;
        hole.set_first(end);
        by_address_.insert_between(block, hole, hole.next);
    }
    changed(in, hole);
    return block;
}

void VaPartition::retire(VaBlock& block, VaWait& waits) noexcept {
    Zone& in = zone_of(block);
    count_used(in.counters, block, false);
    block.become_retired(waits);
    count_used(in.counters, block, true);
}

void VaPartition::become_slots(VaBlock& block, std::uint32_t run) noexcept {
    count_used(zone_of(block).counters, block, false);
    block.become_slots(run);
}

// The block below takes over what follows it, or else the block above what is before it: it may keep its place in its
// bin, and most of the links stay.
void VaPartition::release(VaBlock& block) noexcept {
    assert(!block.is_hole() && block.state() != VaBlock::State::kUnused);
    Zone& in = zone_of(block);
    count_used(in.counters, block, false);
    in.counters.free_bytes += block.pages() << kPageBits;
    VaBlock* below = block.prev != nullptr && block.prev->is_hole() ? block.prev : nullptr;
    VaBlock* above = block.next != nullptr && block.next->is_hole() ? block.next : nullptr;
    if (below == nullptr && above == nullptr) {
        block.become_hole();
        arrived(in, block);
        return;
    }
    if (below == nullptr) {
        by_address_.erase(*above);
        above->set_first(block.first());
        by_address_.replace(block, *above);
        unlink(in, block);
        changed(in, *above);
        return;
    }
    below->set_end(block.end());
    by_address_.erase(block);
    unlink(in, block);
    if (above != nullptr) {
        left(in, *above);
        below->set_end(above->end());
        by_address_.erase(*above);
        unlink(in, *above);
    }
    changed(in, *below);
}

VaBlock& VaPartition::new_block(std::size_t in, std::uint64_t first, std::uint64_t end) noexcept {
    VaBlock& block = blocks_.take();
    block.set_zone(in);
    block.set_first(first);
    block.set_end(end);
    return block;
}

void VaPartition::link_after(VaBlock& below, VaBlock& block) noexcept {
    block.prev = &below;
    block.next = below.next;
    below.next = &block;
    if (block.next != nullptr) {
        block.next->prev = &block;
    }
}

// A block that became part of its neighbour goes.
void VaPartition::unlink(Zone& in, VaBlock& block) noexcept {
    (block.prev == nullptr ? in.lowest : block.prev->next) = block.next;
    if (block.next != nullptr) {
        block.next->prev = block.prev;
    }
    block.become_unused();
    blocks_.give_back(block);
}

// A block became a hole.
void VaPartition::arrived(Zone& in, VaBlock& hole) noexcept {
    in.bins.insert(hole);
    list(hole);
    ++in.counters.holes;
}

// A hole has other ends than before.
void VaPartition::changed(Zone& in, VaBlock& hole) noexcept {
    in.bins.update(hole);
    forget(in, hole);
    list(hole);
}

// A hole is about to be none.
void VaPartition::left(Zone& in, VaBlock& hole) noexcept {
    --in.counters.holes;
    in.bins.erase(hole);
    forget(in, hole);
}

// The exact index is to look at this block when it is asked next. A block that is no hole any more by then, or was
// given back meanwhile, stays in the list: it is looked at, and nothing follows.
void VaPartition::list(VaBlock& hole) noexcept {
    if (hole.indexing() == VaBlock::Indexing::kUnknown) {
        hole.set_indexing(VaBlock::Indexing::kListed);
        hole.next_listed = listed_;
        listed_ = &hole;
    }
}

void VaPartition::forget(Zone& in, VaBlock& hole) noexcept {
    if (hole.indexing() == VaBlock::Indexing::kIndexed) {
        in.holes.erase(*hole.node);
        hole_nodes_.give_back(*hole.node);
        hole.set_indexing(VaBlock::Indexing::kUnknown);
    }
}

// The exact index learns of all holes. Each of them was paid for by the call that made it one.
bool VaPartition::index_listed() noexcept {
    std::uint64_t holes = 0;
    for (const Zone& in : zones_) {
        holes += in.counters.holes;
    }
    if (!hole_nodes_.reserve(holes)) {
        return false;
    }
    while (listed_ != nullptr) {
        VaBlock& block = *listed_;
        listed_ = block.next_listed;
        block.set_indexing(VaBlock::Indexing::kUnknown);
        if (block.is_hole()) {
            HoleNode& node = hole_nodes_.take();
            node.first = block.first();
            node.end = block.end();
            node.block = &block;
            block.node = &node;
            block.set_indexing(VaBlock::Indexing::kIndexed);
            zone_of(block).holes.insert(node);
        }
    }
    return true;
}

bool VaPartition::validate() const noexcept {
    std::uint64_t all_blocks = 0;
    std::uint64_t indexed = 0;
    for (const Zone& in : zones_) {
        if (!in.exists() && in.lowest == nullptr && in.counters == VaZoneStats{}) {
            continue;
        }
        VaZoneStats recount;
        std::array<std::uint64_t, HoleIndex::kLevels> in_index{};
        std::uint64_t covered = in.first;
        const VaBlock* prev = nullptr;
        for (const VaBlock* block = in.lowest; block != nullptr; prev = block, block = block->next) {
            const bool in_order = block->prev == prev && block->first() == covered && block->first() < block->end();
            const bool merged = prev == nullptr || !prev->is_hole() || !block->is_hole();
            const bool guarded = 2 * block->guard() < block->pages();
            const bool in_use = block->zone() == static_cast<std::size_t>(&in - zones_.data()) &&
                                block->state() != VaBlock::State::kUnused && by_address_.find(covered) == block &&
                                by_address_.find(block->end() - 1) == block;
            if (!in_order || !merged || !guarded || !in_use) {
                return false;
            }
            if (block->indexing() == VaBlock::Indexing::kIndexed) {
                const HoleNode& node = *block->node;
                if (!block->is_hole() || node.block != block || node.first != block->first() ||
                    node.end != block->end()) {
                    return false;
                }
                ++in_index[HoleIndex::level_of(node)];
                ++indexed;
            } else if (block->is_hole() && block->indexing() != VaBlock::Indexing::kListed) {
                return false;
            }
            covered = block->end();
            if (block->is_hole()) {
                ++recount.holes;
                recount.free_bytes += block->pages() << kPageBits;
            }
            count_used(recount, *block, true);
            ++all_blocks;
        }
        if (covered != in.end || recount != in.counters || !in.bins.validate(in.counters.holes) ||
            !in.holes.validate(in_index)) {
            return false;
        }
    }
    for (const VaBlock* block = listed_; block != nullptr; block = block->next_listed) {
        if (block->indexing() != VaBlock::Indexing::kListed) {
            return false;
        }
    }
    return all_blocks == blocks_.in_use() && indexed == hole_nodes_.in_use() && by_address_.validate(all_blocks);
}

std::uint64_t VaPartition::bytes_touched() const noexcept {
    return blocks_.bytes_touched() + by_address_.bytes_touched() + hole_nodes_.bytes_touched();
}

std::uint64_t VaPartition::bytes_reserved() const noexcept {
    return blocks_.bytes_reserved() + by_address_.bytes_reserved() + hole_nodes_.bytes_reserved();
}

}  // namespace granule
