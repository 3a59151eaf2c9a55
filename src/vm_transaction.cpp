// How a VM changes by many requests at once, and the way back.
//
//     each request:  plan, hold memory, remember what was, apply to our state
//     all of them:   hold tables, let the backend carry them out, settle
//     on failure:    back step by step, the last first: our state, and then the tables where a plan was begun

#include <algorithm>
#include <cassert>
#include <cstddef>

#include "allocator/split.hpp"
#include "src/bo_pin.hpp"
#include "src/leaf_pieces.hpp"
#include "src/vm.hpp"

namespace granule {
namespace {

bool only_unmaps(std::span<const BindRequest> requests) noexcept {
    return !requests.empty() && std::all_of(requests.begin(), requests.end(), [](const BindRequest& request) {
        return request.kind == BindRequest::Kind::kUnmap;
    });
}

}  // namespace

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
    explicit Undo(NodeMemory memory) noexcept : steps(memory), mappings(memory), blocks(memory), plans(memory) {}

    Array<UndoStep> steps;
    Array<Mapping> mappings;  // that overlapped `taken`, whole
    Array<LeafRun> blocks;    // that overlapped `touched`
    Array<Plan> plans;
};

bool Vm::remember(Undo& undo, const BindRequest& request, const Plan& plan) const noexcept {
    UndoStep step;
    step.taken = plan.taken;
    step.touched = plan.touched;
    const bool maps = request.kind == BindRequest::Kind::kMap;
    step.changed = maps ? request.va : VaRange{};
    step.inserted = maps ? Mapping{request.va, request.shows} : Mapping{};
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
            Bo* const bo = bos_.find(step.inserted.shows.bo);
            const std::uint64_t pages = step.inserted.va.size() / kPageBytes;
            bo->mapped_pages.fetch_sub(pages, std::memory_order_relaxed);
            bos_.release(*bo, pages);
        }
    }
}

Result<BindReport, BindError> Vm::commit_many(std::span<const BindRequest> requests, const Later* later) noexcept {
    if (!usable_) {
        BindError error;
        error.status = Status::kVmUnusable;
        return fail(error);
    }
    if (requests.empty() && later == nullptr) {
        return BindReport{};
    }
    Undo undo(nodes_);
    BindReport report;
    report.serial = BindSerial{next_serial_};
    std::optional<BindError> error;
    for (std::size_t i = 0; i < requests.size() && !error; ++i) {
        const BindRequest& request = requests[i];
        BoPin pin(bos_);  // until the pages that it will show hold it
        error = check(request, pin);
        if (!error) {
            if (const Result<Plan, PlanError> planned = plan(view(), request); !planned) {
                error = describe(planned.error());
            } else {
                Status status = hold_state(request, *planned);
                if (status == Status::kOk && !remember(undo, request, *planned)) {
                    status = Status::kOutOfHostMemory;
                }
                if (status == Status::kOk) {
                    count(report, *planned);
                    retain_shown(request);
                    apply_state(request, *planned);
                } else {
                    error = BindError{};
                    error->status = status;
                    error->plan.request = request.va;
                }
            }
        }
        if (error) {
            error->request = i;
        }
    }
    if (!error) {
        if (const Status status = backend_->hold(undo.plans.view()); status != Status::kOk) {
            error = BindError{};
            error->status = status;
        }
    }
    if (error) {
        static_cast<void>(undo_all(undo, nullptr));  // nothing was begun: there is nothing that could fail
        release_inserted(undo);
        settle();
        if (error->status == Status::kOutOfHostMemory && only_unmaps(requests)) {
            return unmap_one_by_one(requests, later);
        }
        return fail(*error);
    }
    if (const Result<void, BackendFailure> done = carry_out(undo.plans.view(), later); !done) {
        const std::size_t which = done.error().plan;
        BindError failed = describe(done.error(), which < requests.size() ? requests[which] : BindRequest{});
        failed.undone = undo_all(undo, later == nullptr ? &done.error() : nullptr);
        if (!failed.undone || failed.status == Status::kVmUnusable) {
            become_unusable();
        }
        release_inserted(undo);
        settle();
        if (later != nullptr && failed.status == Status::kOutOfHostMemory && only_unmaps(requests)) {
            return unmap_one_by_one(requests, later);  // nothing was queued
        }
        return fail(failed);
    }

    const std::uint64_t time_ns = monotonic_ns();
    for (std::size_t i = 0; i < undo.steps.size(); ++i) {
        const UndoStep& step = undo.steps[i];
        const Removal::By how = requests[i].kind == BindRequest::Kind::kMap ? Removal::By::kMap : Removal::By::kUnmap;
        for (std::size_t k = i == 0 ? 0 : undo.steps[i - 1].mappings_end; k < step.mappings_end; ++k) {
            const Mapping part = undo.mappings[k].clipped(step.taken);
            report.unmapped_bytes += part.va.size();
            forget(part, how, time_ns);
        }
    }
    settle();
    ++next_serial_;
    ++binds_;
    return report;
}

