#include "src/replay/gpu_verifier.hpp"

#include <fmt/core.h>

#include "src/replay/traced.hpp"

namespace granule::replay {

void GpuVerifier::bo_made(Oracle::BoNumber number, const Bo& bo) {
    pages_.resize(number + std::size_t{1});
    std::vector<Pa>& pages = pages_[number];
    pages.reserve(bo.size / kPageBytes);
    for (const Bo::Run& run : bo.runs) {
        for (std::uint64_t at = 0; at < run.bytes; at += kPageBytes) {
            pages.push_back(run.pa + at);
        }
    }
}

void GpuVerifier::bo_gone(Oracle::BoNumber number) {
    std::vector<Pa>().swap(pages_[number]);
}

void GpuVerifier::count(Counts& counts) const {
    Verifier::count(counts);
    const SoftGpu::Counters gpu = device_.gpu().counters();
    counts.faults += gpu.faults - expected_faults_;
    counts.stale_hits += gpu.stale;
}

void GpuVerifier::check_window(const TracedVm& vm, const Oracle::Window& window, const VaRange& range) {
    for (Va va = range.start; va < range.end; va = va + kPageBytes) {
        check_page(vm.vm(), va, window[va.raw() / kPageBytes % Oracle::kWindowPages]);
    }
}

void GpuVerifier::check_page(Vm& vm, Va va, const Oracle::Page& expected) {
    SoftAddressSpace& space = SoftDevice::address_space(vm);
    const mali::Access access = device_.gpu().access(space.gpu_context(), va, mali::AccessKind::kRead);
    if (expected.bo == Oracle::kNothing) {
        if (access.outcome == mali::Access::Outcome::kFault) {
            ++expected_faults_;
        } else {
            report(
                fmt::format("VA {:#x} translates to PA {:#x}, but nothing is mapped there", va.raw(), access.pa.raw()));
        }
        return;
    }
    if (access.outcome != mali::Access::Outcome::kDone) {
        report(fmt::format("VA {:#x} faults (status {:#x}), but page {} of BO number {} is mapped there", va.raw(),
                           access.fault_status, expected.bo_page, expected.bo));
        return;
    }
    Pa wanted;
    if (expected.bo == Oracle::kSparse) {
        wanted = space.sparse_pa() + va.raw() % kBlock2MBytes;
    } else if (expected.bo < pages_.size() && !pages_[expected.bo].empty()) {
        wanted = pages_[expected.bo][expected.bo_page];
    }
    if (access.pa != wanted) {
        report(fmt::format("VA {:#x} translates to PA {:#x}, but page {} of BO number {} is at {:#x}", va.raw(),
                           access.pa.raw(), expected.bo_page, expected.bo, wanted.raw()));
    }
    const mali::LeafAttributes& is = access.attributes;
    const bool cached = is.memory == mali::MemoryType::kCached;
    if (!is.read || is.write == expected.flags.readonly || is.execute == expected.flags.noexec ||
        cached == expected.flags.uncached) {
        report(fmt::format("VA {:#x} has other attributes than it was mapped with: write {}, execute {}, cached {}",
                           va.raw(), is.write, is.execute, cached));
    }
    if (const LeafSize leaf = vm.granule_at(va); leaf != access.leaf) {
        report(fmt::format("VA {:#x} is in a leaf of {} bytes, but the ledger says {}", va.raw(), bytes_of(access.leaf),
                           bytes_of(leaf)));
    }
    if (access.stale) {
        report(fmt::format("VA {:#x} was answered by a TLB entry that should have been invalidated", va.raw()));
    }
}

void GpuVerifier::check_sums(const TracedVm& vm) {
    const mali::PageTable& table = SoftDevice::address_space(vm.vm()).table();
    const mali::LeafCounts& leaves = table.leaf_counts();
    const std::uint64_t table_pages = leaves.pages_4k + leaves.blocks_2m * (kBlock2MBytes / kPageBytes) +
                                      leaves.blocks_1g * (kBlock1GBytes / kPageBytes);
    const VmStatistics statistics = vm.vm().statistics();
    if (table_pages != vm.oracle.mapped_pages()) {
        report(
            fmt::format("the tables map {} pages, the program has mapped {}", table_pages, vm.oracle.mapped_pages()));
    }
    if (statistics.mapped_bytes != vm.oracle.mapped_pages() * kPageBytes) {
        report(fmt::format("the mapping map has {} bytes, the program has mapped {} pages", statistics.mapped_bytes,
                           vm.oracle.mapped_pages()));
    }
    if (statistics.blocks_2m != leaves.blocks_2m || statistics.blocks_1g != leaves.blocks_1g) {
        report(fmt::format("the ledger has {} and {} blocks of 2 MiB and 1 GiB, the tables {} and {}",
                           statistics.blocks_2m, statistics.blocks_1g, leaves.blocks_2m, leaves.blocks_1g));
    }
    if (!table.validate()) {
        report("the page tables break an invariant of their own");
    }
}

}  // namespace granule::replay
