// How a VM changes by many requests at once, and the way back.
//
//     each request:  plan, hold memory, remember what was, apply to our state
//     all of them:   hold tables, let the backend carry them out, settle
//     on failure:    back step by step, the last first: our state, and then the tables where a plan was begun
//
// Groups are requests one after the other to all but the backend, which is given them with their fences.

#include <algorithm>
#include <cassert>
#include <cstddef>

#include "allocator/split.hpp"
#include "src/bo_pin.hpp"
#include "src/leaf_pieces.hpp"
#include "src/vm.hpp"

namespace granule {
namespace {

bool only_unmaps(std::span<const BindGroup> groups) noexcept {
    bool any = false;
    for (const BindGroup& group : groups) {
        for (const BindRequest& request : group.requests) {
            if (request.kind != BindRequest::Kind::kUnmap) {
                return false;
            }
            any = true;
        }
    }
    return any;
}

}  // namespace

void BindReport::add(const BindReport& next) noexcept {
    operations += next.operations;
    granules += next.granules;
    kernel_cuts += next.kernel_cuts;
    residual_bytes += next.residual_bytes;
    exposed_bytes += next.exposed_bytes;
    enlarged_bytes += next.enlarged_bytes;
    unmapped_bytes += next.unmapped_bytes;
    touched = touched.hull(next.touched);
}

// One request of a transaction, for the way back.
struct Vm::UndoStep {
    VaRange changed;  // whole mappings that were there and the new one
    VaRange taken;
    VaRange touched;
    Mapping inserted;  // empty range where nothing was
    std::size_t mappings_end = 0;
    std::size_t blocks_end = 0;
};

// What a transaction has changed in our state so far, in order.
struct Vm::Undo {
    explicit Undo(NodeMemory memory) noexcept
        : steps(memory), mappings(memory), blocks(memory), plans(memory), groups(memory) {}

