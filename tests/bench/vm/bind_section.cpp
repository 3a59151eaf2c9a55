// Section bind: a whole bind of one 64 KiB tile into a sparse window of 2 MiB, from the VM's call to the descriptors written.
//
// N mappings: N / 24 sparse windows, half of whose tiles show something, at random: 16 tiles and the sparse pieces between
// them. A chunk binds tiles that are sparse (timed), and another makes as many that are not sparse again (timed too).
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "tests/bench/harness/collected.hpp"
#include "tests/bench/harness/random.hpp"
#include "tests/bench/harness/rounds.hpp"
#include "tests/bench/harness/sections.hpp"
#include "tests/bench/harness/statistics.hpp"
#include "tests/bench/harness/stopwatch.hpp"
#include "tests/bench/vm/bind_subjects.hpp"

namespace granule::bench {
namespace {

constexpr std::uint32_t kMappingsPerWindow = 24;
constexpr std::size_t kBatch = 64;
constexpr std::uint32_t kMost = 100'000;  // mappings: what fits the plain subject's tables

// Which tiles are sparse, and the traffic that keeps half of them so. The same for every subject.
class TileTraffic {
public:
    explicit TileTraffic(std::uint32_t windows) {
        for (std::uint32_t tile = 0; tile < windows * kTilesPerWindow; ++tile) {
            sparse_.push_back(tile);
        }
        chunk_ = std::min<std::size_t>(4096, sparse_.size() / 4 / kBatch * kBatch);
    }
    [[nodiscard]] std::vector<TileBind> bind(std::size_t count) {
        std::vector<TileBind> binds(count);
        for (TileBind& one : binds) {
            one = {take_any(sparse_), random_.below(SoftVms::kTiles)};
            bound_.push_back(one.tile);
        }
        return binds;
    }
    [[nodiscard]] std::vector<TileBind> evict(std::size_t count) {
        std::vector<TileBind> binds(count);
        for (TileBind& one : binds) {
            one = {take_any(bound_), TileBind::kSparse};
            sparse_.push_back(one.tile);
        }
        return binds;
    }
    [[nodiscard]] std::size_t half() const { return sparse_.size() / 2; }
    [[nodiscard]] std::size_t chunk() const { return chunk_; }

private:
    [[nodiscard]] std::uint32_t take_any(std::vector<std::uint32_t>& tiles) {
        std::swap(tiles[random_.below(static_cast<std::uint32_t>(tiles.size()))], tiles.back());
        const std::uint32_t tile = tiles.back();
        tiles.pop_back();
        return tile;
    }

