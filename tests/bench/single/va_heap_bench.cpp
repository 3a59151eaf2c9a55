// Single operations of the VA heap, in a heap that is churned: N live ranges of the mix M (../va/requests.hpp).
//
//     pair         release by its range, and an allocation
//     pair_handle  the same by way of the handle that `lease` gave
//     fixed        release, and the same addresses again by allocate_at
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "allocator/va_heap.hpp"
#include "tests/bench/harness/random.hpp"
#include "tests/bench/va/requests.hpp"

namespace {

using granule::kPageBytes;
using granule::Va;
using granule::VaHandle;
using granule::VaHeap;
using granule::VaHeapConfig;
using granule::VaRange;
using granule::VaRequest;
using granule::VaZone;
using granule::bench::Mix;
using granule::bench::Random;
using granule::bench::UnitRequest;

class Churned {
public:
    explicit Churned(std::uint32_t n) : heap_(make(n)) {
        for (std::uint32_t i = 0; i < n; ++i) {
            leases_.push_back(lease());
        }
        for (std::uint32_t i = 0; i < 2 * n; ++i) {
            auto& [range, handle] = any();
            static_cast<void>(heap_.release_checked(range, handle));
            any_last() = lease();
        }
    }

    [[nodiscard]] VaHeap& heap() { return heap_; }
    [[nodiscard]] std::pair<VaRange, VaHandle>& any() {
        last_ = random_.below(static_cast<std::uint32_t>(leases_.size()));
        return leases_[last_];
    }
    [[nodiscard]] VaRequest request() {
        const UnitRequest drawn = draw(Mix::kM, random_);
        VaRequest request;
        request.size = drawn.units * kPageBytes;
        request.alignment = drawn.alignment * kPageBytes;
        return request;
    }
    [[nodiscard]] std::pair<VaRange, VaHandle> lease() {
        const auto leased = heap_.lease(request());
        if (!leased) {
            std::abort();
        }
        return {leased->range, leased->handle};
    }

private:
    static VaHeap make(std::uint32_t n) {
        constexpr Va kFirst{std::uint64_t{1} << 40};
        VaHeapConfig config;
        config.zones[static_cast<std::size_t>(VaZone::kMain)] = {
            kFirst, kFirst + granule::bench::capacity_for(Mix::kM, n) * kPageBytes};
        auto heap = VaHeap::create(config);
        if (!heap) {
            std::abort();
        }
        return std::move(*heap);
    }
    [[nodiscard]] std::pair<VaRange, VaHandle>& any_last() { return leases_[last_]; }

    VaHeap heap_;
    Random random_{42};
    std::uint32_t last_ = 0;
    std::vector<std::pair<VaRange, VaHandle>> leases_;
};

void pair(benchmark::State& state) {
    Churned churned(static_cast<std::uint32_t>(state.range(0)));
    for (auto _ : state) {
        auto& [range, handle] = churned.any();
        churned.heap().release(range);
        range = churned.heap().allocate(churned.request()).value();
    }
}

void pair_handle(benchmark::State& state) {
    Churned churned(static_cast<std::uint32_t>(state.range(0)));
    for (auto _ : state) {
        auto& lease = churned.any();
        static_cast<void>(churned.heap().release_checked(lease.first, lease.second));
        lease = churned.lease();
    }
}

void fixed(benchmark::State& state) {
    Churned churned(static_cast<std::uint32_t>(state.range(0)));
    for (auto _ : state) {
        const VaRange range = churned.any().first;
        churned.heap().release(range);
        benchmark::DoNotOptimize(churned.heap().allocate_at(range));
    }
}

void counts(benchmark::internal::Benchmark* benchmark) {
    benchmark->Arg(1000)->Arg(10'000)->Arg(100'000)->Arg(1'000'000);
}

BENCHMARK(pair)->Apply(counts);
BENCHMARK(pair_handle)->Apply(counts);
BENCHMARK(fixed)->Apply(counts);

}  // namespace

BENCHMARK_MAIN();
