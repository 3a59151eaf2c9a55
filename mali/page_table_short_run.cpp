// Runs that lie in one table, the common case: found, checked in the table's book, and written, at once.
//
// Only what the tables allow is done here. What they don't, and everything that is not such a run, goes the long way, which
// finds out in which words to refuse it.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/descriptor.hpp"
#include "mali/entry_run.hpp"
#include "mali/page_table.hpp"
#include "mali/page_table_inside.hpp"
#include "mali/result.hpp"
#include "mali/table_entry.hpp"
#include "mali/table_memory.hpp"

namespace granule::mali {

// Levels are template arguments: every shift is a constant, and a level costs what its table does.

template <unsigned kLevel>
inline void PageTable::pass(Va va, Pa table) noexcept {
    passed_[kLevel] = {table_prefix(va, kLevel), table};
}

// The table of kLevel that holds `va`, or, as far as there are any, the one above it.
template <unsigned kLevel, bool kInWindow>
[[gnu::always_inline]] inline PageTable::Spot PageTable::find(Va va) noexcept {
    if constexpr (kLevel == 0) {
        return {root_.pa, 0};
    } else {
        if (kLevel == 1 && start_level_ == 1) {
            return {root_.pa, 1};
        }
        if (passed_[kLevel].prefix == table_prefix(va, kLevel)) {
            return {passed_[kLevel].table, kLevel};
        }
        const Spot above = find<kLevel - 1, kInWindow>(va);
        if (above.level != kLevel - 1) {
            return above;
        }
        const TablePage table = kInWindow ? page_in_window(above.table) : page_at(above.table);
        const std::uint64_t descriptor = table.entries[index_at(va, kLevel - 1)];
        if (!points_to_table(kLevel - 1, descriptor)) {
            return above;
        }
        pass<kLevel>(va, table_pa(descriptor));
        return {table_pa(descriptor), kLevel};
    }
}

// A table of kLevel that was written becomes reachable: the ones above it that are new, too, are written first.
template <unsigned kLevel>
[[gnu::always_inline]] inline void PageTable::link(const TablePage& table, const AddedPath& added, Va va,
                                                   unsigned top) noexcept {
    if constexpr (kLevel > 0) {
        constexpr unsigned kAbove = kLevel - 1;
        make_visible(table.entries, kTableEntries);
        const std::uint64_t entry = table_bits_ | table.pa.raw();
        const unsigned index = index_at(va, kAbove);
        const TablePage above = page_at(added[kAbove]);
        if (top == kAbove) {
            above.book->add_tables(index, 1);
            publish_entry(above.entries[index], entry);
            make_visible(above.entries + index, 1);
            return;
        }
        clear_around(above, index, 1);
        above.book->add_tables(index, 1);
        store_entry(above.entries[index], entry);
        link<kAbove>(above, added, va, top);
    }
}

// Takes the empty table of kLevel that holds `va` out of the tree, and those above it that become empty by that, but for those
// of level `stays` and above.
template <unsigned kLevel>
[[gnu::always_inline]] inline void PageTable::unlink(const TablePage& table, Va va, unsigned stays) noexcept {
    if constexpr (kLevel > 0) {
        constexpr unsigned kAbove = kLevel - 1;
        passed_[kLevel].prefix = UINT64_MAX;
        put_emptied(table);
        const TablePage above = page_at(find<kAbove>(va).table);
        const unsigned index = index_at(va, kAbove);
        store_entry(above.entries[index], 0);
        above.book->remove_tables(index, 1);
        make_visible(above.entries + index, 1);
        if (above.book->is_empty() && kAbove > stays) {
            unlink<kAbove>(above, va, stays);
        }
    }
}

// A table of pages that holds `va` and has lost its last one.
inline void PageTable::let_go(const TablePage& table, Va va) noexcept {
    if (keeps_one_more()) {
        ++kept_;
        return;
    }
    unlink_leaves(table, va);
}

[[gnu::noinline]] void PageTable::unlink_leaves(const TablePage& table, Va va) noexcept {
    unlink<kLastLevel>(table, va, start_level_);
}

template <unsigned kLevel>
[[gnu::always_inline]] inline bool PageTable::map_in_table(Va start, std::size_t count, std::uint64_t descriptor,
                                                           std::uint64_t& shortage) noexcept {
    constexpr LeafSize kSize = leaf_size_at(kLevel);
    const std::size_t first = index_at(start, kLevel);
    const Spot spot = find<kLevel>(start);
    const TablePage there = page_at(spot.table);
    if (spot.level != kLevel) {
        return there.entries[index_at(start, spot.level)] == 0 &&
               add_and_map<kLevel>(start, count, descriptor, spot, shortage);
    }
    if (there.book->first_live(first, count) != count) {
        return false;
    }
    if (tables_behind(kSize) != 0 && !secure(count * tables_behind(kSize), shortage)) {
        return true;
    }
    if (kLevel == kLastLevel) {
        kept_ -= there.book->is_empty() ? 1U : 0U;
    }
    there.book->set(first, count);
    fill_entries(there.entries + first, count, descriptor, bytes_of(kSize));
    make_visible(there.entries + first, count);
    count_of(kSize) += count;
    return true;
}

// The tables below `spot` are missing, down to the one of the leaves.
template <unsigned kLevel>
bool PageTable::add_and_map(Va start, std::size_t count, std::uint64_t descriptor, Spot spot,
                            std::uint64_t& shortage) noexcept {
    constexpr LeafSize kSize = leaf_size_at(kLevel);
    if (!secure(kLevel - spot.level + count * tables_behind(kSize), shortage)) {
        return true;
    }
    // Taken from the top down, as Linux does.
    AddedPath added;
    added[spot.level] = spot.table;
    if (spot.level < 1) {
        added[1] = take_table();
        pass<1>(start, added[1]);
    }
    if (kLevel > 2 && spot.level < 2) {
        added[2] = take_table();
        pass<2>(start, added[2]);
    }
    added[kLevel] = take_table();
    pass<kLevel>(start, added[kLevel]);
    prefetch_upcoming();

    const std::size_t first = index_at(start, kLevel);
    const TablePage table = page_at(added[kLevel]);
    clear_around(table, first, count);
    table.book->set(first, count);
    fill_entries(table.entries + first, count, descriptor, bytes_of(kSize));
    count_of(kSize) += count;
    link<kLevel>(table, added, start, spot.level);
    return true;
}

template <unsigned kLevel>
[[gnu::always_inline]] inline bool PageTable::unmap_in_table(Va start, std::size_t count) noexcept {
    constexpr LeafSize kSize = leaf_size_at(kLevel);
    const std::size_t first = index_at(start, kLevel);
    const Spot spot = find<kLevel>(start);
    if (spot.level != kLevel) {
        return false;
    }
    const TablePage table = page_at(spot.table);
    if (table.book->first_hole(first, count) != count) {
        return false;
    }
    std::uint64_t* const entries = table.entries + first;
    if (table.book->tables != 0 && first_unlike(entries, count, bits::kTypeMask, bits::kTypeBlock) != count) {
        return false;
    }
    count_of(kSize) -= count;
    if (count == kTableEntries) {
        // The whole table goes, with what it says: one store above it.
        table.book->live = {};
        table.book->stale = true;
    } else {
        table.book->clear(first, count);
        clear_entries(entries, count);
        make_visible(entries, count);
        if (!table.book->is_empty()) {
            return true;
        }
        if (kLevel == kLastLevel) {
            let_go(table, start);
            return true;
        }
    }
    unlink<kLevel>(table, start, start_level_);
    return true;
}

// Whether the run is aligned, not empty, in one table of kLevel, and in the space, of which no table has a part only.
template <unsigned kLevel>
[[gnu::always_inline]] inline bool PageTable::is_short(const LeafRun& run) const noexcept {
    return run.count - 1 < kTableEntries - index_at(run.start, kLevel) && run.start.is_aligned(span_at(kLevel)) &&
           run.start <= last_va_;
}

template <unsigned kLevel>
[[gnu::always_inline]] inline bool PageTable::map_short(const LeafRun& run, Pa pa, const LeafAttributes& attributes,
                                                        std::uint64_t& shortage) noexcept {
    constexpr LeafSize kSize = leaf_size_at(kLevel);
    return is_short<kLevel>(run) && pa.is_aligned(bytes_of(kSize)) && pa <= last_pa_ &&
           run.count * bytes_of(kSize) - 1 <= last_pa_ - pa && (attributes.read || attributes.write) &&
           map_in_table<kLevel>(run.start, run.count, encode_leaf(config_.format, kSize, pa, attributes), shortage);
}

// Whether the pages share a word of a book, are aligned, not empty, and in the space.
[[gnu::always_inline]] inline bool PageTable::are_few_pages(const LeafRun& run) const noexcept {
    constexpr std::uint64_t kMost = TableBook::kWordBits;
    return run.size == LeafSize::k4K && run.count - 1 < kMost - (run.start.raw() >> kPageShift) % kMost &&
           run.start.is_aligned(kPageBytes) && run.start <= last_va_;
}

// Whether descriptors of such pages can say this.
[[gnu::always_inline]] inline bool PageTable::can_show(const LeafRun& pages, Pa pa,
                                                       const LeafAttributes& attributes) const noexcept {
    return pa.is_aligned(kPageBytes) && pa.raw() <= last_pa_.raw() - (pages.count * kPageBytes - 1) &&
           (attributes.read || attributes.write);
}

// What is not done on the shortest way: calls, behind which it would have something left to do.
[[gnu::noinline]] Result<void, TableError> PageTable::fill_and_show(std::uint64_t* entries, std::size_t count,
                                                                    std::uint64_t descriptor) noexcept {
    fill_entries(entries, count, descriptor, kPageBytes);
    memory_->make_visible(entries, count);
    return {};
}

[[gnu::noinline]] Result<void, TableError> PageTable::clear_and_show(std::uint64_t* entries,
                                                                     std::size_t count) noexcept {
    clear_entries(entries, count);
    memory_->make_visible(entries, count);
    return {};
}

[[gnu::noinline]] Result<void, TableError> PageTable::clear_and_unlink(const TablePage& table, std::size_t first,
                                                                       const LeafRun& run) noexcept {
    clear_entries(table.entries + first, run.count);
    make_visible(table.entries + first, run.count);
    unlink_leaves(table, run.start);
    return {};
}

// Pages in a table that is there, in a memory with a window: nothing is called but what writes the entries.
Result<void, TableError> PageTable::map(const LeafRun& run, Pa pa, const LeafAttributes& attributes) noexcept {
    if (has_window_ && are_few_pages(run) && can_show(run, pa, attributes)) {
        const Spot spot = find<kLastLevel, true>(run.start);
        const TablePage table = page_in_window(spot.table);
        const std::size_t first = index_at(run.start, kLastLevel);
        const std::uint64_t bits = TableBook::mask_of(first, run.count);
        std::uint64_t& live = table.book->word_of(first);
        if (spot.level == kLastLevel && (live & bits) == 0) {
            if (kept_ != 0) {
                kept_ -= table.book->is_empty() ? 1U : 0U;
            }
            live |= bits;
            leaves_.pages_4k += run.count;
            const std::uint64_t descriptor = encode_leaf(config_.format, LeafSize::k4K, pa, attributes);
            if (!is_coherent_) {
                return fill_and_show(table.entries + first, run.count, descriptor);
            }
            Result<void, TableError> done;
            fill_entries(table.entries + first, run.count, descriptor, kPageBytes);
            return done;
        }
    }
    return map_any(run, pa, attributes);
}

Result<void, TableError> PageTable::unmap(const LeafRun& run) noexcept {
    if (has_window_ && are_few_pages(run)) {
        const Spot spot = find<kLastLevel, true>(run.start);
        const TablePage table = page_in_window(spot.table);
        const std::size_t first = index_at(run.start, kLastLevel);
        const std::uint64_t bits = TableBook::mask_of(first, run.count);
        std::uint64_t& live = table.book->word_of(first);
        if (spot.level == kLastLevel && (~live & bits) == 0) {
            live &= ~bits;
            leaves_.pages_4k -= run.count;
            if (table.book->is_empty()) {
                if (!keeps_one_more()) {
                    return clear_and_unlink(table, first, run);
                }
                ++kept_;
            }
            if (!is_coherent_) {
                return clear_and_show(table.entries + first, run.count);
            }
            Result<void, TableError> done;
            clear_entries(table.entries + first, run.count);
            return done;
        }
    }
    return unmap_any(run);
}

// What stands there is known from the book, and overwritten.
bool PageTable::replace_pages(const LeafRun& run, Pa pa, const LeafAttributes& attributes) noexcept {
    if (!has_window_ || !are_few_pages(run) || !can_show(run, pa, attributes)) {
        return false;
    }
    const Spot spot = find<kLastLevel, true>(run.start);
    if (spot.level != kLastLevel) {
        return false;
    }
    const TablePage table = page_in_window(spot.table);
    const std::size_t first = index_at(run.start, kLastLevel);
    const std::uint64_t bits = TableBook::mask_of(first, run.count);
    std::uint64_t& live = table.book->word_of(first);
    if (kept_ != 0) {
        kept_ -= table.book->is_empty() ? 1U : 0U;
    }
    leaves_.pages_4k += static_cast<std::uint64_t>(std::popcount(bits & ~live));
    live |= bits;
    std::uint64_t* const entries = table.entries + first;
    fill_entries(entries, run.count, encode_leaf(config_.format, LeafSize::k4K, pa, attributes), kPageBytes);
    make_visible(entries, run.count);
    return true;
}

[[gnu::noinline]] Result<void, TableError> PageTable::map_any(const LeafRun& run, Pa pa,
                                                              const LeafAttributes& attributes) noexcept {
    if (config_.fast_paths && run.count <= kTableEntries) {
        std::uint64_t shortage = 0;
        const bool done = run.size == LeafSize::k4K
                              ? map_short<3>(run, pa, attributes, shortage)
                              : run.size == LeafSize::k2M && (config_.leaf_sizes & kBlock2MBytes) != 0 &&
                                    map_short<2>(run, pa, attributes, shortage);
        if (done) {
            if (shortage != 0) {
                return fail(TableError{TableError::Code::kOutOfTableMemory, run.start, run.size, shortage});
            }
            return {};
        }
    }
    return map_long(run, pa, attributes);
}

[[gnu::noinline]] Result<void, TableError> PageTable::unmap_any(const LeafRun& run) noexcept {
    if (config_.fast_paths && run.count <= kTableEntries) {
        const bool done = run.size == LeafSize::k4K ? is_short<3>(run) && unmap_in_table<3>(run.start, run.count)
                                                    : run.size == LeafSize::k2M && is_short<2>(run) &&
                                                          unmap_in_table<2>(run.start, run.count);
        if (done) {
            return {};
        }
    }
    return unmap_long(run);
}

VaRange PageTable::prune(VaRange range) noexcept {
    return prune_below(start_level_, range);
}

VaRange PageTable::prune_below(unsigned stays, VaRange range) noexcept {
    VaRange pruned;
    const Va end = std::min(range.end, last_va_ + 1);
    for (Va va = range.start; va < end && kept_ != 0;) {
        const Spot spot = find<kLastLevel>(va);
        const std::uint64_t span = span_at(spot.level == kLastLevel ? kLastLevel - 1 : spot.level);
        const Va start = va.align_down(span);
        va = start + span;
        if (const TablePage table = page_at(spot.table); spot.level == kLastLevel && table.book->is_empty()) {
            pruned = {pruned.empty() ? start : pruned.start, va};
            --kept_;
            unlink<kLastLevel>(table, start, stays);
        }
    }
    return pruned;
}

void PageTable::prefetch(Va va) noexcept {
    if (va > last_va_) {
        return;
    }
    const Spot spot = find<kLastLevel>(va);
    const TablePage table = page_at(spot.table);
    const std::uint64_t* const entry = table.entries + index_at(va, spot.level);
    __builtin_prefetch(table.book, 1);
    __builtin_prefetch(entry, 1);
    __builtin_prefetch(entry + 8, 1);  // a tile of 64 KiB is two lines; behind the table it is no harm
}

}  // namespace granule::mali
