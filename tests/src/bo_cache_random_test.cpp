// Acquires, puts, fences, trims and a clock that jumps, seeded, against an oracle that knows of each BO who has it and
// what it waits for: which may be handed out, which may end, and what the counts are, follows from that alone.
#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <string>

#include "src/bo_size_class.hpp"
#include "tests/src/bo_cache_fixture.hpp"
#include "tests/support/sanitized.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kSeed = 0x626f6361636865;
constexpr std::uint64_t kOperations = kSanitized ? 6'000 : 60'000;
constexpr std::size_t kMostOut = 60;

// What the oracle knows of a BO.
struct Known {
    CachedBo bo;
    BoRequest kind;  // without bytes
    MapFlags flags;
    VaZone zone = VaZone::kMain;
    bool out = true;
    bool kept = true;       // not too large
    bool shared = false;    // the test holds it too
    std::uint64_t tag = 0;  // what is in it
    std::uint64_t asked = 0;
    std::vector<FencePoint> fences;
    std::uint64_t put_ns = 0;
};

struct Setup {
    BoCacheConfig config;
    std::uint64_t limit = 0;  // of the device's memory
};

class RandomRun {
public:
    RandomRun(const Setup& setup, std::uint64_t seed) : random_(seed), config_(setup.config), fixture_(setup.config) {
        fixture_.device->set_memory_limit(setup.limit);
        limited_ = setup.limit != 0;
    }
    ~RandomRun() {
        for (auto& [id, known] : bos_) {
            if (known.shared) {
                fixture_.device->bos().release(*known.bo.bo, 1);
            }
            if (known.out && fixture_.cache->put(id) != Status::kOk) {
                FAIL_CHECK("what is handed out can be put");
            }
        }
    }
    RandomRun(const RandomRun&) = delete;
    RandomRun& operator=(const RandomRun&) = delete;
    RandomRun(RandomRun&&) = delete;
    RandomRun& operator=(RandomRun&&) = delete;

    // "" or what went wrong first.
    std::string run() {
        for (std::uint64_t i = 0; i < kOperations && problem_.empty(); ++i) {
            now_ += below(kMillisecond);
            const std::uint64_t what = below(100);
            if (what < 45) {
                acquire();
            } else if (what < 85) {
                put();
            } else if (what < 95) {
                signal();
            } else if (what < 98) {
                now_ += below(2) == 0 ? 0 : below(config_.max_age_ns);
                trim();
            } else if (what < 99) {
                share();
            } else if (below(20) == 0) {
                fixture_.cache->evict_all();
                expect(fixture_.statistics().usage.cached_bytes() == 0, "something is cached after evict_all");
            }
            if (i % 16 == 0 || what >= 95) {
                look();
            }
        }
        return problem_;
    }
    [[nodiscard]] BoCacheStatistics statistics() const { return fixture_.statistics(); }

private:
    std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
    void expect(bool right, const char* otherwise) {
        if (!right && problem_.empty()) {
            problem_ = otherwise;
        }
    }
    [[nodiscard]] bool signalled(const Known& known) const {
        return std::all_of(known.fences.begin(), known.fences.end(),
                           [&](const FencePoint& fence) { return fixture_.device->timelines().signalled(fence); });
    }
    [[nodiscard]] static bool stands_in(const Known& known, const BoCacheRequest& request) {
        return known.kind.cpu_visible == request.bo.cpu_visible && known.kind.executable == request.bo.executable &&
               !known.shared && known.flags == request.flags && known.zone == request.va.zone && known.kept &&
               known.bo.bo->size == size_class_of(request.bo.bytes);
    }

