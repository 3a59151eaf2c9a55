// What the runner was asked for: runner.cpp reads it from the command line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace granule::bench {

struct Options {
    std::string section;
    std::vector<std::uint32_t> n{1000, 10'000, 100'000, 1'000'000};
    double seconds = 2;         // of rounds, for each table cell: N and workload
    int rounds = 15;            // at most
    int repeats = 2;            // of the rounds of a cell, at most, where the empty loop moved; rounds.hpp
    double set_up_seconds = 0;  // what one subject's set-up and warm-up may take each; 0: as `seconds` says
    bool instructions = false;  // count them under callgrind instead of taking times: one chunk, see collected.hpp
    std::string only;           // subjects whose name has this in it; empty: all

    [[nodiscard]] bool wants(const char* subject) const { return std::string(subject).find(only) != std::string::npos; }
    // Of what is not allowed to take long: what one subject's set-up may take, one subject's warm-up, its latencies.
    [[nodiscard]] double fill_seconds() const { return set_up_seconds > 0 ? set_up_seconds : 4 * seconds; }
    [[nodiscard]] double warm_seconds() const { return set_up_seconds > 0 ? set_up_seconds : seconds / 2; }
    [[nodiscard]] double latency_seconds() const { return seconds / 10; }
};

}  // namespace granule::bench
