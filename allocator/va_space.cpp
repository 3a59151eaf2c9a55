#include "allocator/va_space.hpp"

#include <algorithm>
#include <bit>

namespace granule {

VaSpace::VaSpace(NodeMemory memory, VaSlotPolicy policy, bool bins) noexcept
    : partition(memory, bins), waits(memory), slots(memory, partition, waits, policy) {}

VaOwned VaSpace::owned(VaRange range, VaHandle handle) noexcept {
    if (const VaSlots::Place place = slots.find(range, handle)) {
        return {place, nullptr};
    }
    if (VaBlock* const named = block_of(handle); named != nullptr && named->is_allocated_as(range)) {
        return {{}, named};
    }
    const std::uint64_t page = range.start.raw() >> kPageBits;
    VaBlock* const block = partition.block_at(page);
    if (block == nullptr) {
        return {};
    }
    if (block->state() == VaBlock::State::kSlots) {
        VaSlotRun& run = slots.run_of(block->run());
        return {VaSlots::confirm(run, run.slot_at(page), range), nullptr};
    }
    return {{}, block->is_allocated_as(range) ? block : nullptr};
}

void VaSpace::release(const VaOwned& owned) noexcept {
    if (owned.slot) {
        slots.release(owned.slot);
        return;
    }
    waits.remove(1);
    partition.release(*owned.block);
}

VaWait& VaSpace::retire(const VaOwned& owned, const FenceWait<VaWait>& points) noexcept {
    VaWait& wait = waits.take();
    wait.wait = points;
    if (owned.slot) {
        slots.retire(owned.slot, wait);
    } else {
        wait.page = owned.block->first();
        partition.retire(*owned.block, wait);
    }
    return wait;
}

void VaSpace::release_retired(VaWait& wait) noexcept {
    if (wait.run != nullptr) {
        slots.release_retired(wait);
    } else {
        waits.remove(1);
        partition.release(*partition.block_at(wait.page));
    }
    waits.give_back(wait);
}

VaPiece VaSpace::piece_of(const VaBlock& block) noexcept {
    return {block.first(), block.end(), block.guard(), block.state(),
            block.state() == VaBlock::State::kRetired ? block.wait() : nullptr};
}

VaPiece VaSpace::piece_of(const VaSlotRun& run, unsigned slot) noexcept {
    const std::uint64_t first = run.page_of(slot);
    VaPiece piece{.first = first, .end = first + run.stride};
    if (run.is_free(slot)) {
        return piece;
    }
    piece.end = first + run.pages_of(slot);
    piece.state = VaBlock::State::kAllocated;
    if (run.is_retired(slot)) {
        piece.state = VaBlock::State::kRetired;
        piece.wait = run.waits;
        while (piece.wait->page != first) {
            piece.wait = piece.wait->next;
        }
    }
    return piece;
}

std::optional<VaPiece> VaSpace::piece_at(std::uint64_t page) noexcept {
    const VaBlock* block = partition.block_at(page);
    if (block == nullptr) {
        return std::nullopt;
    }
    if (block->state() != VaBlock::State::kSlots) {
        return piece_of(*block);
    }
    const VaSlotRun& run = slots.run_of(block->run());
    const unsigned slot = run.slot_at(page);
    const VaPiece piece = piece_of(run, slot);
    return page < piece.end ? piece : slack_of(run, slot, piece);
}

// Of the slots that begin in [first, end) the first that is not free; before that, the one that `first` is in, which may
// reach less far than it.
std::optional<VaPiece> VaSpace::occupant(const VaSlotRun& run, std::uint64_t first, std::uint64_t end) noexcept {
    const unsigned lowest = run.slot_at(std::max(first, run.first));
    for (std::uint64_t owned = (run.taken | run.waiting) >> lowest << lowest; owned != 0; owned &= owned - 1) {
        const VaPiece piece = piece_of(run, static_cast<unsigned>(std::countr_zero(owned)));
        if (piece.first >= end) {
            break;
        }
        if (first < piece.end) {
            return piece;
        }
    }
    return std::nullopt;
}

std::optional<VaPiece> VaSpace::occupant(const VaBlock& from, std::uint64_t first, std::uint64_t end) const noexcept {
    for (const VaBlock* block = &from; block != nullptr && block->first() < end; block = block->next) {
        if (block->state() == VaBlock::State::kSlots) {
            if (const auto found = occupant(slots.run_of(block->run()), first, end)) {
                return found;
            }
        } else if (!block->is_hole()) {
            return piece_of(*block);
        }
    }
    return std::nullopt;
}

// Few runs: of those within the range nothing is taken, and what is kept of these is bounded; two can be there in part.
bool VaSpace::clear_of_runs(std::uint64_t first, std::uint64_t end, std::uint64_t blocks) noexcept {
    std::uint64_t needs = blocks;
    for (const VaBlock* block = partition.block_at(first); block != nullptr && block->first() < end;
         block = block->next) {
        if (block->state() == VaBlock::State::kSlots) {
            needs += VaSlots::dissolve_needs(slots.run_of(block->run()));
        }
    }
    if (!partition.set_aside(needs)) {
        return false;
    }
    for (std::uint64_t page = first; page < end;) {
        const VaBlock* block = partition.block_at(page);
        if (block->state() == VaBlock::State::kSlots) {
            slots.dissolve(slots.run_of(block->run()));
        } else {
            page = block->end();  // a hole that reaches farther with each run that becomes part of it
        }
    }
    return true;
}

std::uint64_t VaSpace::free_bytes(VaZone which) const noexcept {
    return partition.zone(which).free_bytes() + (slots.free_pages(which) << kPageBits);
}

VaZoneStats VaSpace::stats(VaZone which) const noexcept {
    VaZoneStats now = partition.stats(which);
    const VaSlotCounters in_runs = slots.counters(which);
    if (in_runs.runs == 0) {
        return now;
    }
    now.allocations += slots.allocations(which);
    now.used_bytes += in_runs.used_pages << kPageBits;
    now.retired += in_runs.retired;
    now.retired_bytes += in_runs.retired_pages << kPageBits;
    now.free_bytes = free_bytes(which);
    now.holes = 0;
    now.largest_hole = 0;
    visit(which, [&](const VaPiece& piece) {
        if (piece.is_hole()) {
            ++now.holes;
            now.largest_hole = std::max(now.largest_hole, piece.whole().size());
        }
    });
    return now;
}

bool VaSpace::validate() noexcept {
    if (!partition.validate() || !slots.validate() || !waits.validate()) {
        return false;
    }
    // W1, and S1 from the side of the blocks.
    std::uint64_t things = 0;
    for (std::size_t zone = 0; zone < kVaZones; ++zone) {
        const auto which = static_cast<VaZone>(zone);
        std::uint64_t runs = 0;
        for (const VaBlock* block = partition.zone(which).lowest; block != nullptr; block = block->next) {
            if (block->state() == VaBlock::State::kSlots) {
                ++runs;
                things += slots.run_of(block->run()).slots;
            } else if (!block->is_hole()) {
                ++things;
            }
        }
        if (runs != slots.counters(which).runs) {
            return false;
        }
    }
    return things == waits.things();
}

}  // namespace granule
