// Random traffic over pools of two kinds, against a list of buffers: no byte is in two of them, all of them keep what was
// written, the GPU sees it, and P5: bytes that wait for a fence are nobody's.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/src/bo_pool_fixture.hpp"

namespace granule::test {
namespace {

struct Live {
    PoolBuffer buffer;
    std::size_t kind = 0;
    std::uint64_t word = 0;  // what its first and last 8 bytes are
};
struct Waiting {
    VaRange va;
    FencePoint point;
};

class PoolTraffic {
public:
    explicit PoolTraffic(std::uint64_t seed) : random_(seed), pools_(*fixture_.device, *fixture_.vm, config(), {}) {
        for (Owned<Timeline>& timeline : timelines_) {
            timeline = std::move(*fixture_.device->create_timeline());
        }
    }

    void step() {
        switch (below(12)) {
            case 0:
                timelines_[below(timelines_.size())]->signal(++now_);
                break;
            case 1:
                for_any_pool([&](BoPool& pool) { pool.collect(); });
                break;
            case 2:
                for_any_pool([&](BoPool& pool) { pool.trim(below(2) * 20, ++clock_); });
                break;
            case 3:
            case 4:
            case 5:
            case 6:
                give_back();
                break;
            default:
                allocate();
                break;
        }
    }

    void check() {
        std::array<std::uint64_t, 2> bytes{};
        for (const auto& [va, live] : live_) {
            bytes[live.kind] += live.buffer.bytes;
        }
        for (std::size_t kind = 0; kind < 2; ++kind) {
            const BoPoolStatistics statistics = pool(kind).statistics();
            demand(pool(kind).validate(), "a pool is broken");
            demand(statistics.live_bytes + statistics.waste_bytes == bytes[kind], "live bytes");
        }
        demand(disagreement(*fixture_.device, *fixture_.vm).empty(), "the VM is broken");
    }
    void end() {
        while (!live_.empty()) {
            give_back();
        }
        for (Owned<Timeline>& timeline : timelines_) {
            timeline->signal(UINT64_MAX);
        }
        pools_.collect();
        pools_.trim();
        demand(fixture_.device->bos().live() == 0, "slabs that nothing is in did not go back");
        demand(mappings_of(*fixture_.vm).empty() && reserved_in(*fixture_.vm).empty(), "VA did not go back");
    }
    [[nodiscard]] const std::string& problem() const noexcept { return problem_; }
    [[nodiscard]] std::size_t most_live() const noexcept { return most_live_; }

private:
    static BoPoolConfig config() {
        BoPoolConfig config;
        config.slab_bytes = 256 * kKiB;
        config.first_slab_bytes = 64 * kKiB;
        return config;
    }
    std::uint64_t below(std::uint64_t bound) {
        return std::uniform_int_distribution<std::uint64_t>(0, bound - 1)(random_);
    }
    void demand(bool holds, const char* what) {
        if (!holds && problem_.empty()) {
            problem_ = what;
        }
    }
    [[nodiscard]] BoPool& pool(std::size_t kind) {
        SlabKind slab_kind;
        slab_kind.cpu_cached = kind == 1;
        return *pools_.pool(slab_kind).value();
    }
    template <class Do>
    void for_any_pool(Do&& what) {
        what(pool(below(2)));
    }

