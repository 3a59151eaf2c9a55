// Our own page table of what a driver mapped: the same VA, physical pages and attributes, through mali::PageTable.
//
// The leaves are those of the library's rule (allocator/leaf_layout.hpp) over the pages' physically contiguous runs, so
// what is compared with a kernel's tables is that rule, the encoding and the shape of the tree.
//
// Nothing of it is in the guest's page tables: the tables are this process's own memory, and name addresses of their
// own for each other.
// Failure: ProbeError where mali::PageTable refuses.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "allocator/leaf_layout.hpp"
#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/page_table.hpp"
#include "tests/kernel/inside/kernel_tables.hpp"
#include "tests/support/table_arena.hpp"

namespace granule::kernel_test {

class MirrorTables {
public:
    // `config` as the driver's: format, VA bits, leaf sizes, and whether the walk is coherent.
    explicit MirrorTables(const mali::PageTableConfig& config);

    // `pages[n]` at `va` + n * 4 KiB.
    void map(Va va, const std::vector<Pa>& pages, const mali::LeafAttributes& attributes,
             LeafPolicy policy = LeafPolicy::kLargest);

    // As they stand, to compare with the kernel's.
    [[nodiscard]] KernelTables tables() const;

private:
    static constexpr std::size_t kArenaPages = 1024;  // the tables of almost 2 GiB in 4 KiB pages

    test::TableArena arena_{kArenaPages};
    std::optional<mali::PageTable> table_;
};

}  // namespace granule::kernel_test
