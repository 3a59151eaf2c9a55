// Single operations of the map of mappings, with N tiles of 64 KiB in it, half of as many places.
//
//     find      the mapping of an address
//     replace   a mapping over whatever is there
//     erase     a tile goes, and comes back
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>

#include "allocator/mapping_map.hpp"
#include "tests/bench/harness/random.hpp"

namespace {

using granule::Mapping;
using granule::MappingMap;
using granule::Va;
using granule::VaRange;
using granule::bench::Random;

constexpr std::uint64_t kTileBytes = std::uint64_t{64} << 10;

class Tiles {
public:
    explicit Tiles(std::uint32_t n) : places_(2 * n) {
        for (std::uint32_t i = 0; i < n; ++i) {
            put(random_.below(places_));
        }
    }
    [[nodiscard]] MappingMap& map() { return map_; }
    [[nodiscard]] std::uint32_t any() { return random_.below(places_); }
    [[nodiscard]] static VaRange range(std::uint32_t place) {
        const Va start{place * kTileBytes};
        return {start, start + kTileBytes};
    }
    void put(std::uint32_t place) {
        if (!map_.hold(1, kTileBytes / granule::kPageBytes)) {
            std::abort();
        }
        map_.replace(Mapping{range(place), {granule::BoId{1}, granule::BoOffset{place * kTileBytes}, {}, {}}});
        map_.settle();
    }
    void remove(std::uint32_t place) {
        map_.erase(range(place));
        map_.settle();
    }

private:
    MappingMap map_;
    Random random_{7};
    std::uint32_t places_;
};

void find(benchmark::State& state) {
    Tiles tiles(static_cast<std::uint32_t>(state.range(0)));
    for (auto _ : state) {
        benchmark::DoNotOptimize(tiles.map().find(Tiles::range(tiles.any()).start));
    }
}

void replace(benchmark::State& state) {
    Tiles tiles(static_cast<std::uint32_t>(state.range(0)));
    for (auto _ : state) {
        tiles.put(tiles.any());
    }
}

void erase(benchmark::State& state) {
    Tiles tiles(static_cast<std::uint32_t>(state.range(0)));
    for (auto _ : state) {
        const std::uint32_t place = tiles.any();
        tiles.remove(place);
        tiles.put(place);
    }
}

void counts(benchmark::internal::Benchmark* benchmark) {
    benchmark->Arg(1000)->Arg(10'000)->Arg(100'000)->Arg(1'000'000);
}

BENCHMARK(find)->Apply(counts);
BENCHMARK(replace)->Apply(counts);
BENCHMARK(erase)->Apply(counts);

}  // namespace

BENCHMARK_MAIN();
