// Where an operation stands in the tree: the tables open from the root down to one table of leaves. Private to
// PageTable.
//
//      level 0  [......X.........]            seek(va) leaves the tables that do not hold `va`, deepest first, and
//                      |                      goes down again from the table that both have in common:
//      level 1         [..X...........]       a run of leaves descends from the root once, not once a leaf.
//                         |
//      level 2            [....LLLX......]    X the entry of `va`, L written and not yet made visible
//
// Leaving a table settles it:
// - new:     all of it is made visible, then its entry is published in the table above. So what can be reached is
//            complete, and a whole new subtree becomes reachable with the one store at its top.
// - written: what was written, which lies together, is made visible at once.
// - emptied: its entry in the table above is cleared, and the page is put aside. Of a table whose leaves all went at
//            once, nothing was written: it is put aside as it is, stale.
//
// Invariant: on each level at most one table is open, and all but the deepest hold the VA of the ones below.
// It only follows what it is told: that the holes are holes and the leaves leaves was checked before.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "mali/address.hpp"
#include "mali/descriptor.hpp"
#include "mali/entry_run.hpp"
#include "mali/page_table.hpp"
#include "mali/page_table_inside.hpp"
#include "mali/table_entry.hpp"
#include "mali/table_memory.hpp"

namespace granule::mali {

class PageTable::Path {
public:
    explicit Path(PageTable& owner) noexcept : owner_(owner), depth_(owner.start_level_) {
        open_[depth_].table = owner.root_;
    }
    Path(const Path&) = delete;
    Path& operator=(const Path&) = delete;
    Path(Path&&) = delete;
    Path& operator=(Path&&) = delete;
    ~Path() = default;

    // Goes to the table of `level` that holds `va`, or as far towards it as there are tables; returns the level
    // reached. Nothing below `level` that holds `va` is open.
    unsigned seek(Va va, unsigned level) noexcept;

    // The open table of the level reached, and the entry there that spans `va` of the last seek.
    [[nodiscard]] const std::uint64_t* entries() const noexcept { return open_[depth_].table.entries; }
    [[nodiscard]] const TableBook& book() const noexcept { return *open_[depth_].table.book; }
    [[nodiscard]] std::uint64_t entry() const noexcept { return entries()[index_at(va_, depth_)]; }

    // Opens a new table below the level reached, of those that lead to one of level `target`. The entry there is empty.
    void add_table(unsigned target) noexcept;

    // Maps the run: seeks, adds the tables that are missing, and writes.
    void write(const LeafRun& run, std::uint64_t descriptor) noexcept;

    // Tables of pages that are whole in a run, from an aligned `va` of the last seek on, which reached the table above them.
    // How many of the `count` are full; to fill so many, which are not there; to take so many out, which are full, unread.
    [[nodiscard]] std::size_t full_tables(std::size_t count) const noexcept;
    void write_tables(std::size_t count, std::uint64_t descriptor) noexcept;
    void drop_tables(std::size_t count) noexcept;

    // From `va` of the last seek on, within the table reached.
    void write_leaves(std::size_t count, std::uint64_t descriptor, std::uint64_t step) noexcept;
    void clear_leaves(std::size_t count) noexcept;
    // All of the table reached, without writing to it: it will not be reachable.
    void drop_leaves() noexcept;

    // Leaves every table. Nothing may be done on this path afterwards.
    void finish() noexcept;

private:
    struct Open {
        TablePage table;
        bool fresh = false;           // not reachable yet
        std::size_t written = 0;      // [written, written_end) is to be made visible; of a fresh table, all of it is,
        std::size_t written_end = 0;  // and what was stale in the rest of it cleared
        bool emptied = false;         // what was in it has gone
    };

    [[nodiscard]] TablePage take() noexcept;
    void leave() noexcept;
    void wrote(Open& open, std::size_t first, std::size_t count) noexcept;
    void make_visible(Open& open) noexcept;

