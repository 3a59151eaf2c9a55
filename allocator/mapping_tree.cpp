#include "allocator/mapping_tree.hpp"

#include <algorithm>
#include <cassert>
#include <new>
#include <type_traits>
#include <utility>

namespace granule {

namespace {

using Leaf = MappingTree::Leaf;
using Inner = MappingTree::Inner;

constexpr std::uint64_t least_entries_at(unsigned height) noexcept {
    std::uint64_t leaves = 2;
    for (unsigned level = 1; level < height; ++level) {
        leaves *= Inner::kLeast;
    }
    return leaves * Leaf::kLeast;
}
static_assert(least_entries_at(MappingTree::kMostHeight) <= kPagesOfVa &&
              least_entries_at(MappingTree::kMostHeight + 1) > kPagesOfVa);
static_assert(Leaf::kLeast > 1U << kLowerBits, "two children of an inner node differ in the upper halves");
static_assert(std::is_trivially_destructible_v<Leaf> && std::is_trivially_destructible_v<Inner>);

// A node spills into neighbours while they are not fuller than this together, and nodes become one less while that leaves
// them so full: in between is what must change before the same nodes split and merge again.
template <class Node>
constexpr unsigned kSpills = Node::kMost - Node::kMost / 16;
template <class Node>
constexpr unsigned kMerges = Node::kMost - Node::kMost / 12;
static_assert(kMerges<Leaf> / 2 >= Leaf::kLeast && kMerges<Inner> / 2 >= Inner::kLeast,
              "two nodes that do not become one reach the minimum by evening out");
static_assert(Leaf::kMost / 2 >= Leaf::kLeast && Inner::kMost / 2 >= Inner::kLeast, "and so do two that were one");

// `size` neighbours, `index` among them, as far in the middle as the parent allows.
constexpr unsigned first_of(unsigned index, unsigned size, unsigned children) noexcept {
    const unsigned before = (size - 1) / 2;
    return std::min(index - std::min(index, before), children - size);
}

template <class Node>
Node& child(const Inner& parent, unsigned index) noexcept {
    return *static_cast<Node*>(parent.children[index]);
}

// Neighbours around a child of `parent`, one more with each step, and how many entries they have.
template <class Node>
class Neighbours {
public:
    Neighbours(const Inner& parent, unsigned index) noexcept
        : parent_(parent), index_(index), first_(index), entries_(child<Node>(parent, index).count) {}

