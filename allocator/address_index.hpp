// Which block is at this address: the starts of all blocks of a VA heap in a B+tree whose nodes are not sorted.
//
//                            [ 0 | 900 | 512 ]                          children by the least key they may hold
//                             /     |      \                            .
//        [ 0 16 . 17 300 . ]  [ 1024 . 900 ]  [ . 640 512 . . 513 ]     keys of blocks, anywhere in the node
//
// Nodes are four cache lines with room for 28 words. A word is a key: the page where a block starts, then the block's
// number; the block knows where its word is. So a block that appears beside another one is entered into the node of
// that one, at any free place, and a block that goes is taken out of its node: neither searches, neither moves
// anything. Only a look-up by address searches; it compares all words of one node a level. A full node splits at its
// median; one with few words joins or evens out with a node beside it.
//
// Invariants
//   A1  A word of a leaf is the key of the block that points to it; one of another node is the least start of its
//       child, then the child's number, and the child points to it.
//   A2  The words of a node lie from the least start of the node (inclusive) to its limit (exclusive), the least start
//       of the node after it. The first node's least start is 0, the last one's limit 2^36.
//   A3  All leaves are equally deep. A node that is not the root has at least kFewest words.
//   A4  Unused words are 0; the bits of `used` say which, and `count` how many are used.
//
// Contract
//   P4          Only `set_aside` can fail, and then nothing has changed. erase allocates nothing.
//   Complexity  n blocks: find O(log n), four nodes for 1e5. insert_between, replace, erase: O(1) amortised; at most one
//               split or join of 28 words a level.
//   Memory      about 13 B per block; 9.5 where all nodes are full, and never more than 128 (three words a node).
//   Thread-safety: none.
#pragma once

#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "allocator/indexed_pool.hpp"
#include "allocator/node_memory.hpp"
#include "allocator/va_block.hpp"

namespace granule {

class AddressIndex {
public:
    // Numbers in the index are those of the pool.
    AddressIndex(NodeMemory memory, const IndexedPool<VaBlock>& blocks) noexcept : blocks_(blocks), nodes_(memory) {}

    // Makes sure of memory for so many inserts.
    [[nodiscard]] bool set_aside(std::uint64_t inserts) noexcept {
        const std::uint64_t most = nodes_.in_use() + inserts * (height_ + 2);
        return most <= nodes_.capacity() || set_aside_many(inserts, most);
    }

    // The block that starts at or before the page, and nearest to it; null where there is none.
    [[nodiscard]] VaBlock* find(std::uint64_t page) const noexcept;

    // No block starts where `block` does.
    void insert(VaBlock& block) noexcept;
    // The same for a block that follows `below`, with `above` (or nothing: null) behind it.
    void insert_between(VaBlock& below, VaBlock& block, const VaBlock* above) noexcept {
        Node& leaf = node_of(below.entry);
        if (block.first() < leaf.limit && !leaf.full()) {
            block.entry = enter(leaf, block.key());
        } else {
            insert_otherwise(leaf, block, above);
        }
    }
    // `block`, which is not in the index, starts where `old` does, which leaves it.
    static void replace(VaBlock& old, VaBlock& block) noexcept {
        assert(old.first() == block.first());
        block.entry = old.entry;
        *block.entry = block.key();
    }
    void erase(VaBlock& block) noexcept {
        assert(*block.entry == block.key());
        Node& leaf = take_out(block.entry);
        if (leaf.count <= kSparse && leaf.entry != nullptr) {
            thin_out(leaf);
        }
    }

    // A1 to A4 hold, and there are `blocks` blocks. O(n).
    [[nodiscard]] bool validate(std::uint64_t blocks) const noexcept;
    [[nodiscard]] std::uint64_t bytes_touched() const noexcept { return nodes_.bytes_touched(); }
    [[nodiscard]] std::uint64_t bytes_reserved() const noexcept { return nodes_.bytes_reserved(); }

private:
    static constexpr std::size_t kNodeBytes = 256;
    static constexpr std::size_t kWords = 28;
    static constexpr unsigned kSparse = 7;  // joins where the two fit into kJoined words
    static constexpr unsigned kJoined = 22;
    static constexpr unsigned kFewest = 3;  // evens out where they do not

    static constexpr std::uint32_t kAllUsed = (std::uint32_t{1} << kWords) - 1;

    struct alignas(kNodeBytes) Node {
        explicit Node(std::uint32_t n) noexcept : number(n) {}
        [[nodiscard]] static Node*& unused_link(Node& node) noexcept { return node.unused; }

        std::array<std::uint64_t, kWords> words{};
        union {
            std::uint64_t* entry = nullptr;  // the word of the node above that names this one; null: the root
            Node* unused;
        };
        std::uint64_t limit = 0;
        std::uint32_t used = 0;
        std::uint32_t count = 0;
        std::uint32_t number;
        std::uint32_t level = 0;  // 0: leaf

        [[nodiscard]] bool full() const noexcept { return used == kAllUsed; }
    };

    // Nodes are aligned to their size.
    [[nodiscard]] static Node& node_of(std::uint64_t* entry) noexcept {
        const std::uintptr_t into = reinterpret_cast<std::uintptr_t>(entry) % kNodeBytes;
        return *reinterpret_cast<Node*>(reinterpret_cast<std::byte*>(entry) - into);
    }
    // At any place that is not used, and where that is.
    static std::uint64_t* enter(Node& node, std::uint64_t word) noexcept {
        const auto place = static_cast<unsigned>(std::countr_one(node.used));
        node.used |= std::uint32_t{1} << place;
        ++node.count;
        node.words[place] = word;
        return &node.words[place];
    }
    static Node& take_out(std::uint64_t* entry) noexcept {
        Node& node = node_of(entry);
        node.used &= ~(std::uint32_t{1} << (entry - node.words.data()));
        --node.count;
        *entry = 0;
        return node;
    }
    [[nodiscard]] static std::uint64_t least_start(const Node& node) noexcept;
    // The greatest word that is at most `probe`, or 0.
    [[nodiscard]] static std::uint64_t greatest(const Node& node, std::uint64_t probe) noexcept;
    // The leaf that a key belongs to. Precondition: there is a root.
    [[nodiscard]] Node& leaf_of(std::uint64_t probe) const noexcept;
    [[nodiscard]] Node& new_node(unsigned level) noexcept;
    // What a word of a node at this level names is told where the word is.
    void tell(unsigned level, std::uint64_t* entry) noexcept;
    void put(Node& node, std::uint64_t word) noexcept;
    // Where each insert could not add nodes on all levels. `most`: nodes in all if it could.
    [[nodiscard]] bool set_aside_many(std::uint64_t inserts, std::uint64_t most) noexcept;
    void insert_otherwise(Node& leaf, VaBlock& block, const VaBlock* above) noexcept;
    // `word` belongs into `node`, or the node that a split makes of its second half.
    void insert_word(Node& node, std::uint64_t word) noexcept;
    [[nodiscard]] Node& split(Node& node) noexcept;
    void thin_out(Node& node) noexcept;
    void join(Node& low, Node& high) noexcept;
    void even_out(Node& low, Node& high) noexcept;
    // The words from `least` to `most`, inclusive.
    void move_words(Node& from, Node& to, std::uint64_t least, std::uint64_t most) noexcept;

    struct Audit;

    const IndexedPool<VaBlock>& blocks_;
    IndexedPool<Node> nodes_;
    Node* root_ = nullptr;
    unsigned height_ = 0;  // nodes from the root to a leaf
};

}  // namespace granule
