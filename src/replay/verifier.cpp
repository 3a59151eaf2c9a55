#include "src/replay/verifier.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace granule::replay {

Oracle::BoNumber BoPages::add(const Bo& bo) {
    std::vector<Pa> pages;
    pages.reserve(bo.size / kPageBytes);
    for (const Bo::Run& run : bo.runs) {
        for (std::uint64_t at = 0; at < run.bytes; at += kPageBytes) {
            pages.push_back(run.pa + at);
        }
    }
    pages_.push_back(std::move(pages));
    return static_cast<Oracle::BoNumber>(pages_.size() - 1);
}

void Verifier::check_around(Vm& vm, const Oracle& oracle, const VaRange& range) {
    const VaRange& space = vm.config().space;
    VaRange wide{range.start.align_down(kBlock2MBytes), range.end.align_up(kBlock2MBytes)};
    wide.start = Va{wide.start.raw() - std::min(wide.start.raw(), kPageBytes)};
    wide.end = wide.end + kPageBytes;
    wide = wide.intersection(space);
    for (Va at = wide.start; at < wide.end;) {
        const Va window_end = at.align_down(kBlock2MBytes) + kBlock2MBytes;
        const VaRange part{at, std::min(window_end, wide.end)};
        check_window(vm, oracle, part);
        at = part.end;
    }
}

void Verifier::check_window(Vm& vm, const Oracle& oracle, const VaRange& range) {
    static const Oracle::Window kNothing{};
    const Oracle::Window* const known = oracle.window_at(range.start);
    const Oracle::Window& window = known == nullptr ? kNothing : *known;
    for (Va va = range.start; va < range.end; va = va + kPageBytes) {
        check_page(vm, va, window[va.raw() / kPageBytes % Oracle::kWindowPages]);
    }
}

void Verifier::check_page(Vm& vm, Va va, const Oracle::Page& expected) {
    ++pages_checked_;
    SoftAddressSpace& space = SoftDevice::address_space(vm);
    const mali::Access access = device_.gpu().access(space.gpu_context(), va, mali::AccessKind::kRead);
    if (expected.bo == Oracle::kNothing) {
        if (access.outcome == mali::Access::Outcome::kFault) {
            ++expected_faults_;
        } else {
            report_(
                fmt::format("VA {:#x} translates to PA {:#x}, but nothing is mapped there", va.raw(), access.pa.raw()));
        }
        return;
    }
    if (access.outcome != mali::Access::Outcome::kDone) {
        report_(fmt::format("VA {:#x} faults (status {:#x}), but page {} of BO number {} is mapped there", va.raw(),
                            access.fault_status, expected.bo_page, expected.bo));
        return;
    }
    Pa wanted;
    if (expected.bo == Oracle::kSparse) {
        wanted = SoftDevice::address_space(vm).sparse_pa() + va.raw() % kBlock2MBytes;
    } else if (const std::vector<Pa>* const pages = pages_.find(expected.bo)) {
        wanted = (*pages)[expected.bo_page];
    }
    if (access.pa != wanted) {
        report_(fmt::format("VA {:#x} translates to PA {:#x}, but page {} of BO number {} is at {:#x}", va.raw(),
                            access.pa.raw(), expected.bo_page, expected.bo, wanted.raw()));
    }
    const mali::LeafAttributes& is = access.attributes;
    const bool cached = is.memory == mali::MemoryType::kCached;
    if (!is.read || is.write == expected.flags.readonly || is.execute == expected.flags.noexec ||
        cached == expected.flags.uncached) {
        report_(fmt::format("VA {:#x} has other attributes than it was mapped with: write {}, execute {}, cached {}",
                            va.raw(), is.write, is.execute, cached));
    }
    if (const LeafSize leaf = vm.granule_at(va); leaf != access.leaf) {
        report_(fmt::format("VA {:#x} is in a leaf of {} bytes, but the ledger says {}", va.raw(),
                            bytes_of(access.leaf), bytes_of(leaf)));
    }
    if (access.stale) {
        report_(fmt::format("VA {:#x} was answered by a TLB entry that should have been invalidated", va.raw()));
    }
}

void Verifier::check_all(Vm& vm, const Oracle& oracle) {
    for (const Va start : oracle.windows()) {
        check_window(vm, oracle, VaRange{start, start + kBlock2MBytes}.intersection(vm.config().space));
    }
    const mali::PageTable& table = SoftDevice::address_space(vm).table();
    const mali::LeafCounts& leaves = table.leaf_counts();
    const std::uint64_t table_pages = leaves.pages_4k + leaves.blocks_2m * (kBlock2MBytes / kPageBytes) +
                                      leaves.blocks_1g * (kBlock1GBytes / kPageBytes);
    const VmStatistics statistics = vm.statistics();
    if (table_pages != oracle.mapped_pages()) {
        report_(fmt::format("the tables map {} pages, the program has mapped {}", table_pages, oracle.mapped_pages()));
    }
    if (statistics.mapped_bytes != oracle.mapped_pages() * kPageBytes) {
        report_(fmt::format("the mapping map has {} bytes, the program has mapped {} pages", statistics.mapped_bytes,
                            oracle.mapped_pages()));
    }
    if (statistics.blocks_2m != leaves.blocks_2m || statistics.blocks_1g != leaves.blocks_1g) {
        report_(fmt::format("the ledger has {} and {} blocks of 2 MiB and 1 GiB, the tables {} and {}",
                            statistics.blocks_2m, statistics.blocks_1g, leaves.blocks_2m, leaves.blocks_1g));
    }
    if (!table.validate()) {
        report_("the page tables break an invariant of their own");
    }
}

}  // namespace granule::replay
