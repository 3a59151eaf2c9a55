// Items of one type that were set aside before they are needed, each with a number.
//
//      reserve(n)             take()               give_back()
//   memory -------> untouched -------> in use <----------------> unused
//                                               take() again
//
// The same idea as NodePool, for items that others name by 27-bit numbers instead of pointers, and that keep what is in
// them while they are unused: an item is constructed once, when it is first taken. Numbers begin at 1; 0 is nobody.
//
//      slab 0: 128 items | slab 1: 256 items | slab 2: 512 items | ...      number + 127 has its slab in its highest
//      bit
//
// `Item` has a constructor from its number, and a static `unused_link(Item&)`: the room of a pointer that says nothing
// while the item is unused.
//
// Contract
//   P4          Only `reserve` can fail, and then nothing has changed.
//   Memory      Slabs that double; what was never taken was never written. Items that were given back are used first,
//               the last one first. Slabs go back together when the pool ends; nothing is destroyed.
//   Complexity  take, give_back, at: O(1), no division. reserve: O(1) but for a new slab.
//   Thread-safety: none.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

#include "allocator/node_memory.hpp"

namespace granule {

inline constexpr unsigned kItemNumberBits = 27;

template <class Item>
class IndexedPool {
    static_assert(std::is_trivially_destructible_v<Item>, "the pool ends without looking at the items");

public:
    explicit IndexedPool(NodeMemory memory) noexcept : memory_(memory) {}
    IndexedPool(const IndexedPool&) = delete;
    IndexedPool& operator=(const IndexedPool&) = delete;
    ~IndexedPool() {
        for (unsigned slab = 0; slab < slab_count_; ++slab) {
            memory_.release(memory_.context, slabs_[slab], slab_bytes(slab), kAlignment);
        }
    }

    // Makes sure that there are `items` items in all, used ones included.
    [[nodiscard]] bool reserve(std::uint64_t items) noexcept { return items <= capacity_ || grow(items); }

    // Precondition: in_use() < capacity(). What was in the item when it was given back is still there.
    [[nodiscard]] Item& take() noexcept {
        assert(in_use_ < capacity_);
        ++in_use_;
        if (unused_ != nullptr) {
            Item& item = *unused_;
            unused_ = Item::unused_link(item);
            return item;
        }
        ++touched_;
        return *::new (static_cast<void*>(place(touched_))) Item(touched_);
    }
    void give_back(Item& item) noexcept {
        assert(in_use_ > 0);
        --in_use_;
        Item::unused_link(item) = std::exchange(unused_, &item);
    }

    // Precondition: an item that was taken once.
    [[nodiscard]] Item& at(std::uint32_t number) const noexcept {
        assert(number != 0 && number <= touched_);
        return *place(number);
    }
    // The same for numbers from outside: null where there never was such an item.
    [[nodiscard]] Item* find(std::uint32_t number) const noexcept {
        return number != 0 && number <= touched_ ? place(number) : nullptr;
    }

    [[nodiscard]] std::uint64_t in_use() const noexcept { return in_use_; }
    [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
    // Memory that was written, and memory that was asked for.
    [[nodiscard]] std::uint64_t bytes_touched() const noexcept { return touched_ * sizeof(Item); }
    [[nodiscard]] std::uint64_t bytes_reserved() const noexcept { return capacity_ * sizeof(Item); }

private:
    static constexpr unsigned kFirstBits = 7;  // log2 of the items in slab 0
    static constexpr std::uint32_t kFirst = std::uint32_t{1} << kFirstBits;
    static constexpr unsigned kMostSlabs = kItemNumberBits - kFirstBits;
    static constexpr std::size_t kAlignment = std::max(alignof(Item), sizeof(void*));

    [[nodiscard]] static std::size_t slab_bytes(unsigned slab) noexcept {
        return (std::size_t{kFirst} << slab) * sizeof(Item);
    }
    [[nodiscard]] Item* place(std::uint32_t number) const noexcept {
        const std::uint32_t shifted = number + (kFirst - 1);
        assert(shifted >= kFirst);
        const auto slab = static_cast<unsigned>(std::bit_width(shifted)) - (kFirstBits + 1);
        return slabs_[slab] + (shifted - (kFirst << slab));
    }
    [[nodiscard]] bool grow(std::uint64_t items) noexcept {
        while (capacity_ < items) {
            if (slab_count_ == kMostSlabs) {
                return false;
            }
            void* memory = memory_.allocate(memory_.context, slab_bytes(slab_count_), kAlignment);
            if (memory == nullptr) {
                return false;
            }
            slabs_[slab_count_] = static_cast<Item*>(memory);
            capacity_ += std::uint64_t{kFirst} << slab_count_;
            ++slab_count_;
        }
        return true;
    }

    Item* unused_ = nullptr;
    std::uint64_t in_use_ = 0;
    std::uint64_t capacity_ = 0;
    std::uint32_t touched_ = 0;
    unsigned slab_count_ = 0;
    NodeMemory memory_;
    std::array<Item*, kMostSlabs> slabs_{};
};

}  // namespace granule
