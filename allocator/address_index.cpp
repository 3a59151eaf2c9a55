#include "allocator/address_index.hpp"

#include <algorithm>
#include <bit>
#include <cassert>

namespace granule {

namespace {

constexpr std::uint64_t kWordNumber = (std::uint64_t{1} << kItemNumberBits) - 1;
constexpr std::uint64_t kNoLimit = std::uint64_t{1} << kPageNumberBits;

constexpr std::uint64_t start_of(std::uint64_t word) noexcept {
    return word >> kItemNumberBits;
}

constexpr std::uint32_t number_of(std::uint64_t word) noexcept {
    return static_cast<std::uint32_t>(word & kWordNumber);
}

constexpr std::uint64_t word_of(std::uint64_t start, std::uint64_t number) noexcept {
    return start << kItemNumberBits | number;
}

// By value: a conditional move, where std::min would load what it refers to.
constexpr std::uint64_t lesser(std::uint64_t a, std::uint64_t b) noexcept {
    return a < b ? a : b;
}

}  // namespace

std::uint64_t AddressIndex::least_start(const Node& node) noexcept {
    return node.entry == nullptr ? 0 : start_of(*node.entry);
}

std::uint64_t AddressIndex::greatest(const Node& node, std::uint64_t probe) noexcept {
    // The least distance below the probe: words above it wrap to more than 2^63, and unused ones leave the probe
    // itself. Four chains of minima, so that none waits for the one before it.
    static_assert(kWords % 4 == 0);
    std::uint64_t a = probe;
    std::uint64_t b = probe;
    std::uint64_t c = probe;
    std::uint64_t d = probe;
    for (std::size_t i = 0; i < kWords; i += 4) {
        a = lesser(a, probe - node.words[i]);
        b = lesser(b, probe - node.words[i + 1]);
        c = lesser(c, probe - node.words[i + 2]);
        d = lesser(d, probe - node.words[i + 3]);
    }
    return probe - lesser(lesser(a, b), lesser(c, d));
}

AddressIndex::Node& AddressIndex::leaf_of(std::uint64_t probe) const noexcept {
    Node* node = root_;
    while (node->level != 0) {
        node = &nodes_.at(number_of(greatest(*node, probe)));
    }
    return *node;
}

VaBlock* AddressIndex::find(std::uint64_t page) const noexcept {
    if (root_ == nullptr) {
        return nullptr;
    }
    const std::uint64_t probe = word_of(page, kWordNumber);
    const Node& leaf = leaf_of(probe);
    std::uint64_t word = greatest(leaf, probe);
    if (word == 0 && leaf.entry != nullptr && least_start(leaf) != 0) {
        // What began at the least start of the leaf is gone. The leaf before it is not empty (A3).
        const std::uint64_t before = word_of(least_start(leaf), 0) - 1;
        word = greatest(leaf_of(before), before);
    }
    return word == 0 ? nullptr : &blocks_.at(number_of(word));
}

AddressIndex::Node& AddressIndex::new_node(unsigned level) noexcept {
    Node& node = nodes_.take();
    node.entry = nullptr;
    node.limit = kNoLimit;
    node.used = 0;
    node.count = 0;
    node.level = level;
    return node;
}

void AddressIndex::tell(unsigned level, std::uint64_t* entry) noexcept {
    if (level == 0) {
        blocks_.at(number_of(*entry)).entry = entry;
    } else {
        nodes_.at(number_of(*entry)).entry = entry;
    }
}

void AddressIndex::put(Node& node, std::uint64_t word) noexcept {
    assert(!node.full());
    tell(node.level, enter(node, word));
}

void AddressIndex::insert(VaBlock& block) noexcept {
    if (root_ == nullptr) {
        root_ = &new_node(0);
        height_ = 1;
    }
    // With the greatest number: a node that begins where the block does is found, whatever its own number is.
    insert_word(leaf_of(word_of(block.first(), kWordNumber)), block.key());
}

// Each node that is there now may split after a single insert. But after a split, a join or an evening out nodes have at
// most 24 words, so that four must be entered to split one again. So a level with n nodes splits at most
// n + (what is entered) / 4 times, and each split enters one word on the level above. Summed over the levels that is
// less than (4 * nodes + inserts) / 3, and there are fewer than 16 new roots.
bool AddressIndex::set_aside_many(std::uint64_t inserts, std::uint64_t most) noexcept {
    const std::uint64_t splits = (4 * nodes_.in_use() + inserts) / 3;
    return nodes_.reserve(std::min(most, nodes_.in_use() + splits + 16));
}

void AddressIndex::insert_otherwise(Node& leaf, VaBlock& block, const VaBlock* above) noexcept {
    if (block.first() < leaf.limit) {
        insert_word(leaf, block.key());
    } else if (above != nullptr) {
        // No block lies between the two, and no leaf is empty: the leaf of `above` is the next one.
        insert_word(node_of(above->entry), block.key());
    } else {
        insert(block);
    }
}

void AddressIndex::insert_word(Node& node, std::uint64_t word) noexcept {
    Node* into = &node;
    if (node.full()) {
        Node& high = split(node);
        into = start_of(word) < node.limit ? &node : &high;
    }
    put(*into, word);
}

//      | least start                 limit |        | least start |  pivot         limit |
//      |               node                |   ->   |     node    |          high        |
//
// The pivot is the median of a sample, at least half of which goes to either side. It is spread over the node: words
// that came in order lie in order.
AddressIndex::Node& AddressIndex::split(Node& node) noexcept {
    constexpr std::size_t kSample = 9;
    constexpr std::size_t kStep = kWords / kSample;
    static_assert(kSample / 2 >= kFewest);
    std::array<std::uint64_t, kSample> sample{};
    for (std::size_t i = 0; i < kSample; ++i) {
        sample[i] = node.words[i * kStep + 1];
    }
    const auto middle = sample.begin() + kSample / 2;
    std::nth_element(sample.begin(), middle, sample.end());
    const std::uint64_t pivot = *middle;

    Node& high = new_node(node.level);
    high.limit = node.limit;
    node.limit = start_of(pivot);
    move_words(node, high, pivot, UINT64_MAX);

    const std::uint64_t high_word = word_of(start_of(pivot), high.number);
    if (node.entry != nullptr) {
        insert_word(node_of(node.entry), high_word);
    } else {
        root_ = &new_node(node.level + 1);
        ++height_;
        put(*root_, word_of(0, node.number));
        put(*root_, high_word);
    }
    return high;
}

void AddressIndex::move_words(Node& from, Node& to, std::uint64_t least, std::uint64_t most) noexcept {
    for (std::uint64_t& word : from.words) {
        if (word != 0 && least <= word && word <= most) {
            const std::uint64_t moved = word;
            take_out(&word);
            put(to, moved);
        }
    }
}

// A node with few words joins the one before it or, where it is the first one of the node above, the one after it.
void AddressIndex::thin_out(Node& node) noexcept {
    Node& above = node_of(node.entry);
    const std::uint64_t before = greatest(above, *node.entry - 1);
    Node* low = &node;
    Node* high = &node;
    if (before != 0) {
        low = &nodes_.at(number_of(before));
    } else {
        std::uint64_t after = UINT64_MAX;
        for (const std::uint64_t word : above.words) {
            after = word > *node.entry ? std::min(after, word) : after;
        }
        high = &nodes_.at(number_of(after));
    }
    if (low->count + high->count <= kJoined) {
        join(*low, *high);
    } else if (node.count < kFewest) {
        even_out(*low, *high);
    }
}

void AddressIndex::join(Node& low, Node& high) noexcept {
    move_words(high, low, 0, UINT64_MAX);
    low.limit = high.limit;
    Node& above = node_of(high.entry);
    take_out(high.entry);
    nodes_.give_back(high);
    if (above.entry != nullptr) {
        if (above.count <= kSparse) {
            thin_out(above);
        }
    } else if (above.count == 1) {
        // The root has one child: that is the root.
        take_out(low.entry);
        low.entry = nullptr;
        root_ = &low;
        --height_;
        nodes_.give_back(above);
    }
}

void AddressIndex::even_out(Node& low, Node& high) noexcept {
    std::array<std::uint64_t, 2 * kWords> all{};
    auto end =
        std::copy_if(low.words.begin(), low.words.end(), all.begin(), [](std::uint64_t word) { return word != 0; });
    end = std::copy_if(high.words.begin(), high.words.end(), end, [](std::uint64_t word) { return word != 0; });
    const auto median = all.begin() + (end - all.begin()) / 2;
    std::nth_element(all.begin(), median, end);
    if (low.count > high.count) {
        move_words(low, high, *median, UINT64_MAX);
    } else {
        move_words(high, low, 0, *median - 1);
    }
    low.limit = start_of(*median);
    *high.entry = word_of(start_of(*median), high.number);
}

struct AddressIndex::Audit {
    const AddressIndex& index;
    std::uint64_t blocks = 0;
    std::uint64_t nodes = 0;

