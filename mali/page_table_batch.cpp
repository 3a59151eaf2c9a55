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

// Bit 0 is clear: the GPU takes such an entry for empty, and caches nothing of it. Arm's own driver writes its empty
// entries so (kbase, mali_kbase_mmu_mode_aarch64.c: ENTRY_IS_INVAL).
constexpr std::uint64_t kTypeAdded = 2;
static_assert((kTypeAdded & bits::kTypeTable) != 0 && (kTypeAdded & bits::kTypeBlock) == 0);

// So many pages are on their way at once: more than the CPU waits for at a time, few enough to stay in its first cache.
constexpr std::size_t kAhead = 32;

// An entry of a level above the last that leads down, published or not.
[[nodiscard]] constexpr bool leads_down(std::uint64_t descriptor) noexcept {
    return (descriptor & kTypeAdded) != 0;
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

// Below the level reached, down to a table of leaves for `va`. Not published.
Result<PageTable::Descent, TableError> PageTable::add_tables(Descent at, Va va) noexcept {
    if (std::uint64_t shortage = 0; !secure(kLastLevel - at.level, shortage)) {
        return fail(TableError{TableError::Code::kOutOfTableMemory, va, LeafSize::k4K, shortage});
    }
    while (at.level < kLastLevel) {
        const unsigned index = index_at(va, at.level);
        const bool was_emptied = reserved_ == 0;
        const TablePage table = page_at(take_table());
        const std::uint64_t descriptor = table.pa.raw() | kTypeAdded;
        store_entry(at.table.entries[index], descriptor);
        at.table.book->set(index);
        at = {table, descriptor, at.level + 1};
        if (table.book->stale && at.level < kLastLevel) {
            // It is read from now on. That it was stale is remembered, in case that it goes back.
            clear_entries(table.entries, kTableEntries);
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
    while (last_added_ != kNoTable) {
        const Added added = pop_added();
        store_entry(added.above.entries[added.index], 0);
        added.above.book->clear(added.index);
        if (added.was_emptied) {
            put_emptied(added.table);
        } else {
            memory_->give_back(added.table);
            ++reserved_;
            --tables_;
        }
    }
}

bool PageTable::claim_hole(const PageMapping& page, const LeafAttributes& attributes, Descent& at,
                           TableError& error) noexcept {
    if (((page.va.raw() | page.pa.raw()) % kPageBytes) != 0 || (page.va.raw() >> config_.va_bits) != 0 ||
        (page.pa.raw() >> config_.pa_bits) != 0 || !(attributes.read || attributes.write)) {
        error = check_map({page.va, LeafSize::k4K, 1}, page.pa, attributes).error();
        return false;
    }
    if (at.level != kLastLevel) {
        // It was not there when it was looked up, but a page before this one may have added it.
        at = descend(page.va, kLastLevel);
    }
    if (at.level != kLastLevel) {
        if (at.table.entries[index_at(page.va, at.level)] != 0) {
            error = {TableError::Code::kAlreadyMapped, page.va.align_down(span_at(at.level)), leaf_size_at(at.level)};
            return false;
        }
        const Result<Descent, TableError> added = add_tables(at, page.va);
        if (!added) {
            error = added.error();
            return false;
        }
        at = *added;
    }
    const unsigned index = index_at(page.va, kLastLevel);
    if (at.table.book->test(index)) {
        error = {TableError::Code::kAlreadyMapped, page.va, LeafSize::k4K};
        return false;
    }
    at.table.book->set(index);
    return true;
}

bool PageTable::claim_leaf(Va va, const Descent& at, TableError& error) const noexcept {
    if (!va.is_aligned(kPageBytes) || (va.raw() >> config_.va_bits) != 0) {
        error = check_run({va, LeafSize::k4K, 1}).error();
        return false;
    }
    const unsigned index = index_at(va, kLastLevel);
    if (at.level == kLastLevel && at.table.book->test(index)) {
        at.table.book->clear(index);
        return true;
    }
    error = {TableError::Code::kNotMapped, va, LeafSize::k4K};
    if (at.level != kLastLevel && at.table.entries[index_at(va, at.level)] != 0) {
        error = {TableError::Code::kLeafWouldBeCut, va.align_down(span_at(at.level)), leaf_size_at(at.level)};
    }
    return false;
}

Result<void, TableError> PageTable::map_pages(std::span<const PageMapping> pages,
                                              const LeafAttributes& attributes) noexcept {
    const std::size_t ahead = config_.fast_paths ? kAhead : 1;
    std::array<Descent, kAhead> at;
    const std::uint64_t owned = reserved_ + emptied_ + tables_;
    TableError error;
    for (std::size_t first = 0; first < pages.size(); first += ahead) {
        const std::size_t count = std::min(ahead, pages.size() - first);
        for (std::size_t i = 0; i < count; ++i) {
            at[i] = descend(pages[first + i].va, kLastLevel);
            prefetch_for_write(at[i].table.book);
        }
        for (std::size_t i = 0; i < count; ++i) {
            if (claim_hole(pages[first + i], attributes, at[i], error)) {
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
    for (std::size_t first = 0; first < pages.size(); first += ahead) {
        const std::size_t count = std::min(ahead, pages.size() - first);
        for (std::size_t i = 0; i < count; ++i) {
            const Va va = pages[first + i].va;
            at[i] = descend(va, kLastLevel);
            prefetch_for_write(at[i].table.entries + index_at(va, kLastLevel));
        }
        for (std::size_t i = 0; i < count; ++i) {
            const PageMapping& page = pages[first + i];
            std::uint64_t& entry = at[i].table.entries[index_at(page.va, kLastLevel)];
            if ((at[i].descriptor & bits::kTypeMask) == kTypeAdded) {
                clear_around(at[i].table, 0, 0);
                store_entry(entry, page.pa.raw() | leaf);
            } else {
                store_entry(entry, page.pa.raw() | leaf);
                make_visible(&entry, 1);
            }
        }
    }
    publish_added();
    leaves_.pages_4k += pages.size();
    return {};
}

Result<void, TableError> PageTable::unmap_pages(std::span<const Va> pages) noexcept {
    const std::size_t ahead = config_.fast_paths ? kAhead : 1;
    std::array<Descent, kAhead> at;
    TableError error;
    for (std::size_t first = 0; first < pages.size(); first += ahead) {
        const std::size_t count = std::min(ahead, pages.size() - first);
        for (std::size_t i = 0; i < count; ++i) {
            at[i] = descend(pages[first + i], kLastLevel);
            prefetch_for_write(at[i].table.book);
        }
        for (std::size_t i = 0; i < count; ++i) {
            if (claim_leaf(pages[first + i], at[i], error)) {
                continue;
            }
            for (const Va va : pages.first(first + i)) {
                descend(va, kLastLevel).table.book->set(index_at(va, kLastLevel));
            }
            return fail(error);
        }
    }

    for (std::size_t first = 0; first < pages.size(); first += ahead) {
        const std::size_t count = std::min(ahead, pages.size() - first);
        for (std::size_t i = 0; i < count; ++i) {
            const Va va = pages[first + i];
            at[i] = descend(va, kLastLevel);
            if (at[i].level == kLastLevel && !at[i].table.book->is_empty()) {
                prefetch_for_write(at[i].table.entries + index_at(va, kLastLevel));
            }
        }
        for (std::size_t i = 0; i < count; ++i) {
            // Its table may be gone since another page: a while ago, or since this one was looked up.
            if (at[i].level == kLastLevel && !at[i].table.book->stale) {
                clear_claimed(at[i].table, pages[first + i]);
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
