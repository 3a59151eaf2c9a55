// bind.h: what a bind would do, as data and in words.
#include <granule/bind.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>

#include "src/c_api/bind_op.hpp"
#include "src/c_api/convert.hpp"
#include "src/c_api/error.hpp"
#include "src/c_api/mapping.hpp"
#include "src/c_api/sized_struct.hpp"
#include "src/c_api/text.hpp"
#include "src/c_api/vm_handle.hpp"

static_assert(GRANULE_PLAN_MAX_OPS == granule::Plan::kMaxOps);

using granule::Plan;
using granule::PlanOp;
using granule::c_api::BindMode;
using granule::c_api::ErrorOut;
using granule::c_api::is_empty;
using granule::c_api::TextWriter;
using granule::c_api::to_c;

namespace {

granule_plan_op to_c_op(const PlanOp& op) noexcept {
    const bool maps = op.kind == PlanOp::Kind::kMap;
    granule_plan_op step{};
    step.va = to_c(op.va);
    step.type = GRANULE_BIND_UNMAP;
    step.purpose = static_cast<std::uint16_t>(op.purpose);
    if (maps) {
        step.type = op.shows.sparse() ? GRANULE_BIND_MAP_SPARSE : GRANULE_BIND_MAP;
        step.bo_offset = op.shows.offset.raw();
        step.bo_id = static_cast<std::uint32_t>(op.shows.bo);
        step.flags = to_c(op.shows.flags);
        step.leaves = static_cast<std::uint16_t>(op.leaves);
    }
    return step;
}

granule_plan to_c_plan(const Plan& plan) noexcept {
    granule_plan told{};
    told.op_count = static_cast<std::uint32_t>(plan.ops().size());
    std::transform(plan.ops().begin(), plan.ops().end(), std::begin(told.ops), to_c_op);
    told.tables = plan.cost.tables;
    told.granules = plan.cost.granules;
    told.kernel_cuts = plan.cost.kernel_cuts;
    told.residual_bytes = plan.cost.residual_bytes;
    told.exposed_bytes = plan.cost.exposed_bytes;
    told.enlarged_bytes = plan.cost.enlarged_bytes;
    told.locked = to_c(plan.cost.locked);
    return told;
}

std::string_view purpose_text(std::uint32_t purpose) noexcept {
    switch (purpose) {
        case GRANULE_PLAN_REQUESTED:
            return "what was asked for";
        case GRANULE_PLAN_GRANULE:
            return "whole granules, which the request cuts";
        case GRANULE_PLAN_RESIDUAL:
            return "a residual: not asked for, so mapped again";
        case GRANULE_PLAN_ISOLATE:
            return "over itself, so that the kernel sees a mapping of its own";
        default:
            return "?";
    }
}

void write_step(TextWriter& out, const granule_plan_op& step) noexcept {
    out.text(step.type == GRANULE_BIND_UNMAP ? "unmap " : "map ").range(step.va);
    out.text(", ").bytes(step.va.end - step.va.start);
    if (step.type != GRANULE_BIND_UNMAP) {
        out.text(", of ").bo(step.bo_id, {});
        if (step.bo_id != 0) {
            out.text(" at offset ").hex(step.bo_offset);
        }
        granule::c_api::write_flags(out, step.flags);
        out.text(step.leaves == GRANULE_LEAVES_PAGES ? ", as 4 KiB pages" : "");
    }
    out.text(": ").text(purpose_text(step.purpose));
}

// "; 2 granules taken whole", where there are any.
void write_count(TextWriter& out, std::uint64_t count, std::string_view one, std::string_view more) noexcept {
    if (count != 0) {
        out.text("; ").number(count).text(count == 1 ? one : more);
    }
}

void write_bytes(TextWriter& out, std::uint64_t bytes, std::string_view what) noexcept {
    if (bytes != 0) {
        out.text("; ").bytes(bytes).text(what);
    }
}

void write_costs(TextWriter& out, const granule_plan& plan) noexcept {
    out.text("costs: at most ").number(plan.tables).text(plan.tables == 1 ? " page table" : " page tables");
    write_count(out, plan.granules, " granule taken whole", " granules taken whole");
    write_count(out, plan.kernel_cuts, " granule cut by the kernel", " granules cut by the kernel");
    write_bytes(out, plan.residual_bytes, " mapped again");
    write_bytes(out, plan.exposed_bytes, " of it without translation for a moment");
    write_bytes(out, plan.enlarged_bytes, " taken beyond what was asked for");
    if (!is_empty(plan.locked)) {
        out.text("; the GPU is kept from ").range(plan.locked).text(" meanwhile");
    }
}

}  // namespace

granule_status granule_vm_explain(const granule_vm* vm, const granule_bind_op* op, granule_plan* plan,
                                  granule_error* error) {
    const ErrorOut out(error);
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (vm == nullptr || op == nullptr || plan == nullptr) {
        return out.bad("vm, op or plan is NULL");
    }
    if (const char* const why = granule::c_api::bad_struct(plan)) {
        return out.bad(why);
    }
    granule_bind_op from;
    if (const char* const why = granule::c_api::read_struct(op, from)) {
        return out.bad(why, 0);
    }
    if (from.type == GRANULE_BIND_SYNC_ONLY || from.va == GRANULE_VA_AUTO) {
        return out.bad("there is no plan for SYNC_ONLY, nor for a VA that is not chosen", 0);
    }
    // Fences wait and signal; a plan is the same without them.
    from.wait_count = 0;
    from.signal_count = 0;
    granule::c_api::BindOp asked;
    if (const granule_status status = granule::c_api::read_bind_op(*vm, BindMode::kImmediate, from, 0, asked, out);
        status != GRANULE_STATUS_OK) {
        return status;
    }
    const granule::Result<Plan, granule::BindError> planned = vm->vm().explain(asked.request);
    if (!planned) {
        return out.from(planned.error(), 0, vm->vm().usable());
    }
    granule::c_api::write_struct(plan, to_c_plan(*planned));
    return GRANULE_STATUS_OK;
}

size_t granule_plan_text(const granule_plan* plan, char* text, size_t size) {
    TextWriter out(text, size);
    granule_plan told;
    if (plan == nullptr || granule::c_api::read_struct(plan, told) != nullptr || told.op_count > GRANULE_PLAN_MAX_OPS) {
        return out.finish();
    }
    if (told.op_count == 0) {
        return out.text("nothing is to be done").finish();
    }
    std::uint32_t number = 0;
    for (const granule_plan_op& step : std::span{told.ops, told.op_count}) {
        out.number(++number).text(". ");
        write_step(out, step);
        out.text("\n");
    }
    write_costs(out, told);
    return out.finish();
}