    Random random_{21};
    std::vector<std::uint32_t> sparse_;
    std::vector<std::uint32_t> bound_;
    std::size_t chunk_ = 0;
};

template <class Binder>
class BindRun {
public:
    void set_up(std::uint32_t windows, const std::vector<TileBind>& half) {
        for (std::uint32_t window = 0; window < windows; ++window) {
            binder_.make_window(window);
        }
        play(half);
    }
    void play(const std::vector<TileBind>& binds) {
        for (const TileBind& one : binds) {
            binder_.bind(one);
        }
    }
    void play_as_batches(const std::vector<TileBind>& binds) {
        for (std::size_t at = 0; at < binds.size(); at += kBatch) {
            binder_.bind_all(std::span(binds).subspan(at, std::min(kBatch, binds.size() - at)));
        }
    }
    void round(const std::vector<TileBind>& binds, const std::vector<TileBind>& evictions) {
        bind_ns_.push_back(time_ns([&] { play(binds); }) / static_cast<double>(binds.size()));
        evict_ns_.push_back(time_ns([&] { play(evictions); }) / static_cast<double>(evictions.size()));
    }
    void round_of_batches(const std::vector<TileBind>& binds, const std::vector<TileBind>& evictions) {
        batch_ns_.push_back(time_ns([&] { play_as_batches(binds); }) / static_cast<double>(binds.size()));
        play(evictions);
    }
    void forget_rounds() {
        bind_ns_.clear();
        evict_ns_.clear();
        batch_ns_.clear();
    }
    [[nodiscard]] double moved() const { return drift(bind_ns_); }
    void count_instructions(const std::string& test, const std::vector<TileBind>& binds) {
        collect(test, Binder::name, "bind", binds.size(), [&] { play(binds); });
    }
    void time_single_operations(const std::vector<TileBind>& binds) {
        const std::uint64_t nothing = ticks_of_nothing();
        for (const TileBind& one : binds) {
            ticks_.push_back(time_once(nothing, [&] { binder_.bind(one); }));
        }
    }
    void report(Records& records, const std::string& test) const {
        const auto put = [&](const char* metric, double value) {
            records.put(test, Binder::kRole, Binder::name, metric, value);
        };
        put("bind_ns", median(bind_ns_));
        put("evict_ns", median(evict_ns_));
        put("batch_ns", median(batch_ns_));
        put("bind_p50_ns", quantile(ticks_, 0.5) / ticks_per_ns());
        put("bind_p999_ns", quantile(ticks_, 0.999) / ticks_per_ns());
        put("mappings", static_cast<double>(binder_.mappings()));
        if (Binder::kRole == Role::kNull) {
            records.check_drift(test, moved());
        }
        if constexpr (Binder::kRole == Role::kOurs) {
            put("bytes_per_mapping", binder_.bytes_per_mapping());
        }
    }

private:
    Binder binder_;
    std::vector<double> bind_ns_;
    std::vector<double> evict_ns_;
    std::vector<double> batch_ns_;
    std::vector<std::uint32_t> ticks_;
};

void bind_tiles(std::uint32_t n, const Options& options, Records& records) {
    const std::string test = "tile N=" + std::to_string(n);
    static_cast<void>(std::fprintf(stderr, "bind: %s\n", test.c_str()));
    auto runs = std::make_tuple(std::make_unique<BindRun<NullBinder>>(), std::make_unique<BindRun<PlainBinder>>(),
                                std::make_unique<BindRun<VmBinder>>());
    const auto each = [&](auto&& step) {
        for_each_subject(runs, [&]<class Binder>(BindRun<Binder>& run) {
            const bool fits = Binder::kRole != Role::kPeer || n <= kMost;
            if (fits && (options.wants(Binder::name) || Binder::kRole == Role::kNull)) {
                step(run);
            }
        });
    };
    const std::uint32_t windows = std::max(n / kMappingsPerWindow, 16U);
    TileTraffic traffic(windows);
    const std::vector<TileBind> half = traffic.bind(traffic.half());
    each([&](auto& run) { run.set_up(windows, half); });
    if (options.instructions) {
        const std::vector<TileBind> binds = traffic.bind(traffic.chunk());
        each([&](auto& run) { run.count_instructions(test, binds); });
        return;
    }
    const auto round = [&](int) {
        const std::vector<TileBind> binds = traffic.bind(traffic.chunk());
        const std::vector<TileBind> evictions = traffic.evict(traffic.chunk());
        each([&](auto& run) { run.round(binds, evictions); });
        const std::vector<TileBind> more_binds = traffic.bind(traffic.chunk());
        const std::vector<TileBind> more_evictions = traffic.evict(traffic.chunk());
        each([&](auto& run) { run.round_of_batches(more_binds, more_evictions); });
    };
    take_rounds(
        options, options.seconds, round, [&] { return std::get<0>(runs)->moved(); },
        [&] { each([](auto& run) { run.forget_rounds(); }); });
    const std::vector<TileBind> binds = traffic.bind(traffic.chunk());
    each([&](auto& run) { run.time_single_operations(binds); });
    each([&](auto& run) { run.report(records, test); });
}

}  // namespace

void run_bind_section(const Options& options, Records& records) {
    for (const std::uint32_t n : options.n) {
        if (n <= kMost || !options.only.empty()) {
            bind_tiles(n, options, records);
        }
    }
}

}  // namespace granule::bench
