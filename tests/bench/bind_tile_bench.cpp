// A whole bind: one tile of 64 KiB into a sparse window of 2 MiB, from the call to the descriptors in the page table.
//
//     VA   |---- window ----|---- window ----|---- window ----|  ...      each 32 tiles, all of them bound
//               ^ a tile anywhere, at random: `Vm::bind`, which replaces what is there
//
//   replace   another part of a BO over what the tile shows
//   stream    what a virtual texture does: a tile that shows a BO becomes sparse, one that is sparse shows a BO again
//   fresh     unmap and bind: the tile is a hole in between (two calls an iteration)
//
// `replace/100000` has 1e5 mappings. BOs are heaps of 4 MiB, as many as there are tiles to show. The requests are made
// before the clock runs.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "src/soft_device.hpp"

namespace {

using granule::BindRequest;
using granule::BoId;
using granule::BoOffset;
using granule::LeafPolicy;
using granule::Owned;
using granule::SoftDevice;
using granule::SoftDeviceConfig;
using granule::UnmapPolicy;
using granule::Va;
using granule::Vm;
using granule::VmConfig;

constexpr std::uint64_t kTileBytes = std::uint64_t{64} << 10;
constexpr std::uint64_t kHeapBytes = std::uint64_t{4} << 20;
constexpr std::uint64_t kTilesPerHeap = kHeapBytes / kTileBytes;
constexpr Va kFirst{std::uint64_t{1} << 34};
constexpr std::size_t kRequests = std::size_t{1} << 16;

[[noreturn]] void give_up(const char* what) {
    static_cast<void>(std::fprintf(stderr, "bind_tile_bench: %s failed\n", what));
    std::abort();
}

// A VM with `tiles` tiles that show one each of as many tiles of heaps.
class TiledVm {
public:
    explicit TiledVm(std::uint64_t tiles) : tiles_(tiles) {
        SoftDeviceConfig config;
        config.gpu = granule::mali::find_gpu_model("G610");
        config.memory_bytes = std::uint64_t{256} << 30;
        auto device = SoftDevice::create(config);
        if (!device) {
            give_up("SoftDevice::create");
        }
        device_ = std::move(*device);
        for (std::uint64_t heap = 0; heap * kTilesPerHeap < tiles; ++heap) {
            const auto bo = device_->create_bo(kHeapBytes);
            if (!bo) {
                give_up("create_bo");
            }
            heaps_.push_back(*bo);
        }
        auto vm = device_->create_vm(VmConfig{});
        if (!vm) {
            give_up("create_vm");
        }
        vm_ = std::move(*vm);
        std::vector<std::uint64_t> order(tiles);
        for (std::uint64_t tile = 0; tile < tiles; ++tile) {
            order[tile] = tile;
        }
        std::shuffle(order.begin(), order.end(), random_);
        for (std::uint64_t tile = 0; tile < tiles; ++tile) {
            run(map(order[tile], tile));
        }
    }
    TiledVm(const TiledVm&) = delete;
    TiledVm& operator=(const TiledVm&) = delete;
    ~TiledVm() {
        vm_ = {};
        for (const BoId heap : heaps_) {
            device_->bos().release(*device_->bos().find(heap), 1);
        }
    }

    [[nodiscard]] std::uint64_t any_tile() { return random_() % tiles_; }
    [[nodiscard]] BindRequest map(std::uint64_t at, std::uint64_t shows) const {
        BindRequest request = sparse(at);
        request.shows.bo = heaps_[shows / kTilesPerHeap];
        request.shows.offset = BoOffset{shows % kTilesPerHeap * kTileBytes};
        return request;
    }
    [[nodiscard]] static BindRequest sparse(std::uint64_t at) {
        BindRequest request = unmap(at);
        request.kind = BindRequest::Kind::kMap;
        request.leaves = LeafPolicy::kPage;
        return request;
    }
    [[nodiscard]] static BindRequest unmap(std::uint64_t at) {
        BindRequest request;
        request.va = {kFirst + at * kTileBytes, kFirst + (at + 1) * kTileBytes};
        request.policy = UnmapPolicy::kSplit;
        return request;
    }
    void run(const BindRequest& request) {
        if (!vm_->bind(request)) {
            give_up("bind");
        }
    }

    [[nodiscard]] const Vm& vm() const { return *vm_; }

private:
    std::uint64_t tiles_;
    std::mt19937_64 random_{0x74696c6573};
    Owned<SoftDevice> device_;
    std::vector<BoId> heaps_;
    Owned<Vm> vm_;
};

void run_all(benchmark::State& state, TiledVm& tiled, const std::vector<BindRequest>& requests) {
    std::size_t next = 0;
    for (auto _ : state) {
        tiled.run(requests[next]);
        next = next + 1 == requests.size() ? 0 : next + 1;
    }
    const granule::VmStatistics statistics = tiled.vm().statistics();
    const auto mappings = static_cast<double>(statistics.mappings);
    state.counters["mappings"] = mappings;
    state.counters["B/mapping"] = static_cast<double>(statistics.node_bytes) / mappings;
}

void replace(benchmark::State& state) {
    TiledVm tiled(static_cast<std::uint64_t>(state.range(0)));
    std::vector<BindRequest> requests;
    for (std::size_t i = 0; i < kRequests; ++i) {
        requests.push_back(tiled.map(tiled.any_tile(), tiled.any_tile()));
    }
    run_all(state, tiled, requests);
}

void stream(benchmark::State& state) {
    TiledVm tiled(static_cast<std::uint64_t>(state.range(0)));
    std::vector<BindRequest> requests;
    std::vector<std::uint64_t> sparse_tiles;
    for (std::size_t i = 0; i < kRequests; ++i) {
        if (i % 2 == 0) {
            sparse_tiles.push_back(tiled.any_tile());
            requests.push_back(TiledVm::sparse(sparse_tiles.back()));
        } else {
            requests.push_back(tiled.map(sparse_tiles[tiled.any_tile() % sparse_tiles.size()], tiled.any_tile()));
        }
    }
    run_all(state, tiled, requests);
}

void fresh(benchmark::State& state) {
    TiledVm tiled(static_cast<std::uint64_t>(state.range(0)));
    std::vector<BindRequest> requests;
    for (std::size_t i = 0; i < kRequests / 2; ++i) {
        const std::uint64_t tile = tiled.any_tile();
        requests.push_back(TiledVm::unmap(tile));
        requests.push_back(tiled.map(tile, tiled.any_tile()));
    }
    std::size_t next = 0;
    for (auto _ : state) {
        tiled.run(requests[next]);
        tiled.run(requests[next + 1]);
        next = next + 2 == requests.size() ? 0 : next + 2;
    }
}

BENCHMARK(replace)->Arg(1000)->Arg(10000)->Arg(100000)->Arg(1000000);
BENCHMARK(stream)->Arg(1000)->Arg(10000)->Arg(100000)->Arg(1000000);
BENCHMARK(fresh)->Arg(1000)->Arg(100000);

}  // namespace

BENCHMARK_MAIN();
