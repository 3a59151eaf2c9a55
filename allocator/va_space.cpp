#include "allocator/va_space.hpp"

#include <algorithm>

namespace granule {

VaSpace::VaSpace(NodeMemory memory, VaSlotPolicy policy, bool bins) noexcept
    : partition(memory, bins), waits(memory), slots(memory, partition, waits, policy) {}

VaOwned VaSpace::owned(VaRange range, VaHandle handle) noexcept {
    const auto is_it = [&](const VaBlock* block) noexcept {
        return block != nullptr && block->state() == VaBlock::State::kAllocated && block->range() == range;
    };
    if (const VaSlots::Place place = slots.find(range, handle)) {
        return {place, nullptr};
    }
    if (const std::uint64_t number = static_cast<std::uint64_t>(handle) ^ kBlockHandle; number <= UINT32_MAX) {
        VaBlock* const named = partition.find_block(static_cast<std::uint32_t>(number));
        if (is_it(named)) {
            return {{}, named};
        }
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
    return {{}, is_it(block) ? block : nullptr};
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
    if ((run.free >> slot & 1) != 0) {
        return piece;
    }
    piece.end = first + run.pages_of(slot);
    piece.state = VaBlock::State::kAllocated;
    if ((run.taken >> slot & 1) == 0) {
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

std::optional<VaPiece> VaSpace::occupant(std::uint64_t first, std::uint64_t end) noexcept {
    std::optional<VaPiece> lowest;
    for (const VaBlock* block = partition.block_at(first); block != nullptr && block->first() < end && !lowest;
         block = block->next) {
        visit_pieces(*block, [&](const VaPiece& piece) {
            if (!lowest && !piece.is_hole() && piece.first < end && first < piece.end) {
                lowest = piece;
            }
        });
    }
    return lowest;
}

// Few runs: of those within the range nothing is taken, which is one a class, and only two can be there in part.
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
    return partition.zone(which).counters.free_bytes + (slots.free_pages(which) << kPageBits);
}

VaZoneStats VaSpace::stats(VaZone which) const noexcept {
    VaZoneStats now = partition.stats(which);
    const VaSlotCounters& in_runs = slots.counters(which);
    if (in_runs.runs == 0) {
        return now;
    }
    now.allocations += in_runs.allocations;
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
