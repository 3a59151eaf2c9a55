// The free VA of one address space: who may have which addresses.
//
// Requests say size, power-of-two alignment, phase (`va mod alignment == phase`, so that VA and physical address agree
// modulo 2 MiB), a zone, a boundary that must not be crossed, guards on both sides, top-down or bottom-up, or a fixed
// address.
//
// Contract
//   Exactness   Everything is exact to the byte up to 2^48; sizes and addresses are multiples of 4 KiB. An allocation
//               fails with kOutOfVa if and only if no place in the zone satisfies the request.
//   Guards      Belong to the allocation: nobody else gets them, and they lie in the zone and on one side of the
//               boundary with it. The ranges that calls take and return are without them.
//   P4          `release` allocates nothing and cannot fail: what it needs was set aside with the range.
//   P5          A range that its owner is done with but the GPU is not goes through a ReuseQueue, and is not free
//               before.
//   Failure     See VaError. Nothing changed.
//   Complexity  Plain requests (no phase, boundary or guard, alignment up to 2 MiB) of sizes that are asked for often:
//               O(1), and their release with its handle (va_slots.md). All others: nothing but the visits, `stats` and
//               `validate` depends on more than the logarithm of the number of holes or allocations, whether it
//               succeeds or fails, for any alignment, phase and boundary. But where nothing has room other than, perhaps,
//               what is free in runs of slots, each run is looked at, and those with something free are dissolved: once
//               for each range. In numbers: va_heap.md, va_slots.md.
//   Placement   Small before large: a hole that is small, or lies in a small aligned window. So 2 MiB windows stay
//               whole while there is room in windows that are in use. A run of slots is placed as one request, and what
//               becomes free in it is used first. The direction decides between equals, and at which end of a hole or
//               a run the range begins; it is a preference, not "the highest place of all". See va_heap.md.
//   Memory      A slot: about 4 B where its size is common, some 200 where it is the only one of its run. A block (all
//               others, and holes): 64 B and about 13 for its place in the index of addresses. The heap: 1.5 KiB,
//               and 34 KiB for each zone. From `VaHeapConfig::memory`; kept until it ends.
//   Thread-safety: none; the VM's lock covers it.
//
// What it does not do: map anything, know BOs, or wait.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "allocator/node_memory.hpp"
#include "allocator/shape.hpp"
#include "allocator/va_partition.hpp"
#include "allocator/va_request.hpp"
#include "allocator/va_slots.hpp"
#include "allocator/va_space.hpp"
#include "mali/address.hpp"
#include "mali/result.hpp"

namespace granule {

struct VaHeapConfig {
    std::array<VaRange, kVaZones> zones{};  // by VaZone; an empty range: no such zone
    NodeMemory memory = NodeMemory::process();
    // Fast paths, each of which answers as the heap does without it: differences are found by switching them off.
    bool bins = true;   // bins of holes by size (hole_bins.hpp)
    bool slots = true;  // runs of equal slots for plain requests (va_slots.hpp)
    // Plain requests of one size class that blocks serve before it has a run.
    std::uint32_t slots_from = VaSlotPolicy{}.least_demand;
};

// An allocation, as look-ups and visits show it.
struct VaAllocation {
    VaRange range;         // what the owner was given
    VaRange whole;         // with the guards
    bool retired = false;  // the owner is done with it; it waits for fences

    constexpr bool operator==(const VaAllocation&) const noexcept = default;
};

class VaHeap {
public:
    // kBadRequest: a zone is not a range of whole pages within 2^48, overlaps another one, or kLow leaves 4 GiB;
    // kOutOfMemory.
    [[nodiscard]] static Result<VaHeap, VaError> create(const VaHeapConfig& config) noexcept;

    // A heap that was moved from may only be assigned to or destroyed.
    VaHeap(VaHeap&&) noexcept = default;
    VaHeap& operator=(VaHeap&&) noexcept = default;
    VaHeap(const VaHeap&) = delete;
    VaHeap& operator=(const VaHeap&) = delete;
    ~VaHeap() = default;  // with everything that is allocated or retired

