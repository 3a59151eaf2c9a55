// The planner: from the state of an address space and a request to a plan.
//
// Pure: nothing is changed, nothing is allocated. Cost: the look-ups at the two edges of the range, O(log n), plus,
// with kEnlarge, the mappings at the edges that are taken with it.
//
// It relies on one invariant of the state, which `apply_to_ledger` keeps: every block in the ledger lies inside one
// mapping.
//
// Where a kernel keeps the tables, a mapping's CutRule says who cuts its granules:
//
//   kExplicit      the plan: granules are unmapped whole, and residuals mapped again.
//   kByKernel      the kernel, if the rule of every mapping that the request cuts a granule of says so, the policy is
//                  kSplit, and the kernel is one that splits or realigns: the request itself is the only operation.
//   kWholeWindow   the plan, and what lies of the mapping in a 2 MiB window is a granule, whatever the leaves are.
//   kWholeMapping  the plan, and the mapping is one granule.
//
// kWholeWindow, and why it holds. From Linux 7.0 on, panthor widens what it unmaps to 2 MiB (panthor_mmu.c,
// unmap_hugepage_align) where an operation leaves a part of one of its own mappings before or behind that, and
//
//     the edge of the part is no multiple of 2 MiB, and the part reaches the window's boundary on its other side, and
//     the folio at the edge is huge                <- for imported BOs it has no pages to look at, and oopses
//
// Its own mappings are ours or pieces of ours: it never merges them, and who makes the operations may do it at most where
// two meet at a multiple of 2 MiB. So parts are left only at such places, and at edges of operations inside a mapping of
// ours; and every such edge is a multiple of 2 MiB:
//
//     mapping of ours     |-----------|-----------|-----:.....|           (windows of 2 MiB)
//     request                   [------------)
//     granules            |===========|===========|                       both edges, whole
//     operations          |-------- unmap --------|                       edges: of windows, or of the mapping
//                         |=====|            |====|                       residuals, over what is unmapped now: an
//                                                                         operation over nothing leaves no parts
//     with a map          the same, and the map covers nothing but what is unmapped and whole leaves in between
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
    const BackingLayout* layout = nullptr;  // whose cut rules hold; nullptr: CutRule::kExplicit for all
};

[[nodiscard]] Result<Plan, PlanError> plan(const AddressSpaceView& state, const BindRequest& request) noexcept;

// The least around `va` that can be unmapped: its leaf, or more under the last two rules. Precondition: below 2^48.
[[nodiscard]] VaRange granule_at(const AddressSpaceView& state, Va va) noexcept;

// Makes sure that `apply_to_ledger(ledger, plan, ...)` cannot fail. False: out of memory, nothing changed.
[[nodiscard]] bool hold_ledger(GranuleLedger& ledger, const Plan& plan) noexcept;

// Writes into the ledger which leaves stand where, once the operations of the plan have been carried out.
void apply_to_ledger(GranuleLedger& ledger, const Plan& plan, const BackingLayout& layout,
                     LeafSizes leaf_sizes) noexcept;

}  // namespace granule
