// Section map: the map of mappings, one operation at a time and as a batch, beside ordered containers.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "tests/bench/harness/rounds.hpp"
#include "tests/bench/harness/sections.hpp"
#include "tests/bench/map/interval_map.hpp"
#include "tests/bench/map/map_run.hpp"
#include "tests/bench/map/trace.hpp"
#include "tests/bench/peers/candidate_map.hpp"

namespace granule::bench {
namespace {

constexpr std::size_t kChunk = 20'000;

// One call at a time: nobody says what comes next.
class OneByOne {
public:
    static constexpr const char* name = "granule";
    static constexpr Role kRole = Role::kOurs;

    void init(std::uint32_t expected) { map_.init(expected); }
    void map(std::uint64_t va, std::uint64_t length, std::uint32_t bo, std::uint64_t offset) {
        map_.map(va, length, bo, offset);
    }
    void unmap(std::uint64_t va, std::uint64_t length) { map_.unmap(va, length); }
    [[nodiscard]] bool find(std::uint64_t va, std::uint32_t& bo, std::uint64_t& offset) {
        return map_.find(va, bo, offset);
    }
    [[nodiscard]] std::uint64_t unmapped_bytes() const { return map_.unmapped_bytes(); }
    [[nodiscard]] std::size_t mapped_bytes() const { return granule::bench::mapped_bytes(map_); }
    template <class Visitor>
    void for_each(Visitor&& visitor) const {
        map_.for_each(visitor);
    }

private:
    CandidateMap map_;
};

// Operations that are known beforehand, as those of a transaction are: each is announced before it comes.
struct Batched : Ours<CandidateMap> {
    static constexpr const char* name = "granule, batch";
};

// The first of the subjects is the empty loop.
template <class... Subjects>
void play(int workload, std::uint32_t n, const Options& options, Records& records) {
    const std::string test = fmt::format("W{} N={}", workload, n);
    static_cast<void>(std::fprintf(stderr, "map: %s\n", test.c_str()));
    MapTrace trace(workload, n);
    auto runs = std::make_tuple(std::make_unique<MapRun<Subjects>>(n)...);
    const auto each = [&](auto&& step) {
        for_each_subject(runs, [&]<class Subject>(MapRun<Subject>& run) {
            if (options.wants(Subject::name) || Subject::kRole == Role::kNull) {
                step(run);
            }
        });
    };
    std::vector<MapOperation> operations(kChunk);
    for (std::uint64_t left = trace.preload_operations(); left > 0; left -= operations.size()) {
        operations.resize(std::min<std::uint64_t>(left, 1U << 20));
        trace.next(operations);
        each([&](auto& run) { run.preload(operations); });
    }
    each([&](auto& run) { run.preloaded(); });

    operations.resize(kChunk);
    std::vector<std::uint64_t> queries(kChunk);
    const auto next = [&] {
        trace.next(operations);
        for (std::uint64_t& va : queries) {
            va = operations[trace.below(kChunk)].va;
        }
    };
    if (options.instructions) {
        next();
        each([&](auto& run) { run.count_instructions(test, operations, queries); });
        return;
    }
    take_rounds(
        options, options.seconds,
        [&](int) {
            next();
            each([&](auto& run) { run.round(operations, queries); });
        },
        [&] { return std::get<0>(runs)->moved(); }, [&] { each([](auto& run) { run.forget_rounds(); }); });
    next();
    each([&](auto& run) { run.time_single_operations(operations); });
    MapAnswers answers;
    each([&](auto& run) { run.compare(answers); });
    each([&](auto& run) { run.report(records, test); });
}

}  // namespace

void run_map_section(const Options& options, Records& records) {
    for (const std::uint32_t n : options.n) {
        for (const int workload : {1, 2, 3}) {
            play<NullMap, StdIntervals, AbslIntervals, OneByOne, Batched>(workload, n, options, records);
        }
    }
}

}  // namespace granule::bench
