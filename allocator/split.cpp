#include "allocator/split.hpp"

#include <cassert>
#include <cstddef>
#include <optional>

namespace granule {
namespace {

void insert_residual(Plan& plan, std::size_t position, const MappingMap& mappings, const VaRange& residual) noexcept {
    if (residual.empty()) {
        return;
    }
    // A granule is a leaf, and a leaf belongs to one mapping: the residual is one run of one BO.
    const std::optional<Mapping> mapping = mappings.find(residual.start);
    assert(mapping.has_value() && mapping->va.contains(residual));
    plan.insert(position, {PlanOp::Kind::kMap, PlanOp::Purpose::kResidual, residual, mapping->clipped(residual).shows,
                           LeafPolicy::kLargest});
}

}  // namespace

void add_residuals(Plan& plan, const MappingMap& mappings, const VaRange& request, const VaRange& whole) noexcept {
    assert(!plan.empty() && plan.ops().front().purpose == PlanOp::Purpose::kGranule);
    insert_residual(plan, plan.ops().size(), mappings, {request.end, whole.end});
    insert_residual(plan, 1, mappings, {whole.start, request.start});
}

void isolate_start_of_unmap(Plan& plan, const AddressSpaceView& state) noexcept {
    if (plan.empty() || plan.ops().front().kind != PlanOp::Kind::kUnmap) {
        return;
    }
    const VaRange range = plan.ops().front().va;
    const std::optional<Mapping> first = state.mappings.find(range.start);
    const std::optional<Mapping> last = state.mappings.find(range.end - kPageBytes);
    const bool leaves_head = first && first->va.start < range.start;
    const bool leaves_tail = last && last->va.end > range.end;
    if (!leaves_head || !leaves_tail) {
        return;
    }
    const VaRange granule = granule_at(state, range.start);
    assert(granule.start == range.start && range.contains(granule));
    plan.insert(0, {PlanOp::Kind::kMap, PlanOp::Purpose::kIsolate, granule, first->clipped(granule).shows,
                    LeafPolicy::kLargest});
}

}  // namespace granule
