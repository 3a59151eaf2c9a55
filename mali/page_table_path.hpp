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
    // reached. All calls for one path name the same level.
    unsigned seek(Va va, unsigned level) noexcept;

    // The open table of the level reached, and the entry there that spans `va` of the last seek.
    [[nodiscard]] const std::uint64_t* entries() const noexcept { return open_[depth_].table.entries; }
    [[nodiscard]] const TableBook& book() const noexcept { return *open_[depth_].table.book; }
    [[nodiscard]] std::uint64_t entry() const noexcept { return entries()[index_at(va_, depth_)]; }

    // Opens a new table below the level reached, of those that lead to one of level `target`. The entry there is empty.
    void add_table(unsigned target) noexcept;

    // The book of a table that will be passed soon, if the run goes on so far.
    void prefetch_ahead() const noexcept;

    // Maps the run: seeks, adds the tables that are missing, and writes.
    void write(const LeafRun& run, std::uint64_t descriptor) noexcept;

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
        bool cold = false;            // fresh, and out of the memory: who knows since when nobody touched it
        std::size_t written = 0;      // [written, written_end) is to be made visible; of a fresh table, all of it is,
        std::size_t written_end = 0;  // and what was stale in the rest of it cleared
    };

    void leave() noexcept;
    void wrote(Open& open, std::size_t first, std::size_t count) noexcept;
    void make_visible(Open& open) noexcept;

    PageTable& owner_;
    std::array<Open, kLastLevel + 1> open_;
    unsigned depth_;  // the deepest open table
    Va va_;           // what the open tables hold
};

inline unsigned PageTable::Path::seek(Va va, unsigned level) noexcept {
    assert(depth_ <= level);
    while (depth_ > owner_.start_level_ && ((va.raw() ^ va_.raw()) >> shift_at(depth_ - 1)) != 0) {
        leave();
    }
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

inline void PageTable::Path::prefetch_ahead() const noexcept {
    constexpr unsigned kTablesAhead = 4;
    if (depth_ == owner_.start_level_) {
        return;
    }
    const unsigned index = index_at(va_, depth_ - 1) + kTablesAhead;
    const std::uint64_t descriptor = index < kTableEntries ? open_[depth_ - 1].table.entries[index] : 0;
    if (owner_.has_window_ && points_to_table(depth_ - 1, descriptor)) {
        const TableBook* const book = owner_.page_at(table_pa(descriptor)).book;
        __builtin_prefetch(book, 1);
        __builtin_prefetch(&book->next, 1);
    }
}

inline void PageTable::Path::add_table(unsigned target) noexcept {
    assert(depth_ < target && entry() == 0);
    ++depth_;
    const bool cold = owner_.reserved_ != 0;
    open_[depth_] = Open{owner_.page_at(owner_.take_table()), true, cold};
    // A table of leaves is not read before it is left, and then cleared where nothing was written.
    if (depth_ < target || !owner_.config_.fast_paths) {
        clear_around(open_[depth_].table, 0, 0);
    }
}

inline void PageTable::Path::write(const LeafRun& run, std::uint64_t descriptor) noexcept {
    const unsigned target = leaf_level(run.size);
    const std::uint64_t leaf_bytes = bytes_of(run.size);
    const Va end = run.range().end;
    for (Va va = run.start; va < end;) {
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
    if (open.cold && count == kTableEntries) {
        // All lines at once, which stores alone would wait for one after the other.
        prefetch_table(open.table.entries);
    }
    fill_entries(open.table.entries + first, count, descriptor, step);
    open.table.book->set(first, count);
    wrote(open, first, count);
}

inline void PageTable::Path::clear_leaves(std::size_t count) noexcept {
    Open& open = open_[depth_];
    const std::size_t first = index_at(va_, depth_);
    assert(first + count <= kTableEntries && open.table.book->first_hole(first, count) == count);
    clear_entries(open.table.entries + first, count);
    open.table.book->clear(first, count);
    wrote(open, first, count);
}

inline void PageTable::Path::drop_leaves() noexcept {
    TableBook& book = *open_[depth_].table.book;
    assert(index_at(va_, depth_) == 0 && book.is_full() && depth_ > owner_.start_level_);
    book.live = {};
    book.stale = true;
}

inline void PageTable::Path::finish() noexcept {
    while (depth_ > owner_.start_level_) {
        leave();
    }
    make_visible(open_[depth_]);
}

inline void PageTable::Path::leave() noexcept {
    Open& open = open_[depth_];
    Open& above = open_[depth_ - 1];
    const unsigned index = index_at(va_, depth_ - 1);
    --depth_;
    if (open.fresh) {
        clear_around(open.table, open.written, open.written_end - open.written);
        owner_.make_visible(open.table.entries, kTableEntries);
        publish_entry(above.table.entries[index], owner_.table_bits_ | open.table.pa.raw());
        above.table.book->set(index);
        wrote(above, index, 1);
        return;
    }
    make_visible(open);
    if (open.table.book->is_empty()) {
        store_entry(above.table.entries[index], 0);
        above.table.book->clear(index);
        wrote(above, index, 1);
        owner_.forget(open.table.pa);
        owner_.put_emptied(open.table);
    }
}

inline void PageTable::Path::wrote(Open& open, std::size_t first, std::size_t count) noexcept {
    // A run is one range of VA: the tables between its first and its last are filled or emptied whole, so what one
    // operation writes to one table lies together.
    assert(open.written == open.written_end || open.written_end == first);
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
