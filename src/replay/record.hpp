// What all parts of a replay share: how it is to be done, where it is, and what it has found so far.
//
// Thread-safety: none.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "src/replay/options.hpp"
#include "src/replay/result.hpp"
#include "src/replay/stop.hpp"
#include "src/replay/traced.hpp"

namespace granule::replay {

struct Record {
    static constexpr std::size_t kMaxFindings = 20;

    const Options options;
    std::uint64_t line = 0;  // of the call that is being played
    FileKey key;             // and its file
    Counts counts;
    std::vector<Finding> findings;  // the first of them
    std::vector<Leftover> leftovers;

    void find_fault(std::string what) {
        ++counts.mismatches;
        if (findings.size() < kMaxFindings) {
            findings.push_back({line, std::move(what)});
        }
    }
    [[nodiscard]] Stop bad(std::string what, std::string would_be_right) const {
        return {Stop::Kind::kBadTrace, line, std::move(what), std::move(would_be_right), {}};
    }
    [[nodiscard]] Stop refused(const BindError& error) const {
        return {Stop::Kind::kRefused, line, describe(error), "", error};
    }
    [[nodiscard]] Stop refused(Status status) const {
        BindError error;
        error.status = status;
        return refused(error);
    }
};

}  // namespace granule::replay