    [[nodiscard]] Result<VaRange, VaError> allocate(const VaRequest& request) noexcept;
    // The same, with the handle.
    [[nodiscard]] Result<VaLease, VaError> lease(const VaRequest& request) noexcept {
        VaLease lease;
        if (!VaSlots::is_plain(request)) {
            return lease_otherwise(request);
        }
        if (space_->slots.take(request, lease)) {
            return lease;
        }
        return lease_plain(request);
    }

    // Exactly `range`, in whichever zone contains it with its guards. kOccupied names the lowest allocation in the way.
    [[nodiscard]] Result<VaRange, VaError> allocate_at(VaRange range, std::uint64_t guard = 0) noexcept;

    // `range` is one that an allocate returned and that was neither released nor retired since. Anything else is a bug
    // of the caller: it asserts in debug builds, and does nothing in others.
    void release(VaRange range) noexcept;
    // The same for callers that are not trusted: kNotAllocated names what is there instead.
    [[nodiscard]] Result<void, VaError> release_checked(VaRange range) noexcept;
    // The same, faster where `handle` is the one that came with the range.
    [[nodiscard]] Result<void, VaError> release_checked(VaRange range, VaHandle handle) noexcept {
        if (const VaSlots::Place place = space_->slots.find(range, handle)) {
            space_->slots.release(place);
            return {};
        }
        return release_otherwise(range, handle);
    }

    // Is it exactly a range that an allocate returned and that was neither released nor retired since?
    [[nodiscard]] bool is_allocated(VaRange range) const noexcept;
    // The allocation that an address belongs to, by its guards too; retired ones too.
    [[nodiscard]] std::optional<VaAllocation> allocation_at(Va va) const noexcept;

    // Counters; where there are runs of slots, the holes are counted: O(n).
    [[nodiscard]] VaZoneStats stats(VaZone zone) const noexcept;
    // That of `stats`, in O(1).
    [[nodiscard]] std::uint64_t free_bytes(VaZone zone) const noexcept;
    // Memory taken for nodes.
    [[nodiscard]] std::uint64_t node_bytes() const noexcept;
    // Of these and the heap itself, what was written: the rest is address space.
    [[nodiscard]] std::uint64_t touched_bytes() const noexcept;

    // Calls `visitor(const VaAllocation&)` for what is in the zone, retired ones too, in address order. The visitor
    // does not change the heap.
    template <class Visitor>
    void visit_allocations(VaZone zone, Visitor&& visitor) const {
        space_->visit(zone, [&](const VaPiece& piece) {
            if (!piece.is_hole()) {
                visitor(describe(piece));
            }
        });
    }
    // Calls `visitor(VaRange)` for the holes of the zone in address order.
    template <class Visitor>
    void visit_holes(VaZone zone, Visitor&& visitor) const {
        space_->visit(zone, [&](const VaPiece& piece) {
            if (piece.is_hole()) {
                visitor(piece.whole());
            }
        });
    }

    // Do all invariants (va_heap.md, va_slots.md) hold? O(n log n).
    [[nodiscard]] bool validate() const noexcept;

private:
    friend class ReuseQueue;

    struct Destroy {
        NodeMemory memory;
        void operator()(VaSpace* space) const noexcept;
    };
    using Owner = std::unique_ptr<VaSpace, Destroy>;

    explicit VaHeap(Owner space) noexcept;

    // A plain request for which no slot is at hand: from a new run, or from the blocks.
    [[nodiscard]] Result<VaLease, VaError> lease_plain(const VaRequest& request) noexcept;
    // One that is not plain, or breaks a rule.
    [[nodiscard]] Result<VaLease, VaError> lease_otherwise(const VaRequest& request) noexcept;
    [[nodiscard]] Result<VaLease, VaError> lease_block(const VaRequest& request, const Shape& shape) noexcept;
    [[nodiscard]] Result<VaPartition::Place, VaError> find_with_runs(const VaRequest& request,
                                                                     const Shape& shape) noexcept;
    // What no slot's handle leads to: blocks, and all that must be searched for.
    [[nodiscard]] Result<void, VaError> release_otherwise(VaRange range, VaHandle handle) noexcept;
    [[nodiscard]] static VaAllocation describe(const VaPiece& piece) noexcept;
    // Why `range` is not an allocation that its owner can give back.
    [[nodiscard]] static VaError not_allocated(VaSpace& space, VaRange range) noexcept;

    Owner space_;
};

}  // namespace granule
