// The VA heap, the slow and obvious way: what the exhaustive and random tests compare with.
//
// Pages, not bytes, and nothing of the heap's own arithmetic: places are tried, not computed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "allocator/va_request.hpp"

namespace granule::test {

// Does a range that starts at page `start` satisfy the request by itself, whatever is free?
inline bool satisfies(const VaRequest& request, std::uint64_t start) {
    const std::uint64_t pages = request.size / kPageBytes;
    const std::uint64_t guard = request.guard / kPageBytes;
    if (start < guard || (start * kPageBytes) % request.alignment != request.phase) {
        return false;
    }
    if (request.boundary != 0) {
        const std::uint64_t window = request.boundary / kPageBytes;
        return (start - guard) / window == (start + pages + guard - 1) / window;
    }
    return true;
}

// Is there a place for the request within the free pages [first, end)? Steps from one place that the alignment allows
// to the next; those that only a boundary refuses are left behind a window at a time. Places repeat with the larger of
// alignment and boundary, so that two turns have seen them all.
inline bool has_place(const VaRequest& request, std::uint64_t first, std::uint64_t end) {
    const std::uint64_t pages = request.size / kPageBytes;
    const std::uint64_t guard = request.guard / kPageBytes;
    const std::uint64_t step = request.alignment / kPageBytes;
    const std::uint64_t phase = request.phase / kPageBytes;
    const auto next_place = [&](std::uint64_t from) {
        const std::uint64_t start = from / step * step + phase;
        return start >= from ? start : start + step;
    };
    const std::uint64_t window = request.boundary / kPageBytes;
    const std::uint64_t seen_all = first + guard + 2 * std::max(step, window);
    for (std::uint64_t start = next_place(first + guard); start + pages + guard <= end && start <= seen_all;) {
        if (satisfies(request, start)) {
            return true;
        }
        const std::uint64_t next_window = ((start - guard) / window + 1) * window;
        start = next_place(next_window + guard > start + 1 ? next_window + guard : start + 1);
    }
    return false;
}

// Occupied runs of pages (guards included) in [first, end) by start.
class IntervalOracle {
public:
    IntervalOracle(std::uint64_t first, std::uint64_t end) : first_(first), end_(end) {}

    [[nodiscard]] bool fits(const VaRequest& request) const {
        std::uint64_t free_from = first_;
        for (const auto& [start, stop] : taken_) {
            if (has_place(request, free_from, start)) {
                return true;
            }
            free_from = stop;
        }
        return has_place(request, free_from, end_);
    }
    [[nodiscard]] bool is_free(std::uint64_t from, std::uint64_t to) const {
        return from >= first_ && to <= end_ && !occupant(from, to).has_value();
    }
    // The lowest occupied run in [from, to).
    [[nodiscard]] std::optional<std::pair<std::uint64_t, std::uint64_t>> occupant(std::uint64_t from,
                                                                                  std::uint64_t to) const {
        auto at = taken_.upper_bound(from);
        if (at != taken_.begin() && std::prev(at)->second > from) {
            return *std::prev(at);
        }
        if (at != taken_.end() && at->first < to) {
            return *at;
        }
        return std::nullopt;
    }
    void take(std::uint64_t from, std::uint64_t to) { taken_[from] = to; }
    void give_back(std::uint64_t from) { taken_.erase(from); }

    [[nodiscard]] std::vector<std::pair<std::uint64_t, std::uint64_t>> holes() const {
        std::vector<std::pair<std::uint64_t, std::uint64_t>> all;
        std::uint64_t free_from = first_;
        for (const auto& [start, stop] : taken_) {
            if (free_from < start) {
                all.emplace_back(free_from, start);
            }
            free_from = stop;
        }
        if (free_from < end_) {
            all.emplace_back(free_from, end_);
        }
        return all;
    }

private:
    std::uint64_t first_;
    std::uint64_t end_;
    std::map<std::uint64_t, std::uint64_t> taken_;
};

}  // namespace granule::test
