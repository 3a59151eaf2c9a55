// bind.h: binds. Plans: plan.cpp.
//
//     check every operation  -->  choose VAs  -->  commit, or queue  -->  release VAs, write chosen ones back
//            |                        |                  |
//            v                        v                  v
//          nothing happened      chosen VAs are given back, and nothing else has happened (P3)
//
// One operation that is to be done at once needs no memory here, so that an unmap does not fail for want of it (P4). Where
// there is none for an array of unmaps, they are carried out one by one; as in Vm, what was done before one of them fails
// stays done then, and the error says so.
#include <granule/bind.h>

#include <algorithm>
#include <cstdint>

#include "src/array.hpp"
#include "src/c_api/bind_batch.hpp"
#include "src/c_api/bind_op.hpp"
#include "src/c_api/convert.hpp"
#include "src/c_api/error.hpp"
#include "src/c_api/sized_struct.hpp"
#include "src/c_api/timeline_handle.hpp"
#include "src/c_api/vm_handle.hpp"
#include "src/owned.hpp"

namespace granule::c_api {
namespace {

using Ops = StructArray<granule_bind_op>;

void write_report(granule_bind_report* to, const BindReport& report) noexcept {
    if (to == nullptr) {
        return;
    }
    granule_bind_report did{};
    did.serial = static_cast<std::uint32_t>(report.serial);
    did.operations = report.operations;
    did.granules = report.granules;
    did.kernel_cuts = report.kernel_cuts;
    did.residual_bytes = report.residual_bytes;
    did.exposed_bytes = report.exposed_bytes;
    did.enlarged_bytes = report.enlarged_bytes;
    did.unmapped_bytes = report.unmapped_bytes;
    did.touched = to_c(report.touched);
    write_struct(to, did);
}

// One call of granule_vm_bind: what every step of it needs.
class Call {
public:
    Call(granule_vm& vm, BindMode mode, Ops ops) noexcept
        : vm_(vm), mode_(mode), ops_(ops), out_(&error_), chosen_(vm.device().nodes()) {
        error_.struct_size = sizeof(error_);
    }

    [[nodiscard]] granule_status run(BindReport& report) noexcept;
    // Why `run` failed.
    [[nodiscard]] const granule_error& error() const noexcept { return error_; }

private:
    [[nodiscard]] granule_status read(std::uint32_t number, BindOp& op) const noexcept;
    [[nodiscard]] granule_status check_all() noexcept;
    // The only operation of the array, or one of unmaps that are carried out one by one.
    [[nodiscard]] granule_status run_one(std::uint32_t number, BindReport& report) noexcept;
    [[nodiscard]] granule_status run_one_by_one(BindReport& report) noexcept;
    [[nodiscard]] granule_status run_many(BindReport& report) noexcept;

    [[nodiscard]] granule_status fill(BindBatch& batch) noexcept;
    [[nodiscard]] Result<BindReport, BindError> commit_now(const BindBatch& batch) noexcept;
    [[nodiscard]] Result<BindReport, BindError> queue(Owned<BindBatch>& batch) noexcept;
    [[nodiscard]] Result<BindReport, BindError> defer(Owned<BindBatch>& batch) noexcept;

    [[nodiscard]] granule_status fail_with(const BindError& error, std::uint32_t op) noexcept;
    // Which of the operations that became one request a failure is about.
    [[nodiscard]] std::uint32_t to_blame(const BindBatch::Blame& blame, const BindError& error) const noexcept;