    Array<UndoStep> steps;
    Array<Mapping> mappings;  // that overlapped `taken`, whole
    Array<LeafRun> blocks;    // that overlapped `touched`
    Array<Plan> plans;
    Array<PlanGroup> groups;  // room for them, where there are several
};

bool Vm::remember(Undo& undo, const BindRequest& request, const Plan& plan) const noexcept {
    UndoStep step;
    step.taken = plan.taken;
    step.touched = plan.touched;
    const bool maps = request.kind == BindRequest::Kind::kMap;
    step.changed = maps ? request.va : VaRange{};
    step.inserted = maps ? made_by(request) : Mapping{};
    bool room = true;
    mappings_.for_each_overlap(plan.taken, [&](const Mapping& mapping) {
        room = undo.mappings.push(mapping);
        step.changed = step.changed.hull(mapping.va);
        return room;
    });
    if (!plan.empty() && room) {
        ledger_.for_each_block_run(plan.touched, [&](const LeafRun& run) { room = room && undo.blocks.push(run); });
    }
    step.mappings_end = undo.mappings.size();
    step.blocks_end = undo.blocks.size();
    return room && undo.plans.push(plan) && undo.steps.push(step);
}

// Our state becomes what it was before the step; those behind it were rolled back before.
void Vm::roll_back(const Undo& undo, std::size_t step_number) noexcept {
    const UndoStep& step = undo.steps[step_number];
    const std::size_t first_mapping = step_number == 0 ? 0 : undo.steps[step_number - 1].mappings_end;
    const std::size_t first_block = step_number == 0 ? 0 : undo.steps[step_number - 1].blocks_end;
    if (!step.changed.empty()) {
        mappings_.erase(step.changed);
    }
    for (std::size_t i = first_mapping; i < step.mappings_end; ++i) {
        mappings_.insert(undo.mappings[i]);
    }
    if (!step.touched.empty()) {
        ledger_.clear(step.touched);
    }
    for (std::size_t i = first_block; i < step.blocks_end; ++i) {
        ledger_.mark(undo.blocks[i]);
    }
}

// The references that the steps took. Last of all: until the tables are what they were, the GPU reaches what they show.
void Vm::release_inserted(const Undo& undo) noexcept {
    for (const UndoStep& step : undo.steps) {
        if (!step.inserted.va.empty() && !step.inserted.shows.sparse()) {
            bos_.hide(step.inserted.shows.bo, step.inserted.va.size() / kPageBytes);
        }
    }
}

std::optional<BindError> Vm::step(Undo& undo, const BindRequest& request, BindReport& report) noexcept {
    BoPin pin(bos_);  // until the pages that it will show hold it
    if (std::optional<BindError> error = check(request, pin)) {
        return error;
    }
    const Result<Plan, PlanError> planned = plan(view(), request);
    if (!planned) {
        return describe(planned.error());
    }
    Status status = hold_state(request, *planned);
    if (status == Status::kOk && !remember(undo, request, *planned)) {
        status = Status::kOutOfHostMemory;
    }
    if (status != Status::kOk) {
        BindError error;
        error.status = status;
        error.plan.request = request.va;
        return error;
    }
    count(report, *planned);
    retain_shown(request);
    apply_state(request, *planned);
    return std::nullopt;
}

// Every request in turn; stops at the first that fails.
std::optional<BindError> Vm::step_all(Undo& undo, std::span<const BindGroup> groups, BindReport& report) noexcept {
    if (!undo.groups.reserve(groups.size() > 1 ? groups.size() : 0)) {
        return error_of_all(Status::kOutOfHostMemory);
    }
    for (std::size_t g = 0; g < groups.size(); ++g) {
        const std::span<const BindRequest> requests = groups[g].requests;
        for (std::size_t i = 0; i < requests.size(); ++i) {
            if (std::optional<BindError> error = step(undo, requests[i], report)) {
                error->group = g;
                error->request = i;
                return error;
            }
        }
    }
    if (const Status status = backend_->hold(undo.plans.view()); status != Status::kOk) {
        return error_of_all(status);
    }
    return std::nullopt;
}

Result<void, BackendFailure> Vm::carry_out(Undo& undo, std::span<const BindGroup> groups, When when) noexcept {
    const std::span<const Plan> plans = undo.plans.view();
    if (when == When::kNow) {
        return backend_->execute(plans);
    }
    if (groups.size() == 1) {
        const PlanGroup one{plans, groups.front().waits, groups.front().signals};
        return backend_->submit({&one, 1});
    }
    std::size_t first = 0;
    for (const BindGroup& group : groups) {
        const bool room = undo.groups.push({plans.subspan(first, group.requests.size()), group.waits, group.signals});
        assert(room);
        static_cast<void>(room);
        first += group.requests.size();
    }
    return backend_->submit(undo.groups.view());
}

Result<BindReport, BindError> Vm::commit_many(std::span<const BindGroup> groups, When when) noexcept {
    if (groups.empty() || (when == When::kNow && groups.front().requests.empty())) {
        return BindReport{};
    }
    Undo undo(nodes_);
    BindReport report;
    report.serial = BindSerial{next_serial_};
    if (const std::optional<BindError> error = step_all(undo, groups, report)) {
        static_cast<void>(undo_all(undo, nullptr));  // nothing was begun: there is nothing that could fail
        release_inserted(undo);
        settle();
        if (error->status == Status::kOutOfHostMemory && only_unmaps(groups)) {
            return unmap_one_by_one(groups, when);
        }
        return fail(*error);
    }
    if (const Result<void, BackendFailure> done = carry_out(undo, groups, when); !done) {
        const BackendFailure& failure = done.error();
        const Result<void, BackendFailure> undone = undo_all(undo, when == When::kNow ? &failure : nullptr);
        if (failure.status == Status::kVmUnusable) {
            become_unusable(failure);
        } else if (!undone) {
            become_unusable(undone.error());
        }
        release_inserted(undo);
        settle();
        if (when == When::kLater) {
            if (failure.status == Status::kOutOfHostMemory && only_unmaps(groups)) {
                return unmap_one_by_one(groups, when);  // nothing was queued
            }
            BindError error = error_of_all(failure.status);
            error.error = failure.error;
            return fail(error);
        }
        // One group, and a plan a request.
        const std::span<const BindRequest> requests = groups.front().requests;
        BindError error = describe(failure, failure.plan < requests.size() ? requests[failure.plan] : BindRequest{});
        error.undone = undone.has_value();
        return fail(error);
    }

    const std::uint64_t time_ns = monotonic_ns();
    for (std::size_t i = 0; i < undo.steps.size(); ++i) {
        const UndoStep& step = undo.steps[i];
        const bool maps = !step.inserted.va.empty();
        for (std::size_t k = i == 0 ? 0 : undo.steps[i - 1].mappings_end; k < step.mappings_end; ++k) {
            const Mapping part = undo.mappings[k].clipped(step.taken);
            report.unmapped_bytes += part.va.size();
            forget(part, maps ? Removal::By::kMap : Removal::By::kUnmap, time_ns);
        }
        if (maps) {
            tell_bound(step.inserted);
        }
    }
    settle();
    ++next_serial_;
    ++binds_;
    return report;
}

// Giving back does not fail for want of memory (P4): without any for what was, each unmap is a transaction of its own,
// which needs none. Should one of them fail then, those before it stay done, and the error says so.
Result<BindReport, BindError> Vm::unmap_one_by_one(std::span<const BindGroup> groups, When when) noexcept {
    BindReport sum;
    sum.serial = BindSerial{next_serial_};
    bool begun = false;
    for (std::size_t g = 0; g < groups.size(); ++g) {
        const BindGroup& group = groups[g];
        const std::size_t count = group.requests.size();
        // The queue is in order: a group's first waits for all, and its last is done when all are. Without any, its fences
        // are one of their own.
        for (std::size_t i = 0; i < std::max<std::size_t>(count, 1); ++i) {
            BindGroup part;
            part.requests = group.requests.subspan(i, count == 0 ? 0 : 1);
            part.waits = i == 0 ? group.waits : part.waits;
            part.signals = i + 1 >= count ? group.signals : part.signals;
            Result<BindReport, BindError> done = count == 0 ? commit_many({&part, 1}, when) : commit_one(part, when);
            if (!done) {
                done.error().group = g;
                done.error().request = count == 0 ? BindError::kAll : i;
                done.error().undone = done.error().undone && !begun;
                return done;
            }
            begun = true;
            sum.add(*done);
        }
    }
    return sum;
}

// Our state goes back step by step, the last first, and the tables with it, wherever a plan was begun: so a plan is
// undone in the state that it was made for, where its edges cut nothing.
Result<void, BackendFailure> Vm::undo_all(const Undo& undo, const BackendFailure* failure) noexcept {
    // In an address space that is lost there is nothing to bring back: `rebuild` makes another one.
    const bool lost = failure != nullptr && failure->status == Status::kVmUnusable;
    Result<void, BackendFailure> undone;
    for (std::size_t i = undo.steps.size(); i-- > 0;) {
        roll_back(undo, i);
        const bool begun = failure != nullptr && (i < failure->plan || (i == failure->plan && failure->begun));
        if (!begun || !undone || undo.plans[i].empty()) {
            continue;
        }
        if (lost) {
            undone = fail(*failure);
        } else {
            const bool in_doubt = i == failure->plan && failure->in_doubt;
            undone = restore(undo.plans[i].touched, undo.steps.view().first(i), in_doubt);
        }
    }
    return undone;
}

// What a plan touched is unmapped and mapped again as our state says, leaf for leaf. Neither cuts a leaf: what the plan
// put there does not reach out of it.
//
// Nor may the unmap leave parts of the kernel's mappings on both of its sides, which some kernels oops on. The first
// operation of a plan leaves a mapping that begins or ends at an edge of `touched`; and what is mapped again here ends at
// the edges of what the earlier steps touched, which will be unmapped next:
//
//     earlier step           |---- touched ----|
//     this step       |============|      touched, mapped again as two: [==|===]
//
// Where that first operation is the one that failed, and perhaps did nothing, the unmap is isolated as one of a plan is.
// What it did not do has left no new leaf that the isolated granule could cut.
Result<void, BackendFailure> Vm::restore(const VaRange& touched, std::span<const UndoStep> earlier,
                                         bool in_doubt) noexcept {
    const auto run = [&](PlanOp::Kind kind, const VaRange& va, const Backing& shows, LeafPolicy leaves) noexcept {
        Plan step;
        step.taken = va;
        step.touched = va;
        step.push({kind, PlanOp::Purpose::kResidual, va, shows, leaves});
        return backend_->execute({&step, 1});
    };
    // The first place inside `va` where an earlier step's edge is, and a leaf begins.
    const auto first_edge = [&](const VaRange& va) noexcept {
        Va edge = va.end;
        for (const UndoStep& step : earlier) {
            for (const Va at : {step.touched.start, step.touched.end}) {
                if (va.start < at && at < edge && ledger_.granule_at(at).start == at) {
                    edge = at;
                }
            }
        }
        return edge;
    };
    Plan clear;
    clear.taken = touched;
    clear.touched = touched;
    clear.push({PlanOp::Kind::kUnmap, PlanOp::Purpose::kResidual, touched, {}, LeafPolicy::kLargest});
    if (in_doubt && backend_->kernel() == KernelBehaviour::kOopses) {
        isolate_start_of_unmap(clear, view());
    }
    Result<void, BackendFailure> done = backend_->execute({&clear, 1});
    mappings_.for_each_overlap(touched, [&](const Mapping& mapping) {
        const Mapping part = mapping.clipped(touched);
        const auto map = [&](VaRange va, LeafPolicy leaves) noexcept {
            while (done && !va.empty()) {
                const VaRange piece{va.start, first_edge(va)};
                done = run(PlanOp::Kind::kMap, piece, part.shows.advanced(piece.start - part.va.start), leaves);
                va.start = piece.end;
            }
        };
        for_each_leaf_piece(ledger_, part.va, map);
        return done.has_value();
    });
    return done;
}

}  // namespace granule
