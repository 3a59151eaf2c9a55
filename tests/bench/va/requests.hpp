// Sizes and alignments of the VA workloads, in units.
//
//     M   4 KiB to 64 MiB, log-uniform, aligned by size: 4 KiB below 64 KiB, 64 KiB below 2 MiB, else 2 MiB
//     T   tiles: 64 KiB to 2 MiB in steps of 64 KiB, aligned to 64 KiB
//     S   256 B to 64 KiB, unaligned; a unit is 256 B
//
// Thread-safety: pure functions.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "tests/bench/harness/random.hpp"

namespace granule::bench {

struct UnitRequest {
    std::uint32_t units = 0;
    std::uint32_t alignment = 1;
};

enum class Mix : char { kM = 'M', kT = 'T', kS = 'S' };

// The least whole number from 2^0 to 2^octaves, log-uniform.
[[nodiscard]] inline std::uint32_t log_uniform(Random& random, int octaves) {
    return static_cast<std::uint32_t>(std::ceil(std::exp2(random.unit() * octaves)));
}

[[nodiscard]] inline UnitRequest draw(Mix mix, Random& random) {
    switch (mix) {
        case Mix::kM: {
            const std::uint32_t units = log_uniform(random, 14);
            return {units, units < 16 ? 1U : (units < 512 ? 16U : 512U)};
        }
        case Mix::kT:
            return {16 * log_uniform(random, 5), 16};
        case Mix::kS:
            return {log_uniform(random, 8), 1};
    }
    return {};
}

// Twice what `n` allocations take on average, at least 65536.
[[nodiscard]] inline std::uint64_t capacity_for(Mix mix, std::uint32_t n) {
    constexpr int kDraws = 200'000;
    Random random(1);
    double sum = 0;
    for (int i = 0; i < kDraws; ++i) {
        sum += draw(mix, random).units;
    }
    const auto units = static_cast<std::uint64_t>(sum / kDraws * n * 2);
    return std::max<std::uint64_t>((units + 511) / 512 * 512, 65536);
}

}  // namespace granule::bench
