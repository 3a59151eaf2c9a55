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
// - emptied: its entry in the table above is cleared, and the page is put aside.
//
// Invariant: on each level at most one table is open, and all but the deepest hold the VA of the ones below.
// It only follows what it is told: that the holes are holes and the leaves leaves was checked before.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "mali/address.hpp"
#include "mali/descriptor.hpp"
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

// The first byte that a table of `level` holding `va` does not span.
[[nodiscard]] constexpr Va table_end(Va va, unsigned level) noexcept {
    return va.align_down(span_at(level)) + (kTableEntries - index_at(va, level)) * span_at(level);
}

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
    [[nodiscard]] std::uint64_t entry() const noexcept { return entries()[index_at(va_, depth_)]; }

    // Opens a new table below the level reached. The entry there is empty.
    void add_table() noexcept;

    // From `va` of the last seek on, within the table reached.
    void write_leaves(std::size_t count, std::uint64_t descriptor, std::uint64_t step) noexcept;
    void clear_leaves(std::size_t count) noexcept;

    // Leaves every table. Nothing may be done on this path afterwards.
    void finish() noexcept;

private:
    struct Open {
        TablePage table;
        bool fresh = false;           // not reachable yet
        std::size_t written = 0;      // [written, written_end) is to be made visible
        std::size_t written_end = 0;  //
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
        open_[depth_] = Open{owner_.memory_->table_at(table_pa(descriptor))};
    }
    return depth_;
}

inline void PageTable::Path::add_table() noexcept {
    assert(depth_ < kLastLevel && entry() == 0);
    ++depth_;
    open_[depth_] = Open{owner_.take_table(), true};
}

inline void PageTable::Path::write_leaves(std::size_t count, std::uint64_t descriptor, std::uint64_t step) noexcept {
    Open& open = open_[depth_];
    const std::size_t first = index_at(va_, depth_);
    assert(first + count <= kTableEntries);
    for (std::size_t i = first; i < first + count; ++i) {
        store_entry(open.table.entries[i], descriptor);
        descriptor += step;
    }
    open.table.book->live = static_cast<std::uint16_t>(open.table.book->live + count);
    wrote(open, first, count);
}

inline void PageTable::Path::clear_leaves(std::size_t count) noexcept {
    Open& open = open_[depth_];
    const std::size_t first = index_at(va_, depth_);
    assert(first + count <= kTableEntries && open.table.book->live >= count);
    for (std::size_t i = first; i < first + count; ++i) {
        store_entry(open.table.entries[i], 0);
    }
    open.table.book->live = static_cast<std::uint16_t>(open.table.book->live - count);
    wrote(open, first, count);
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
        owner_.memory_->make_visible(open.table.entries, kTableEntries);
        publish_entry(above.table.entries[index],
                      encode_table(owner_.config_.format, open.table.pa, owner_.config_.coherent_walk));
        ++above.table.book->live;
        wrote(above, index, 1);
        return;
    }
    make_visible(open);
    if (open.table.book->live == 0) {
        store_entry(above.table.entries[index], 0);
        --above.table.book->live;
        wrote(above, index, 1);
        owner_.put_emptied(open.table);
    }
}

inline void PageTable::Path::wrote(Open& open, std::size_t first, std::size_t count) noexcept {
    if (open.fresh) {
        return;  // made visible as a whole
    }
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
        owner_.memory_->make_visible(open.table.entries + open.written, open.written_end - open.written);
    }
    open.written = 0;
    open.written_end = 0;
}

}  // namespace granule::mali
