#include "src/replay/vm_sums.hpp"

#include <algorithm>
#include <array>

namespace granule::replay {
namespace {

constexpr std::array kMembers{&VmSize::mapped_bytes, &VmSize::mappings, &VmSize::leaves_2m, &VmSize::leaves_4k,
                              &VmSize::tables};

}  // namespace

void VmSums::update(TracedVm& vm) {
    const VmStatistics statistics = vm.vm().statistics();
    const TableCounts tables = vm.on->tables();
    const VmSize now{statistics.mapped_bytes, statistics.mappings, tables.leaves_2m, tables.leaves_4k, tables.tables};
    for (const auto member : kMembers) {
        all_.*member += now.*member - vm.counted.*member;
    }
    vm.counted = now;
    counts_.tables_peak = std::max(counts_.tables_peak, all_.tables);
    counts_.peak_mappings = std::max(counts_.peak_mappings, all_.mappings);
    if (all_.mapped_bytes > counts_.peak_mapped_bytes) {
        counts_.peak_mapped_bytes = all_.mapped_bytes;
        counts_.leaves_2m = all_.leaves_2m;
        counts_.leaves_4k = all_.leaves_4k;
    }
}

void VmSums::remove(const TracedVm& vm) {
    for (const auto member : kMembers) {
        all_.*member -= vm.counted.*member;
    }
}

}  // namespace granule::replay
