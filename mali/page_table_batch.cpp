// Scattered pages, many in one call: PageTable::map_pages and unmap_pages.
//
// All or nothing, so there are two passes; and both wait for memory, which is why it is asked for some pages ahead.
//
// 1. Claim. The bit of each page is turned in the book of its table, and nothing else: a page that is there already, or
//    that the batch names twice, is found by its bit. Where tables are missing they are added, but not published: the
//    entry above gets the address of the new table with kTypeAdded, which no walker follows and which reads as a hole.
//
//        book     [ 1 1 0 0 1 ...]      -> [ 1 1 1 0 1 ...]        a page claimed
//        entries  [ L L 0 0 L ...]         [ L L 0 0 L ...]
//
//    A failure turns the bits back and takes the added tables out: no leaf was written, no walker has cached anything.
// 2. Commit, which cannot fail. map: the leaves are written, and the tables that were added are published, a table before
//    the one above it. unmap: the entries are cleared; a table in which no claim is left is taken out whole, unread.
//
// Cost: two walks a page, O(1) each. No memory but the books.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

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

namespace {

// Bit 0 is clear: the GPU takes such an entry for empty, and caches nothing of it, whatever the other bits are (Arm's own
// driver has such empty entries: kbase, mali_kbase_mmu_mode_aarch64.c, ENTRY_IS_INVAL). Bit 1 is clear: so does `translate`.
constexpr std::uint64_t kTypeAdded = 4;
static_assert((kTypeAdded & bits::kTypeMask) == 0 && (kTypeAdded & bits::kAddressMask) == 0);

// So many pages are on their way at once: more than the CPU waits for at a time, few enough to stay in its first cache.
constexpr std::size_t kAhead = 32;

// An entry of a level above the last that leads down, published or not.
[[nodiscard]] constexpr bool leads_down(std::uint64_t descriptor) noexcept {
    // Of the lowest three bits, a table has 011, one that was added 100, a block 001 or 101, and a hole none.
    return ((descriptor + 1) & 6) == 4;
}

template <class T>
void prefetch_for_write(const T* address) noexcept {
    __builtin_prefetch(address, 1);
}

}  // namespace

// Down towards the table of `level` that holds `va`, through tables that are not published yet as well.
inline PageTable::Descent PageTable::descend(Va va, unsigned level) const noexcept {
    Descent at{root_, bits::kTypeTable, start_level_};
    while (at.level < level) {
        const std::uint64_t descriptor = at.table.entries[index_at(va, at.level)];
        if (!leads_down(descriptor)) {
            break;
        }
        at = {page_at(table_pa(descriptor)), descriptor, at.level + 1};
    }
    return at;
}

// The table of leaves that holds `va`, or kNoTable. What is asked of every page of a batch, and of most of them twice: the
// uppermost levels, the same for most, are in `upper`.
[[gnu::always_inline]] inline Pa PageTable::table_of_leaves(Va va, Upper& upper) const noexcept {
    if (upper.prefix != va.raw() >> shift_at(0)) {
        const Descent at = descend(va, 1);
        if (at.level != 1) {
            return kNoTable;
        }
        upper = {va.raw() >> shift_at(0), at.table.entries};
    }
    const std::uint64_t first = upper.entries[index_at(va, 1)];
    if (!leads_down(first)) {
        return kNoTable;
    }
    const std::uint64_t second = page_at(table_pa(first)).entries[index_at(va, 2)];
    return leads_down(second) ? table_pa(second) : kNoTable;
}

// Below the level reached, down to a table of leaves for `va`. Not published.
Result<PageTable::Descent, TableError> PageTable::add_tables(Descent at, Va va) noexcept {
    if (std::uint64_t shortage = 0; !secure(kLastLevel - at.level, shortage)) {
        return fail(TableError{TableError::Code::kOutOfTableMemory, va, LeafSize::k4K, shortage});
    }
    while (at.level < kLastLevel) {
        const unsigned index = index_at(va, at.level);
        const bool was_emptied = reserved_ == 0;
        const TablePage table = page_at(take_table());
        if (const TablePage next = memory_->upcoming(); next.entries != nullptr) {
            prefetch_for_write(next.book);
            prefetch_for_write(&next.book->next);
        }
        const std::uint64_t descriptor = table.pa.raw() | kTypeAdded;
        store_entry(at.table.entries[index], descriptor);
        at.table.book->add_tables(index, 1);
        at = {table, descriptor, at.level + 1};
        if (table.book->stale) {
            // That it was stale is remembered, in case that it goes back. Above the leaves it is read from now on.
            if (at.level == kLastLevel && !was_emptied) {
                stream_zeros(table.entries, kTableEntries);
            } else {
                clear_entries(table.entries, kTableEntries);
            }
        }
        table.book->level = at.level;
        table.book->start = Va{table_prefix(va, at.level) << shift_at(at.level - 1)};
        table.book->was_emptied = was_emptied;
        table.book->next = std::exchange(last_added_, table.pa);
    }
    return at;
}

