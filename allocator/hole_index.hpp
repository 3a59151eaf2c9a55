// The holes of one zone, sorted so that a hole that fits is found without looking at those that do not.
//
// Levels. The level of a hole is the size of the smallest aligned window that holds it: level n is 2^n pages. So a hole
// of level n >= 1 spans the middle of its window, and
//   - a hole of level <= 9 lies inside one 2 MiB window that is in use already, as far as the zone is not smaller;
//   - a hole of level <= n crosses no multiple of 2^n pages, and one of a higher level does.
//
//      level n:    |window of 2^n pages            |
//                  |          [ hole  |    )       |
//                                     middle
//
// A search goes from the lowest level up. That keeps large windows whole (a page never cuts a virgin 2 MiB window while
// there is room in one that is cut already), and decides most of what a boundary asks for.
//
// Classes. Within a level every hole is in kHoleClasses trees; that of class c sorts by start modulo 2^c pages. "Fits
// with this alignment and phase" is then a handful of interval queries, exact for every power of two: alignment 2^a is
// looked up in the next class c >= a, as 2^(c - a) residues.
//
// Invariants
//   H1  A hole is in the tree of each class of its level, and in no other tree.
//   H2  Bit n of `levels_` says whether level n has a hole.
//
// Exactness : `find` returns null if and only if no hole has a place for the shape (Shape::place).
// Complexity: insert, erase: kHoleClasses tree operations. find: at most 37 levels x 130 tree queries, whatever the
//             number of holes, and whether or not it finds one. 4 KiB, 64 KiB and 2 MiB are classes, so they need at
//             most two queries a level; a level whose largest hole is too small needs one look.
// Failure   : none. Thread-safety: none.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "allocator/hole_node.hpp"
#include "allocator/hole_tree.hpp"
#include "allocator/shape.hpp"

namespace granule {

class HoleIndex {
public:
    static constexpr std::size_t kLevels = kPageNumberBits + 1;

    void insert(HoleNode& hole) noexcept;
    void erase(HoleNode& hole) noexcept;

    // A hole for which `shape.place` has an answer: at the lowest level that has one.
    [[nodiscard]] HoleNode* find(const Shape& shape) const noexcept;

    // Pages of the largest hole. O(levels).
    [[nodiscard]] std::uint64_t largest() const noexcept;

    [[nodiscard]] static std::size_t level_of(const HoleNode& hole) noexcept;

    // H1 and H2 hold, and there are so many holes of each level. O(n).
    [[nodiscard]] bool validate(const std::array<std::uint64_t, kLevels>& holes) const noexcept;

private:
    using Level = std::array<HoleTree, kHoleClasses>;

    std::array<Level, kLevels> trees_{};
    std::uint64_t levels_ = 0;
};

}  // namespace granule
