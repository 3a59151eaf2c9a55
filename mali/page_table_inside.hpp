// What all operations of the page table are made of: finding a table, taking one, letting go of one. Private to
// PageTable.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "mali/address.hpp"
#include "mali/descriptor.hpp"
#include "mali/entry_run.hpp"
#include "mali/page_table.hpp"
#include "mali/table_entry.hpp"
#include "mali/table_memory.hpp"

namespace granule::mali {

[[nodiscard]] constexpr bool points_to_table(unsigned level, std::uint64_t descriptor) noexcept {
    return level < kLastLevel && (descriptor & bits::kTypeMask) == bits::kTypeTable;
}

[[nodiscard]] constexpr Pa table_pa(std::uint64_t descriptor) noexcept {
    return Pa{descriptor & bits::kAddressMask};
}

// What a table of `level` spans, as a number that the VAs in it have in common. `level` is below the root's.
[[nodiscard]] constexpr std::uint64_t table_prefix(Va va, unsigned level) noexcept {
    return va.raw() >> shift_at(level - 1);
}

// The first byte that a table of `level` holding `va` does not span.
[[nodiscard]] constexpr Va table_end(Va va, unsigned level) noexcept {
    return va.align_down(span_at(level)) + (kTableEntries - index_at(va, level)) * span_at(level);
}

// For writing all of it.
inline void prefetch_table(const std::uint64_t* entries) noexcept {
    constexpr std::size_t kLine = 64 / sizeof(std::uint64_t);
    for (std::size_t i = 0; i < kTableEntries; i += kLine) {
        __builtin_prefetch(entries + i, 1);
    }
}

// Before a stale table is used: zeros everywhere but in [first, first + count), which the caller writes.
inline void clear_around(const TablePage& table, std::size_t first, std::size_t count) noexcept {
    if (table.book->stale) {
        clear_entries(table.entries, first);
        clear_entries(table.entries + first + count, kTableEntries - first - count);
        table.book->stale = false;
    }
}

[[gnu::always_inline]] inline TablePage PageTable::page_in_window(Pa pa) const noexcept {
    constexpr std::uint64_t kBookShift = 5;
    static_assert(kPageBytes >> kBookShift == sizeof(TableBook));
    // Sums of numbers, because pointers would leave their objects on the way.
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    return {reinterpret_cast<std::uint64_t*>(entries_base_ + pa.raw()),
            // NOLINTNEXTLINE(performance-no-int-to-ptr)
            reinterpret_cast<TableBook*>(books_base_ + (pa.raw() >> kBookShift)), pa};
}

[[gnu::always_inline]] inline TablePage PageTable::page_at(Pa pa) const noexcept {
    return has_window_ ? page_in_window(pa) : memory_->table_at(pa);
}

inline void PageTable::make_visible(const std::uint64_t* first, std::size_t count) noexcept {
    if (!is_coherent_) {
        memory_->make_visible(first, count);
    }
}

// Makes sure that so many pages are held. False: `shortage` of them could not be reserved.
inline bool PageTable::secure(std::uint64_t pages, std::uint64_t& shortage) noexcept {
    const std::uint64_t there = held();
    if (pages <= there) {
        return true;
    }
    if (!memory_->reserve(pages - there)) {
        shortage = pages - there;
        return false;
    }
    reserved_ += pages - there;
    return true;
}

// Emptied tables come last: until the caller's invalidation a walker of the GPU may still pass through them.
inline Pa PageTable::take_table() noexcept {
    ++tables_;
    if (reserved_ == 0) {
        return pop_emptied();
    }
    --reserved_;
    return memory_->take().pa;
}

// While one new table is filled, the one that is likely to be next is on its way: nothing else hides what it costs to write
// 4 KiB that no cache has.
inline bool PageTable::prefetch_upcoming() noexcept {
    if (reserved_ == 0 && emptied_ != 0) {
        return false;  // it will be one of these, which are in the caches
    }
    const TablePage next = memory_->upcoming();
    if (next.entries == nullptr) {
        return false;
    }
    __builtin_prefetch(next.book, 1);
    __builtin_prefetch(&next.book->next, 1);
    prefetch_table(next.entries);
    return true;
}

// It is no longer, or not yet, in `passed_`.
inline void PageTable::put_emptied(const TablePage& table) noexcept {
    assert(table.book->is_empty());
    table.book->next = last_emptied_;
    last_emptied_ = table.pa;
    ++emptied_;
    --tables_;
}

inline Pa PageTable::pop_emptied() noexcept {
    assert(emptied_ != 0);
    const Pa table = last_emptied_;
    last_emptied_ = std::exchange(page_at(table).book->next, Pa{});
    --emptied_;
    if (has_window_) {
        // The next one to be taken. They are in the order in which they were emptied, which the CPU does not foresee.
        __builtin_prefetch(&page_at(last_emptied_).book->next, 1);
    }
    return table;
}

inline void PageTable::forget(Pa table) noexcept {
    for (Passed& passed : passed_) {
        if (passed.table == table) {
            passed = {};
        }
    }
}

inline std::uint64_t& PageTable::count_of(LeafSize size) noexcept {
    switch (size) {
        case LeafSize::k1G:
            return leaves_.blocks_1g;
        case LeafSize::k2M:
            return leaves_.blocks_2m;
        case LeafSize::k4K:
            break;
    }
    return leaves_.pages_4k;
}

}  // namespace granule::mali
