// Where in the mapping tree a page was last found: a table of leaves by page, which saves the way down from the root.
//
//     page >> shift   ...  | 41 | 42 | 43 | 44 | 45 | ...       a slot for each quarter of a leaf's usual span
//                             \    |    |   /     |
//                              +---leaf A--+    leaf B
//
// A hint is only ever a guess: it may be old, of another part of the space, or none. Who takes it asks the leaf whether
// the page is its own (MappingLeaf::holds), which leaves answer as long as their memory is the tree's, even where they are
// none any more. So nothing needs to be kept up to date, and no wrong hint does harm but a search.
//
// `shift` follows the spans of the leaves that are found: where most are much larger or smaller than four slots, it
// moves by one. Where one leaf of few entries is left at the end of the space, spans are of one page: 0 is the least.
//
// Memory: 8 bytes a slot, three to seven slots a leaf; taken by `reserve` alone, which can fail. Thread-safety: look-ups
// read only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "allocator/mapping_node.hpp"
#include "allocator/node_memory.hpp"

namespace granule {

class LeafHints {
public:
    explicit LeafHints(NodeMemory memory) noexcept : memory_(memory) {}
    LeafHints(LeafHints&& other) noexcept : memory_(other.memory_) { take_over(other); }
    LeafHints& operator=(LeafHints&& other) noexcept {
        if (this != &other) {
            release();
            memory_ = other.memory_;
            take_over(other);
        }
        return *this;
    }
    LeafHints(const LeafHints&) = delete;
    LeafHints& operator=(const LeafHints&) = delete;
    ~LeafHints() { release(); }

    // Whether the table is large enough for a tree of so many entries.
    [[nodiscard]] bool suits(std::uint64_t entries) const noexcept { return entries <= slots() * kEntriesPerSlot; }
    // A larger table, empty; the old one is given back. False: no memory, nothing changed.
    [[nodiscard]] bool reserve(std::uint64_t entries) noexcept {
        std::uint64_t wanted = kLeastSlots;
        while (entries > wanted * kEntriesPerSlot) {
            wanted *= 2;
        }
        void* memory = memory_.allocate(memory_.context, wanted * kSlotBytes, alignof(MappingLeaf*));
        if (memory == nullptr) {
            return false;
        }
        release();
        table_ = ::new (memory) MappingLeaf*[wanted]();
        mask_ = wanted - 1;
        return true;
    }

    // May be null.
    [[nodiscard]] MappingLeaf* at(std::uint64_t page) const noexcept {
        return table_ == nullptr ? nullptr : table_[(page >> shift_) & mask_];
    }
    // The slot that `at` will read.
    void prefetch(std::uint64_t page) const noexcept {
        if (table_ != nullptr) {
            __builtin_prefetch(table_ + ((page >> shift_) & mask_));
        }
    }
    // `page` was found in `leaf`, which spans so many pages.
    void remember(std::uint64_t page, MappingLeaf& leaf, std::uint64_t span) noexcept {
        if (table_ == nullptr) {
            return;
        }
        if (span > std::uint64_t{8} << shift_) {
            ++wider_;
        } else if (shift_ != 0 && span < std::uint64_t{2} << shift_) {
            --wider_;
        }
        if (wider_ == kMuch || wider_ == -kMuch) {
            shift_ = wider_ > 0 ? shift_ + 1 : shift_ - 1;
            wider_ = 0;
        }
        table_[(page >> shift_) & mask_] = &leaf;
    }

    [[nodiscard]] NodeMemory memory() const noexcept { return memory_; }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return slots() * kSlotBytes; }

private:
    static constexpr std::size_t kSlotBytes = sizeof(void*);
    static constexpr std::uint64_t kLeastSlots = 64;
    static constexpr std::uint64_t kEntriesPerSlot = 16;
    static constexpr int kMuch = 16;

    [[nodiscard]] std::uint64_t slots() const noexcept { return table_ == nullptr ? 0 : mask_ + 1; }
    void release() noexcept {
        if (table_ != nullptr) {
            memory_.release(memory_.context, table_, bytes(), alignof(MappingLeaf*));
            table_ = nullptr;
        }
    }
    void take_over(LeafHints& other) noexcept {
        table_ = std::exchange(other.table_, nullptr);
        mask_ = other.mask_;
        shift_ = other.shift_;
        wider_ = other.wider_;
    }

    NodeMemory memory_;
    MappingLeaf** table_ = nullptr;
    std::uint64_t mask_ = 0;
    unsigned shift_ = 8;
    int wider_ = 0;
};

}  // namespace granule