    granule_vm& vm_;
    const BindMode mode_;
    const Ops ops_;
    granule_error error_{};
    const ErrorOut out_;     // to error_: the caller's is left alone where a second way succeeds
    Array<VaRange> chosen_;  // in the order of the operations that leave it to the library
    bool only_unmaps_ = true;
};

granule_status Call::read(std::uint32_t number, BindOp& op) const noexcept {
    granule_bind_op from;
    if (const char* const why = ops_.read(number, from)) {
        return out_.bad(why, number);
    }
    return read_bind_op(vm_, mode_, from, number, op, out_);
}

granule_status Call::check_all() noexcept {
    for (std::uint32_t i = 0; i < ops_.size(); ++i) {
        BindOp op;
        if (const granule_status status = read(i, op); status != GRANULE_STATUS_OK) {
            return status;
        }
        only_unmaps_ = only_unmaps_ && !op.sync_only && op.request.kind == BindRequest::Kind::kUnmap;
    }
    return GRANULE_STATUS_OK;
}

granule_status Call::fail_with(const BindError& error, std::uint32_t op) noexcept {
    const granule_error detail = to_error(error, op, vm_.vm().usable());
    vm_.tell_failure(&detail);
    return out_.from(detail);
}

std::uint32_t Call::to_blame(const BindBatch::Blame& blame, const BindError& error) const noexcept {
    if (error.status != Status::kGranuleCut) {
        return blame.first;
    }
    const granule_range granule = to_c(error.plan.granule);
    for (std::uint32_t i = blame.first; i < blame.end; ++i) {
        const granule_bind_op& op = *ops_.at(i);
        if (op.type != GRANULE_BIND_SYNC_ONLY && op.va < granule.end && granule.start < op.va + op.size) {
            return i;
        }
    }
    return blame.first;
}

granule_status Call::run(BindReport& report) noexcept {
    if (const granule_status status = check_all(); status != GRANULE_STATUS_OK || ops_.size() == 0) {
        return status;
    }
    if (mode_ == BindMode::kImmediate && ops_.size() == 1) {
        return run_one(0, report);
    }
    const granule_status status = run_many(report);
    return status == GRANULE_STATUS_OUT_OF_HOST_MEMORY && mode_ == BindMode::kImmediate && only_unmaps_
               ? run_one_by_one(report)
               : status;
}

granule_status Call::run_one(std::uint32_t number, BindReport& report) noexcept {
    BindOp op;
    if (const granule_status status = read(number, op); status != GRANULE_STATUS_OK) {
        return status;
    }
    if (op.chooses_va) {
        const Result<VaRange, VaError> chosen = choose_va(vm_, op);
        if (!chosen) {
            return out_.from(chosen.error(), {}, number);
        }
        op.request.va = *chosen;
    }
    const Result<BindReport, BindError> done = vm_.vm().bind(op.request);
    if (!done) {
        if (op.chooses_va) {
            give_back_chosen_va(vm_, op.request.va);
        }
        return fail_with(done.error(), number);
    }
    vm_.totals().add(*done);
    if (op.chooses_va) {
        ops_.at(number)->va = op.request.va.start.raw();
    }
    if (op.releases_va) {
        release_unmapped_va(vm_, op.request.va);
    }
    report = *done;
    return GRANULE_STATUS_OK;
}

granule_status Call::run_one_by_one(BindReport& report) noexcept {
    BindReport sum;
    for (std::uint32_t i = 0; i < ops_.size(); ++i) {
        BindReport did;
        if (const granule_status status = run_one(i, did); status != GRANULE_STATUS_OK) {
            error_.partly_done = i != 0 && error_.vm_lost == 0 ? 1 : error_.partly_done;
            return status;
        }
        sum.serial = i == 0 ? did.serial : sum.serial;
        sum.add(did);
    }
    report = sum;
    return GRANULE_STATUS_OK;
}

// Chooses VAs and puts all of it together.
granule_status Call::fill(BindBatch& batch) noexcept {
    for (std::uint32_t i = 0; i < ops_.size(); ++i) {
        BindOp op;
        if (const granule_status status = read(i, op); status != GRANULE_STATUS_OK) {
            return status;
        }
        if (op.chooses_va) {
            if (!chosen_.push({})) {
                return out_.fail(Status::kOutOfHostMemory, nullptr, i);
            }
            const Result<VaRange, VaError> chosen = choose_va(vm_, op);
            if (!chosen) {
                chosen_.truncate(chosen_.size() - 1);
                return out_.from(chosen.error(), {}, i);
            }
            chosen_.back() = *chosen;
            op.request.va = *chosen;
        }
        if (!batch.add(op, i)) {
            return out_.fail(Status::kOutOfHostMemory, nullptr, i);
        }
    }
    if (const std::uint32_t op = batch.released_twice(); op != GRANULE_NO_OP) {
        return out_.bad("an operation before this one releases the same VA", op);
    }
    return GRANULE_STATUS_OK;
}

Result<BindReport, BindError> Call::commit_now(const BindBatch& batch) noexcept {
    Result<BindReport, BindError> done = vm_.vm().commit(batch.transaction());
    if (done) {
        vm_.totals().add(*done);
        for (const BindBatch::Release& release : batch.releases()) {
            release_unmapped_va(vm_, release.range);
        }
    }
    return done;
}

Result<BindReport, BindError> Call::queue(Owned<BindBatch>& batch) noexcept {
    return mode_ == BindMode::kDeferred ? defer(batch) : vm_.queued().submit(batch);
}

// Behind all that is known to use the VM, and in front of all that will.
Result<BindReport, BindError> Call::defer(Owned<BindBatch>& batch) noexcept {
    const granule_sync idle = vm_.activity().begin();
    const granule_sync next{idle.timeline, idle.point + 1};
    Result<BindReport, BindError> queued;
    if (batch->wait_for(idle) && batch->signal(next)) {
        queued = vm_.queued().submit(batch);
    } else {
        BindError error;
        error.status = Status::kOutOfHostMemory;
        error.request = BindError::kAll;
        queued = fail(error);
    }
    vm_.activity().end(queued ? next.point : idle.point);
    return queued;
}

granule_status Call::run_many(BindReport& report) noexcept {
    const NodeMemory nodes = vm_.device().nodes();
    Owned<BindBatch> batch = make_owned<BindBatch>(nodes, nodes);
    granule_status status = batch ? fill(*batch) : out_.fail(Status::kOutOfHostMemory);
    if (status == GRANULE_STATUS_OK) {
        const Result<BindReport, BindError> done = mode_ == BindMode::kImmediate ? commit_now(*batch) : queue(batch);
        if (done) {
            report = *done;
        } else {
            const BindBatch::Blame blame = batch->blame(done.error());
            status = fail_with(done.error(), to_blame(blame, done.error()));
        }
    }
    if (status != GRANULE_STATUS_OK) {
        for (const VaRange& range : chosen_) {
            give_back_chosen_va(vm_, range);
        }
        return status;
    }
    std::size_t next = 0;
    for (std::uint32_t i = 0; i < ops_.size(); ++i) {
        granule_bind_op& op = *ops_.at(i);
        if (op.type != GRANULE_BIND_SYNC_ONLY && op.va == GRANULE_VA_AUTO) {
            op.va = chosen_[next++].start.raw();
        }
    }
    return GRANULE_STATUS_OK;
}

}  // namespace
}  // namespace granule::c_api

