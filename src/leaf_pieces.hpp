// What a mapping consists of, as maps that make the same leaves again: for whatever brings tables back to our state.
//
//     ledger    |..p..|======= 2M =======|======= 2M =======|..p..|
//     pieces    |kPage|------------- kLargest --------------|kPage|
//
// Thread-safety: none; the VM's lock.
#pragma once

#include "allocator/granule_ledger.hpp"
#include "allocator/leaf_layout.hpp"
#include "mali/address.hpp"

namespace granule {

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
