// Instruction counts by callgrind: what runs inside `collect` is counted, everything else is not.
//
//     valgrind --tool=callgrind --collect-atstart=no ... --instructions
//
// Each call becomes one dump, whose label is "TEST|SUBJECT|METRIC|OPERATIONS": report/instructions.py adds them up. Without
// valgrind's header, or outside valgrind, the work is run and nothing is counted.
#pragma once

#include <cstdint>
#include <string>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_ZERO_STATS
#define CALLGRIND_TOGGLE_COLLECT
#define CALLGRIND_DUMP_STATS_AT(label) static_cast<void>(label)
#endif

namespace granule::bench {

template <class Work>
void collect(const std::string& test, const char* who, const char* metric, std::uint64_t operations, Work&& work) {
    const std::string label = test + "|" + who + "|" + metric + "|" + std::to_string(operations);
    CALLGRIND_ZERO_STATS;
    CALLGRIND_TOGGLE_COLLECT;
    work();
    CALLGRIND_TOGGLE_COLLECT;
    CALLGRIND_DUMP_STATS_AT(label.c_str());
}

}  // namespace granule::bench
