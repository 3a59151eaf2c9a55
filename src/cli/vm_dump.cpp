#include "src/cli/vm_dump.hpp"

#include <algorithm>

#include "src/soft_device.hpp"

namespace granule::cli {
namespace {

bool goes_on(const DescriptorRun& last, const mali::VisitedRun& next) {
    return last.leaves.size == next.leaves.size && last.leaves.range().end == next.leaves.start &&
           last.pa + last.leaves.range().size() == next.pa && last.attributes == next.attributes;
}

std::vector<DescriptorRun> descriptors_of(const mali::PageTable& table, const VaRange& space) {
    std::vector<DescriptorRun> runs;
    table.visit(space, [&](const mali::VisitedRun& visited) {
        if (!runs.empty() && goes_on(runs.back(), visited)) {
            runs.back().leaves.count += visited.leaves.count;
            return;
        }
        const mali::Walk walk = table.walk(visited.leaves.start);
        runs.push_back({visited.leaves, walk.level, visited.pa, visited.attributes, walk.descriptor});
    });
    return runs;
}

// A 2 MiB window without a block has pages only: the ledger is asked once for each window, not for each page.
LeafRun granules_from(const Vm& vm, Va at, Va end) {
    const LeafSize leaf = vm.granule_at(at);
    const std::uint64_t step = std::max(bytes_of(leaf), kBlock2MBytes);
    const Va stop = std::min(end, at.align_down(step) + step);
    if (leaf == LeafSize::k4K) {
        return {at, leaf, (stop - at) / kPageBytes};
    }
    return {at.align_down(bytes_of(leaf)), leaf, 1};
}

void append(std::vector<LeafRun>& runs, const LeafRun& next) {
    if (!runs.empty() && runs.back().size == next.size && runs.back().range().end == next.start) {
        runs.back().count += next.count;
    } else {
        runs.push_back(next);
    }
}

std::vector<LeafRun> granules_of(const Vm& vm, const std::vector<Mapping>& mappings) {
    std::vector<LeafRun> runs;
    for (const Mapping& mapping : mappings) {
        for (Va at = mapping.va.start; at < mapping.va.end;) {
            const LeafRun run = granules_from(vm, at, mapping.va.end);
            append(runs, run);
            at = run.range().end;
        }
    }
    return runs;
}

}  // namespace

VmDump dump_vm(const replay::VmView& view) {
    Vm& vm = *view.object;
    const mali::PageTable& table = SoftDevice::address_space(vm).table();
    VmDump dump;
    dump.vm = view;
    dump.space = vm.config().space;
    dump.table_config = table.config();
    dump.root = table.root();
    dump.tables = table.table_count();
    dump.leaves = table.leaf_counts();
    dump.descriptors = descriptors_of(table, dump.space);
    vm.for_each_mapping(dump.space, [&dump](const Mapping& mapping) { dump.mappings.push_back(mapping); });
    dump.granules = granules_of(vm, dump.mappings);
    return dump;
}

}  // namespace granule::cli
