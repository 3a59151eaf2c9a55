// A hole as the exact index knows it: a copy of its ends, and its links in the trees (hole_tree.hpp).
//
// Apart from the block, because most holes come and go without ever being looked for exactly (hole_bins.hpp): a node is
// made when the index is asked, and goes when the hole changes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "allocator/va_block.hpp"

namespace granule {

struct HoleNode;

// The place of a hole in one HoleTree.
struct HoleLinks {
    std::array<HoleNode*, 2> child{};
};

// Trees that a hole is in, one per class of alignments: hole_index.hpp.
inline constexpr std::size_t kHoleClasses = 7;

struct HoleNode {
    explicit HoleNode(std::uint32_t) noexcept {}
    HoleNode(std::uint64_t first_page, std::uint64_t end_page) noexcept : first(first_page), end(end_page) {}

    [[nodiscard]] std::uint64_t pages() const noexcept { return end - first; }
    [[nodiscard]] static HoleNode*& unused_link(HoleNode& hole) noexcept { return hole.by_class[0].child[0]; }

    std::uint64_t first = 0;  // pages
    std::uint64_t end = 0;
    VaBlock* block = nullptr;
    std::array<HoleLinks, kHoleClasses> by_class{};
};

}  // namespace granule
