#include "allocator/hole_index.hpp"

#include <bit>
#include <cassert>

namespace granule {

namespace {

// Bits of the residues of each class. 4 KiB, 64 KiB, 2 MiB, then steps of at most seven bits, so that an alignment is
// at most 2^6 residues of its class.
constexpr std::array<unsigned, kHoleClasses> kClassBits{0, 4, 9, 15, 22, 29, kPageNumberBits};

// Class 0 sorts by address and reaches as far as a hole is long: its root is the level's largest hole.
constexpr std::size_t kBySize = 0;

constexpr std::uint64_t pages_of(unsigned bits) noexcept {
    return std::uint64_t{1} << bits;
}

constexpr HoleOrder order_of(std::size_t hole_class) noexcept {
    return {kClassBits[hole_class], static_cast<unsigned>(hole_class)};
}

// The first class whose residues tell starts of this alignment apart.
constexpr std::size_t class_of(unsigned alignment_bits) noexcept {
    std::size_t found = 0;
    while (kClassBits[found] < alignment_bits) {
        ++found;
    }
    return found;
}

using LevelTrees = std::array<HoleTree, kHoleClasses>;

// A hole with room for `pages` at a start that is `phase` modulo 2^alignment_bits.
//
// Such starts have the residues q0 = phase, q1 = q0 + 2^a, ... of the class. The first of them in a hole is q_k where
// the hole's residue is in (q_(k-1), q_k], and q0 one turn later where it is above all of them:
//
//      0        q0              q1              q2         2^c      2^c + q0
//      |---------|---------------|---------------|----------|---------|-----
//       [ hole: to q0 ][ hole: to q1 ]                 [ hole: to 2^c + q0 ]
//
// It fits where it reaches the first such start and `pages` more.
HoleNode* find_aligned(const LevelTrees& trees, const Shape& shape) noexcept {
    const std::size_t hole_class = class_of(shape.alignment_bits);
    const HoleOrder order = order_of(hole_class);
    const HoleTree& tree = trees[hole_class];
    const std::uint64_t turn = pages_of(order.residue_bits);
    std::uint64_t from = 0;
    for (std::uint64_t q = shape.phase; q < turn; q += pages_of(shape.alignment_bits)) {
        if (HoleNode* hole = tree.find(order, {from, q, q + shape.pages}, shape.direction); hole != nullptr) {
            return hole;
        }
        from = q + 1;
    }
    if (from == turn) {
        return nullptr;
    }
    return tree.find(order, {from, turn - 1, turn + shape.phase + shape.pages}, shape.direction);
}

// The same with a boundary, where every hole of the level crosses a multiple of it. There are two ways to fit:
//
//      |      window of 2^b      |      window of 2^b      |
//               [ rest of one ---|--- a next one: from its start )
//
// In the first window wherever the hole begins early enough: what follows is free up to the boundary. In the next
// window at its lowest place, which is `phase` after the boundary: nothing else about where the hole begins matters
// then.
HoleNode* find_crossing(const LevelTrees& trees, const Shape& shape) noexcept {
    const std::size_t hole_class = class_of(shape.boundary_bits);
    const HoleOrder order = order_of(hole_class);
    const std::uint64_t window = pages_of(shape.boundary_bits);
    for (std::uint64_t base = 0; base < pages_of(order.residue_bits); base += window) {
        const HoleQuery early{base, base + shape.last_residue(), base + window};
        if (HoleNode* hole = trees[hole_class].find(order, early, shape.direction); hole != nullptr) {
            return hole;
        }
    }
    Shape next_window;
    next_window.pages = shape.phase + shape.pages;
    next_window.alignment_bits = shape.boundary_bits;
    next_window.direction = shape.direction;
    return find_aligned(trees, next_window);
}

}  // namespace

std::size_t HoleIndex::level_of(const HoleNode& hole) noexcept {
    return static_cast<std::size_t>(std::bit_width(hole.first ^ (hole.end - 1)));
}

void HoleIndex::insert(HoleNode& hole) noexcept {
    const std::size_t level = level_of(hole);
    for (std::size_t c = 0; c < kHoleClasses; ++c) {
        trees_[level][c].insert(order_of(c), hole);
    }
    levels_ |= std::uint64_t{1} << level;
}

void HoleIndex::erase(HoleNode& hole) noexcept {
    const std::size_t level = level_of(hole);
    for (std::size_t c = 0; c < kHoleClasses; ++c) {
        trees_[level][c].erase(order_of(c), hole);
    }
    if (trees_[level][kBySize].root() == nullptr) {
        levels_ &= ~(std::uint64_t{1} << level);
    }
}

HoleNode* HoleIndex::find(const Shape& shape) const noexcept {
    // No hole of fewer pages than asked for is looked at: a level cannot hold more pages than its window.
    const auto lowest = static_cast<unsigned>(std::bit_width(shape.pages - 1));
    if (lowest >= kLevels) {
        return nullptr;
    }
    for (std::uint64_t left = levels_ >> lowest << lowest; left != 0; left &= left - 1) {
        const auto level = static_cast<std::size_t>(std::countr_zero(left));
        const LevelTrees& trees = trees_[level];
        if (trees[kBySize].root()->pages() < shape.pages) {
            continue;
        }
        HoleNode* hole = level <= shape.boundary_bits ? find_aligned(trees, shape) : find_crossing(trees, shape);
        if (hole != nullptr) {
            assert(shape.place(hole->first, hole->end).has_value());
            return hole;
        }
    }
    return nullptr;
}

std::uint64_t HoleIndex::largest() const noexcept {
    std::uint64_t most = 0;
    for (const Level& trees : trees_) {
        if (const HoleNode* root = trees[kBySize].root(); root != nullptr && root->pages() > most) {
            most = root->pages();
        }
    }
    return most;
}

bool HoleIndex::validate(const std::array<std::uint64_t, kLevels>& holes) const noexcept {
    for (std::size_t level = 0; level < kLevels; ++level) {
        if (((levels_ >> level & 1U) != 0) != (holes[level] != 0)) {
            return false;
        }
        for (std::size_t c = 0; c < kHoleClasses; ++c) {
            if (!trees_[level][c].validate(order_of(c), holes[level])) {
                return false;
            }
        }
    }
    return true;
}

}  // namespace granule
