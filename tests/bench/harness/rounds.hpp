// The rounds of a cell: each subject takes a chunk in each, until the time is over. Where the empty loop did not keep still
// meanwhile, somebody else was at work: the rounds are forgotten and taken again, `Options::repeats` times at most. What moved
// to the last is reported as disturbed (`Records::check_drift`).
#pragma once

#include "tests/bench/harness/options.hpp"
#include "tests/bench/harness/statistics.hpp"
#include "tests/bench/harness/stopwatch.hpp"

namespace granule::bench {

// `round(number)`: all subjects, one chunk each. `moved()`: the empty loop's drift so far. `forget()`: what the rounds found.
template <class Round, class Moved, class Forget>
void take_rounds(const Options& options, double limit_s, Round&& round, Moved&& moved, Forget&& forget) {
    for (int repeats = options.repeats;; --repeats) {
        const double begin = seconds();
        for (int number = 0; number < options.rounds && (number < 3 || seconds() - begin < limit_s); ++number) {
            round(number);
        }
        if (repeats <= 0 || moved() <= kMostDrift) {
            return;
        }
        forget();
    }
}

}  // namespace granule::bench
