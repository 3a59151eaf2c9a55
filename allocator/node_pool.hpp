// Nodes of one size that were set aside before they are needed.
//
//      reserve(n)             take()               give_back()
//   memory -------> untouched -------> in use <----------------> free
//                                               take() again
//
// Contract
//   P4          Only `reserve` can fail, and then nothing has changed. `take` within what was reserved and `give_back`
//               cannot: they move pointers.
//   Memory      Slabs, cut from their start on. What was never taken was never written: a reserve costs address space,
//               and becomes memory node by node (and, where NodeMemory has huge pages, by those). Nodes that were given
//               back are used first, the last one first (it is in the caches). Slabs go back together when the pool
//               ends: it keeps what its largest moment needed.
//   Content     A node that is given back keeps what is in it, but for the bytes of a pointer at its start. Where that is
//               an object, it is one still until the next `take`, and may be read.
//   Complexity  take, give_back: O(1). reserve: O(1), at least a half more than there was, so that there are few slabs.
//   Thread-safety: none.
#pragma once

#include <cstddef>
#include <cstdint>

#include "allocator/node_memory.hpp"

namespace granule {

class NodePool {
public:
    // Nodes of `node_bytes`, a multiple of `alignment`, which is a power of two and at least a pointer's.
    NodePool(NodeMemory memory, std::size_t node_bytes, std::size_t alignment) noexcept;
    NodePool(NodePool&& other) noexcept;
    NodePool& operator=(NodePool&& other) noexcept;
    NodePool(const NodePool&) = delete;
    NodePool& operator=(const NodePool&) = delete;
    ~NodePool();  // whatever is in use

    // Makes sure that there are `nodes` nodes in all, used ones included.
    [[nodiscard]] bool reserve(std::uint64_t nodes) noexcept;
    // Takes back the last `reserve`, before which there were `capacity` nodes. Nothing has been taken since.
    void reserve_no_more_than(std::uint64_t capacity) noexcept;
    // Precondition: in_use() < capacity().
    [[nodiscard]] void* take() noexcept;
    void give_back(void* node) noexcept;

    [[nodiscard]] std::uint64_t in_use() const noexcept { return in_use_; }
    [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
    [[nodiscard]] std::uint64_t bytes_in_use() const noexcept { return in_use_ * node_bytes_; }
    [[nodiscard]] std::uint64_t bytes_reserved() const noexcept { return bytes_reserved_; }

private:
    struct Slab;

    void release_slabs() noexcept;
    void take_over(NodePool& other) noexcept;

    NodeMemory memory_;
    std::size_t node_bytes_;
    std::size_t alignment_;
    Slab* oldest_ = nullptr;
    Slab* newest_ = nullptr;
    Slab* fresh_ = nullptr;        // the slab that untouched nodes come from; older ones have none left
    std::uint64_t fresh_cut_ = 0;  // nodes already cut from it
    void* free_ = nullptr;
    std::uint64_t in_use_ = 0;
    std::uint64_t capacity_ = 0;
    std::uint64_t bytes_reserved_ = 0;
};

}  // namespace granule
