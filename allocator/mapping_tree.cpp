#include "allocator/mapping_tree.hpp"

#include <algorithm>
#include <cassert>
#include <functional>
#include <new>
#include <type_traits>
#include <utility>

namespace granule {

namespace {

using Leaf = MappingTree::Leaf;
using Inner = MappingTree::Inner;

constexpr std::uint64_t kMostPages = kMaxVaEnd / kPageBytes;

constexpr std::uint64_t least_entries_at(unsigned height) noexcept {
    std::uint64_t leaves = 2;
    for (unsigned level = 1; level < height; ++level) {
        leaves *= Inner::kLeast;
    }
    return leaves * Leaf::kLeast;
}
static_assert(least_entries_at(MappingTree::kMostHeight) <= kMostPages &&
              least_entries_at(MappingTree::kMostHeight + 1) > kMostPages);

static_assert(sizeof(Leaf) == sizeof(Inner), "one pool serves both");
static_assert(std::is_trivially_destructible_v<Leaf> && std::is_trivially_destructible_v<Inner>);

// How many of the first `count` ascending keys, shifted right, are below `page`. The shape compiles to conditional
// moves: which half holds the answer is as good as random, and a branch on it would be mispredicted every other time.
template <unsigned shift>
unsigned rank_of(const std::uint64_t* keys, unsigned count, std::uint64_t page) noexcept {
    unsigned below = 0;
    while (count > 1) {
        const unsigned half = count / 2;
        below += (keys[below + half - 1] >> shift) < page ? half : 0;
        count -= half;
    }
    return below + ((count == 1 && (keys[below] >> shift) < page) ? 1 : 0);
}

}  // namespace

unsigned MappingTree::Leaf::rank(std::uint64_t page) const noexcept {
    return rank_of<MappingEntry::kStartShift>(keys.data(), count, page);
}

unsigned MappingTree::Inner::rank(std::uint64_t page) const noexcept {
    return rank_of<0>(keys.data(), count, page);
}

template <class Value, unsigned most, unsigned least>
void MappingTree::Slots<Value, most, least>::insert(unsigned at, std::uint64_t key, const Value& value) noexcept {
    assert(at <= count && count < most);
    std::copy_backward(&keys[0] + at, &keys[0] + count, &keys[0] + count + 1);
    std::copy_backward(&values[0] + at, &values[0] + count, &values[0] + count + 1);
    keys[at] = key;
    values[at] = value;
    ++count;
}

template <class Value, unsigned most, unsigned least>
void MappingTree::Slots<Value, most, least>::remove(unsigned at, unsigned removed) noexcept {
    assert(at + removed <= count);
    std::copy(&keys[0] + at + removed, &keys[0] + count, &keys[0] + at);
    std::copy(&values[0] + at + removed, &values[0] + count, &values[0] + at);
    count -= removed;
}

template <class Value, unsigned most, unsigned least>
void MappingTree::Slots<Value, most, least>::share_with(Slots& right, unsigned wanted) noexcept {
    assert(wanted <= most && wanted <= count + right.count && count + right.count - wanted <= most);
    if (wanted >= count) {
        const unsigned moved = wanted - count;
        std::copy_n(&right.keys[0], moved, &keys[0] + count);
        std::copy_n(&right.values[0], moved, &values[0] + count);
        count = wanted;
        right.remove(0, moved);
        return;
    }
    const unsigned moved = count - wanted;
    std::copy_backward(&right.keys[0], &right.keys[0] + right.count, &right.keys[0] + right.count + moved);
    std::copy_backward(&right.values[0], &right.values[0] + right.count, &right.values[0] + right.count + moved);
    std::copy_n(&keys[0] + wanted, moved, &right.keys[0]);
    std::copy_n(&values[0] + wanted, moved, &right.values[0]);
    right.count += moved;
    count = wanted;
}

MappingTree::MappingTree(NodeMemory memory) noexcept : pool_(memory, sizeof(Leaf), alignof(Leaf)) {}

MappingTree::MappingTree(MappingTree&& other) noexcept
    : pool_(std::move(other.pool_)),
      root_(std::exchange(other.root_, nullptr)),
      height_(std::exchange(other.height_, 0)),
      entries_(std::exchange(other.entries_, 0)) {}

MappingTree& MappingTree::operator=(MappingTree&& other) noexcept {
    if (this != &other) {
        pool_ = std::move(other.pool_);
        root_ = std::exchange(other.root_, nullptr);
        height_ = std::exchange(other.height_, 0);
        entries_ = std::exchange(other.entries_, 0);
    }
    return *this;
}

// Below the root every node is at least at its minimum: of n entries there are at most n / 24 leaves, over them at most
// n / 24 / 32 inner nodes that are not the root, and so on; the root is one node more. An insert that splits takes
// nodes before it gives any back, but it leaves a valid tree of one entry more behind, and gives none back.
std::uint64_t MappingTree::most_nodes_for(std::uint64_t entries) noexcept {
    if (entries == 0) {
        return 0;
    }
    std::uint64_t nodes = 1;
    for (std::uint64_t level = entries / Leaf::kLeast; level > 0; level /= Inner::kLeast) {
        nodes += level;
    }
    return nodes;
}

bool MappingTree::reserve(std::uint64_t entries) noexcept {
    return pool_.reserve(most_nodes_for(entries));
}

MappingTree::Place MappingTree::seek(std::uint64_t page) const noexcept {
    Path path;
    return seek(page, path);
}

MappingTree::Place MappingTree::seek(std::uint64_t page, Path& path) const noexcept {
    if (root_ == nullptr) {
        return {};
    }
    void* node = root_;
    for (unsigned level = height_; level > 0; --level) {
        auto* inner = static_cast<Inner*>(node);
        const unsigned rank = inner->rank(page);
        const unsigned index = rank == 0 ? 0 : rank - 1;
        path.steps[level] = {inner, index};
        node = inner->values[index];
    }
    auto* leaf = static_cast<Leaf*>(node);
    return {leaf, leaf->rank(page)};
}

void MappingTree::insert(Path& path, Place place, const MappingEntry& entry) noexcept {
    if (root_ == nullptr) {
        place = {new_node<Leaf>(), 0};
        root_ = place.leaf;
    }
    make_room(path, 0, place.leaf, place.index);
    place.leaf->insert(place.index, entry.key, entry.rest);
    ++entries_;
    if (place.index == 0) {
        set_first_page(path, 0, entry.start());
    }
}

void MappingTree::remove(Path& path, Place place, unsigned count) noexcept {
    if (count == 0) {
        return;
    }
    Leaf& leaf = *place.leaf;
    leaf.remove(place.index, count);
    entries_ -= count;
    if (place.index == 0 && leaf.count > 0) {
        set_first_page(path, 0, leaf.first_page());
    }
    mend(path, 0, leaf);
}

void MappingTree::cut_front(Path& path, Place place, std::uint64_t start) noexcept {
    const MappingEntry part = place.leaf->entry(place.index).from(start);
    place.leaf->keys[place.index] = part.key;
    place.leaf->values[place.index] = part.rest;
    if (place.index == 0) {
        set_first_page(path, 0, start);
    }
}

template <class Node>
Node* MappingTree::new_node() noexcept {
    auto* node = ::new (pool_.take()) Node;
    node->count = 0;
    if constexpr (std::is_same_v<Node, Leaf>) {
        node->previous = nullptr;
        node->next = nullptr;
    }
    return node;
}

// The node at `level` on the path begins with another page: so do those above it, as far as it is their first child.
void MappingTree::set_first_page(Path& path, unsigned level, std::uint64_t page) noexcept {
    for (unsigned above = level + 1; above <= height_; ++above) {
        const Path::Step& step = path.steps[above];
        step.node->keys[step.index] = page;
        if (step.index != 0) {
            return;
        }
    }
}

// Makes room for one more at `index` of `node`; both move along to where that place is then. The path stays as it was
// sought, but for a new root. That is all it is needed for: `set_first_page` follows only where the entry is the first
// of the whole tree, and the first node of a level is never what entries move out of to the left.
template <class Node>
void MappingTree::make_room(Path& path, unsigned level, Node*& node, unsigned& index) noexcept {
    if (node->count == Node::kMost && !shift_to_neighbour(path, level, node, index)) {
        split(path, level, node, index);
    }
}

// A place between two nodes stays at the end of the left one: what is inserted there is no node's first, and no key
// above changes.
template <class Node>
bool MappingTree::shift_to_neighbour(const Path& path, unsigned level, Node*& node, unsigned& index) noexcept {
    if (level == height_) {
        return false;
    }
    const Path::Step& up = path.steps[level + 1];
    Inner& parent = *up.node;
    if (up.index + 1 < parent.count) {
        auto* right = static_cast<Node*>(parent.values[up.index + 1]);
        if (right->count <= Node::kRoomy) {
            node->share_with(*right, (node->count + right->count + 1) / 2);
            parent.keys[up.index + 1] = right->first_page();
            if (index > node->count) {
                index -= node->count;
                node = right;
            }
            return true;
        }
    }
    if (up.index > 0) {
        auto* left = static_cast<Node*>(parent.values[up.index - 1]);
        if (left->count <= Node::kRoomy) {
            const unsigned from_left = left->count + index;
            left->share_with(*node, (left->count + node->count + 1) / 2);
            parent.keys[up.index] = node->first_page();
            if (from_left > left->count) {
                index = from_left - left->count;
            } else {
                index = from_left;
                node = left;
            }
            return true;
        }
    }
    return false;
}

template <class Node>
void MappingTree::split(Path& path, unsigned level, Node*& node, unsigned& index) noexcept {
    auto* right = new_node<Node>();
    node->share_with(*right, node->count / 2);
    if constexpr (std::is_same_v<Node, Leaf>) {
        right->previous = node;
        right->next = node->next;
        if (right->next != nullptr) {
            right->next->previous = right;
        }
        node->next = right;
    }
    insert_child(path, level, right->first_page(), right);
    if (index > node->count) {
        index -= node->count;
        node = right;
    }
}

// Puts `child` behind the child that the path takes at `level` + 1, and a root above if there is none.
void MappingTree::insert_child(Path& path, unsigned level, std::uint64_t first_page, void* child) noexcept {
    Path::Step& up = path.steps[level + 1];
    if (level == height_) {
        assert(height_ < kMostHeight);
        auto* root = new_node<Inner>();
        const std::uint64_t page =
            level == 0 ? static_cast<Leaf*>(root_)->first_page() : static_cast<Inner*>(root_)->first_page();
        root->insert(0, page, root_);
        root_ = root;
        ++height_;
        up = {root, 0};
    }
    Inner* parent = up.node;
    unsigned index = up.index + 1;
    make_room(path, level + 1, parent, index);
    parent->insert(index, first_page, child);
}

// Restores the minimum of `node`, which lost entries, and of the nodes above it.
template <class Node>
void MappingTree::mend(Path& path, unsigned level, Node& node) noexcept {
    if (level == height_) {
        mend_root();
        return;
    }
    if (node.count >= Node::kLeast) {
        return;
    }
    Path::Step& up = path.steps[level + 1];
    Inner& parent = *up.node;
    const unsigned pair = up.index + 1 < parent.count ? up.index : up.index - 1;
    auto* left = static_cast<Node*>(parent.values[pair]);
    auto* right = static_cast<Node*>(parent.values[pair + 1]);
    const unsigned together = left->count + right->count;
    up.index = pair;
    if (together > Node::kRoomy) {
        left->share_with(*right, together / 2);
        parent.keys[pair + 1] = right->first_page();
        set_first_page(path, level, left->first_page());
        return;
    }
    Node* kept = left;
    Node* dropped = right;
    if (left->count == 0) {
        std::swap(kept, dropped);
    } else {
        left->share_with(*right, together);
    }
    unlink(*dropped);
    pool_.give_back(dropped);
    parent.remove(dropped == left ? pair : pair + 1, 1);
    set_first_page(path, level, kept->first_page());
    mend(path, level + 1, parent);
}

// The root may be small, but an empty leaf is no tree, and an inner node of one child no level.
void MappingTree::mend_root() noexcept {
    if (height_ == 0) {
        if (static_cast<Leaf*>(root_)->count == 0) {
            pool_.give_back(std::exchange(root_, nullptr));
        }
        return;
    }
    auto* root = static_cast<Inner*>(root_);
    if (root->count == 1) {
        root_ = root->values[0];
        --height_;
        pool_.give_back(root);
    }
}

void MappingTree::unlink(const Leaf& leaf) noexcept {
    if (leaf.previous != nullptr) {
        leaf.previous->next = leaf.next;
    }
    if (leaf.next != nullptr) {
        leaf.next->previous = leaf.previous;
    }
}

// What a walk over all nodes in order has seen.
struct MappingTree::Check {
    const Leaf* last_leaf = nullptr;
    std::uint64_t nodes = 0;
    std::uint64_t entries = 0;
};

bool MappingTree::check(const void* node, unsigned level, Check& state) const noexcept {
    ++state.nodes;
    const bool is_root = level == height_;
    const auto ascending = [](const auto& slots) {
        return std::adjacent_find(&slots.keys[0], &slots.keys[0] + slots.count, std::greater_equal<>()) ==
               &slots.keys[0] + slots.count;
    };
    if (level == 0) {
        const auto& leaf = *static_cast<const Leaf*>(node);
        if (leaf.count > Leaf::kMost || leaf.count < (is_root ? 1 : Leaf::kLeast) || !ascending(leaf) ||
            leaf.previous != state.last_leaf) {
            return false;
        }
        if (const Leaf* last = state.last_leaf;
            last != nullptr && (last->next != &leaf || last->entry(last->count - 1).start() >= leaf.first_page())) {
            return false;
        }
        state.last_leaf = &leaf;
        state.entries += leaf.count;
        return true;
    }
    const auto& inner = *static_cast<const Inner*>(node);
    if (inner.count > Inner::kMost || inner.count < (is_root ? 2 : Inner::kLeast) || !ascending(inner)) {
        return false;
    }
    for (unsigned at = 0; at < inner.count; ++at) {
        const void* child = inner.values[at];
        const std::uint64_t first_page =
            level == 1 ? static_cast<const Leaf*>(child)->first_page() : static_cast<const Inner*>(child)->first_page();
        if (inner.keys[at] != first_page || !check(child, level - 1, state)) {
            return false;
        }
    }
    return true;
}

bool MappingTree::validate() const noexcept {
    if (root_ == nullptr) {
        return height_ == 0 && entries_ == 0 && pool_.in_use() == 0;
    }
    Check state;
    return check(root_, height_, state) && state.last_leaf->next == nullptr && state.entries == entries_ &&
           state.nodes == pool_.in_use() && pool_.in_use() <= most_nodes_for(entries_);
}

}  // namespace granule
