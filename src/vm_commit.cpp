// How a VM changes by one request: plan, hold memory, let the backend carry it out, apply to our state, settle.
//
// One request needs no memory of what was, because our state changes last: that is what makes an unmap allocate nothing
// (P4). Many at once: vm_transaction.cpp.
//
// What is submitted takes the same path; the backend queues where it would have executed. What it did not queue needs no
// undoing; and it queues all or nothing, so that our state can follow as if all of it had been done.

#include <algorithm>

#include "src/bo_pin.hpp"
#include "src/vm.hpp"

namespace granule {

AddressSpaceView Vm::view(const MappingMap& mappings, const GranuleLedger& ledger) const noexcept {
    return {mappings,
            ledger,
            config_.space,
            traits_.leaf_sizes,
            traits_.kernel,
            traits_.atomic_binds,
            traits_.smallest_lock_log2,
            traits_.cut_rules};
}

std::optional<BindError> Vm::refusal() const noexcept {
    if (!lost_) {
        return std::nullopt;
    }
    return error_of_all(Status::kVmUnusable);
}

std::optional<BindError> Vm::check(const BindRequest& request, BoPin& pin) const noexcept {
    BindError error;
    error.plan.request = request.va;
    if (request.kind == BindRequest::Kind::kUnmap || request.shows.sparse()) {
        return std::nullopt;
    }
    const Bo* const bo = pin.take(request.shows.bo);
    if (bo == nullptr) {
        error.status = Status::kUnknownBo;
        return error;
    }
    // Plans refuse ranges that are no ranges; only what is one can be compared with the BO.
    const bool is_range = request.va.start <= request.va.end;
    if (is_range &&
        (request.shows.offset.raw() > bo->size || request.va.size() > bo->size - request.shows.offset.raw())) {
        error.status = Status::kOutOfRange;
        error.plan.code = PlanError::Code::kOutsideBo;
        error.plan.mapping.shows = request.shows;
        return error;
    }
    return std::nullopt;
}

BindError Vm::describe(const PlanError& plan_error) const noexcept {
    BindError error;
    error.plan = plan_error;
    switch (plan_error.code) {
        case PlanError::Code::kNone:
        case PlanError::Code::kMisaligned:
        case PlanError::Code::kEmptyRange:
            error.status = Status::kBadArgument;
            break;
        case PlanError::Code::kOutOfRange:
        case PlanError::Code::kOutsideBo:
            error.status = Status::kOutOfRange;
            break;
        case PlanError::Code::kGranuleCut:
            error.status = Status::kGranuleCut;
            error.label = bos_.short_label(plan_error.mapping.shows.bo);
            break;
    }
    return error;
}

Result<Plan, BindError> Vm::explain(const BindRequest& request) const noexcept {
    const std::lock_guard lock(mutex_);
    if (const std::optional<BindError> error = refusal()) {
        return fail(*error);
    }
    BoPin pin(bos_);
    if (const std::optional<BindError> error = check(request, pin)) {
        return fail(*error);
    }
    Result<Plan, PlanError> planned = plan(view(), request);
    if (!planned) {
        return fail(describe(planned.error()));
    }
    return *planned;
}

Result<BindReport, BindError> Vm::bind(const BindRequest& request) noexcept {
    return commit(std::span{&request, 1});
}

Result<BindReport, BindError> Vm::commit(const Transaction& transaction) noexcept {
    return commit(transaction.requests());
}

Result<BindReport, BindError> Vm::commit(std::span<const BindRequest> requests) noexcept {
    const std::lock_guard lock(mutex_);
    const BindGroup group{requests, {}, {}};
    return commit_all({&group, 1}, When::kNow);
}

Result<BindReport, BindError> Vm::submit(std::span<const BindGroup> groups) noexcept {
    const std::lock_guard lock(mutex_);
    return commit_all(groups, When::kLater);
}

Result<BindReport, BindError> Vm::commit_all(std::span<const BindGroup> groups, When when) noexcept {
    if (const std::optional<BindError> error = refusal()) {
        return fail(*error);
    }
    if (when == When::kNow) {
        const std::span<const BindRequest> requests = groups.front().requests;
        switch (hold_directly(requests)) {
            case Direct::kHeld:
                return commit_directly(requests);
            case Direct::kNoMemory:
                return fail(direct_failure({Status::kOutOfHostMemory, 0, 0, 0, false}, requests));
            case Direct::kNo:
                break;
        }
    }
    const bool one = groups.size() == 1 && groups.front().requests.size() == 1;
    return one ? commit_one(groups.front(), when) : commit_many(groups, when);
}

Status Vm::hold_state(const BindRequest& request, const Plan& plan) noexcept {
    if (request.kind == BindRequest::Kind::kUnmap) {
        return Status::kOk;  // what it needs, the map set aside
    }
    if (!hold_ledger(ledger_, plan) || !mappings_.hold(1, request.va.size() / kPageBytes)) {
        return Status::kOutOfHostMemory;
    }
    return Status::kOk;
}

Mapping Vm::made_by(const BindRequest& map) const noexcept {
    Mapping mapping{map.va, map.shows};
    mapping.shows.serial = BindSerial{next_serial_};
    return mapping;
}

void Vm::apply_state(const BindRequest& request, const Plan& plan) noexcept {
    if (request.kind == BindRequest::Kind::kMap) {
        mappings_.replace(plan.taken, made_by(request));
    } else {
        mappings_.erase(plan.taken);
    }
    apply_to_ledger(ledger_, plan, backend_->layout(), traits_.leaf_sizes);
}

void Vm::settle() noexcept {
    mappings_.settle();
    backend_->settle();
    peak_mapped_bytes_ = std::max(peak_mapped_bytes_, mappings_.mapped_bytes());
}

// Told before the references go: the observer may look at the BO.
void Vm::forget(const Mapping& part, Removal::By how, std::uint64_t time_ns) noexcept {
    if (config_.observer != nullptr) {
        config_.observer->on_unbind(part, how);
    }
    const BindSerial by{next_serial_};
    if (bos_.is_labelled(part.shows.bo)) {
        journal_.record({part, bos_.short_label(part.shows.bo), by, how, time_ns});
    } else {
        journal_.record(MappingEntry::pack(part), by, how, time_ns);
    }
    if (!part.shows.sparse()) {
        bos_.hide(part.shows.bo, part.va.size() / kPageBytes);
    }
}

void Vm::tell_bound(const Mapping& mapping) const noexcept {
    if (config_.observer != nullptr) {
        config_.observer->on_bind(mapping);
    }
}

void Vm::retain_shown(const BindRequest& request) noexcept {
    if (request.kind == BindRequest::Kind::kUnmap || request.shows.sparse()) {
        return;
    }
    bos_.show_more(request.shows.bo, request.va.size() / kPageBytes);
}

void Vm::count(BindReport& report, const Plan& plan) const noexcept {
    report.operations += plan.ops().size();
    report.granules += plan.cost.granules;
    report.kernel_cuts += plan.cost.kernel_cuts;
    report.residual_bytes += plan.cost.residual_bytes;
    report.exposed_bytes += plan.cost.exposed_bytes;
    report.enlarged_bytes += plan.cost.enlarged_bytes;
    if (!plan.empty()) {
        report.touched = report.touched.hull(plan.touched);
    }
}

Result<BindReport, BindError> Vm::commit_one(const BindGroup& group, When when) noexcept {
    const BindRequest& request = group.requests.front();
    BoPin pin(bos_);
    if (const std::optional<BindError> error = check(request, pin)) {
        return fail(*error);
    }
    const Result<Plan, PlanError> planned = plan(view(), request);
    if (!planned) {
        return fail(describe(planned.error()));
    }
    const std::span<const Plan> plans{&*planned, 1};
    Status status = hold_state(request, *planned);
    if (status == Status::kOk) {
        status = backend_->hold(plans);
    }
    if (status != Status::kOk) {
        settle();
        BindError error;
        error.status = status;
        error.plan.request = request.va;
        return fail(error);
    }
    const PlanGroup queued{plans, group.waits, group.signals};
    const Result<void, BackendFailure> done =
        when == When::kNow ? backend_->execute(plans) : backend_->submit({&queued, 1});
    if (!done) {
        const BackendFailure& failure = done.error();
        BindError error = describe(failure, request);
        if (when == When::kLater) {
            error.request = BindError::kAll;
        }
        if (failure.status == Status::kVmUnusable) {
            // In an address space that is lost there is nothing to bring back: `rebuild` makes another one.
            error.undone = !failure.begun;
            become_unusable(failure);
        } else if (failure.begun) {
            if (const Result<void, BackendFailure> undone = restore(planned->touched, {}, failure.in_doubt); !undone) {
                error.undone = false;
                become_unusable(undone.error());
            }
        }
        settle();
        return fail(error);
    }

    BindReport report;
    report.serial = BindSerial{next_serial_};
    count(report, *planned);
    const Removal::By how = request.kind == BindRequest::Kind::kMap ? Removal::By::kMap : Removal::By::kUnmap;
    const std::uint64_t time_ns = monotonic_ns();
    // Retained first: a BO that is mapped over itself must not vanish in between.
    retain_shown(request);
    mappings_.for_each_overlap(planned->taken, [&](const Mapping& mapping) {
        const Mapping part = mapping.clipped(planned->taken);
        report.unmapped_bytes += part.va.size();
        forget(part, how, time_ns);
    });
    apply_state(request, *planned);
    if (request.kind == BindRequest::Kind::kMap) {
        tell_bound(made_by(request));
    }
    settle();
    ++next_serial_;
    ++binds_;
    return report;
}

BindError Vm::describe(const BackendFailure& failure, const BindRequest& request) noexcept {
    BindError error;
    error.status = failure.status;
    error.error = failure.error;
    error.request = failure.plan;
    error.op = failure.op;
    error.plan.request = request.va;
    return error;
}

BindError Vm::error_of_all(Status status) noexcept {
    BindError error;
    error.status = status;
    error.group = BindError::kAll;
    error.request = BindError::kAll;
    return error;
}

// The tables are something between two states. Memory that is given back may still stand in them, so that the GPU must
// not use them any more.
void Vm::become_unusable(const BackendFailure& why) noexcept {
    const bool kernel_lost = why.status == Status::kVmUnusable;
    lost_ = VmLoss{kernel_lost ? VmLoss::How::kKernelLost : VmLoss::How::kNotUndone, why.status, why.error};
    backend_->detach();
}

}  // namespace granule
