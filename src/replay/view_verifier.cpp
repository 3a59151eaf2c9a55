#include "src/replay/view_verifier.hpp"

#include <fmt/core.h>

#include "src/replay/traced.hpp"

namespace granule::replay {
namespace {

// The pages of `range` as the VM's mappings say.
Oracle::Window pages_of(const TracedVm& vm, const VaRange& range) {
    Oracle::Window pages{};
    vm.vm().for_each_mapping(range, [&](const Mapping& mapping) {
        const Mapping part = mapping.clipped(range);
        Oracle::Page page{Oracle::kSparse, 0, part.shows.flags};
        if (!part.shows.sparse()) {
            const auto number = vm.in.numbers.find(part.shows.bo);
            page.bo = number == vm.in.numbers.end() ? Oracle::kNothing : number->second;
            page.bo_page = static_cast<std::uint32_t>(part.shows.offset.raw() / kPageBytes);
        }
        for (Va va = part.va.start; va < part.va.end; va = va + kPageBytes) {
            pages[va.raw() / kPageBytes % Oracle::kWindowPages] = page;
            page.bo_page += part.shows.sparse() ? 0U : 1U;
        }
    });
    return pages;
}

}  // namespace

void ViewVerifier::check_window(const TracedVm& vm, const Oracle::Window& window, const VaRange& range) {
    const Oracle::Window is = pages_of(vm, range);
    for (Va va = range.start; va < range.end; va = va + kPageBytes) {
        const std::size_t at = va.raw() / kPageBytes % Oracle::kWindowPages;
        if (is[at] != window[at]) {
            report(fmt::format("VA {:#x} shows page {} of BO number {}, but it should be page {} of number {}{}",
                               va.raw(), is[at].bo_page, is[at].bo, window[at].bo_page, window[at].bo,
                               is[at].flags == window[at].flags ? "" : ", with other flags"));
            return;  // one of a window tells enough
        }
    }
}

void ViewVerifier::check_sums(const TracedVm& vm) {
    if (const std::uint64_t mapped = vm.vm().statistics().mapped_bytes;
        mapped != vm.oracle.mapped_pages() * kPageBytes) {
        report(fmt::format("the VM has {} bytes mapped, the program has mapped {} pages", mapped,
                           vm.oracle.mapped_pages()));
    }
    if (!vm.vm().usable()) {
        report("the VM is lost");
    }
}

}  // namespace granule::replay