    void allocate() {
        const std::size_t kind = below(2);
        const std::uint64_t bytes = below(8) == 0 ? 1 + below(400 * kKiB) : 16 + below(std::uint64_t{64} << below(9));
        const std::uint64_t alignment = below(3) == 0 ? std::uint64_t{1} << below(18) : 1;
        const Result<PoolBuffer, OsError> made = pool(kind).allocate(bytes, alignment);
        demand(made.has_value(), "an allocation failed");
        if (!made) {
            return;
        }
        const PoolBuffer& buffer = *made;
        demand(buffer.bytes >= bytes && buffer.va.is_aligned(std::max<std::uint64_t>(alignment, 64)),
               "a buffer is not what was asked for");
        const VaRange range{buffer.va, buffer.va + buffer.bytes};
        const auto after = live_.lower_bound(buffer.va);
        demand(after == live_.end() || range.end <= after->first, "a buffer overlaps the next one");
        if (after != live_.begin()) {
            const Live& before = std::prev(after)->second;
            demand(before.buffer.va + before.buffer.bytes <= buffer.va, "a buffer overlaps the one before");
        }
        for (const Waiting& waiting : waiting_) {
            demand(!waiting.va.overlaps(range) || fixture_.device->timelines().signalled(waiting.point),
                   "bytes that wait for a fence have a new owner");
        }
        const auto [of, inserted] = kind_of_.emplace(buffer.bo, kind);
        demand(fixture_.device->bos().find(buffer.bo)->size >= buffer.offset.raw() + buffer.bytes, "outside its BO");
        if (!inserted && of->second != kind) {
            demand(false, "buffers of two kinds share a BO");
        }
        const Live live{buffer, kind, random_()};
        std::memcpy(buffer.cpu, &live.word, sizeof(live.word));
        std::memcpy(buffer.cpu + buffer.bytes - sizeof(live.word), &live.word, sizeof(live.word));
        live_.emplace(buffer.va, live);
        most_live_ = std::max(most_live_, live_.size());
    }

    void give_back() {
        if (live_.empty()) {
            return;
        }
        auto at = live_.begin();
        std::advance(at, static_cast<std::ptrdiff_t>(below(std::min<std::size_t>(live_.size(), 64))));
        const Live live = at->second;
        live_.erase(at);
        const PoolBuffer& buffer = live.buffer;
        for (const std::uint64_t offset : {std::uint64_t{0}, buffer.bytes - sizeof(live.word)}) {
            std::uint64_t word = 0;
            std::memcpy(&word, buffer.cpu + offset, sizeof(word));
            demand(word == live.word, "the CPU sees something else than what was written");
            demand(gpu_read(*fixture_.device, *fixture_.vm, buffer.va + offset) == live.word,
                   "the GPU sees something else than what was written");
        }
        const FencePoint point = timelines_[below(timelines_.size())]->at(now_ + below(4));
        const bool waits = below(3) != 0;
        demand(pool(live.kind).free(buffer.id, {&point, waits ? 1U : 0U}) == Status::kOk, "free failed");
        if (waits) {
            waiting_.push_back({{buffer.va, buffer.va + buffer.bytes}, point});
        }
        const auto gone = std::remove_if(waiting_.begin(), waiting_.end(), [&](const Waiting& waiting) {
            return fixture_.device->timelines().signalled(waiting.point);
        });
        waiting_.erase(gone, waiting_.end());
        // An id of a BO may come again for another kind once it is gone.
        for (auto bo = kind_of_.begin(); bo != kind_of_.end();) {
            bo = fixture_.device->bos().find(bo->first) == nullptr ? kind_of_.erase(bo) : std::next(bo);
        }
    }

    std::mt19937_64 random_;
    BoPoolFixture fixture_;
    std::array<Owned<Timeline>, 3> timelines_;
    BoPools pools_;
    std::map<Va, Live> live_;
    std::vector<Waiting> waiting_;
    std::map<BoId, std::size_t> kind_of_;
    std::uint64_t now_ = 0;
    std::uint64_t clock_ = 0;
    std::size_t most_live_ = 0;
    std::string problem_;
};

}  // namespace

TEST_CASE("P5: random buffers of two kinds overlap nobody's, keep their bytes, and all goes back") {
    for (const std::uint64_t seed : {0x706f6f6c31ULL, 0x706f6f6c32ULL, 0x706f6f6c33ULL}) {
        CAPTURE(seed);
        PoolTraffic traffic(seed);
        for (int step = 0; step < 10000; ++step) {
            traffic.step();
            if (step % 128 == 0) {
                traffic.check();
            }
            if (!traffic.problem().empty()) {
                FAIL(traffic.problem() << " at step " << step);
            }
        }
        traffic.end();
        CHECK(traffic.problem() == "");
        CHECK(traffic.most_live() > 100);
    }
}

}  // namespace granule::test
