// One map of mappings through one workload: preload until the number of mappings is steady, rounds of operations and of
// look-ups, single operations.
//
// All subjects end in the same state, have removed the same bytes and found the same mappings, or the run ends.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/bench/harness/collected.hpp"
#include "tests/bench/harness/heap_count.hpp"
#include "tests/bench/harness/records.hpp"
#include "tests/bench/harness/statistics.hpp"
#include "tests/bench/harness/stopwatch.hpp"
#include "tests/bench/map/trace.hpp"

namespace granule::bench {

// What all must agree about.
struct MapAnswers {
    std::uint64_t state = 0;
    std::uint64_t unmapped = 0;
    std::uint64_t found = 0;
    bool known = false;
};

template <class Subject>
class MapRun {
public:
    explicit MapRun(std::uint32_t n) { subject_.init(n); }

    void preload(const std::vector<MapOperation>& operations) {
        const std::size_t before = heap_bytes();
        build_ns_ += time_ns([&] { play(operations); });
        built_ += operations.size();
        bytes_ += heap_bytes() - before;  // may have become less: modulo 2^64
    }
    void preloaded() {
        const std::size_t bytes = bytes_ + mapped_bytes(subject_);
        const std::uint64_t mappings = count_mappings();
        bytes_per_mapping_ = mappings == 0 ? 0 : static_cast<double>(bytes) / static_cast<double>(mappings);
    }

    void round(const std::vector<MapOperation>& operations, const std::vector<std::uint64_t>& queries) {
        op_ns_.push_back(time_ns([&] { play(operations); }) / static_cast<double>(operations.size()));
        std::uint64_t sum = 0;
        find_ns_.push_back(time_ns([&] { sum = find_all(queries); }) / static_cast<double>(queries.size()));
        found_ = found_ * 31 + sum;
    }

    void forget_rounds() {
        op_ns_.clear();
        find_ns_.clear();
    }
    [[nodiscard]] double moved() const { return drift(op_ns_); }

    void count_instructions(const std::string& test, const std::vector<MapOperation>& operations,
                            const std::vector<std::uint64_t>& queries) {
        collect(test, Subject::name, "op", operations.size(), [&] { play(operations); });
        std::uint64_t sum = 0;
        collect(test, Subject::name, "find", queries.size(), [&] { sum = find_all(queries); });
        asm volatile("" : : "r"(sum));
    }

    void time_single_operations(const std::vector<MapOperation>& operations) {
        const std::uint64_t nothing = ticks_of_nothing();
        for (const MapOperation& operation : operations) {
            ticks_.push_back(time_once(nothing, [&] { apply(operation); }));
        }
    }

    void compare(MapAnswers& answers) const {
        if constexpr (Subject::kRole != Role::kNull) {
            const MapAnswers mine{state(), subject_.unmapped_bytes(), found_, true};
            if (!answers.known) {
                answers = mine;
            } else if (answers.state != mine.state) {
                wrong(Subject::name, "the mappings at the end are others");
            } else if (answers.unmapped != mine.unmapped) {
                wrong(Subject::name, "another number of bytes was unmapped");
            } else if (answers.found != mine.found) {
                wrong(Subject::name, "the look-ups found other mappings");
            }
        }
    }

    void report(Records& records, const std::string& test) const {
        const auto put = [&](const char* metric, double value) {
            records.put(test, Subject::kRole, Subject::name, metric, value);
        };
        put("op_ns", median(op_ns_));
        put("find_ns", median(find_ns_));
        put("op_p50_ns", quantile(ticks_, 0.5) / ticks_per_ns());
        put("op_p999_ns", quantile(ticks_, 0.999) / ticks_per_ns());
        put("build_ns", build_ns_ / static_cast<double>(built_));
        put("bytes_per_mapping", bytes_per_mapping_);
        put("mappings", static_cast<double>(count_mappings()));
        if (Subject::kRole == Role::kNull) {
            records.check_drift(test, moved());
        }
    }

private:
    static constexpr std::size_t kAhead = 8;  // operations that a subject which takes hints hears before

    void apply(const MapOperation& operation) {
        if (operation.unmap) {
            subject_.unmap(operation.va, operation.length());
        } else {
            subject_.map(operation.va, operation.length(), operation.bo, operation.offset());
        }
    }
    void play(const std::vector<MapOperation>& operations) {
        for (std::size_t i = 0; i < operations.size(); ++i) {
            if constexpr (requires { subject_.prefetch(std::uint64_t{}); }) {
                if (i + kAhead < operations.size()) {
                    subject_.prefetch(operations[i + kAhead].va);
                }
            }
            apply(operations[i]);
        }
    }
    [[nodiscard]] std::uint64_t find_all(const std::vector<std::uint64_t>& queries) {
        std::uint64_t sum = 0;
        for (const std::uint64_t va : queries) {
            std::uint32_t bo = 0;
            std::uint64_t offset = 0;
            if (subject_.find(va, bo, offset)) {
                sum += (offset ^ bo) * (va | 1);
            }
        }
        return sum;
    }
    [[nodiscard]] std::uint64_t count_mappings() const {
        std::uint64_t count = 0;
        subject_.for_each([&](std::uint64_t, std::uint64_t, std::uint32_t, std::uint64_t) { ++count; });
        return count;
    }
    // Over pages, not over mappings: who merges neighbours is not wrong.
    [[nodiscard]] std::uint64_t state() const {
        std::uint64_t sum = 0;
        subject_.for_each([&](std::uint64_t va, std::uint64_t length, std::uint32_t bo, std::uint64_t offset) {
            for (std::uint64_t at = 0; at < length; at += kPageStride) {
                const std::uint64_t page = (va + at) >> 12;
                sum += (page * 0x9e37'79b9'7f4a'7c15) ^ (((offset + at) >> 12) * 0xbf58'476d'1ce4'e5b9 + bo);
            }
        });
        return sum;
    }
    static constexpr std::uint64_t kPageStride = 4096;

    Subject subject_;
    double build_ns_ = 0;
    std::uint64_t built_ = 0;
    std::size_t bytes_ = 0;
    double bytes_per_mapping_ = 0;
    std::uint64_t found_ = 0;
    std::vector<double> op_ns_;
    std::vector<double> find_ns_;
    std::vector<std::uint32_t> ticks_;
};

}  // namespace granule::bench
