#include "tests/bench/harness/stopwatch.hpp"

#ifdef __x86_64__
#include <x86intrin.h>
#endif

#include <algorithm>
#include <chrono>

namespace granule::bench {

double seconds() noexcept {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::uint64_t ticks() noexcept {
#if defined(__x86_64__)
    unsigned processor = 0;
    return __rdtscp(&processor);
#elif defined(__aarch64__)
    std::uint64_t count = 0;
    asm volatile("isb; mrs %0, cntvct_el0" : "=r"(count));
    return count;
#else
    return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

double ticks_per_ns() noexcept {
    static const double rate = [] {
        const double begin = seconds();
        const std::uint64_t first = ticks();
        while (seconds() - begin < 0.05) {
        }
        return static_cast<double>(ticks() - first) / ((seconds() - begin) * 1e9);
    }();
    return rate;
}

std::uint64_t ticks_of_nothing() noexcept {
    static const std::uint64_t least = [] {
        std::uint64_t best = UINT64_MAX;
        for (int i = 0; i < 100'000; ++i) {
            const std::uint64_t begin = ticks();
            best = std::min(best, ticks() - begin);
        }
        return best;
    }();
    return least;
}

}  // namespace granule::bench