    void grow() noexcept {
        ++size_;
        const unsigned first = first_of(index_, size_, parent_.count);
        entries_ += child<Node>(parent_, first < first_ ? first : first + size_ - 1).count;
        first_ = first;
    }
    [[nodiscard]] unsigned first() const noexcept { return first_; }
    [[nodiscard]] unsigned size() const noexcept { return size_; }
    [[nodiscard]] unsigned entries() const noexcept { return entries_; }

private:
    const Inner& parent_;
    unsigned index_;
    unsigned first_;
    unsigned size_ = 1;
    unsigned entries_;
};

}  // namespace

void MappingLeaf::clear() noexcept {
    count = 0;
    reach = kNowhere;
    free = kAllFree;
    starts.fill(kNoUpper);
}

void MappingInner::clear() noexcept {
    count = 0;
    fences.fill(kNoUpper);
    firsts.fill(kNoUpper);
}

void MappingInner::append(const Child& child) noexcept {
    const unsigned at = count;
    assert(at < kMost);
    set_first_page(at, child.first_page);
    children[at] = child.node;
    ++count;
}

void MappingInner::move_rest(unsigned from, unsigned to) noexcept {
    const unsigned used = count;
    const unsigned left = to + (used - from);
    assert(from <= used && left <= kMost);
    const auto move = [&](auto& array) {
        std::memmove(&array[0] + to, &array[0] + from, (used - from) * sizeof(array[0]));
    };
    move(firsts);
    move(lowers);
    move(children);
    for (unsigned at = left; at < used; ++at) {
        firsts[at] = kNoUpper;
    }
    for (unsigned group = 0; group < kGroups; ++group) {
        fences[group] = firsts[group * kGroup + kGroup - 1];
    }
    count = left;
}

MappingTree::MappingTree(NodeMemory memory) noexcept
    : leaves_(memory, sizeof(Leaf), alignof(Leaf)), inners_(memory, sizeof(Inner), alignof(Inner)), hints_(memory) {}

MappingTree::MappingTree(MappingTree&& other) noexcept
    : leaves_(std::move(other.leaves_)),
      inners_(std::move(other.inners_)),
      hints_(std::move(other.hints_)),
      root_(std::exchange(other.root_, nullptr)),
      height_(std::exchange(other.height_, 0)),
      entries_(std::exchange(other.entries_, 0)) {}

MappingTree& MappingTree::operator=(MappingTree&& other) noexcept {
    if (this != &other) {
        leaves_ = std::move(other.leaves_);
        inners_ = std::move(other.inners_);
        hints_ = std::move(other.hints_);
        root_ = std::exchange(other.root_, nullptr);
        height_ = std::exchange(other.height_, 0);
        entries_ = std::exchange(other.entries_, 0);
    }
    return *this;
}

// Below the root every node is at least at its minimum: of n entries there are at most n / 28 leaves, over them at most
// n / 28 / 20 inner nodes that are not the root, and so on; the root is one node more.
MappingTree::NodeCounts MappingTree::most_nodes_for(std::uint64_t entries) noexcept {
    const std::uint64_t leaves = entries / Leaf::kLeast;
    if (leaves < 2) {
        return {entries == 0 ? 0U : 1U, 0};
    }
    std::uint64_t inners = 1;
    for (std::uint64_t level = leaves / Inner::kLeast; level > 0; level /= Inner::kLeast) {
        inners += level;
    }
    return {leaves, inners};
}

bool MappingTree::reserve(std::uint64_t entries) noexcept {
    LeafHints larger(hints_.memory());
    const bool hints_change = !hints_suit();
    if (hints_change && !larger.reserve(entries_)) {
        return false;
    }
    const NodeCounts most = most_nodes_for(entries);
    const std::uint64_t leaves_before = leaves_.capacity();
    if (!leaves_.reserve(most.leaves)) {
        return false;
    }
    if (!inners_.reserve(most.inners)) {
        leaves_.reserve_no_more_than(leaves_before);
        return false;
    }
    if (hints_change) {
        hints_ = std::move(larger);
    }
    return true;
}

template <class Node>
Node* MappingTree::new_node() noexcept {
    NodePool* pool = nullptr;
    if constexpr (std::is_same_v<Node, Leaf>) {
        pool = &leaves_;
    } else {
        pool = &inners_;
    }
    auto* node = ::new (pool->take()) Node;
    node->clear();
    return node;
}

void MappingTree::give_back(Leaf* leaf) noexcept {
    leaf->reach = kNowhere;
    leaves_.give_back(leaf);
}

MappingTree::Leaf& MappingTree::plant() noexcept {
    assert(root_ == nullptr);
    auto* leaf = new_node<Leaf>();
    root_ = leaf;
    return *leaf;
}

void MappingTree::set_first_page(const Path& path, unsigned level, std::uint64_t page) noexcept {
    for (unsigned above = level + 1; above <= height_; ++above) {
        const Path::Step& step = path.steps[above];
        step.node->set_first_page(step.index, page);
        if (step.index != 0) {
            return;
        }
    }
}

MappingTree::Path MappingTree::path_to(std::uint64_t page) const noexcept {
    Path path;
    void* node = root_;
    for (unsigned level = height_; level > 0; --level) {
        auto& inner = *static_cast<Inner*>(node);
        const unsigned index = inner.child_of<true>(page);
        path.steps[level] = {&inner, index};
        node = inner.children[index];
    }
    return path;
}

MappingTree::Seat MappingTree::seek_and_remember(std::uint64_t page) noexcept {
    const Seat seat = descend<true>(page);
    seat.leaf->reach = SplitPage::of(seat.limit).upper;
    hints_.remember(page, *seat.leaf, seat.limit - seat.leaf->first_page());
    return seat;
}

void MappingTree::make_room(std::uint64_t page) noexcept {
    Path path = path_to(page);
    const Leaf& leaf = *descend<true>(page).leaf;
    const unsigned at = leaf.rank_below<NodePath::kVectors>(page);
    make_room_in<Leaf>(path, 0, at == leaf.count ? Lean::kFirst : at == 0 ? Lean::kLast : Lean::kEven);
}

void MappingTree::begins_elsewhere(std::uint64_t old_first, const Leaf& leaf) noexcept {
    set_first_page(path_to(old_first), 0, leaf.first_page());
}

void MappingTree::mend_leaf(std::uint64_t page) noexcept {
    mend_node<Leaf>(path_to(page), 0);
}

// The node at `level` of the path is full. It spills into its neighbours; where they are full too, it and a neighbour
// become three; and where the parent has no room for a third, that is made first, and the way there sought again.
template <class Node>
void MappingTree::make_room_in(Path& path, unsigned level, Lean lean) noexcept {
    if (level == height_) {
        assert(height_ < kMostHeight);
        auto* root = new_node<Inner>();
        root->append({static_cast<const Node*>(root_)->first_page(), root_});
        root_ = root;
        ++height_;
        path.steps[height_] = {root, 0};
    }
    const auto [parent, index] = path.steps[level + 1];
    const unsigned children = parent->count;
    const unsigned most = std::min(children, kMostSpread - 1);
    for (Neighbours<Node> near(*parent, index); near.size() < most;) {
        near.grow();
        if (near.entries() <= near.size() * kSpills<Node>) {
            spread<Node>(path, level, near.first(), near.size(), near.size(), lean);
            return;
        }
    }
    if (children == Inner::kMost) {
        make_room_in<Inner>(path, level + 1, lean);
        return;
    }
    spread<Node>(path, level, first_of(index, most, children), most, most + 1, lean);
}

// Hands the entries of `from` children of a parent, the first of which is `first`, to `to` of them.
template <class Node>
void MappingTree::spread(const Path& path, unsigned level, unsigned first, unsigned from, unsigned to,
                         Lean lean) noexcept {
    assert(from <= kMostSpread && to <= kMostSpread);
    Inner& parent = *path.steps[level + 1].node;
    typename Node::template Run<kMostSpread> run;
    std::array<Node*, kMostSpread> nodes{};
    for (unsigned n = 0; n < from; ++n) {
        nodes[n] = &child<Node>(parent, first + n);
        nodes[n]->append_to(run);
    }
    const unsigned all = run.count;
    for (unsigned n = from; n < to; ++n) {
        nodes[n] = new_node<Node>();
    }
    // How far the last of them reaches, the last of those to come does.
    std::int32_t reach = kNowhere;
    if constexpr (std::is_same_v<Node, Leaf>) {
        reach = nodes[from - 1]->reach;
        nodes[from - 1]->reach = kNowhere;
    }
    parent.move_rest(first + from, first + to);
    unsigned given = 0;
    for (unsigned n = 0; n < to; ++n) {
        const unsigned behind = to - 1 - n;  // nodes
        unsigned end = all * (n + 1) / to;
        if (lean == Lean::kFirst) {
            end = std::min(behind == 0 ? all : given + kSpills<Node>, all - behind * Node::kLeast);
        } else if (lean == Lean::kLast) {
            end = std::max((n + 1) * Node::kLeast, all - std::min(all, behind * kSpills<Node>));
        }
        nodes[n]->assign(run, given, end);
        given = end;
        parent.children[first + n] = nodes[n];
        parent.set_first_page(first + n, nodes[n]->first_page());
    }
    if constexpr (std::is_same_v<Node, Leaf>) {
        for (unsigned n = 0; n < to; ++n) {
            nodes[n]->reach = n + 1 < to ? SplitPage::of(nodes[n + 1]->first_page()).upper : reach;
        }
    }
    for (unsigned n = to; n < from; ++n) {
        give_back(nodes[n]);
    }
    if (first == 0) {
        set_first_page(path, level + 1, parent.first_page());
    }
}

// The node at `level` of the path has lost entries or children.
template <class Node>
void MappingTree::mend_node(const Path& path, unsigned level) noexcept {
    if (level == height_) {
        mend_root();
        return;
    }
    const auto [parent, index] = path.steps[level + 1];
    const unsigned children = parent->count;
    const unsigned left = child<Node>(*parent, index).count;
    // As few neighbours as possible: what is empty goes alone.
    Neighbours<Node> near(*parent, index);
    while (near.entries() > (near.size() - 1) * kMerges<Node> && near.size() < std::min(children, kMostSpread)) {
        near.grow();
    }
    if (near.entries() <= (near.size() - 1) * kMerges<Node>) {
        spread<Node>(path, level, near.first(), near.size(), near.size() - 1, Lean::kEven);
        if (parent->count < Inner::kLeast) {
            mend_node<Inner>(path, level + 1);
        }
        return;
    }
    if (left < Node::kLeast) {
        spread<Node>(path, level, first_of(index, 2, children), 2, 2, Lean::kEven);
    }
}

// The root may be small, but an empty leaf is no tree, and an inner node of one child no level.
void MappingTree::mend_root() noexcept {
    if (height_ == 0) {
        if (auto* root = static_cast<Leaf*>(root_); root->count == 0) {
            root_ = nullptr;
            give_back(root);
        }
        return;
    }
    auto* root = static_cast<Inner*>(root_);
    if (root->count == 1) {
        root_ = root->children[0];
        --height_;
        give_back(root);
    }
}

// What a walk over all nodes in order has seen.
struct MappingTree::Check {
    std::uint64_t end = 0;
    std::int32_t reach = kNowhere;
    NodeCounts nodes = {0, 0};
    std::uint64_t entries = 0;
};

bool MappingTree::check(const void* node, unsigned level, Check& state) const noexcept {
    ++(level == 0 ? state.nodes.leaves : state.nodes.inners);
    const bool is_root = level == height_;
    const auto blank_behind = [](const auto& uppers, std::uint64_t count) {
        return std::all_of(&uppers[0] + count, &uppers[0] + uppers.size(),
                           [](auto upper) { return upper == kNoUpper; });
    };
    if (level == 0) {
        const auto& leaf = *static_cast<const Leaf*>(node);
        if (leaf.count > Leaf::kMost || leaf.count < (is_root ? 1 : Leaf::kLeast) ||
            !blank_behind(leaf.starts, leaf.count)) {
            return false;
        }
        // The leaf before may know of less than it has, not of more.
        if (SplitPage{state.reach, 0}.joined() > leaf.first_page()) {
            return false;
        }
        state.reach = leaf.reach;
        std::uint64_t taken = 0;
        for (unsigned at = 0; at < leaf.count; ++at) {
            if (leaf.start(at) < state.end) {
                return false;
            }
            state.end = leaf.end(at);
            taken |= std::uint64_t{1} << leaf.place(at);
        }
        state.entries += leaf.count;
        return (taken ^ leaf.free) == Leaf::kAllFree && static_cast<unsigned>(std::popcount(taken)) == leaf.count;
    }
    const auto& inner = *static_cast<const Inner*>(node);
    if (inner.count > Inner::kMost || inner.count < (is_root ? 2 : Inner::kLeast) ||
        !blank_behind(inner.firsts, inner.count)) {
        return false;
    }
    for (unsigned at = 0; at < inner.count; ++at) {
        const std::uint64_t first_page =
            level == 1 ? child<const Leaf>(inner, at).first_page() : child<const Inner>(inner, at).first_page();
        if (inner.first_page(at) != first_page || !check(inner.children[at], level - 1, state)) {
            return false;
        }
    }
    return true;
}

bool MappingTree::validate() const noexcept {
    if (root_ == nullptr) {
        return height_ == 0 && entries_ == 0 && nodes() == NodeCounts{0, 0};
    }
    Check state;
    return check(root_, height_, state) && state.end <= kPagesOfVa && state.entries == entries_ &&
           state.nodes == nodes() && state.nodes.leaves <= most_nodes_for(entries_).leaves &&
           state.nodes.inners <= most_nodes_for(entries_).inners;
}

}  // namespace granule