using granule::c_api::BindMode;
using granule::c_api::ErrorOut;

granule_status granule_vm_bind(granule_vm* vm, granule_bind_mode mode, granule_bind_op* ops, uint32_t op_count,
                               granule_bind_report* report, granule_error* error) {
    const ErrorOut out(error);
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (vm == nullptr || (ops == nullptr && op_count != 0)) {
        return out.bad("vm or ops is NULL");
    }
    if (report != nullptr) {
        if (const char* const why = granule::c_api::bad_struct(report)) {
            return out.bad(why);
        }
    }
    const std::uint32_t number = granule::c_api::number_of(mode);
    if (number > GRANULE_BIND_DEFERRED) {
        return out.bad("mode is none of granule_bind_mode");
    }
    if (number != GRANULE_BIND_IMMEDIATE && vm->device().device().properties().kernel_places_bos) {
        return out.fail(granule::Status::kNotSupported, "this kernel has no queue of binds");
    }
    if (number == GRANULE_BIND_DEFERRED && !vm->activity().tracked()) {
        return out.bad("GRANULE_BIND_DEFERRED is for VMs with GRANULE_VM_TRACK_ACTIVITY");
    }
    granule::BindReport did;
    granule::c_api::Call call(*vm, static_cast<BindMode>(number), {ops, op_count});
    if (call.run(did) != GRANULE_STATUS_OK) {
        return out.from(call.error());
    }
    granule::c_api::write_report(report, did);
    return GRANULE_STATUS_OK;
}

granule_status granule_vm_unmap(granule_vm* vm, uint64_t va, uint64_t size, granule_cut_policy cut,
                                granule_bind_report* report, granule_error* error) {
    granule_bind_op op{};
    op.struct_size = sizeof(op);
    op.type = GRANULE_BIND_UNMAP;
    op.va = va;
    op.size = size;
    op.cut = static_cast<std::uint16_t>(std::min(granule::c_api::number_of(cut), std::uint32_t{UINT16_MAX}));
    return granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, &op, 1, report, error);
}

granule_status granule_vm_drain(granule_vm* vm, uint64_t timeout_ns, granule_error* error) {
    const ErrorOut out(error);
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (vm == nullptr) {
        return out.bad("vm is NULL");
    }
    const granule::Status drained = vm->queued().drain(granule::c_api::to_timeout(timeout_ns));
    return drained == granule::Status::kOk ? GRANULE_STATUS_OK : out.fail(drained);
}
