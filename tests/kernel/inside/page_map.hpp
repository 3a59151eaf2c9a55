// Which physical pages stand behind memory of this process: those of an mmapped BO above all.
//
// Not /proc/self/pagemap: the drivers map BOs as VM_PFNMAP, and pagemap passes over such areas (mm/pagewalk.c,
// walk_page_test): it says 0 for every page of a BO, on all kernels from 6.12 to 7.3. So this walks the CPU's own page
// tables of this process through /proc/kcore (VMSAv8-64, 4 KiB granule, 48-bit VA), whose root a kprobe on
// handle_mm_fault names (vma->vm_mm->pgd, by the kernel's BTF). That is independent of the GPU's tables: a fault of the
// CPU wrote it, not io-pgtable.
//
// The constructor checks itself: a page of anonymous memory is where pagemap, which does answer for those, says.
//
// `pages` touches every page first (a read), as nothing is mapped before a fault. Answers hold until the kernel moves
// or drops pages: BOs that are bound do not move.
// Failure: ProbeError.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "mali/address.hpp"
#include "tests/kernel/inside/kcore.hpp"
#include "tests/kernel/inside/table_reader.hpp"

namespace granule::kernel_test {

// What the CPU's tables under `root` say of `address`: the physical address of that byte; nullopt where nothing is
// mapped.
[[nodiscard]] std::optional<Pa> cpu_translate(const TableReader& memory, Pa root, std::uint64_t address);

// The page frame that a word of pagemap names; nullopt where the page is not present or the kernel hides it.
[[nodiscard]] std::optional<Pa> pagemap_frame(std::uint64_t word) noexcept;

class PageMap {
public:
    // `kcore` outlives this.
    explicit PageMap(const Kcore& kcore);

    // Of the 4 KiB pages of [address, address + bytes), in order. `address` is that of a page.
    [[nodiscard]] std::vector<Pa> pages(const void* address, std::size_t bytes) const;

private:
    const Kcore& kcore_;
    Pa root_;  // of this process's tables
};

}  // namespace granule::kernel_test
