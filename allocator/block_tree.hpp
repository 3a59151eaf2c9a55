// Blocks in a radix priority search tree: the one search structure of the VA heap.
//
// A tree answers "is there a block whose start is in this interval (modulo 2^n pages) and that reaches at least so
// far?"
//
//      residue = start mod 2^n        reach = residue + pages
//
//          0                                            2^n
//          |-----------[==== block ====)-----------------|--
//                      ^ residue       ^ reach
//
// (McCreight's priority search tree, in the radix form that needs no balancing.)
//
// Invariants
//   T1  A block reaches at least as far as the blocks below it: the root reaches farthest.
//   T2  At depth d, the left subtree of a block holds the keys whose bit d (from the top) is 0, the right one those
//       where it is 1. The key is the residue, then the rest of the start: 36 bits that no two blocks share.
//
// Complexity: insert and erase follow one path, find at most three, of at most 37 blocks each, however many blocks
//             there are; about log2(n) in practice. There is nothing to rebalance and no augmentation to keep up to
//             date.
// Memory    : none. The links are in the blocks; the tree is its root.
// Failure   : none. Thread-safety: none.
#pragma once

#include <cstdint>

#include "allocator/va_block.hpp"
#include "allocator/va_request.hpp"

namespace granule {

// Which of a block's links a tree uses, and what it sorts by. All calls on one tree are given the same order.
struct BlockOrder {
    unsigned residue_bits;  // n; with 36, residues are the starts
    unsigned hole_class;    // index of VaBlock::by_class, or kByAddress

    static constexpr unsigned kByAddress = kHoleClasses;

    [[nodiscard]] constexpr std::uint64_t residue(std::uint64_t page) const noexcept {
        return page & ((std::uint64_t{1} << residue_bits) - 1);
    }
    // The least key of a residue.
    [[nodiscard]] constexpr std::uint64_t key_of_residue(std::uint64_t residue) const noexcept {
        return residue << (kPageNumberBits - residue_bits);
    }
    [[nodiscard]] std::uint64_t key(const VaBlock& block) const noexcept {
        return key_of_residue(residue(block.first)) | (block.first >> residue_bits);
    }
    [[nodiscard]] std::uint64_t reach(const VaBlock& block) const noexcept {
        return residue(block.first) + block.pages();
    }
    [[nodiscard]] BlockLinks& links(VaBlock& block) const noexcept {
        return hole_class == kByAddress ? block.by_address : block.by_class[hole_class];
    }
    [[nodiscard]] const BlockLinks& links(const VaBlock& block) const noexcept {
        return hole_class == kByAddress ? block.by_address : block.by_class[hole_class];
    }
};

inline constexpr BlockOrder kAddressOrder{kPageNumberBits, BlockOrder::kByAddress};

// Blocks with first_residue <= residue <= last_residue and reach >= least_reach.
struct BlockQuery {
    std::uint64_t first_residue;
    std::uint64_t last_residue;
    std::uint64_t least_reach;
};

class BlockTree {
public:
    // A block's start and end may change only while it is in no tree.
    void insert(BlockOrder order, VaBlock& block) noexcept;
    // Precondition: the block is in the tree.
    void erase(BlockOrder order, VaBlock& block) noexcept;

    // Of the blocks that answer the query, the one with the greatest (top-down) or least key; null where there is none.
    [[nodiscard]] VaBlock* find(BlockOrder order, const BlockQuery& query, VaDirection direction) const noexcept;

    // The block that reaches farthest, or null.
    [[nodiscard]] const VaBlock* root() const noexcept { return root_; }

    // T1 and T2 hold, and there are `expected` blocks. O(n).
    [[nodiscard]] bool validate(BlockOrder order, std::uint64_t expected) const noexcept;

private:
    VaBlock* root_ = nullptr;
};

}  // namespace granule