// Giving back does not fail for want of memory (P4): without any for what was, each unmap is a transaction of its own,
// which needs none. Should one of them fail then, those before it stay done, and the error says so.
Result<BindReport, BindError> Vm::unmap_one_by_one(std::span<const BindRequest> requests, const Later* later) noexcept {
    BindReport sum;
    sum.serial = BindSerial{next_serial_};
    for (std::size_t i = 0; i < requests.size(); ++i) {
        // The queue is in order: the first waits for all, and the last is done when all are.
        Later part;
        if (later != nullptr) {
            part.waits = i == 0 ? later->waits : part.waits;
            part.signals = i + 1 == requests.size() ? later->signals : part.signals;
        }
        Result<BindReport, BindError> done = commit_one(requests[i], later == nullptr ? nullptr : &part);
        if (!done) {
            done.error().request = i;
            done.error().undone = done.error().undone && i == 0;
            return done;
        }
        sum.operations += done->operations;
        sum.granules += done->granules;
        sum.kernel_cuts += done->kernel_cuts;
        sum.residual_bytes += done->residual_bytes;
        sum.exposed_bytes += done->exposed_bytes;
        sum.enlarged_bytes += done->enlarged_bytes;
        sum.unmapped_bytes += done->unmapped_bytes;
        sum.touched = sum.touched.hull(done->touched);
    }
    return sum;
}

// Our state goes back step by step, the last first, and the tables with it, wherever a plan was begun: so a plan is
// undone in the state that it was made for, where its edges cut nothing.
bool Vm::undo_all(const Undo& undo, const BackendFailure* failure) noexcept {
    // In an address space that is lost there is nothing to bring back: `rebuild` makes another one.
    const bool lost = failure != nullptr && failure->status == Status::kVmUnusable;
    bool undone = true;
    for (std::size_t i = undo.steps.size(); i-- > 0;) {
        roll_back(undo, i);
        const bool begun = failure != nullptr && (i < failure->plan || (i == failure->plan && failure->begun));
        if (begun && undone && !undo.plans[i].empty()) {
            const bool in_doubt = i == failure->plan && failure->in_doubt;
            undone = !lost && restore(undo.plans[i].touched, undo.steps.view().first(i), in_doubt);
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
bool Vm::restore(const VaRange& touched, std::span<const UndoStep> earlier, bool in_doubt) noexcept {
    const auto run = [&](PlanOp::Kind kind, const VaRange& va, const Backing& shows, LeafPolicy leaves) noexcept {
        Plan step;
        step.taken = va;
        step.touched = va;
        step.push({kind, PlanOp::Purpose::kResidual, va, shows, leaves});
        return backend_->execute({&step, 1}).has_value();
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
    bool done = backend_->execute({&clear, 1}).has_value();
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
        return done;
    });
    return done;
}

}  // namespace granule
