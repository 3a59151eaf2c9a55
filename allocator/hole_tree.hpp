// Holes in a radix priority search tree: the search structure of the exact index.
//
// A tree answers "is there a hole whose start is in this interval (modulo 2^n pages) and that reaches at least so
// far?"
//
//      residue = start mod 2^n        reach = residue + pages
//
//          0                                            2^n
//          |-----------[==== hole ====)------------------|--
//                      ^ residue       ^ reach
//
// (McCreight's priority search tree, in the radix form that needs no balancing.)
//
// Invariants
//   T1  A hole reaches at least as far as the holes below it: the root reaches farthest.
//   T2  At depth d, the left subtree of a hole holds the keys whose bit d (from the top) is 0, the right one those
//       where it is 1. The key is the residue, then the rest of the start: 36 bits that no two holes share.
//
// Complexity: insert and erase follow one path, find at most three, of at most 37 holes each, however many holes
//             there are; about log2(n) in practice. There is nothing to rebalance and no augmentation to keep up to
//             date.
// Memory    : none. The links are in the holes; the tree is its root.
// Failure   : none. Thread-safety: none.
#pragma once

#include <cstdint>

#include "allocator/hole_node.hpp"
#include "allocator/va_request.hpp"

namespace granule {

// Which of a hole's links a tree uses, and what it sorts by. All calls on one tree are given the same order.
struct HoleOrder {
    unsigned residue_bits;  // n; with 36, residues are the starts
    unsigned hole_class;    // index of HoleNode::by_class

    [[nodiscard]] constexpr std::uint64_t residue(std::uint64_t page) const noexcept {
        return page & ((std::uint64_t{1} << residue_bits) - 1);
    }
    // The least key of a residue.
    [[nodiscard]] constexpr std::uint64_t key_of_residue(std::uint64_t residue) const noexcept {
        return residue << (kPageNumberBits - residue_bits);
    }
    [[nodiscard]] std::uint64_t key(const HoleNode& hole) const noexcept {
        return key_of_residue(residue(hole.first)) | (hole.first >> residue_bits);
    }
    [[nodiscard]] std::uint64_t reach(const HoleNode& hole) const noexcept {
        return residue(hole.first) + hole.pages();
    }
    [[nodiscard]] HoleLinks& links(HoleNode& hole) const noexcept { return hole.by_class[hole_class]; }
    [[nodiscard]] const HoleLinks& links(const HoleNode& hole) const noexcept { return hole.by_class[hole_class]; }
};

// Holes with first_residue <= residue <= last_residue and reach >= least_reach.
struct HoleQuery {
    std::uint64_t first_residue;
    std::uint64_t last_residue;
    std::uint64_t least_reach;
};

class HoleTree {
public:
    // A hole's start and end may change only while it is in no tree.
    void insert(HoleOrder order, HoleNode& hole) noexcept;
    // Precondition: the hole is in the tree.
    void erase(HoleOrder order, HoleNode& hole) noexcept;

    // Of the holes that answer the query, the one with the greatest (top-down) or least key; null where there is none.
    [[nodiscard]] HoleNode* find(HoleOrder order, const HoleQuery& query, VaDirection direction) const noexcept;

    // The hole that reaches farthest, or null.
    [[nodiscard]] const HoleNode* root() const noexcept { return root_; }

    // T1 and T2 hold, and there are `expected` holes. O(n).
    [[nodiscard]] bool validate(HoleOrder order, std::uint64_t expected) const noexcept;

private:
    HoleNode* root_ = nullptr;
};

}  // namespace granule
