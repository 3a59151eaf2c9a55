#include "tests/bench/harness/records.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/bench/harness/statistics.hpp"

namespace granule::bench {

void Records::put(const std::string& test, Role role, const std::string& who, const std::string& metric, double value) {
    values_.push_back({test, who, metric, value});
    const auto known = [&](const auto& pair) { return pair.first == who; };
    if (std::none_of(roles_.begin(), roles_.end(), known)) {
        roles_.emplace_back(who, role);
    }
}

void Records::check_drift(const std::string& test, double moved) {
    if (moved > kMostDrift) {
        disturbed_.push_back(fmt::format("{}: the empty loop moved by {:.0f} %", test, moved * 100));
    }
}

nlohmann::ordered_json Records::to_json() const {
    nlohmann::ordered_json roles = nlohmann::ordered_json::object();
    for (const auto& [who, role] : roles_) {
        roles[who] = to_string(role);
    }
    nlohmann::ordered_json tests = nlohmann::ordered_json::object();
    for (const Value& value : values_) {
        tests[value.test][value.who][value.metric] = value.value;
    }
    return {{"roles", roles}, {"tests", tests}, {"disturbed", disturbed_}};
}

}  // namespace granule::bench
