// A change of a VM that is planned and not made: the plan in words and in JSON.
#pragma once

#include <optional>
#include <string>

#include "allocator/plan.hpp"
#include "src/cli/json.hpp"
#include "src/replay/replay.hpp"

namespace granule::cli {

struct Explanation {
    std::string remark;  // why there is nothing to plan; empty where there is
    BindRequest request;
    std::optional<Plan> plan;          // without a remark: this ...
    std::optional<BindError> refusal;  // ... or this
};

[[nodiscard]] Explanation explain(const Vm& vm, const BindRequest& request);

[[nodiscard]] std::string explanation_text(const replay::Replay& replay, const Vm& vm, const Explanation& explanation);
[[nodiscard]] Json explanation_json(const replay::Replay& replay, const Vm& vm, const Explanation& explanation);

}  // namespace granule::cli
