// What a mapping consists of: as runs of leaves, and as maps that make the same leaves again, for whatever brings tables
// back to our state.
//
//     ledger    |..p..|======= 2M =======|======= 2M =======|..p..|
//     runs      |pages|------------ 2 x 2M -----------------|pages|
//     pieces    |kPage|------------- kLargest --------------|kPage|
//
// Thread-safety: none; the VM's lock.
#pragma once

#include "allocator/granule_ledger.hpp"
#include "allocator/leaf_layout.hpp"
#include "mali/address.hpp"

namespace granule {

// Calls `visitor(const LeafRun&)` for the leaves of `part`, ascending. `part` lies in one mapping, and its edges cut no
// granule.
template <class Visitor>
void for_each_mapped_leaf_run(const GranuleLedger& ledger, const VaRange& part, Visitor&& visitor) {
    const auto visit_pages = [&](Va from, Va to) {
        if (from < to) {
            visitor(LeafRun{from, LeafSize::k4K, (to - from) / kPageBytes});
        }
    };
    Va at = part.start;
    ledger.for_each_block_run(part, [&](const LeafRun& blocks) {
        visit_pages(at, blocks.start);
        visitor(blocks);
        at = blocks.range().end;
    });
    visit_pages(at, part.end);
}

// Calls `visitor(const VaRange&, LeafPolicy)` for the pieces of `part`, ascending. `part` lies in one mapping, and its
// edges cut no granule.
template <class Visitor>
void for_each_leaf_piece(const GranuleLedger& ledger, const VaRange& part, Visitor&& visitor) {
    const auto visit = [&](const VaRange& piece, LeafPolicy leaves) {
        if (!piece.empty()) {
            visitor(piece, leaves);
        }
    };
    Va at = part.start;
    ledger.for_each_block_run(part, [&](const LeafRun& blocks) {
        visit({at, blocks.start}, LeafPolicy::kPage);
        visit(blocks.range(), LeafPolicy::kLargest);
        at = blocks.range().end;
    });
    visit({at, part.end}, LeafPolicy::kPage);
}

}  // namespace granule