// Out of the list of added tables, whose last is below all others that it has to do with.
PageTable::Added PageTable::pop_added() noexcept {
    const TablePage table = page_at(last_added_);
    const unsigned level = table.book->level - 1;
    const Added added{table, descend(table.book->start, level).table, index_at(table.book->start, level),
                      table.book->was_emptied};
    last_added_ = std::exchange(table.book->next, Pa{});
    table.book->start = Va{};
    table.book->level = 0;
    table.book->was_emptied = false;
    return added;
}

void PageTable::publish_added() noexcept {
    if (last_added_ == kNoTable) {
        return;
    }
    stream_fence();
    while (last_added_ != kNoTable) {
        const Added added = pop_added();
        added.table.book->stale = false;
        make_visible(added.table.entries, kTableEntries);
        std::uint64_t& entry = added.above.entries[added.index];
        publish_entry(entry, table_bits_ | added.table.pa.raw());
        // A table that is itself waiting is made visible as a whole.
        if (added.above.book->level == 0) {
            make_visible(&entry, 1);
        }
    }
}

// The claims in them are turned back.
void PageTable::withdraw_added() noexcept {
    stream_fence();  // the next owner writes them, too
    while (last_added_ != kNoTable) {
        const Added added = pop_added();
        store_entry(added.above.entries[added.index], 0);
        added.above.book->remove_tables(added.index, 1);
        if (added.was_emptied) {
            put_emptied(added.table);
        } else {
            memory_->give_back(added.table);
            ++reserved_;
            --tables_;
        }
    }
}

// A page whose table was not there when it was looked up. Where it is still not there it is added.
bool PageTable::claim_without_table(Va va, std::uint64_t& filled, TableError& error) noexcept {
    // A page before this one may have added it.
    Descent at = descend(va, kLastLevel);
    if (at.level == kLastLevel) {
        return claim_hole(va, at.table, filled, error);
    }
    if (at.table.entries[index_at(va, at.level)] != 0) {
        error = {TableError::Code::kAlreadyMapped, va.align_down(span_at(at.level)), leaf_size_at(at.level)};
        return false;
    }
    const Result<Descent, TableError> added = add_tables(at, va);
    if (!added) {
        error = added.error();
        return false;
    }
    added->table.book->set(index_at(va, kLastLevel));
    return true;
}

inline bool PageTable::claim_hole(Va va, const TablePage& table, std::uint64_t& filled, TableError& error) noexcept {
    const unsigned index = index_at(va, kLastLevel);
    if (table.book->test(index)) {
        error = {TableError::Code::kAlreadyMapped, va, LeafSize::k4K};
        return false;
    }
    if (kept_ != 0) {
        filled += table.book->is_empty() ? 1U : 0U;
    }
    table.book->set(index);
    return true;
}

TableError PageTable::why_no_leaf(Va va) const noexcept {
    if (const Result<void, TableError> possible = check_run({va, LeafSize::k4K, 1}); !possible) {
        return possible.error();
    }
    const Descent at = descend(va, kLastLevel);
    if (at.level != kLastLevel && at.table.entries[index_at(va, at.level)] != 0) {
        return {TableError::Code::kLeafWouldBeCut, va.align_down(span_at(at.level)), leaf_size_at(at.level)};
    }
    return {TableError::Code::kNotMapped, va, LeafSize::k4K};
}

