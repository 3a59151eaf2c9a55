#include "allocator/planner.hpp"

#include <cstdint>
#include <optional>

#include "allocator/split.hpp"

namespace granule {
namespace {

// The granules that the edges of a range cut. `whole` is the range with both of them taken whole.
//
//         range.start                range.end
//             v                          v
//     |=======:=======|========|=========:====|
//     ^                                       ^
//  whole.start                            whole.end
struct EdgeCuts {
    VaRange whole;
    VaRange first;   // empty where the start cuts nothing
    VaRange second;  // empty where the end cuts nothing, or where it cuts the same granule as the start
};

EdgeCuts cut_edges(const AddressSpaceView& state, const VaRange& range) noexcept {
    EdgeCuts cuts{range, {range.start, range.start}, {range.end, range.end}};
    const VaRange at_start = granule_at(state, range.start);
    if (at_start.start < range.start) {
        cuts.first = at_start;
        cuts.whole.start = at_start.start;
    }
    const VaRange at_end = granule_at(state, range.end - kPageBytes);
    if (at_end.end > range.end) {
        cuts.whole.end = at_end.end;
        if (at_end != cuts.first) {
            cuts.second = at_end;
        }
    }
    return cuts;
}

// Whether the kernel may be left to cut the granule. Nothing is known of one that cuts larger leaves than 2 MiB: panfrost
// and panthor have none.
bool kernel_cuts(const AddressSpaceView& state, const VaRange& granule) noexcept {
    if (granule.size() != kBlock2MBytes) {
        return false;
    }
    const std::optional<Mapping> mapping = state.mappings.find(granule.start);
    return mapping && state.layout->cut_rule(mapping->shows) == CutRule::kByKernel;
}

// ... and all that the edges cut. A kernel that refuses to cut leaves is not asked to, whatever the rule says.
bool kernel_cuts(const AddressSpaceView& state, const EdgeCuts& cuts) noexcept {
    const bool can = state.kernel == KernelBehaviour::kSplits || state.kernel == KernelBehaviour::kRealigns;
    return can && state.layout != nullptr && (cuts.first.empty() || kernel_cuts(state, cuts.first)) &&
           (cuts.second.empty() || kernel_cuts(state, cuts.second));
}

std::uint64_t slots(const VaRange& range, std::uint64_t span) noexcept {
    return (align_up(range.end.raw(), span) - align_down(range.start.raw(), span)) / span;
}

// Table pages that mapping `range` can need, whatever leaves it becomes: one for each 2^39, 2^30 and 2^21 slot that it
// touches, as panthor preallocates (Linux drivers/gpu/drm/panthor/panthor_mmu.c, panthor_vm_prepare_map_op_ctx). A
// block takes no table at its last level but sets as many aside as splitting it would need, so the bound holds for
// both.
std::uint64_t most_tables(const VaRange& range) noexcept {
    return slots(range, std::uint64_t{1} << 39) + slots(range, kBlock1GBytes) + slots(range, kBlock2MBytes);
}

std::uint64_t mapped_bytes(const MappingMap& mappings, const VaRange& range) noexcept {
    std::uint64_t bytes = 0;
    mappings.for_each_overlap(range, [&](const Mapping& mapping) { bytes += mapping.va.intersection(range).size(); });
    return bytes;
}

bool maps_anything(const MappingMap& mappings, const VaRange& range) noexcept {
    const std::optional<Mapping> next = mappings.first_from(range.start);
    return next && next->va.start < range.end;
}

std::optional<PlanError> check(const AddressSpaceView& state, const BindRequest& request) noexcept {
    PlanError error;
    error.request = request.va;
    if (request.va.end < request.va.start || !state.space.contains(request.va)) {
        error.code = PlanError::Code::kOutOfRange;
        return error;
    }
    if (request.va.empty()) {
        error.code = PlanError::Code::kEmptyRange;
        return error;
    }
    const bool maps_bo = request.kind == BindRequest::Kind::kMap && !request.shows.sparse();
    if (!request.va.is_aligned(kPageBytes) || (maps_bo && !request.shows.offset.is_aligned(kPageBytes))) {
        error.code = PlanError::Code::kMisaligned;
        return error;
    }
    return std::nullopt;
}

PlanError granule_cut(const AddressSpaceView& state, const BindRequest& request, const VaRange& granule) noexcept {
    PlanError error;
    error.code = PlanError::Code::kGranuleCut;
    error.request = request.va;
    error.granule = granule;
    error.leaf = state.ledger.leaf_at(granule.start);
    if (const std::optional<Mapping> mapping = state.mappings.find(granule.start)) {
        error.mapping = *mapping;
    }
    return error;
}

// Costs that follow from the finished list of operations.
void sum_up(const AddressSpaceView& state, Plan& plan) noexcept {
    for (const PlanOp& op : plan.ops()) {
        // Residuals, and what is mapped over itself, take the tables and the credit that the unmap before them freed
        // (P4).
        if (op.kind == PlanOp::Kind::kMap && op.purpose == PlanOp::Purpose::kRequested) {
            plan.cost.tables += most_tables(op.va);
        }
        if (op.purpose == PlanOp::Purpose::kResidual) {
            plan.cost.residual_bytes += op.va.size();
        }
    }
    plan.cost.exposed_bytes = state.atomic_binds ? 0 : plan.cost.residual_bytes;
    if (!plan.empty()) {
        plan.cost.locked = mali::lock_region(plan.touched, state.smallest_lock_log2).locked;
    }
}

}  // namespace

VaRange granule_at(const AddressSpaceView& state, Va va) noexcept {
    const VaRange leaf = state.ledger.granule_at(va);
    if (state.layout == nullptr) {
        return leaf;
    }
    const std::optional<Mapping> mapping = state.mappings.find(va);
    if (!mapping) {
        return leaf;
    }
    const Va window = va.align_down(kBlock2MBytes);
    switch (state.layout->cut_rule(mapping->shows)) {
        case CutRule::kExplicit:
        case CutRule::kByKernel:
            return leaf;
        case CutRule::kWholeWindow:
            return leaf.hull(mapping->va.intersection({window, window + kBlock2MBytes}));
        case CutRule::kWholeMapping:
            return mapping->va;
    }
    return leaf;
}

Result<Plan, PlanError> plan(const AddressSpaceView& state, const BindRequest& request) noexcept {
    if (const std::optional<PlanError> error = check(state, request)) {
        return fail(*error);
    }
    const bool maps = request.kind == BindRequest::Kind::kMap;
    const EdgeCuts cuts = cut_edges(state, request.va);
    const bool cuts_any = !cuts.first.empty() || !cuts.second.empty();
    if (cuts_any && request.policy == UnmapPolicy::kReject) {
        return fail(granule_cut(state, request, cuts.first.empty() ? cuts.second : cuts.first));
    }

    const bool by_kernel = cuts_any && request.policy == UnmapPolicy::kSplit && kernel_cuts(state, cuts);
    const bool by_plan = cuts_any && !by_kernel;

    Plan result;
    result.taken = request.va;
    result.touched = cuts.whole;
    (by_kernel ? result.cost.kernel_cuts : result.cost.granules) =
        (cuts.first.empty() ? 0U : 1U) + (cuts.second.empty() ? 0U : 1U);
    if (cuts_any && request.policy == UnmapPolicy::kEnlarge) {
        result.taken = cuts.whole;
        result.cost.enlarged_bytes = mapped_bytes(state.mappings, {cuts.whole.start, request.va.start}) +
                                     mapped_bytes(state.mappings, {request.va.end, cuts.whole.end});
    }

    const PlanOp requested{maps ? PlanOp::Kind::kMap : PlanOp::Kind::kUnmap, PlanOp::Purpose::kRequested, request.va,
                           maps ? request.shows : Backing{}, request.leaves};
    if (!by_plan) {
        // Whole leaves only, or the kernel sees to it. An unmap of holes is nothing to do, and so an unmap that succeeds.
        if (maps || maps_anything(state.mappings, request.va)) {
            result.push(requested);
        }
    } else {
        // Which granules go first: with a map, only those that it cuts; the leaves that it covers whole it replaces.
        VaRange granules = cuts.whole;
        if (maps) {
            granules = cuts.first.empty()    ? cuts.second
                       : cuts.second.empty() ? cuts.first
                                             : VaRange{cuts.first.start, cuts.second.end};
        }
        result.push({PlanOp::Kind::kUnmap, PlanOp::Purpose::kGranule, granules, {}, LeafPolicy::kLargest});
        if (maps) {
            result.push(requested);
        }
    }
    if (by_plan && request.policy == UnmapPolicy::kSplit) {
        add_residuals(result, state.mappings, request.va, cuts.whole);
    }
    if (state.kernel == KernelBehaviour::kOopses) {
        isolate_start_of_unmap(result, state);
    }
    sum_up(state, result);
    return result;
}

bool hold_ledger(GranuleLedger& ledger, const Plan& plan) noexcept {
    for (const PlanOp& op : plan.ops()) {
        // A residual comes out of a block, so its region is there already (P4).
        if (op.kind == PlanOp::Kind::kMap && op.purpose == PlanOp::Purpose::kRequested && !ledger.hold(op.va)) {
            return false;
        }
    }
    return true;
}

void apply_to_ledger(GranuleLedger& ledger, const Plan& plan, const BackingLayout& layout,
                     LeafSizes leaf_sizes) noexcept {
    if (plan.cost.kernel_cuts != 0) {
        ledger.clear(plan.touched);  // what is left of the leaves that the kernel cut are pages
    }
    for (const PlanOp& op : plan.ops()) {
        if (op.purpose == PlanOp::Purpose::kIsolate) {
            continue;  // an unmap that covers it follows
        }
        ledger.clear(op.va);
        if (op.kind == PlanOp::Kind::kUnmap || op.leaves == LeafPolicy::kPage) {
            continue;
        }
        for_each_leaf_run(op.va, op.shows, layout, leaf_sizes, op.leaves, [&](const LeafRun& run, const Extent&) {
            if (run.size != LeafSize::k4K) {
                ledger.mark(run);
            }
        });
    }
}

}  // namespace granule