    void acquire() {
        std::size_t out = 0;
        for (const auto& [id, known] : bos_) {
            out += known.out ? 1 : 0;
        }
        if (out >= kMostOut) {
            return;
        }
        static constexpr std::array<std::uint64_t, 6> kSizes{4, 32, 64, 68, 300, 2048};
        BoCacheRequest request = cache_request(kSizes[below(kSizes.size())] * kKiB, now_);
        if (below(4) == 0) {
            request.bo.bytes = 1 + below(below(20) == 0 ? 12 * kMiB : kMiB);
        }
        request.bo.executable = below(4) == 0;
        request.flags.noexec = !request.bo.executable;
        request.va.zone = below(4) == 0 ? VaZone::kLow : VaZone::kMain;
        request.cpu_view = true;
        request.zeroed = below(8) == 0;
        request.label = below(2) == 0 ? "one" : "other";
        const bool one_is_idle = std::any_of(bos_.begin(), bos_.end(), [&](const auto& bo) {
            const Known& known = bo.second;
            return !known.out && alive(bo.first) && stands_in(known, request) && signalled(known);
        });
        // What is retiring looks the same to the oracle.
        const bool none_retires = fixture_.statistics().usage.retiring.bos == 0;
        const Result<CachedBo, OsError> got = fixture_.cache->acquire(request);
        if (!got) {
            expect(limited_ && got.error().status == Status::kOverBudget, "an acquire failed");
            expect(!one_is_idle || !none_retires, "an acquire failed though one was idle");
            return;
        }
        if (got->reused) {
            const auto at = bos_.find(got->id);
            expect(at != bos_.end() && !at->second.out, "a BO was handed out twice");
            expect(problem_.empty() && stands_in(at->second, request), "a BO of another kind was handed out");
            expect(problem_.empty() && signalled(at->second), "a BO that the GPU uses was handed out");
        } else {
            expect(!one_is_idle || !none_retires, "a BO was made though one was idle");
            expect(!bos_.contains(got->id), "an id came twice");
        }
        if (!problem_.empty()) {
            return;
        }
        std::uint64_t found = 0;
        std::memcpy(&found, got->cpu, sizeof found);
        const std::uint64_t expected = got->reused && !request.zeroed ? bos_[got->id].tag : 0;
        expect(found == expected, "a BO has not what was in it, or not zeroes");
        Known known;
        known.bo = *got;
        known.kind = request.bo;
        known.flags = request.flags;
        known.zone = request.va.zone;
        known.kept = size_class_of(request.bo.bytes) <= std::min(config_.largest_bo_bytes, config_.max_bytes);
        known.asked = request.bo.bytes;
        known.tag = random_();
        std::memcpy(got->cpu, &known.tag, sizeof known.tag);
        bos_[got->id] = known;
        const std::uint64_t given = got->bo->size;
        const std::uint64_t pages = align_up(request.bo.bytes, kPageBytes);
        expect(given >= pages && given - pages <= pages / 8 && (known.kept || given == pages), "a BO is too large");
        expect(fixture_.device->bos().short_label(got->id).view() == request.label, "a BO has another name");
        expect(!got->bo->cached, "a BO that is handed out is cached");
    }

    // One that is handed out, or nullptr.
    Known* pick() {
        std::vector<Known*> out;
        for (auto& [id, known] : bos_) {
            if (known.out) {
                out.push_back(&known);
            }
        }
        return out.empty() ? nullptr : out[below(out.size())];
    }

    void put() {
        Known* const known = pick();
        if (known == nullptr) {
            return;
        }
        known->fences.clear();
        for (std::uint64_t i = below(4); i != 0; --i) {
            const Timeline& timeline = *fixture_.timelines[below(4)];
            known->fences.push_back(timeline.at(timeline.value() + below(4)));
        }
        known->out = false;
        known->put_ns = now_;
        const BoId id = known->bo.id;
        expect(fixture_.cache->put(id, known->fences, BoBusy::kUntilFences, now_) == Status::kOk, "a put failed");
        expect(fixture_.cache->put(id) == Status::kUnknownBo, "a BO was put twice");
        expect(fixture_.statistics().usage.cached_bytes() <= config_.max_bytes, "the cap is passed");
    }

    void signal() {
        Timeline& timeline = *fixture_.timelines[below(4)];
        timeline.signal(timeline.value() + 1 + below(3));
    }

