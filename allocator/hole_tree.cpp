#include "allocator/hole_tree.hpp"

#include <cassert>
#include <cstddef>
#include <utility>

namespace granule {

namespace {

// Which subtree a key belongs to below a hole whose subtree still leaves `bits` bits of the key open.
std::size_t side_of(std::uint64_t key, unsigned bits) noexcept {
    assert(bits > 0);
    return static_cast<std::size_t>((key >> (bits - 1)) & 1U);
}

struct Search {
    HoleOrder order;
    std::uint64_t first_key;
    std::uint64_t last_key;
    std::uint64_t least_reach;
    std::size_t near;  // the side to prefer

    // `node` is the root of the subtree whose keys are [low, low + 2^bits).
    //
    // Cost: a subtree with all keys in the interval gives an answer whenever its root reaches far enough, so that only
    // one path is followed through it. Subtrees with some keys in the interval lie on the paths to its two ends.
    [[nodiscard]] HoleNode* in(HoleNode* node, std::uint64_t low, unsigned bits) const noexcept {
        if (node == nullptr || order.reach(*node) < least_reach) {
            return nullptr;  // T1: nor does anything below it reach far enough
        }
        const std::uint64_t high = low + ((std::uint64_t{1} << bits) - 1);
        if (low > last_key || high < first_key) {
            return nullptr;
        }
        const std::uint64_t key = order.key(*node);
        const bool itself = first_key <= key && key <= last_key;
        if (bits == 0) {
            return itself ? node : nullptr;
        }
        const auto subtree = [&](std::size_t side) noexcept {
            return in(order.links(*node).child[side], side == 0 ? low : low + (std::uint64_t{1} << (bits - 1)),
                      bits - 1);
        };
        HoleNode* below = subtree(near);
        if (below == nullptr && !(itself && side_of(key, bits) == near)) {
            below = subtree(1 - near);
        }
        if (!itself) {
            return below;
        }
        return below == nullptr || (near == 0) == (key < order.key(*below)) ? node : below;
    }
};

struct Audit {
    HoleOrder order;
    std::uint64_t holes = 0;

    [[nodiscard]] bool holds(const HoleNode* node, std::uint64_t low, unsigned bits,
                             std::uint64_t most_reach) noexcept {
        if (node == nullptr) {
            return true;
        }
        const std::uint64_t key = order.key(*node);
        if (order.reach(*node) > most_reach || key < low || key - low >= std::uint64_t{1} << bits) {
            return false;
        }
        ++holes;
        const auto& child = order.links(*node).child;
        if (bits == 0) {
            return child[0] == nullptr && child[1] == nullptr;
        }
        return holds(child[0], low, bits - 1, order.reach(*node)) &&
               holds(child[1], low + (std::uint64_t{1} << (bits - 1)), bits - 1, order.reach(*node));
    }
};

}  // namespace

void HoleTree::insert(HoleOrder order, HoleNode& hole) noexcept {
    HoleNode* sinking = &hole;
    std::uint64_t key = order.key(hole);
    HoleNode** slot = &root_;
    for (unsigned bits = kPageNumberBits; *slot != nullptr; --bits) {
        if (order.reach(*sinking) > order.reach(**slot)) {
            // T1: it takes this place, and what was here sinks instead.
            order.links(*sinking) = order.links(**slot);
            std::swap(sinking, *slot);
            key = order.key(*sinking);
        }
        slot = &order.links(**slot).child[side_of(key, bits)];
    }
    order.links(*sinking) = {};
    *slot = sinking;
}

void HoleTree::erase(HoleOrder order, HoleNode& hole) noexcept {
    const std::uint64_t key = order.key(hole);
    HoleNode** slot = &root_;
    for (unsigned bits = kPageNumberBits; *slot != &hole; --bits) {
        assert(*slot != nullptr);
        slot = &order.links(**slot).child[side_of(key, bits)];
    }
    // The place is filled by the child that reaches farther, that one's by its child, and so on.
    HoleLinks vacant = order.links(hole);
    while (vacant.child[0] != nullptr || vacant.child[1] != nullptr) {
        const bool right =
            vacant.child[0] == nullptr ||
            (vacant.child[1] != nullptr && order.reach(*vacant.child[1]) > order.reach(*vacant.child[0]));
        const std::size_t side = right ? 1 : 0;
        HoleNode* rising = vacant.child[side];
        *slot = rising;
        std::swap(order.links(*rising), vacant);
        slot = &order.links(*rising).child[side];
    }
    *slot = nullptr;
}

HoleNode* HoleTree::find(HoleOrder order, const HoleQuery& query, VaDirection direction) const noexcept {
    const Search search{
        order,
        order.key_of_residue(query.first_residue),
        order.key_of_residue(query.last_residue + 1) - 1,
        query.least_reach,
        direction == VaDirection::kBottomUp ? std::size_t{0} : std::size_t{1},
    };
    return search.in(root_, 0, kPageNumberBits);
}

bool HoleTree::validate(HoleOrder order, std::uint64_t expected) const noexcept {
    Audit audit{order};
    return audit.holds(root_, 0, kPageNumberBits, UINT64_MAX) && audit.holes == expected;
}

}  // namespace granule
