// What storing the same descriptors costs where nothing else is done: in each round, beside the page tables, 128 KiB and
// 2 MiB of them (as 64 MiB and 1 GiB of 4 KiB pages have) into tables that are in the caches, by every way that this CPU has.
//
// Thread-safety: none. Failure: std::bad_alloc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/harness/records.hpp"
#include "tests/bench/harness/statistics.hpp"
#include "tests/bench/harness/stopwatch.hpp"
#include "tests/bench/store_limits.hpp"

namespace granule::bench {

class StoreRun {
public:
    void round() {
        for (const StoreWay& way : ways_) {
            for (const std::size_t bytes : {kSmallBytes, kLargeBytes}) {
                const std::size_t entries = bytes / sizeof(std::uint64_t);
                way.store(words(), entries, 1);
                const double ns = time_ns([&] { way.store(words(), entries, 2); });
                ns_[{bytes, way.name}].push_back(ns / static_cast<double>(entries));
            }
        }
    }

    void forget_rounds() { ns_.clear(); }

    // Of each size the ways, and the fastest of them.
    void report(Records& records) const {
        for (const std::size_t bytes : {kSmallBytes, kLargeBytes}) {
            const std::string test = bytes == kSmallBytes ? "stores 128 KiB" : "stores 2 MiB";
            double best = 0;
            for (const StoreWay& way : ways_) {
                const double ns = median(ns_.at({bytes, way.name}));
                records.put(test, Role::kLimit, std::string("stores: ") + way.name, "ns", ns);
                best = best == 0 || ns < best ? ns : best;
            }
            records.put(test, Role::kLimit, "stores: fastest", "ns", best);
        }
    }

private:
    static constexpr std::size_t kSmallBytes = std::size_t{128} << 10;
    static constexpr std::size_t kLargeBytes = std::size_t{2} << 20;

    struct alignas(4096) Table {
        std::uint64_t entries[512];  // NOLINT(modernize-avoid-c-arrays): a table as the hardware has it
    };

    [[nodiscard]] std::uint64_t* words() { return &tables_[0].entries[0]; }

    std::vector<StoreWay> ways_ = store_ways();
    std::vector<Table> tables_ = std::vector<Table>(kLargeBytes / sizeof(Table));
    std::map<std::pair<std::size_t, std::string>, std::vector<double>> ns_;
};

}  // namespace granule::bench
