// Single operations of the page table, over the pool of tables that the comparison uses (../harness/table_pool.hpp).
//
//     pages    map and unmap a run of so many 4 KiB pages at random in 1 GiB
//     blocks   the same with 2 MiB blocks, at random in 64 GiB
//     walk     translate an address at random in 1 GiB of 4 KiB pages
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>

#include "tests/bench/harness/random.hpp"
#include "tests/bench/harness/table_pool.hpp"
// After the pool, whose name it uses.
#include "tests/bench/peers/candidate_pt.hpp"

namespace {

using granule::bench::Random;

constexpr std::uint64_t kSmall = 4096;
constexpr std::uint64_t kLarge = std::uint64_t{2} << 20;
constexpr std::uint64_t kVa = std::uint64_t{1} << 32;
constexpr std::uint64_t kPa = std::uint64_t{1} << 33;
constexpr std::uint64_t kSpanPages = std::uint64_t{1} << 18;

void map_and_unmap(benchmark::State& state, std::uint64_t page_size, std::uint64_t places) {
    TablePool pool;
    CandidatePt table(pool);
    const auto count = static_cast<std::uint64_t>(state.range(0));
    Random random(3);
    for (auto _ : state) {
        const std::uint64_t va = kVa + random.below(static_cast<std::uint32_t>(places / count)) * count * page_size;
        if (!table.map(va, kPa, page_size, count) || !table.unmap(va, page_size, count)) {
            std::abort();
        }
    }
}

void pages(benchmark::State& state) {
    map_and_unmap(state, kSmall, kSpanPages);
}
void blocks(benchmark::State& state) {
    map_and_unmap(state, kLarge, 32'768);
}

void walk(benchmark::State& state) {
    TablePool pool;
    CandidatePt table(pool);
    if (!table.map(kVa, kPa, kSmall, kSpanPages)) {
        std::abort();
    }
    Random random(4);
    for (auto _ : state) {
        benchmark::DoNotOptimize(table.iova_to_phys(kVa + random.below(kSpanPages) * kSmall));
    }
}

BENCHMARK(pages)->Arg(1)->Arg(16)->Arg(512)->Arg(16'384);
BENCHMARK(blocks)->Arg(1)->Arg(8)->Arg(512);
BENCHMARK(walk);

}  // namespace

BENCHMARK_MAIN();