Result<void, TableError> PageTable::map_pages(std::span<const PageMapping> pages,
                                              const LeafAttributes& attributes) noexcept {
    const std::size_t ahead = config_.fast_paths ? kAhead : 1;
    std::array<Pa, kAhead> tables;
    const std::uint64_t owned = reserved_ + emptied_ + tables_;
    std::uint64_t filled = 0;  // kept tables that are none any more
    Upper upper{UINT64_MAX, root_.entries};
    TableError error;
    const auto claim = [&](const PageMapping& page, Pa table) {
        if (!page.va.is_aligned(kPageBytes) || !page.pa.is_aligned(kPageBytes) || page.va > last_va_ ||
            page.pa > last_pa_ || !(attributes.read || attributes.write)) {
            error = check_map({page.va, LeafSize::k4K, 1}, page.pa, attributes).error();
            return false;
        }
        return table != kNoTable ? claim_hole(page.va, page_at(table), filled, error)
                                 : claim_without_table(page.va, filled, error);
    };
    for (std::size_t first = 0; first < pages.size(); first += ahead) {
        const std::size_t count = std::min(ahead, pages.size() - first);
        for (std::size_t i = 0; i < count; ++i) {
            tables[i] = table_of_leaves(pages[first + i].va, upper);
            if (tables[i] != kNoTable) {
                prefetch_for_write(page_at(tables[i]).book);
            }
        }
        for (std::size_t i = 0; i < count; ++i) {
            if (claim(pages[first + i], tables[i])) {
                continue;
            }
            for (const PageMapping& page : pages.first(first + i)) {
                descend(page.va, kLastLevel).table.book->clear(index_at(page.va, kLastLevel));
            }
            withdraw_added();
            if (const std::uint64_t more = reserved_ + emptied_ + tables_ - owned; more != 0) {
                memory_->unreserve(more);
                reserved_ -= more;
            }
            return fail(error);
        }
    }

    const std::uint64_t leaf = leaf_bits(config_.format, LeafSize::k4K, attributes);
    for (const PageMapping& page : pages) {
        const TablePage table = page_at(table_of_leaves(page.va, upper));
        std::uint64_t& entry = table.entries[index_at(page.va, kLastLevel)];
        store_entry(entry, page.pa.raw() | leaf);
        // A table that was added is made visible as a whole.
        if (!is_coherent_ && table.book->level == 0) {
            memory_->make_visible(&entry, 1);
        }
    }
    publish_added();
    kept_ -= filled;
    leaves_.pages_4k += pages.size();
    return {};
}

Result<void, TableError> PageTable::unmap_pages(std::span<const Va> pages) noexcept {
    const std::size_t ahead = config_.fast_paths ? kAhead : 1;
    std::array<Pa, kAhead> tables;
    std::uint64_t emptied = 0;
    Upper upper{UINT64_MAX, root_.entries};
    const auto claim = [&](Va va, Pa table) {
        const unsigned index = index_at(va, kLastLevel);
        if (!va.is_aligned(kPageBytes) || va > last_va_ || table == kNoTable || !page_at(table).book->test(index)) {
            return false;
        }
        TableBook& book = *page_at(table).book;
        book.clear(index);
        emptied += book.is_empty() ? 1U : 0U;
        return true;
    };
    for (std::size_t first = 0; first < pages.size(); first += ahead) {
        const std::size_t count = std::min(ahead, pages.size() - first);
        for (std::size_t i = 0; i < count; ++i) {
            tables[i] = table_of_leaves(pages[first + i], upper);
            if (tables[i] != kNoTable) {
                prefetch_for_write(page_at(tables[i]).book);
            }
        }
        for (std::size_t i = 0; i < count; ++i) {
            if (claim(pages[first + i], tables[i])) {
                continue;
            }
            for (const Va va : pages.first(first + i)) {
                descend(va, kLastLevel).table.book->set(index_at(va, kLastLevel));
            }
            return fail(why_no_leaf(pages[first + i]));
        }
    }

    // All of them or none: which tables are empty now is in their books alone.
    if (emptied <= config_.kept_tables - kept_) {
        for (const Va va : pages) {
            std::uint64_t& entry = page_at(table_of_leaves(va, upper)).entries[index_at(va, kLastLevel)];
            store_entry(entry, 0);
            make_visible(&entry, 1);
        }
        kept_ += emptied;
    } else {
        for (const Va va : pages) {
            // Its table may be gone since another page.
            if (const Descent at = descend(va, kLastLevel); at.level == kLastLevel) {
                clear_claimed(at.table, va);
            }
        }
    }
    leaves_.pages_4k -= pages.size();
    return {};
}

void PageTable::clear_claimed(const TablePage& table, Va va) noexcept {
    if (!table.book->is_empty()) {
        std::uint64_t& entry = table.entries[index_at(va, kLastLevel)];
        store_entry(entry, 0);
        make_visible(&entry, 1);
        return;
    }
    if (config_.fast_paths) {
        table.book->stale = true;
    } else {
        clear_entries(table.entries, kTableEntries);
        make_visible(table.entries, kTableEntries);
    }
    unlink_leaves(table, va);
}

}  // namespace granule::mali
