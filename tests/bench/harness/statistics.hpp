// What is made of many measurements of the same thing.
//
// Thread-safety: pure functions.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace granule::bench {

// 0 of none.
template <class T>
[[nodiscard]] T quantile(std::vector<T> values, double q) {
    if (values.empty()) {
        return T{};
    }
    const auto at = std::min(values.size() - 1, static_cast<std::size_t>(q * static_cast<double>(values.size())));
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(at);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

template <class T>
[[nodiscard]] T median(const std::vector<T>& values) {
    return quantile(values, 0.5);
}

// Of all but the highest hundredth, which is of interrupts: finer than a median where the clock is coarse.
[[nodiscard]] inline double trimmed_mean(std::vector<std::uint32_t> values) {
    if (values.empty()) {
        return 0;
    }
    std::sort(values.begin(), values.end());
    values.resize(std::max<std::size_t>(1, values.size() - values.size() / 100));
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// What the empty loop may move by: beyond it, something disturbed the run.
inline constexpr double kMostDrift = 0.15;

// How far the medians of the two halves lie apart, as a part of the lower one.
[[nodiscard]] inline double drift(const std::vector<double>& values) {
    const auto half = static_cast<std::ptrdiff_t>(values.size() / 2);
    if (half == 0) {
        return 0;
    }
    const double first = median(std::vector<double>(values.begin(), values.begin() + half));
    const double second = median(std::vector<double>(values.begin() + half, values.end()));
    return std::abs(first - second) / std::max(1e-9, std::min(first, second));
}

}  // namespace granule::bench