    [[nodiscard]] bool holds(const Node& node, unsigned level, std::uint64_t least, std::uint64_t limit) noexcept {
        ++nodes;
        const unsigned fewest = node.entry != nullptr ? kFewest : level == 0 ? 0 : 2;
        if (node.level != level || node.limit != limit || least_start(node) != least || node.count < fewest ||
            (node.used & ~kAllUsed) != 0 || node.count != static_cast<unsigned>(std::popcount(node.used))) {
            return false;
        }
        std::array<std::uint64_t, kWords> sorted = node.words;
        for (std::size_t i = 0; i < kWords; ++i) {
            if ((node.words[i] != 0) != ((node.used >> i & 1U) != 0)) {
                return false;
            }
        }
        std::sort(sorted.begin(), sorted.end());
        for (std::size_t i = kWords - node.count; i < kWords; ++i) {
            const std::uint64_t start = start_of(sorted[i]);
            const std::uint64_t next = i + 1 < kWords ? start_of(sorted[i + 1]) : limit;
            if (start < least || start >= next) {
                return false;
            }
            if (level == 0) {
                const VaBlock& block = index.blocks_.at(number_of(sorted[i]));
                if (block.key() != sorted[i] || *block.entry != sorted[i] || &node_of(block.entry) != &node) {
                    return false;
                }
                ++blocks;
                continue;
            }
            const Node& child = index.nodes_.at(number_of(sorted[i]));
            const bool first_begins = i != kWords - node.count || start == least;
            if (!first_begins || child.entry == nullptr || *child.entry != sorted[i] ||
                &node_of(child.entry) != &node || !holds(child, level - 1, start, next)) {
                return false;
            }
        }
        return true;
    }
};

bool AddressIndex::validate(std::uint64_t blocks) const noexcept {
    if (root_ == nullptr) {
        return blocks == 0;
    }
    Audit audit{*this};
    return root_->entry == nullptr && audit.holds(*root_, height_ - 1, 0, kNoLimit) && audit.blocks == blocks &&
           audit.nodes == nodes_.in_use();
}

}  // namespace granule
