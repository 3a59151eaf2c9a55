// What is made of many measurements of the same thing.
//
// Thread-safety: pure functions.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
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

// How far the medians of the two halves lie apart, as a part of the lower one: beyond 0.15 something disturbed the run.
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
