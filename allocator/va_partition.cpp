#include "allocator/va_partition.hpp"

#include <cassert>
#include <new>
#include <type_traits>

namespace granule {

namespace {

// A block that is no hole comes into the counters of its zone (1), or leaves them (UINT64_MAX: modulo 2^64, one less).
[[gnu::always_inline]] inline void count_used(VaPartition::Zone& in, const VaBlock& block, std::uint64_t one) noexcept {
    const std::uint64_t bytes = (block.pages() << kPageBits) * one;
    if (block.state() == VaBlock::State::kAllocated) {
        in.counters.allocations += one;
        in.counters.used_bytes += bytes;
    } else if (block.state() == VaBlock::State::kRetired) {
        in.counters.retired += one;
        in.counters.retired_bytes += bytes;
    } else if (block.state() == VaBlock::State::kSlots) {
        in.slots_bytes += bytes;
    }
}

static_assert(sizeof(VaBlock) == 64 || sizeof(void*) != 8, "a block is one cache line");

template <class Part>
[[nodiscard]] Part* make_part(const NodeMemory& memory) noexcept {
    void* const room = memory.allocate(memory.context, sizeof(Part), alignof(Part));
    return room == nullptr ? nullptr : ::new (room) Part;
}

template <class Part>
void end_part(const NodeMemory& memory, Part* part) noexcept {
    static_assert(std::is_trivially_destructible_v<Part>);
    if (part != nullptr) {
        memory.release(memory.context, part, sizeof(Part), alignof(Part));
    }
}

}  // namespace

VaPartition::VaPartition(NodeMemory memory, bool use_bins) noexcept
    : memory_(memory), use_bins_(use_bins), blocks_(memory), by_address_(memory, blocks_), hole_nodes_(memory) {}

VaPartition::~VaPartition() {
    for (const Zone& each : zones_) {
        end_part(memory_, each.bins);
        end_part(memory_, each.holes);
    }
}

// What carving and releasing are made of. All of it is on their path, but for `forget`, and what the address index does
// now and then.

[[gnu::always_inline]] inline VaBlock& VaPartition::new_block(std::size_t in, std::uint64_t first,
                                                              std::uint64_t end) noexcept {
    VaBlock& block = blocks_.take();
    block.begin(in, first, end);
    return block;
}

[[gnu::always_inline]] inline void VaPartition::link_after(VaBlock& below, VaBlock& block) noexcept {
    block.prev = &below;
    block.next = below.next;
    below.next = &block;
    if (block.next != nullptr) {
        block.next->prev = &block;
    }
}

// A block that became part of its neighbour goes.
[[gnu::always_inline]] inline void VaPartition::drop(VaBlock& block) noexcept {
    block.become_unused();
    blocks_.give_back(block);
}

// The exact index is to look at this block when it is asked next. A block that is no hole any more by then, or was
// given back meanwhile, stays in the list: it is looked at, and nothing follows.
[[gnu::always_inline]] inline void VaPartition::list(VaBlock& hole) noexcept {
    if (hole.indexing() == VaBlock::Indexing::kUnknown) {
        hole.set_indexing(VaBlock::Indexing::kListed);
        hole.next_listed = listed_;
        listed_ = &hole;
    }
}

// A block becomes a hole.
[[gnu::always_inline]] inline void VaPartition::arrived(Zone& in, VaBlock& hole) noexcept {
    hole.become_hole();
    in.bins->insert(hole);
    list(hole);
    ++in.counters.holes;
}

// A hole has other ends than before.
[[gnu::always_inline]] inline void VaPartition::changed(Zone& in, VaBlock& hole) noexcept {
    in.bins->update(hole);
    if (hole.indexing() == VaBlock::Indexing::kIndexed) {
        forget(in, hole);
    }
    list(hole);
}

// A hole is about to be none.
[[gnu::always_inline]] inline void VaPartition::left(Zone& in, VaBlock& hole) noexcept {
    --in.counters.holes;
    in.bins->erase(hole);
    if (hole.indexing() == VaBlock::Indexing::kIndexed) {
        forget(in, hole);
    }
}

void VaPartition::forget(Zone& in, VaBlock& hole) noexcept {
    in.holes->erase(*hole.node);
    hole_nodes_.give_back(*hole.node);
    hole.set_indexing(VaBlock::Indexing::kUnknown);
}

bool VaPartition::open(VaZone which, VaRange range) noexcept {
    Zone& opened = zone(which);
    if (opened.bins == nullptr) {
        opened.bins = make_part<HoleBins>(memory_);
    }
    if (opened.bins == nullptr || !set_aside(1)) {
        return false;
    }
    opened.first = range.start.raw() >> kPageBits;
    opened.end = range.end.raw() >> kPageBits;
    VaBlock& hole = new_block(static_cast<std::size_t>(which), opened.first, opened.end);
    hole.prev = nullptr;
    hole.next = nullptr;
    opened.lowest = &hole;
    by_address_.insert(hole);
    arrived(opened, hole);
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

VaPartition::Place VaPartition::find_exactly(Zone& in, const Shape& shape) noexcept {
    if (!in.exists()) {
        return {};
    }
    if (!index_listed()) {
        return {.out_of_memory = true};
    }
    const HoleNode* node = in.holes->find(shape);
    if (node == nullptr) {
        return {};
    }
    return {node->block, *shape.place(node->first, node->end)};
}

std::uint64_t VaPartition::largest_hole(const Zone& in) const noexcept {
    if (!in.exists()) {
        return 0;
    }
    return listed_ == nullptr ? in.holes->largest() : in.bins->largest();
}

VaZoneStats VaPartition::stats(VaZone which) const noexcept {
    const Zone& in = zone(which);
    VaZoneStats now = in.counters;
    now.range = {Va{in.first << kPageBits}, Va{in.end << kPageBits}};
    now.free_bytes = in.free_bytes();
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
    in.counters.used_bytes += (end - first) << kPageBits;
    ++in.counters.allocations;
    if (hole_first == first && hole_end == end) {
        left(in, hole);
        hole.become_allocated(guard);
        return hole;
    }

    VaBlock& block = new_block(hole.zone(), first, end);
    block.become_allocated(guard);
    if (hole_first == first) {
        // The start is the allocation's from now on.
        by_address_.replace(hole, block);
        VaBlock* const below = hole.prev;
        block.prev = below;
        block.next = &hole;
        (below == nullptr ? in.lowest : below->next) = &block;
        hole.prev = &block;
        hole.set_first(end);
        by_address_.insert_between(block, hole, hole.next);
    } else {
        hole.set_end(first);
        link_after(hole, block);
        by_address_.insert_between(hole, block, block.next);
        if (end < hole_end) {
            VaBlock& above = new_block(hole.zone(), end, hole_end);
            link_after(block, above);
            by_address_.insert_between(block, above, above.next);
            arrived(in, above);
        }
    }
    changed(in, hole);
    return block;
}

void VaPartition::retire(VaBlock& block, VaWait& waits) noexcept {
    Zone& in = zone_of(block);
    count_used(in, block, UINT64_MAX);
    block.become_retired(waits);
    count_used(in, block, 1);
}

void VaPartition::become_slots(VaBlock& block, std::uint32_t run) noexcept {
    Zone& in = zone_of(block);
    count_used(in, block, UINT64_MAX);
    block.become_slots(run);
    count_used(in, block, 1);
}

//      | below? | block | above? |
//
// A hole below takes over what follows it, or else one above what is before it: it may keep its place in its bin, and
// most of the links stay.
void VaPartition::release(VaBlock& block) noexcept {
    assert(!block.is_hole() && block.state() != VaBlock::State::kUnused);
    Zone& in = zone_of(block);
    count_used(in, block, UINT64_MAX);
    VaBlock* const below = block.prev;
    VaBlock* const above = block.next;
    const bool with_above = above != nullptr && above->is_hole();
    if (below != nullptr && below->is_hole()) {
        VaBlock* next = above;
        std::uint64_t end = block.end();
        by_address_.erase(block);
        drop(block);
        if (with_above) {
            next = above->next;
            end = above->end();
            left(in, *above);
            by_address_.erase(*above);
            drop(*above);
        }
        below->set_end(end);
        below->next = next;
        if (next != nullptr) {
            next->prev = below;
        }
        changed(in, *below);
        return;
    }
    if (with_above) {
        by_address_.erase(*above);
        above->set_first(block.first());
        by_address_.replace(block, *above);
        above->prev = below;
        (below == nullptr ? in.lowest : below->next) = above;
        drop(block);
        changed(in, *above);
        return;
    }
    arrived(in, block);
}

bool VaPartition::has_index(Zone& in) noexcept {
    if (in.holes == nullptr) {
        in.holes = make_part<HoleIndex>(memory_);
    }
    return in.holes != nullptr;
}

// The exact index learns of all holes. Each of them was paid for by the call that made it one.
bool VaPartition::index_listed() noexcept {
    if (listed_ == nullptr) {
        return true;
    }
    std::uint64_t holes = 0;
    for (Zone& in : zones_) {
        if (in.exists() && !has_index(in)) {
            return false;
        }
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
            zone_of(block).holes->insert(node);
        }
    }
    return true;
}

bool VaPartition::validate() const noexcept {
    std::uint64_t all_blocks = 0;
    std::uint64_t indexed = 0;
    for (const Zone& in : zones_) {
        if (!in.exists() && in.lowest == nullptr && in.bins == nullptr && in.holes == nullptr &&
            in.counters == VaZoneStats{}) {
            continue;
        }
        if (in.bins == nullptr) {
            return false;
        }
        Zone recount;
        std::uint64_t free_bytes = 0;
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
                ++recount.counters.holes;
                free_bytes += block->pages() << kPageBits;
            }
            count_used(recount, *block, 1);
            ++all_blocks;
        }
        if (covered != in.end || recount.counters != in.counters || recount.slots_bytes != in.slots_bytes ||
            free_bytes != in.free_bytes() || !in.bins->validate(in.counters.holes) ||
            (in.holes != nullptr ? !in.holes->validate(in_index) : in_index != decltype(in_index){})) {
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

// Of the zones that there are.
std::uint64_t VaPartition::zone_bytes() const noexcept {
    std::uint64_t bytes = 0;
    for (const Zone& in : zones_) {
        bytes += (in.bins != nullptr ? sizeof(HoleBins) : 0) + (in.holes != nullptr ? sizeof(HoleIndex) : 0);
    }
    return bytes;
}

std::uint64_t VaPartition::bytes_touched() const noexcept {
    return zone_bytes() + blocks_.bytes_touched() + by_address_.bytes_touched() + hole_nodes_.bytes_touched();
}

std::uint64_t VaPartition::bytes_reserved() const noexcept {
    return zone_bytes() + blocks_.bytes_reserved() + by_address_.bytes_reserved() + hole_nodes_.bytes_reserved();
}

}  // namespace granule
