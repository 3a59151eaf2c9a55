// A VM of the library on a real driver, beside the tables that the kernel keeps for it and a naive oracle of what they
// should say.
//
//     oracle (std::map, a page at a time)  ==  the library's view  ==  the kernel's tables, page for page
//     leaves that really are there         <=  granules of the ledger (conservative, never optimistic)
//
// The kernel's tables are read from its memory, and a BO's pages are where the CPU's own tables say (page_map.hpp): neither
// asks the library or io-pgtable. Pages behind sparse mappings are the kernel's, or the address space's own BO: of those
// it is checked that a page is there, and that all of them are one block of 2 MiB shown again and again.
//
// Thread-safety: none. Failure: exceptions, as all of tests/kernel.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mali/attributes.hpp"
#include "src/drm/drm_device.hpp"
#include "tests/kernel/inside/kcore.hpp"
#include "tests/kernel/inside/kernel_tables.hpp"
#include "tests/kernel/inside/page_map.hpp"
#include "tests/kernel/inside/table_probe.hpp"

namespace granule::kernel_test {

// What a 4 KiB page of VA should show.
struct OraclePage {
    BoId bo = kNoBo;
    std::uint64_t offset = 0;
    MapFlags flags;

    bool operator==(const OraclePage&) const = default;
};

// Whether BOs of this guest are of 2 MiB blocks ($GRANULE_HUGE_PAGES).
[[nodiscard]] bool guest_has_huge_pages();

// The windows of 2 MiB in `va` that the kernel maps with one leaf each where a BO of these `pages` is mapped at `va` from
// `offset` on, and nothing was there: those that begin at a physical multiple of 2 MiB and lie in one piece. Without huge
// pages there are seldom any, but a guest's free memory may happen to be handed out in order. Kernel: panthor_mmu.c,
// get_pgsize(), over the segments of the BO's sg_table, which merges pages that adjoin.
[[nodiscard]] std::uint64_t blocks_of(const std::vector<Pa>& pages, const VaRange& va, std::uint64_t offset);

class PageOracle {
public:
    void map(const VaRange& va, const Backing& shows);
    void unmap(const VaRange& va);
    [[nodiscard]] const std::map<std::uint64_t, OraclePage>& pages() const noexcept { return pages_; }
    // Over VA, BO number and offset: equal states have equal values, on any kernel.
    [[nodiscard]] std::uint64_t hash() const;

private:
    std::map<std::uint64_t, OraclePage> pages_;  // by VA
};

// The physical pages of BOs, asked once each.
class BoPages {
public:
    BoPages(DrmDevice& device, const Kcore& kcore) : device_(device), page_map_(kcore) {}
    // Maps the BO for the CPU and touches all of it.
    const std::vector<Pa>& of(BoId bo);
    // ... unless they are known otherwise.
    void know(BoId bo, std::vector<Pa> pages) { pages_[bo] = std::move(pages); }

private:
    DrmDevice& device_;
    PageMap page_map_;
    std::map<BoId, std::vector<Pa>> pages_;
};

class WatchedVm {
public:
    // Finds the root of the VM's tables by a bind of one page of `scratch` at `at`, which is unmapped again.
    WatchedVm(Vm& vm, const Kcore& kcore, TableProbe& probe, BoPages& bos, BoId scratch, Va at, unsigned va_bits);

    // After a rebuild: the kernel has another root.
    void find_root(TableProbe& probe, BoId scratch, Va at);

    // The first difference between what `oracle` says of `range` and what the library's view, or the kernel's tables, say;
    // empty where there is none.
    [[nodiscard]] std::string compare(const PageOracle& oracle, const VaRange& range) const;
    // The first mapping that the ledger says has smaller leaves than there are; empty where there is none.
    [[nodiscard]] std::string compare_ledger(const VaRange& range) const;
    [[nodiscard]] KernelTables tables() const;

private:
    [[nodiscard]] std::string compare_view(const PageOracle& oracle, const VaRange& range) const;
    [[nodiscard]] std::string compare_tables(const PageOracle& oracle, const VaRange& range) const;

    Vm& vm_;
    const Kcore& kcore_;
    BoPages& bos_;
    unsigned va_bits_;
    Pa root_;
};

}  // namespace granule::kernel_test
