#include "src/replay/removals.hpp"

#include <fmt/core.h>

namespace granule::replay {

void Removals::note(const TracedVm& vm, const VaRange& taken) {
    const auto note_page = [&](Va va) {
        if (const Oracle::Page page = vm.oracle.at(va); page.bo != Oracle::kNothing) {
            pages_[va] = page;
        }
    };
    for (auto known = pages_.lower_bound(taken.start); known != pages_.end() && known->first < taken.end; ++known) {
        note_page(known->first);  // there already: changes the page only
    }
    note_page(taken.start);
    note_page(Va{taken.end.raw() - kPageBytes});
}

void Removals::check(const TracedVm& vm, const Report& report) {
    for (const auto& [va, page] : pages_) {
        const AddressReport address = vm.vm().address(va);
        if (!address.removed) {
            if (address.history_complete) {
                report(fmt::format("nothing says what was at VA {:#x} before this call (P6)", va.raw()));
            }
            continue;
        }
        const Backing named = address.removed->what.clipped({va, va + kPageBytes}).shows;
        const auto number = vm.in.numbers.find(named.bo);
        const Oracle::BoNumber is =
            named.sparse() ? Oracle::kSparse : (number == vm.in.numbers.end() ? Oracle::kNothing : number->second);
        const std::uint64_t is_page = named.offset.raw() / kPageBytes;
        if (is != page.bo || is_page != page.bo_page) {
            report(fmt::format(
                "VA {:#x} is said to have shown page {} of BO number {}, but it was page {} of number {} (P6)",
                va.raw(), is_page, is, page.bo_page, page.bo));
        }
    }
    pages_.clear();
}

}  // namespace granule::replay
