#include "src/replay/verifier.hpp"

#include <algorithm>

#include "src/replay/traced.hpp"

namespace granule::replay {

void Verifier::bo_made(Oracle::BoNumber /*number*/, const Bo& /*bo*/) {}
void Verifier::bo_gone(Oracle::BoNumber /*number*/) {}

void Verifier::check_around(const TracedVm& vm, const VaRange& range) {
    VaRange wide{range.start.align_down(kBlock2MBytes), range.end.align_up(kBlock2MBytes)};
    wide.start = Va{wide.start.raw() - std::min(wide.start.raw(), kPageBytes)};
    wide.end = wide.end + kPageBytes;
    wide = wide.intersection(vm.vm().config().space);
    for (Va at = wide.start; at < wide.end;) {
        const Va window_end = at.align_down(kBlock2MBytes) + kBlock2MBytes;
        const VaRange part{at, std::min(window_end, wide.end)};
        check_part(vm, part);
        at = part.end;
    }
}

void Verifier::check_part(const TracedVm& vm, const VaRange& range) {
    static const Oracle::Window kNothing{};
    const Oracle::Window* const known = vm.oracle.window_at(range.start);
    check_window(vm, known == nullptr ? kNothing : *known, range);
    pages_checked_ += range.size() / kPageBytes;
}

void Verifier::check_all(const TracedVm& vm) {
    for (const Va start : vm.oracle.windows()) {
        check_part(vm, VaRange{start, start + kBlock2MBytes}.intersection(vm.vm().config().space));
    }
    check_sums(vm);
}

void Verifier::count(Counts& counts) const {
    counts.pages_verified += pages_checked_;
}

}  // namespace granule::replay
