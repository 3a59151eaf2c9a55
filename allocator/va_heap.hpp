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
//   P4          `release` allocates nothing and cannot fail: the node that gives a range back is the one that it was
//               allocated with.
//   P5          A range that its owner is done with but the GPU is not goes through a ReuseQueue, and is not free
//               before.
//   Failure     See VaError. Nothing changed.
//   Complexity  Nothing but the visits and `validate` depends on more than the logarithm of the number of holes or
//               allocations, whether it succeeds or fails, for any alignment, phase and boundary. In numbers:
//               hole_index.hpp.
//   Placement   Small before large: of all holes that fit, one that lies in the smallest aligned window. So 2 MiB
//               windows stay whole while there is room in windows that are in use. The direction decides between
//               equals, and at which end of the hole the range begins; it is a preference, not "the highest place of
//               all". See va_heap.md.
//   Memory      192 B per allocation or hole, from `VaHeapConfig::memory`; kept until the heap ends.
//   Thread-safety: none; the VM's lock covers it.
//
// What it does not do: map anything, know BOs, or wait.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>

#include "allocator/node_memory.hpp"
#include "allocator/va_partition.hpp"
#include "allocator/va_request.hpp"
#include "mali/address.hpp"
#include "mali/result.hpp"

namespace granule {

struct VaHeapConfig {
    std::array<VaRange, kVaZones> zones{};  // by VaZone; an empty range: no such zone
    NodeMemory memory = NodeMemory::process();
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

    // Exactly `range`, in whichever zone contains it with its guards. kOccupied names the lowest allocation in the way.
    [[nodiscard]] Result<VaRange, VaError> allocate_at(VaRange range, std::uint64_t guard = 0) noexcept;

    // `range` is one that an allocate returned and that was neither released nor retired since. Anything else is a bug
    // of the caller: it asserts in debug builds, and does nothing in others.
    void release(VaRange range) noexcept;
    // The same for callers that are not trusted: kNotAllocated names what is there instead.
    [[nodiscard]] Result<void, VaError> release_checked(VaRange range) noexcept;

    // Is it exactly a range that an allocate returned and that was neither released nor retired since?
    [[nodiscard]] bool is_allocated(VaRange range) const noexcept;
    // The allocation that an address belongs to, by its guards too; retired ones too.
    [[nodiscard]] std::optional<VaAllocation> allocation_at(Va va) const noexcept;

    // O(1), but for a look at each of the 37 levels for the largest hole.
    [[nodiscard]] VaZoneStats stats(VaZone zone) const noexcept;
    // Memory taken for nodes.
    [[nodiscard]] std::uint64_t node_bytes() const noexcept;

    // Calls `visitor(const VaAllocation&)` for what is in the zone, retired ones too, in address order. The visitor
    // does not change the heap.
    template <class Visitor>
    void visit_allocations(VaZone zone, Visitor&& visitor) const {
        for (const VaBlock* block = lowest(zone); block != nullptr; block = block->next) {
            if (!block->is_hole()) {
                visitor(describe(*block));
            }
        }
    }
    // Calls `visitor(VaRange)` for the holes of the zone in address order.
    template <class Visitor>
    void visit_holes(VaZone zone, Visitor&& visitor) const {
        for (const VaBlock* block = lowest(zone); block != nullptr; block = block->next) {
            if (block->is_hole()) {
                visitor(block->whole());
            }
        }
    }

    // Do all invariants (va_heap.md) hold? O(n).
    [[nodiscard]] bool validate() const noexcept;

private:
    friend class ReuseQueue;

    struct Destroy {
        NodeMemory memory;
        void operator()(VaPartition* partition) const noexcept;
    };
    using Owner = std::unique_ptr<VaPartition, Destroy>;

    explicit VaHeap(Owner partition) noexcept;

    [[nodiscard]] const VaBlock* lowest(VaZone zone) const noexcept;
    [[nodiscard]] static VaAllocation describe(const VaBlock& block) noexcept;
    // Why `range` is not an allocation that its owner can give back.
    [[nodiscard]] static VaError not_allocated(VaPartition& partition, VaRange range) noexcept;

    Owner partition_;
};

}  // namespace granule
