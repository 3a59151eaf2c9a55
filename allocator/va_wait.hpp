// What a retired range of a VaHeap waits for, and where it is: the nodes of a ReuseQueue, and the pool of them.
//
// Beside blocks and slots, not in them: few ranges wait at a time, and both are smaller without. The room is set aside
// with the range (P4):
//
//   W1  There are at least as many nodes as blocks that have an owner or wait, and slots. So whatever has an owner can
//       be retired without memory.
//
// What never waits is never touched (node_pool.hpp).
// Thread-safety: none.
#pragma once

#include <algorithm>
#include <cstdint>
#include <new>

#include "allocator/fence_queue.hpp"
#include "allocator/node_memory.hpp"
#include "allocator/node_pool.hpp"

namespace granule {

struct VaSlotRun;

struct VaWait {
    FenceWait<VaWait> wait;
    std::uint64_t page = 0;    // the first one of the block or slot
    VaSlotRun* run = nullptr;  // null: a block
    VaWait* next = nullptr;    // in the list of the run
    VaWait* prev = nullptr;
};

class VaWaits {
public:
    explicit VaWaits(NodeMemory memory) noexcept : pool_(memory, sizeof(VaWait), alignof(VaWait)) {}

    // Makes sure of room for `more` things that can be retired. False: there is none, and nothing has changed.
    [[nodiscard]] bool reserve(std::uint64_t more) noexcept {
        return things_ + more <= pool_.capacity() || pool_.reserve(things_ + more);
    }
    // So many more, or fewer, can be retired or are. Precondition: reserve.
    void add(std::uint64_t things) noexcept { things_ += things; }
    void remove(std::uint64_t things) noexcept { things_ -= things; }

    [[nodiscard]] VaWait& take() noexcept {
        VaWait& wait = *::new (pool_.take()) VaWait;
        most_waiting_ = std::max(most_waiting_, pool_.in_use());
        return wait;
    }
    void give_back(VaWait& wait) noexcept { pool_.give_back(&wait); }

    [[nodiscard]] std::uint64_t things() const noexcept { return things_; }
    [[nodiscard]] std::uint64_t bytes_reserved() const noexcept { return pool_.bytes_reserved(); }
    // What was given back is used first: no more was written than was ever in use at once.
    [[nodiscard]] std::uint64_t bytes_touched() const noexcept { return most_waiting_ * sizeof(VaWait); }
    // W1
    [[nodiscard]] bool validate() const noexcept { return pool_.capacity() >= things_ && pool_.in_use() <= things_; }

private:
    NodePool pool_;
    std::uint64_t things_ = 0;
    std::uint64_t most_waiting_ = 0;
};

}  // namespace granule
