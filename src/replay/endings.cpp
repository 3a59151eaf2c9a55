// How VMs, files and the trace itself come to their end, and the looks at VMs in between.
#include <algorithm>
#include <utility>
#include <vector>

#include "src/replay/player.hpp"

namespace granule::replay {
namespace {

std::uint64_t percentile(const std::vector<std::uint32_t>& sorted, std::uint64_t per_mille) {
    return sorted.empty() ? 0 : sorted[std::min<std::size_t>(sorted.size() - 1, sorted.size() * per_mille / 1000)];
}

void add(Counts& counts, const KernelTraffic& traffic) {
    counts.ioctls += traffic.ioctls;
    counts.kernel_operations += traffic.operations;
    counts.residual_operations += traffic.residuals;
    counts.isolating_operations += traffic.isolations;
    counts.piece_operations += traffic.pieces;
}

}  // namespace

void Player::look_at(TracedVm& vm, bool ends) {
    if (record_.options.look_at_vm) {
        record_.options.look_at_vm(
            {vm.vm(), vm.oracle, vm.process, vm.file, vm.id, vm.vm().kernel_id(), vm.in.on->fd(), record_.line, ends},
            [this](std::string what) { record_.find_fault(std::move(what)); });
    }
}

void Player::look_at_all() {
    for (auto& [key, in] : files_.open) {
        for (auto& [id, vm] : in.vms) {
            look_at(*vm, false);
        }
    }
}

void Player::end_vm(TracedVm& vm, End end) {
    if (record_.options.verify) {
        verifier_->check_all(vm);
    }
    look_at(vm, true);
    record_.counts.granules_cut += vm.on->leaf_cuts();
    add(record_.counts, vm.on->traffic());
    end_state_.add(vm);
    add_vm_leftovers(record_.leftovers, vm, files_.bos, end, record_.line);

    std::vector<BoId> shown;
    vm.vm().for_each_mapping(vm.vm().config().space,
                             [&](const Mapping& mapping) { shown.push_back(mapping.shows.bo); });
    sums_.remove(vm);
    vm.on.reset();
    // BOs that only this VM kept are gone now.
    for (const BoId id : shown) {
        if (const auto found = vm.in.numbers.find(id);
            found != vm.in.numbers.end() && vm.in.on->bos().find(id) == nullptr) {
            verifier_->bo_gone(found->second);
            vm.in.numbers.erase(found);
        }
    }
}

void Player::end_file(const FileKey& key, End end) {
    TracedFile& ending = files_.open.at(key);
    std::vector<std::uint32_t> handles;
    for (const auto& [handle, bo] : ending.handles) {
        handles.push_back(handle);
    }
    std::sort(handles.begin(), handles.end());
    for (const std::uint32_t handle : handles) {
        add_bo(record_.leftovers, files_.bos[ending.handles.at(handle)], end);
    }
    for (const auto& [id, vm] : ending.vms) {
        if (ending.driver == trace::Driver::kPanthor) {
            add_vm(record_.leftovers, *vm, end);
        }
        end_vm(*vm, end);
    }
    ending.vms.clear();
    for (const std::uint32_t handle : handles) {
        close_handle(ending, handle);
    }
    files_.open.erase(key);
}

ReplayResult Player::finish() {
    ReplayResult result;
    result.killed = !files_.open.empty();
    while (!files_.open.empty()) {
        end_file(files_.open.begin()->first, End::kTraceEnded);
    }
    std::vector<std::uint32_t>& nanoseconds = binder_.nanoseconds();
    std::sort(nanoseconds.begin(), nanoseconds.end());
    record_.counts.ns_per_bind_p50 = percentile(nanoseconds, 500);
    record_.counts.ns_per_bind_p999 = percentile(nanoseconds, 999);
    record_.counts.end_state = end_state_.leaves();
    record_.counts.end_mappings = end_state_.mappings();
    verifier_->count(record_.counts);
    result.counts = record_.counts;
    result.leftovers = std::move(record_.leftovers);
    result.findings = std::move(record_.findings);
    return result;
}

}  // namespace granule::replay
