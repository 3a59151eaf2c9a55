// Where page tables live: the one thing that firmware, a hypervisor or a memfd supplies.
//
// Accounting (P4). `take` never fails, because every page that is taken was reserved before:
//
//      reserve(n)          take()             give_back()          unreserve(n)
//   free -------> reserved -------> in use -------------> reserved ------------> free
//
// So a page that is given back stays reserved for its owner until the owner says that it is settled. Only `reserve` can
// fail, and then nothing has changed.
//
// Zeros. A page is all zeros when it is taken and all zeros when it is given back, so nobody clears pages on the way:
// the page table empties a table entry by entry before it lets go of it, and fresh pages of an OS are zero anyway. What
// is free never shows old translations to a walker that lags behind.
//
// Bookkeeping. Beside every page the memory keeps a TableBook, which it does not read: what the page table has to know
// of a table without scanning its 512 entries. It is not in software bits of the entries, which other tools compare
// exactly, and not allocated per table, because unmap allocates nothing.
//
// Thread-safety: that of the implementation. PageTable calls it only from its own calls; `table_at` also from
// PageTable::walk and visit, which other threads may be in.
#pragma once

#include <cstddef>
#include <cstdint>

#include "mali/address.hpp"

namespace granule::mali {

inline constexpr std::size_t kTableEntries = 512;

// What PageTable keeps beside a table. 16 bytes a page.
struct TableBook {
    std::uint16_t live = 0;  // entries that are not zero
    Pa next_emptied;         // of a table that is in PageTable's list of emptied tables

    constexpr bool operator==(const TableBook&) const noexcept = default;
};

// One 4 KiB table: where the CPU sees it, what is kept beside it, and where the GPU's walker finds it.
struct TablePage {
    std::uint64_t* entries = nullptr;  // 512
    TableBook* book = nullptr;
    Pa pa;
};

class TableMemory {
public:
    TableMemory() noexcept = default;
    TableMemory(const TableMemory&) = delete;
    TableMemory& operator=(const TableMemory&) = delete;
    TableMemory(TableMemory&&) = delete;
    TableMemory& operator=(TableMemory&&) = delete;
    virtual ~TableMemory() = default;

    // Sets `pages` more pages aside. False: there are not so many, and nothing changed.
    [[nodiscard]] virtual bool reserve(std::uint64_t pages) noexcept = 0;
    // Precondition: so many are reserved.
    virtual void unreserve(std::uint64_t pages) noexcept = 0;

    // A page of zeros, 4 KiB aligned, with a default TableBook, out of the reserved ones. Precondition: one is
    // reserved.
    [[nodiscard]] virtual TablePage take() noexcept = 0;
    // The page becomes reserved again. Precondition: it is all zeros and its TableBook is the default.
    virtual void give_back(TablePage page) noexcept = 0;

    // The page at `table`, which `take` returned and which was not given back. O(1): it is called for each level.
    [[nodiscard]] virtual TablePage table_at(Pa table) const noexcept = 0;

    // `count` entries from `first` on were written: clean them to the point of coherency where the GPU's walker does
    // not snoop, and order them before what follows. Called once for each contiguous run of a table that was written.
    virtual void make_visible(const std::uint64_t* first, std::size_t count) noexcept = 0;
};

}  // namespace granule::mali
