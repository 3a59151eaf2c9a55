// What the machine allows: nanoseconds per 8 bytes stored, which no page table can be faster than.
//
// Each way of storing (StoreWay) writes a buffer in three ways:
//
//     hot        once more: in the caches as far as it fits
//     cold       front to back, after every line of it was thrown out of the caches
//     scattered  4 KiB tables in random order, thrown out before: fresh tables of a pool
//
// The ways that this CPU has are measured in turn, round by round, so that what disturbs the machine disturbs all of
// them; a figure is the median of its rounds. Buffers ask for huge pages and are touched before.
//
// Thread-safety: none needed; one buffer at a time, given back at the end. Failure: std::bad_alloc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace granule::bench {

// Fills `count` entries from `first` on, aligned to 64 bytes, `count` a multiple of 512. Weakly ordered stores are
// fenced at the end.
struct StoreWay {
    const char* name;  // "memset", "8 bytes", "16 bytes", "32 bytes", "64 bytes", "16 bytes streaming", ...
    void (*store)(std::uint64_t* first, std::size_t count, std::uint64_t value) noexcept;
};

// Those that this CPU has, memset first.
[[nodiscard]] std::vector<StoreWay> store_ways();

struct StoreLimit {
    const char* way = nullptr;  // of store_ways()
    std::size_t bytes = 0;      // of the buffer
    double hot_ns = 0;          // per 8 bytes
    double cold_ns = 0;         //
    double scattered_ns = 0;    //
};

inline constexpr double kDefaultStoreSeconds = 1;

// All ways at each size, in this order; sizes are multiples of 4 KiB. Takes about `seconds` a size, and three rounds at
// least.
[[nodiscard]] std::vector<StoreLimit> measure_store_limits(const std::vector<std::size_t>& sizes,
                                                           double seconds = kDefaultStoreSeconds);

// The least of one column over the ways, of the size nearest to `bytes`: what a ratio to the limit is made with.
[[nodiscard]] StoreLimit best_store_limit(const std::vector<StoreLimit>& limits, std::size_t bytes);

}  // namespace granule::bench