    void trim() {
        fixture_.cache->trim(now_);
        for (const auto& [id, known] : bos_) {
            if (!known.out && known.fences.empty() && known.put_ns + config_.max_age_ns < now_ && alive(id)) {
                expect(known.shared, "a BO is older than the age");
            }
        }
    }

    void share() {
        Known* const known = pick();
        if (known != nullptr && !known->shared) {
            fixture_.device->bos().retain(*known->bo.bo, 1);
            known->shared = true;
        } else if (known != nullptr) {
            fixture_.device->bos().release(*known->bo.bo, 1);
            known->shared = false;
        }
    }

    [[nodiscard]] bool alive(BoId id) const { return fixture_.alive(id); }

    // Everything, once in a while.
    void look() {
        expect(fixture_.cache->validate(), "the shelf is in disorder");
        const BoCacheStatistics seen = fixture_.statistics();
        BoCount live;
        BoCount put;
        std::uint64_t asked = 0;
        for (auto at = bos_.begin(); at != bos_.end();) {
            Known& known = at->second;
            const bool there = alive(at->first);
            const bool mapped = there && fixture_.vm->address(known.bo.va.start).mapping.has_value() &&
                                fixture_.vm->address(known.bo.va.start).mapping->shows.bo == at->first;
            if (known.out) {
                expect(there && mapped, "a BO that is handed out is gone");
                ++live.bos;
                live.bytes += known.bo.bo->size;
                asked += known.asked;
            } else if (!there || !mapped) {
                expect(signalled(known), "a BO ended that the GPU uses");
                expect(there == known.shared, "a BO that others hold is gone, or one is left");
                if (known.shared) {
                    fixture_.device->bos().release(*known.bo.bo, 1);
                }
                at = bos_.erase(at);
                ++gone_;
                continue;
            } else {
                ++put.bos;
                put.bytes += known.bo.bo->size;
            }
            ++at;
        }
        const BoShelfUsage& usage = seen.usage;
        expect(usage.live == live && usage.asked_bytes == asked, "live BOs are miscounted");
        expect(usage.idle.bos + usage.waiting.bos + usage.retiring.bos == put.bos &&
                   usage.cached_bytes() + usage.retiring.bytes == put.bytes,
               "cached BOs are miscounted");
        expect(usage.peak_bytes >= usage.all_bytes(), "the peak is too low");
        std::uint64_t ended = 0;
        for (const std::uint64_t count : seen.ended) {
            ended += count;
        }
        expect(ended == gone_ + usage.retiring.bos, "BOs that ended are miscounted");
    }

    std::mt19937_64 random_;
    const BoCacheConfig config_;
    BoCacheFixture fixture_;
    std::map<BoId, Known> bos_;
    std::uint64_t now_ = kSecond;
    std::uint64_t gone_ = 0;
    bool limited_ = false;
    std::string problem_;
};

std::vector<Setup> setups() {
    Setup plain;
    plain.config.max_bytes = 24 * kMiB;
    plain.config.max_age_ns = 200 * kMillisecond;
    plain.config.trim_interval_ns = 10 * kMillisecond;
    std::vector<Setup> all(5, plain);
    all[1].config.max_bytes = kMiB;  // always full
    all[2].config.largest_bo_bytes = 256 * kKiB;
    all[3].config.high_water_bytes = 8 * kMiB;
    all[4].limit = 12 * kMiB;
    all[4].config.trim_interval_ns = ~std::uint64_t{0};
    return all;
}

TEST_CASE("whatever is acquired, put, signalled and trimmed, the cache does what the oracle allows, and nothing else") {
    for (const Setup& setup : setups()) {
        for (std::uint64_t seed = kSeed; seed < kSeed + 3; ++seed) {
            CAPTURE(seed);
            CAPTURE(setup.config.max_bytes);
            CAPTURE(setup.config.high_water_bytes);
            CAPTURE(setup.limit);
            RandomRun run(setup, seed);
            CHECK(run.run() == "");
            // It did what it is there for.
            CHECK(run.statistics().hits > kOperations / 100);
            CHECK(run.statistics().misses > kOperations / 100);
        }
    }
}

}  // namespace
}  // namespace granule::test
