#include "src/replay/va_ranges.hpp"

#include <fmt/core.h>

#include <iterator>
#include <vector>

#include "src/replay/stop.hpp"

namespace granule::replay {
namespace {

using Reserved = std::map<Va, ReservedVa>;

// The first reserved range that ends above `va`.
Reserved::iterator first_from(Reserved& reserved, Va va) {
    auto at = reserved.upper_bound(va);
    if (at != reserved.begin() && std::prev(at)->second.end > va) {
        --at;
    }
    return at;
}

}  // namespace

void reserve_va(TracedVm& vm, const VaRange& range, std::uint64_t line, const Report& report) {
    std::vector<VaRange> gaps;
    Va at = range.start;
    for (auto next = first_from(vm.reserved, at); next != vm.reserved.end() && next->first < range.end; ++next) {
        if (at < next->first) {
            gaps.push_back({at, next->first});
        }
        at = next->second.end;
    }
    if (at < range.end) {
        gaps.push_back({at, range.end});
    }
    for (const VaRange& gap : gaps) {
        if (const auto reserved = vm.vm().reserve_va_at(gap); !reserved) {
            report(fmt::format("the VA heap does not give {}", describe(gap)));
            continue;
        }
        vm.reserved[gap.start] = {gap.end, line};
    }
}

void release_va(TracedVm& vm, const VaRange& range, const Report& report) {
    auto next = vm.reserved.lower_bound(range.start);
    while (next != vm.reserved.end() && next->second.end <= range.end) {
        const VaRange whole{next->first, next->second.end};
        if (const auto released = vm.vm().release_va(whole); !released) {
            report(fmt::format("the VA heap does not take {} back", describe(whole)));
        }
        next = vm.reserved.erase(next);
    }
}

}  // namespace granule::replay
