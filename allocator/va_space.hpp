// The inside of a VaHeap, which a ReuseQueue shares: blocks, the runs of slots in some of them, and what waits.
//
// Here is what both need of blocks and slots alike: finding what a range or a page belongs to, giving it back, and
// letting it wait. Placing is VaHeap's.
//
// Complexity: a look-up and a release in a block or a run. Failure: none; P4. Thread-safety: none. It does not move.
#pragma once

#include <cstdint>
#include <optional>

#include "allocator/node_memory.hpp"
#include "allocator/va_block.hpp"
#include "allocator/va_partition.hpp"
#include "allocator/va_request.hpp"
#include "allocator/va_slots.hpp"
#include "allocator/va_wait.hpp"
#include "mali/address.hpp"

namespace granule {

// A range of the space and what it is: a block, or a slot's range and what is free behind it.
struct VaPiece {
    std::uint64_t first = 0;  // pages, with guards
    std::uint64_t end = 0;
    std::uint64_t guard = 0;
    VaBlock::State state = VaBlock::State::kHole;  // never kSlots
    VaWait* wait = nullptr;                        // kRetired

    [[nodiscard]] bool is_hole() const noexcept { return state == VaBlock::State::kHole; }
    [[nodiscard]] VaRange whole() const noexcept { return {Va{first << kPageBits}, Va{end << kPageBits}}; }
    [[nodiscard]] VaRange range() const noexcept {
        return {Va{(first + guard) << kPageBits}, Va{(end - guard) << kPageBits}};
    }
};

// What has an owner: a slot, or else a block; or neither.
struct VaOwned {
    VaSlots::Place slot;
    VaBlock* block = nullptr;

    explicit operator bool() const noexcept { return static_cast<bool>(slot) || block != nullptr; }
};

struct VaSpace {
    VaPartition partition;
    VaWaits waits;
    VaSlots slots;

    VaSpace(NodeMemory memory, VaSlotPolicy policy, bool bins) noexcept;

    // What an allocate returned with exactly this range, and that was neither released nor retired since. By the handle,
    // if it leads there.
    [[nodiscard]] VaOwned owned(VaRange range, VaHandle handle = VaHandle::kNone) noexcept;
    [[nodiscard]] static VaHandle handle_of(const VaBlock& block) noexcept {
        return VaHandle{kBlockHandle | block.number()};
    }
    void release(const VaOwned& owned) noexcept;
    // Releases the block that the handle leads to. False: it leads to none that was given out with this range.
    [[nodiscard]] bool release_block(VaRange range, VaHandle handle) noexcept {
        VaBlock* const block = block_of(handle);
        if (block == nullptr || !block->is_allocated_as(range)) {
            return false;
        }
        waits.remove(1);
        partition.release(*block);
        return true;
    }
    // The points are put into what it returns, before it waits in a queue.
    VaWait& retire(const VaOwned& owned, const FenceWait<VaWait>& points) noexcept;
    // What waited is nobody's, and `wait` is gone.
    void release_retired(VaWait& wait) noexcept;

    // What is at a page; nullopt outside of every zone. Of a run, the slot's range or what is free behind it.
    [[nodiscard]] std::optional<VaPiece> piece_at(std::uint64_t page) noexcept;

    // The lowest piece with an owner, or that waits, in [first, end) of a zone. `block` is the one that `first` is in.
    // O(1) for each block up to that piece; there are few, as no two neighbours are holes.
    [[nodiscard]] std::optional<VaPiece> occupant(const VaBlock& block, std::uint64_t first,
                                                  std::uint64_t end) const noexcept;
    // [first, end), which nobody occupies, becomes (part of) one hole, and `blocks` nodes are set aside. False: there are
    // not so many, and nothing changed.
    [[nodiscard]] bool clear_of_runs(std::uint64_t first, std::uint64_t end, std::uint64_t blocks) noexcept;

    // Calls `visitor(const VaPiece&)` for all pieces of a block in address order. Free ones may be neighbours.
    template <class Visitor>
    void visit_pieces(const VaBlock& block, Visitor&& visitor) const;
    // Calls `visitor(const VaPiece&)` for all of a zone in address order, with holes that are as large as they get.
    template <class Visitor>
    void visit(VaZone zone, Visitor&& visitor) const;

    [[nodiscard]] VaZoneStats stats(VaZone zone) const noexcept;
    [[nodiscard]] std::uint64_t free_bytes(VaZone zone) const noexcept;
    [[nodiscard]] bool validate() noexcept;

private:
    // Handles of blocks; those of slots are below.
    static constexpr std::uint64_t kBlockHandle = std::uint64_t{1} << 63;

    // The block of a handle, which may be in any state; or null.
    [[nodiscard]] VaBlock* block_of(VaHandle handle) const noexcept {
        const std::uint64_t number = static_cast<std::uint64_t>(handle) ^ kBlockHandle;
        return number <= UINT32_MAX ? partition.find_block(static_cast<std::uint32_t>(number)) : nullptr;
    }

    [[nodiscard]] static VaPiece piece_of(const VaBlock& block) noexcept;
    [[nodiscard]] static VaPiece piece_of(const VaSlotRun& run, unsigned slot) noexcept;
    // The lowest piece with an owner, or that waits, in what [first, end) has of a run.
    [[nodiscard]] static std::optional<VaPiece> occupant(const VaSlotRun& run, std::uint64_t first,
                                                         std::uint64_t end) noexcept;
    // What is free behind the piece of a slot; it may be empty.
    [[nodiscard]] static VaPiece slack_of(const VaSlotRun& run, unsigned slot, const VaPiece& piece) noexcept {
        return {.first = piece.end, .end = run.page_of(slot) + run.stride};
    }
};

template <class Visitor>
void VaSpace::visit_pieces(const VaBlock& block, Visitor&& visitor) const {
    if (block.state() != VaBlock::State::kSlots) {
        visitor(piece_of(block));
        return;
    }
    const VaSlotRun& run = slots.run_of(block.run());
    for (unsigned slot = 0; slot < run.slots; ++slot) {
        const VaPiece piece = piece_of(run, slot);
        visitor(piece);
        if (const VaPiece slack = slack_of(run, slot, piece); slack.first != slack.end) {
            visitor(slack);
        }
    }
}

template <class Visitor>
void VaSpace::visit(VaZone zone, Visitor&& visitor) const {
    VaPiece hole;
    const auto end_hole = [&] {
        if (hole.first != hole.end) {
            visitor(static_cast<const VaPiece&>(hole));
        }
        hole = VaPiece{};
    };
    for (const VaBlock* block = partition.zone(zone).lowest; block != nullptr; block = block->next) {
        visit_pieces(*block, [&](const VaPiece& piece) {
            if (!piece.is_hole()) {
                end_hole();
                visitor(piece);
            } else if (hole.first == hole.end) {
                hole = piece;
            } else {
                hole.end = piece.end;
            }
        });
    }
    end_hole();
}

}  // namespace granule
