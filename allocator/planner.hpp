// The planner: from the state of an address space and a request to a plan.
//
// Pure: nothing is changed, nothing is allocated. Cost: the look-ups at the two edges of the range, O(log n), plus,
// with kEnlarge, the mappings at the edges that are taken with it.
//
// It relies on one invariant of the state, which `apply_to_ledger` keeps: every block in the ledger lies inside one
// mapping.
//
// Thread-safety: as the state's: readers only.
#pragma once

#include <cstdint>

#include "allocator/granule_ledger.hpp"
#include "allocator/mapping_map.hpp"
#include "allocator/plan.hpp"
#include "mali/lock_region.hpp"
#include "mali/result.hpp"

namespace granule {

struct AddressSpaceView {
    const MappingMap& mappings;
    const GranuleLedger& ledger;
    VaRange space;  // addresses that may be bound
    LeafSizes leaf_sizes = kLeaves4K2M;
    KernelBehaviour kernel = KernelBehaviour::kSplits;
    bool atomic_binds = false;  // the whole commit happens under one lock of the region
    unsigned smallest_lock_log2 = mali::kSmallestLockLog2;
};

[[nodiscard]] Result<Plan, PlanError> plan(const AddressSpaceView& state, const BindRequest& request) noexcept;

// Makes sure that `apply_to_ledger(ledger, plan, ...)` cannot fail. False: out of memory, nothing changed.
[[nodiscard]] bool hold_ledger(GranuleLedger& ledger, const Plan& plan) noexcept;

// Writes into the ledger which leaves stand where, once the operations of the plan have been carried out.
void apply_to_ledger(GranuleLedger& ledger, const Plan& plan, const BackingLayout& layout,
                     LeafSizes leaf_sizes) noexcept;

}  // namespace granule
