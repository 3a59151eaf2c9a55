#include "src/replay/binder.hpp"

#include <fmt/core.h>

#include <utility>

#include "src/replay/leftovers.hpp"
#include "src/replay/va_ranges.hpp"

namespace granule::replay {

Result<void, Stop> Binder::bind(TracedVm& vm, std::span<const AskedBind> asked, bool async) {
    const VaRange& space = vm.vm().config().space;
    for (const AskedBind& one : asked) {
        if (!space.contains(one.request.va)) {
            return fail(
                record_.bad(fmt::format("VA {} is outside the VM, {}", describe(one.request.va), describe(space)),
                            "ranges lie in the space that the VM was made with"));
        }
    }
    if (record_.options.policy != UnmapPolicy::kEnlarge) {
        return bind_together(vm, asked, async);
    }
    // One by one, because what each takes depends on what the one before it took.
    for (const AskedBind& one : asked) {
        if (Result<void, Stop> done = bind_together(vm, {&one, 1}, async); !done) {
            return done;
        }
    }
    return {};
}

Result<void, Stop> Binder::bind_together(TracedVm& vm, std::span<const AskedBind> asked, bool async) {
    Transaction transaction;
    VaRange taken = asked.front().request.va;
    for (const AskedBind& one : asked) {
        look_before(vm, one);
        BindRequest request = one.request;
        request.policy = record_.options.policy;
        request.leaves = record_.options.leaves;
        if (request.policy == UnmapPolicy::kEnlarge) {
            if (const Result<Plan, BindError> plan = vm.vm().explain(request)) {
                taken = plan->taken;
            }
        }
        if (const Status status = transaction.add(request); status != Status::kOk) {
            return fail(record_.refused(status));
        }
    }
    const bool only_unmaps =
        transaction.size() == 1 && transaction.requests().front().kind == BindRequest::Kind::kUnmap;
    const Bound done = async && record_.options.queue ? vm.on->commit_queued(transaction) : vm.on->commit(transaction);
    record_.counts.allocations_in_unmap += only_unmaps ? done.allocations : 0;
    if (!done.result) {
        return fail(refused(vm, done.result.error()));
    }
    settle(vm, asked, taken, *done.result, done.nanoseconds);
    return {};
}

Stop Binder::refused(const TracedVm& vm, const BindError& error) const {
    Stop stop = record_.refused(error);
    if (error.status == Status::kGranuleCut) {
        if (const TracedBo* const whose = files_.bo_of(vm.in, error.plan.mapping.shows.bo)) {
            stop.what += "; in the trace it is " + describe(*whose);
        }
    }
    return stop;
}

void Binder::note_done(TracedVm& vm, const AskedBind& asked, const Bound& done) {
    const bool maps = asked.request.kind == BindRequest::Kind::kMap;
    record_.counts.maps += maps ? 1 : 0;
    record_.counts.unmaps += maps ? 0 : 1;
    record_.counts.allocations_in_unmap += maps ? 0 : done.allocations;
    settle(vm, {&asked, 1}, asked.request.va, done.result.value_or(BindReport{}), done.nanoseconds);
}

// Counts what the state before the call says of it, and names what it lands on.
void Binder::look_before(TracedVm& vm, const AskedBind& asked) {
    const bool maps = asked.request.kind == BindRequest::Kind::kMap;
    const VaRange& va = asked.request.va;
    Counts& counts = record_.counts;
    counts.maps += maps ? 1 : 0;
    counts.sparse_maps += asked.number == Oracle::kSparse ? 1 : 0;
    counts.unmaps += maps ? 0 : 1;
    bool any = false;
    bool cuts = false;
    std::vector<Mapping> given_back;
    vm.vm().for_each_mapping(va, [&](const Mapping& mapping) {
        any = true;
        cuts = cuts || !va.contains(mapping.va);
        const TracedBo* const bo = maps ? files_.bo_of(vm.in, mapping.shows.bo) : nullptr;
        if (bo != nullptr && bo->closed != 0) {
            given_back.push_back(mapping);
        }
    });
    for (const Mapping& under : given_back) {
        add_mapped_over(record_.leftovers, vm, under, *files_.bo_of(vm.in, under.shows.bo), va, record_.line);
    }
    counts.overmaps += maps && any ? 1 : 0;
    counts.partial_unmaps += cuts ? 1 : 0;
}

void Binder::settle(TracedVm& vm, std::span<const AskedBind> asked, const VaRange& taken, const BindReport& report,
                    std::uint64_t nanoseconds) {
    Counts& counts = record_.counts;
    ++counts.binds;
    counts.operations += report.operations;
    counts.granules_remapped += report.granules;
    counts.residual_bytes += report.residual_bytes;
    counts.exposed_bytes += report.exposed_bytes;
    counts.enlarged_bytes += report.enlarged_bytes;
    nanoseconds_.push_back(static_cast<std::uint32_t>(nanoseconds));
    vm.lines.push_back(record_.line);
    for (const AskedBind& one : asked) {
        look_after(vm, one, taken_by(one, taken));
    }
    removals_.check(vm, [&](std::string what) { record_.find_fault(std::move(what)); });
    // Not before all are in the oracle: a later operation of the call may have changed what an earlier one did.
    for (const AskedBind& one : asked) {
        end_state_.add_edges(vm.vm(), taken_by(one, taken));
        if (record_.options.verify) {
            verifier_.check_around(vm, taken_by(one, taken));
        }
    }
    sums_.update(vm);
}

void Binder::look_after(TracedVm& vm, const AskedBind& asked, const VaRange& taken) {
    const Report report = [&](std::string what) { record_.find_fault(std::move(what)); };
    const VaRange& va = asked.request.va;
    if (record_.options.verify) {
        removals_.note(vm, taken);
        vm.oracle.unmap(taken);
    }
    if (asked.request.kind == BindRequest::Kind::kMap) {
        if (record_.options.verify) {
            vm.oracle.map(va, asked.number, asked.request.shows.offset.raw(), asked.request.shows.flags);
        }
    }
    if (vm.in.on->kernel_maps()) {
        return;  // and keeps the VA
    }
    if (asked.request.kind == BindRequest::Kind::kMap) {
        reserve_va(vm, va, record_.line, report);
    } else {
        release_va(vm, taken, report);
    }
}

}  // namespace granule::replay
