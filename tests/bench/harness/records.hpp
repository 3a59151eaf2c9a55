// The results of one section: values[test][subject][metric], in the order in which they came, and what disturbed them.
//
//     { "roles": {"granule": "granule", ...},
//       "tests": {"M N=1000": {"granule": {"pair_ns": 35.2, ...}, ...}, ...},
//       "disturbed": ["M N=1000: the empty loop moved by 21 %"] }
//
// Thread-safety: none.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/bench/harness/subject.hpp"

namespace granule::bench {

class Records {
public:
    // A subject is known by its name.
    void put(const std::string& test, Role role, const std::string& who, const std::string& metric, double value);
    // `moved`: how far the halves of the empty loop's measurements lie apart.
    void check_drift(const std::string& test, double moved);

    [[nodiscard]] nlohmann::ordered_json to_json() const;

private:
    struct Value {
        std::string test;
        std::string who;
        std::string metric;
        double value = 0;
    };
    std::vector<Value> values_;
    std::vector<std::pair<std::string, Role>> roles_;
    std::vector<std::string> disturbed_;
};

}  // namespace granule::bench
