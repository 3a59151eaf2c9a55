#include "src/cli/explanation.hpp"

#include <fmt/format.h>

#include <cstddef>
#include <iterator>

#include "src/cli/names.hpp"
#include "src/cli/units.hpp"

namespace granule::cli {
namespace {

const char* words_of(PlanOp::Purpose purpose) {
    switch (purpose) {
        case PlanOp::Purpose::kRequested:
            return "what was asked for";
        case PlanOp::Purpose::kGranule:
            return "whole leaves, because the request cuts one";
        case PlanOp::Purpose::kResidual:
            return "the rest of a leaf that was cut, mapped again";
        case PlanOp::Purpose::kIsolate:
            return "what is there, mapped again, so that the kernel has a mapping that ends here";
    }
    return "?";
}

const char* name_of(BindRequest::Kind kind) {
    return kind == BindRequest::Kind::kMap ? "map" : "unmap";
}

std::string request_text(const replay::Replay& replay, const BindRequest& request) {
    std::string text = fmt::format("{} {}", name_of(request.kind), range_text(request.va));
    if (request.kind == BindRequest::Kind::kMap) {
        text += ": " + backing_text(replay, request.shows);
    }
    return text;
}

std::string mapped_at(const replay::Replay& replay, const Vm& vm, const PlanOp& op) {
    const std::uint64_t line = replay.line_of(vm, op.shows.serial);
    return line == 0 ? "" : fmt::format(" (mapped at line {})", line);
}

std::string op_text(const replay::Replay& replay, const Vm& vm, const PlanOp& op, std::size_t number) {
    std::string text = fmt::format("  {}  {:5}  {:#014x}  {:#014x}  {:>9}  {}\n", number, to_string(op.kind),
                                   op.va.start.raw(), op.va.end.raw(), bytes_text(op.va.size()), words_of(op.purpose));
    if (op.kind == PlanOp::Kind::kMap && op.purpose != PlanOp::Purpose::kRequested) {
        text += fmt::format("{:54}{}{}\n", "", backing_text(replay, op.shows), mapped_at(replay, vm, op));
    }
    return text;
}

std::string cost_text(const PlanCost& cost) {
    std::string text;
    const auto add = [&text](const char* name, const std::string& value, const char* words) {
        fmt::format_to(std::back_inserter(text), "  {:9} {:>9}  {}\n", name, value, words);
    };
    add("tables", count_text(cost.tables), "set aside for the new mapping, at most");
    if (cost.granules != 0) {
        add("granules", count_text(cost.granules), "taken whole because the request cuts them");
    }
    if (cost.kernel_cuts != 0) {
        add("cuts", count_text(cost.kernel_cuts), "of leaves, by the kernel: it is asked for a part of them");
    }
    if (cost.residual_bytes != 0) {
        add("residual", bytes_text(cost.residual_bytes), "mapped again");
        add("exposed", bytes_text(cost.exposed_bytes), "of it, without translation until then, while the GPU may run");
    }
    if (cost.enlarged_bytes != 0) {
        add("enlarged", bytes_text(cost.enlarged_bytes), "taken beyond the request");
    }
    if (!cost.locked.empty()) {
        add("locked", bytes_text(cost.locked.size()),
            fmt::format("{:#x} to {:#x}", cost.locked.start.raw(), cost.locked.end.raw()).c_str());
    }
    return text;
}

std::string plan_text(const replay::Replay& replay, const Vm& vm, const Plan& plan) {
    if (plan.empty()) {
        return "  nothing is mapped there: nothing to do\n";
    }
    std::string text;
    std::size_t number = 0;
    for (const PlanOp& op : plan.ops()) {
        text += op_text(replay, vm, op, ++number);
    }
    return text + cost_text(plan.cost);
}

std::string refusal_text(const replay::Replay& replay, const Vm& vm, const BindError& refusal) {
    std::string text =
        fmt::format("  refused: {}: {}\n", to_string(refusal.status), printable(replay::describe(refusal)));
    if (refusal.status == Status::kGranuleCut) {
        const Mapping& mapping = refusal.plan.mapping;
        text += fmt::format("  the leaf belongs to {}", backing_text(replay, mapping.shows));
        const std::uint64_t line = replay.line_of(vm, mapping.shows.serial);
        text += line == 0 ? "\n" : fmt::format(", mapped at line {}\n", line);
    }
    return text;
}

Json request_json(const replay::Replay& replay, const Vm& vm, const BindRequest& request) {
    Json json{
        {"kind", name_of(request.kind)},
        {"va", range_json(request.va)},
        {"unmap_policy", to_string(request.policy)},
        {"leaves", to_string(request.leaves)},
    };
    if (request.kind == BindRequest::Kind::kMap) {
        json["shows"] = backing_json(replay, vm, request.shows);
    }
    return json;
}

Json ops_json(const replay::Replay& replay, const Vm& vm, const Plan& plan) {
    Json ops = Json::array();
    for (const PlanOp& op : plan.ops()) {
        Json json{{"kind", to_string(op.kind)}, {"purpose", to_string(op.purpose)}, {"va", range_json(op.va)}};
        if (op.kind == PlanOp::Kind::kMap) {
            json["shows"] = backing_json(replay, vm, op.shows);
            json["leaves"] = to_string(op.leaves);
        }
        ops.push_back(std::move(json));
    }
    return ops;
}

Json cost_json(const PlanCost& cost) {
    return {
        {"tables", cost.tables},
        {"granules", cost.granules},
        {"kernel_cuts", cost.kernel_cuts},
        {"residual_bytes", cost.residual_bytes},
        {"exposed_bytes", cost.exposed_bytes},
        {"enlarged_bytes", cost.enlarged_bytes},
        {"locked", cost.locked.empty() ? Json() : range_json(cost.locked)},
    };
}

Json refusal_json(const BindError& refusal) {
    const bool cut = refusal.status == Status::kGranuleCut;
    return {
        {"status", to_string(refusal.status)},
        {"message", replay::describe(refusal)},
        {"granule", cut ? range_json(refusal.plan.granule) : Json()},
        {"mapping", cut ? range_json(refusal.plan.mapping.va) : Json()},
        {"label", cut ? Json(refusal.label.view()) : Json()},
    };
}

}  // namespace

Explanation explain(const Vm& vm, const BindRequest& request) {
    Explanation explanation;
    explanation.request = request;
    const Result<Plan, BindError> plan = vm.explain(request);
    if (plan) {
        explanation.plan = *plan;
    } else {
        explanation.refusal = plan.error();
    }
    return explanation;
}

std::string explanation_text(const replay::Replay& replay, const Vm& vm, const Explanation& explanation) {
    if (!explanation.remark.empty()) {
        return explanation.remark + "\n";
    }
    const std::string request = request_text(replay, explanation.request) + "\n";
    return request + (explanation.plan ? plan_text(replay, vm, *explanation.plan)
                                       : refusal_text(replay, vm, *explanation.refusal));
}

Json explanation_json(const replay::Replay& replay, const Vm& vm, const Explanation& explanation) {
    if (!explanation.remark.empty()) {
        return {{"remark", explanation.remark}};
    }
    Json json{{"request", request_json(replay, vm, explanation.request)}};
    json["refused"] = explanation.refusal ? refusal_json(*explanation.refusal) : Json();
    json["ops"] = explanation.plan ? ops_json(replay, vm, *explanation.plan) : Json();
    json["cost"] = explanation.plan ? cost_json(explanation.plan->cost) : Json();
    return json;
}

}  // namespace granule::cli
