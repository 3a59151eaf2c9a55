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
// Zeros. Nobody clears a page on the way: a table that will be filled whole needs no zeros first, and one whose leaves
// all go at once is taken out of the tree with a single store. TableBook::stale says of each page what it holds:
//
//      stale = false   all zeros. So a page is that the memory has never handed out: zeros are what an OS gives.
//      stale = true    anything. The page table overwrites all of it before an entry points to it.
//
// A memory whose pages are never zeros sets the flag in `take`; one that wants them to be clears the page in `give_back`
// and takes the flag back. A page is only given back when the caller has settled, that is, invalidated: no walker has a
// pointer to it any more, and nobody's translations are seen through somebody else's table.
//
// Bookkeeping. Beside every page the memory keeps a TableBook (table_book.hpp): what the page table has to know of a table
// without reading it. It is not in software bits of the entries, which other tools compare exactly, and not allocated
// per table, because unmap allocates nothing. It stays as it is while the page is free.
//
// Speed. A memory that is one piece says so (`window`): then no call is made to find a table.
//
// Thread-safety: that of the implementation. PageTable calls it only from its own calls; `table_at` also from
// PageTable::walk, visit and translate, which other threads may be in.
#pragma once

#include <cstddef>
#include <cstdint>

#include "mali/address.hpp"
#include "mali/table_book.hpp"

namespace granule::mali {

// One 4 KiB table: where the CPU sees it, what is kept beside it, and where the GPU's walker finds it.
struct TablePage {
    std::uint64_t* entries = nullptr;  // 512
    TableBook* book = nullptr;
    Pa pa;
};

// Where every page of a memory is that is one piece for the CPU and for the GPU.
//
//      CPU     entries                             entries + 512 * n
//      GPU     first                               first + 4096 * n
//              |------- page 0 -------|-- 1 --|...|
//              books[0]                books[1]
struct TableWindow {
    std::uint64_t* entries = nullptr;  // nullptr: no window; ask table_at
    TableBook* books = nullptr;
    Pa first;
    // The GPU sees what the CPU stores, in the order of the stores: make_visible has nothing to do and need not be called.
    bool coherent = false;

    [[nodiscard]] bool exists() const noexcept { return entries != nullptr; }
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

    // A page out of the reserved ones, 4 KiB aligned, with the TableBook that it was given back with; a default one the
    // first time. All zeros, unless the book says `stale`. Precondition: one is reserved.
    [[nodiscard]] virtual TablePage take() noexcept = 0;
    // The page that the next `take` will return, if nothing is given back before; no entries: it is not known. A hint: the
    // page table has it brought into the caches while it is still busy with the one before.
    [[nodiscard]] virtual TablePage upcoming() const noexcept { return {}; }
    // The page becomes reserved again. Precondition: its TableBook is the default but for `stale`, and all is zeros
    // where that is not set.
    virtual void give_back(TablePage page) noexcept = 0;

    // The page at `table`, which `take` returned and which was not given back. O(1): it is called for each level.
    [[nodiscard]] virtual TablePage table_at(Pa table) const noexcept = 0;

    // Every page that `take` will ever return is in it, if there is one. Asked once by each page table.
    [[nodiscard]] virtual TableWindow window() const noexcept { return {}; }

    // `count` entries from `first` on were written: clean them to the point of coherency where the GPU's walker does
    // not snoop, and order them before what follows. Called once for each contiguous run of a table that was written.
    virtual void make_visible(const std::uint64_t* first, std::size_t count) noexcept = 0;
};

}  // namespace granule::mali
