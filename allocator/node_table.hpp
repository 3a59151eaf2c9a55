// Nodes of one type that are named by numbers of 32 bits, half of what a pointer takes, and stay where they are.
//
//     numbers   0..255 | 256..767 | 768..1791 | ...      chunk k has 256 << k nodes
//                  |        |          |
//               chunk 0  chunk 1    chunk 2              each made when it is needed; all go at the end
//
// A number leads to its chunk by its highest bit, without a look-up in memory.
//
// Contract
//   P4          Only `reserve` can fail, and then nothing has changed. `take` within what was reserved and `give_back`
//               cannot.
//   Memory      Chunks, kept until the end. What was never taken was never written. A node that was given back keeps
//               its content, but for its link, and is used again first, the last one first.
//   Complexity  all O(1), but for a chunk now and then.
//   Thread-safety: none.
#pragma once

#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "allocator/node_memory.hpp"

namespace granule {

// `Node::next` (std::uint32_t) is the link of nodes that are not in use.
template <class Node>
class NodeTable {
    static_assert(std::is_trivially_destructible_v<Node>);

public:
    explicit NodeTable(NodeMemory memory) noexcept : memory_(memory) {}
    NodeTable(const NodeTable&) = delete;
    NodeTable& operator=(const NodeTable&) = delete;
    ~NodeTable() {
        for (unsigned k = 0; k < chunks_in_use_; ++k) {
            memory_.release(memory_.context, chunks_[k], bytes_of(k), alignof(Node));
        }
    }

    // Makes sure that there are `nodes` nodes in all, used ones included.
    [[nodiscard]] bool reserve(std::uint64_t nodes) noexcept {
        while (capacity_ < nodes) {
            if (chunks_in_use_ == kChunks) {
                return false;
            }
            void* const block = memory_.allocate(memory_.context, bytes_of(chunks_in_use_), alignof(Node));
            if (block == nullptr) {
                return false;
            }
            chunks_[chunks_in_use_] = static_cast<Node*>(block);
            capacity_ += nodes_of(chunks_in_use_);
            ++chunks_in_use_;
        }
        return true;
    }

    // A number that is nobody's. Its node is new where it was never taken before. Precondition: in_use() < capacity.
    [[nodiscard]] std::uint32_t take() noexcept {
        assert(in_use_ < capacity_);
        ++in_use_;
        if (free_ != kNone) {
            const std::uint32_t number = free_;
            free_ = (*this)[number].next;
            return number;
        }
        std::construct_at(&(*this)[touched_]);
        return touched_++;
    }
    void give_back(std::uint32_t number) noexcept {
        assert(in_use_ > 0);
        --in_use_;
        (*this)[number].next = free_;
        free_ = number;
    }

    [[nodiscard]] Node& operator[](std::uint32_t number) noexcept { return *at(number); }
    [[nodiscard]] const Node& operator[](std::uint32_t number) const noexcept { return *at(number); }

    [[nodiscard]] std::uint64_t in_use() const noexcept { return in_use_; }
    // Numbers from here on were never taken.
    [[nodiscard]] std::uint32_t touched() const noexcept { return touched_; }
    [[nodiscard]] std::uint64_t bytes_reserved() const noexcept { return capacity_ * sizeof(Node); }

private:
    static constexpr std::uint32_t kNone = UINT32_MAX;
    static constexpr unsigned kFirstLog2 = 8;
    static constexpr unsigned kChunks = 23;  // 2^31 nodes

    [[nodiscard]] static constexpr std::uint64_t nodes_of(unsigned chunk) noexcept {
        return std::uint64_t{1} << (kFirstLog2 + chunk);
    }
    [[nodiscard]] static constexpr std::size_t bytes_of(unsigned chunk) noexcept {
        return nodes_of(chunk) * sizeof(Node);
    }
    [[nodiscard]] Node* at(std::uint32_t number) const noexcept {
        // Chunk k begins at number 256 * (2^k - 1): with 256 added, the highest bit names the chunk, the others the node.
        const std::uint32_t shifted = number + (std::uint32_t{1} << kFirstLog2);
        const unsigned highest = 31U ^ (static_cast<unsigned>(std::countl_zero(shifted)) & 31U);
        return chunks_[highest - kFirstLog2] + (shifted ^ std::uint32_t{1} << highest);
    }

    NodeMemory memory_;
    std::array<Node*, kChunks> chunks_{};
    unsigned chunks_in_use_ = 0;
    std::uint32_t touched_ = 0;
    std::uint32_t free_ = kNone;
    std::uint64_t in_use_ = 0;
    std::uint64_t capacity_ = 0;
};

}  // namespace granule