    PageTable& owner_;
    std::array<Open, kLastLevel + 1> open_;
    unsigned depth_;         // the deepest open table
    Va va_;                  // what the open tables hold
    bool foreseen_ = false;  // the next table out of the memory is on its way into the caches
};

// The tables of pages that are whole in [va, end), up to the end of the table above them; 0 where none begins at `va`.
[[nodiscard]] inline std::size_t whole_tables(Va va, Va end) noexcept {
    constexpr unsigned kAbove = kLastLevel - 1;
    return va.is_aligned(span_at(kAbove)) ? (std::min(end, table_end(va, kAbove)) - va) / span_at(kAbove) : 0;
}

[[gnu::noinline]] inline unsigned PageTable::Path::seek(Va va, unsigned level) noexcept {
    while (depth_ > owner_.start_level_ && ((va.raw() ^ va_.raw()) >> shift_at(depth_ - 1)) != 0) {
        leave();
    }
    assert(depth_ <= level);
    va_ = va;
    while (depth_ < level) {
        const std::uint64_t descriptor = entry();
        if (!points_to_table(depth_, descriptor)) {
            break;
        }
        ++depth_;
        open_[depth_] = Open{owner_.page_at(table_pa(descriptor))};
    }
    return depth_;
}

inline void PageTable::Path::add_table(unsigned target) noexcept {
    assert(depth_ < target && entry() == 0);
    ++depth_;
    open_[depth_] = Open{take(), true};
    // A table of leaves is not read before it is left, and then cleared where nothing was written.
    if (depth_ < target || !owner_.config_.fast_paths) {
        clear_around(open_[depth_].table, 0, 0);
    }
}

inline void PageTable::Path::write(const LeafRun& run, std::uint64_t descriptor) noexcept {
    const unsigned target = leaf_level(run.size);
    const std::uint64_t leaf_bytes = bytes_of(run.size);
    const Va end = run.range().end;
    const bool whole = target == kLastLevel && owner_.config_.fast_paths;
    for (Va va = run.start; va < end;) {
        if (const std::size_t most = whole ? whole_tables(va, end) : 0;
            most != 0 && seek(va, kLastLevel - 1) == kLastLevel - 1) {
            const std::size_t count = book().first_live(index_at(va, depth_), most);
            if (count != 0) {
                write_tables(count, descriptor);
                descriptor += count * kBlock2MBytes;
                va = va + count * kBlock2MBytes;
                continue;
            }
        }
        for (unsigned level = seek(va, target); level < target; ++level) {
            add_table(target);
        }
        const Va stop = std::min(end, table_end(va, target));
        write_leaves((stop - va) / leaf_bytes, descriptor, leaf_bytes);
        descriptor += stop - va;
        va = stop;
    }
}

inline void PageTable::Path::write_leaves(std::size_t count, std::uint64_t descriptor, std::uint64_t step) noexcept {
    Open& open = open_[depth_];
    const std::size_t first = index_at(va_, depth_);
    assert(first + count <= kTableEntries);
    if (!open.fresh && depth_ == kLastLevel) {
        owner_.kept_ -= open.table.book->is_empty() ? 1U : 0U;
    }
    fill_entries(open.table.entries + first, count, descriptor, step);
    open.table.book->set(first, count);
    wrote(open, first, count);
}

// A new table, and while it is written the next one is on its way.
[[gnu::noinline]] inline TablePage PageTable::Path::take() noexcept {
    const bool cold = owner_.reserved_ != 0 && !foreseen_;
    const TablePage table = owner_.page_at(owner_.take_table());
    if (owner_.config_.fast_paths) {
        if (cold) {
            // All lines at once, which stores alone would wait for one after the other.
            prefetch_table(table.entries);
        }
        foreseen_ = owner_.prefetch_upcoming();
    }
    return table;
}

inline std::size_t PageTable::Path::full_tables(std::size_t count) const noexcept {
    constexpr std::size_t kTablesAhead = 4;
    const std::uint64_t* const above = entries() + index_at(va_, depth_);
    std::size_t full = 0;
    while (full < count && points_to_table(depth_, above[full]) &&
           owner_.page_at(table_pa(above[full])).book->is_full()) {
        // Books are in the order of their tables, which the CPU does not foresee.
        if (const std::size_t ahead = full + kTablesAhead;
            owner_.has_window_ && ahead < count && points_to_table(depth_, above[ahead])) {
            const TableBook* const book = owner_.page_in_window(table_pa(above[ahead])).book;
            __builtin_prefetch(book, 1);
            __builtin_prefetch(&book->next, 1);
        }
        ++full;
    }
    return full;
}

inline void PageTable::Path::write_tables(std::size_t count, std::uint64_t descriptor) noexcept {
    Open& above = open_[depth_];
    const std::size_t first = index_at(va_, depth_);
    for (std::size_t i = first; i < first + count; ++i) {
        const TablePage table = take();
        fill_entries(table.entries, kTableEntries, descriptor, kPageBytes);
        descriptor += kBlock2MBytes;
        table.book->live.fill(~std::uint64_t{0});
        table.book->stale = false;
        owner_.make_visible(table.entries, kTableEntries);
        publish_entry(above.table.entries[i], owner_.table_bits_ | table.pa.raw());
    }
    above.table.book->add_tables(first, count);
    wrote(above, first, count);
}

inline void PageTable::Path::drop_tables(std::size_t count) noexcept {
    Open& above = open_[depth_];
    const std::size_t first = index_at(va_, depth_);
    for (std::size_t i = first; i < first + count; ++i) {
        const TablePage table = owner_.page_at(table_pa(above.table.entries[i]));
        table.book->live = {};
        table.book->stale = true;
        owner_.put_emptied(table);
    }
    owner_.passed_[kLastLevel] = {};
    clear_entries(above.table.entries + first, count);
    above.table.book->remove_tables(first, count);
    above.emptied = above.table.book->is_empty();
    wrote(above, first, count);
}

inline void PageTable::Path::clear_leaves(std::size_t count) noexcept {
    Open& open = open_[depth_];
    const std::size_t first = index_at(va_, depth_);
    assert(first + count <= kTableEntries && open.table.book->first_hole(first, count) == count);
    clear_entries(open.table.entries + first, count);
    open.table.book->clear(first, count);
    open.emptied = open.table.book->is_empty();
    wrote(open, first, count);
}

inline void PageTable::Path::drop_leaves() noexcept {
    TableBook& book = *open_[depth_].table.book;
    assert(index_at(va_, depth_) == 0 && book.is_full() && depth_ > owner_.start_level_);
    book.live = {};
    book.stale = true;
    open_[depth_].emptied = true;
}

inline void PageTable::Path::finish() noexcept {
    while (depth_ > owner_.start_level_) {
        leave();
    }
    make_visible(open_[depth_]);
}

[[gnu::noinline]] inline void PageTable::Path::leave() noexcept {
    Open& open = open_[depth_];
    Open& above = open_[depth_ - 1];
    const unsigned index = index_at(va_, depth_ - 1);
    --depth_;
    if (open.fresh) {
        clear_around(open.table, open.written, open.written_end - open.written);
        owner_.make_visible(open.table.entries, kTableEntries);
        publish_entry(above.table.entries[index], owner_.table_bits_ | open.table.pa.raw());
        above.table.book->add_tables(index, 1);
        wrote(above, index, 1);
        return;
    }
    make_visible(open);
    if (open.emptied) {
        if (depth_ + 1 == kLastLevel && !open.table.book->stale && owner_.keeps_one_more()) {
            ++owner_.kept_;
            return;
        }
        store_entry(above.table.entries[index], 0);
        above.table.book->remove_tables(index, 1);
        above.emptied = above.table.book->is_empty();
        wrote(above, index, 1);
        owner_.forget(open.table.pa);
        owner_.put_emptied(open.table);
    }
}

inline void PageTable::Path::wrote(Open& open, std::size_t first, std::size_t count) noexcept {
    // A run is one range of VA: the tables between its first and its last are filled or emptied whole, so what one
    // operation writes to one table lies together, but for the entries of kept tables that it fills: these stay as they are.
    assert(open.written == open.written_end || open.written_end <= first);
    if (open.written == open.written_end) {
        open.written = first;
    }
    open.written_end = first + count;
}

inline void PageTable::Path::make_visible(Open& open) noexcept {
    if (open.written != open.written_end) {
        owner_.make_visible(open.table.entries + open.written, open.written_end - open.written);
    }
    open.written = 0;
    open.written_end = 0;
}

}  // namespace granule::mali
