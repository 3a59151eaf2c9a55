// Many threads at one cache: what one has, nobody else has; what waits, nobody has; and in the end the counts are right.
#include <atomic>
#include <chrono>
#include <cstring>
#include <random>
#include <thread>

#include "tests/src/bo_cache_fixture.hpp"
#include "tests/support/sanitized.hpp"

namespace granule::test {
namespace {

constexpr int kThreads = 4;
constexpr int kRounds = kSanitized ? 1500 : 8000;

TEST_CASE("threads that acquire, put and trim at once never have the same BO, and never one that the GPU uses") {
    BoCacheConfig config;
    config.max_bytes = 2 * kMiB;
    config.high_water_bytes = 4 * kMiB;
    config.max_age_ns = kMillisecond;
    config.trim_interval_ns = kMillisecond / 10;
    BoCacheFixture fixture(config);
    Timeline& timeline = *fixture.timelines[0];
    std::atomic<std::uint64_t> submitted{0};
    std::atomic<int> wrong{0};
    std::atomic<bool> stop{false};
    std::vector<std::thread> users;
    users.reserve(kThreads);
    for (int number = 0; number < kThreads; ++number) {
        users.emplace_back([&, number] {
            std::mt19937_64 random(static_cast<std::uint64_t>(number));
            for (int round = 0; round < kRounds; ++round) {
                BoCacheRequest request;
                request.bo.bytes = (random() % 3 + 1) * 32 * kKiB;
                request.cpu_view = true;
                request.label = random() % 2 == 0 ? "even" : "odd";
                const Result<CachedBo, OsError> bo = fixture.cache->acquire(request);
                if (!bo) {
                    ++wrong;
                    return;
                }
                // In it: until when the GPU uses it.
                std::uint64_t busy_until = 0;
                std::memcpy(&busy_until, bo->cpu, sizeof busy_until);
                if (timeline.value() < busy_until) {
                    ++wrong;
                }
                const std::uint64_t mine = ~(random() << 8 | static_cast<std::uint64_t>(number));
                std::memcpy(bo->cpu + 64, &mine, sizeof mine);
                std::this_thread::yield();
                std::uint64_t still = 0;
                std::memcpy(&still, bo->cpu + 64, sizeof still);
                if (still != mine) {
                    ++wrong;
                }
                const bool used = random() % 2 == 0;
                const FencePoint fence = timeline.at(used ? ++submitted : 0);
                std::memcpy(bo->cpu, &fence.value, sizeof fence.value);
                if (fixture.cache->put(bo->id, {&fence, used ? 1U : 0U}) != Status::kOk) {
                    ++wrong;
                }
                if (random() % 64 == 0) {
                    fixture.cache->trim();
                }
                if (random() % 256 == 0) {
                    fixture.cache->evict_all();
                }
            }
        });
    }
    std::thread gpu([&] {
        while (!stop) {
            timeline.signal(submitted);
            std::this_thread::yield();
        }
    });
    for (std::thread& user : users) {
        user.join();
    }
    stop = true;
    gpu.join();
    CHECK(wrong == 0);
    const BoCacheStatistics seen = fixture.statistics();
    CHECK(seen.usage.live.bos == 0);
    CHECK(seen.hits + seen.misses == std::uint64_t{kThreads} * kRounds);
    CHECK(seen.usage.cached_bytes() <= config.max_bytes);
}

TEST_CASE("threads that wait for memory get what others put") {
    BoCacheFixture fixture;
    fixture.device->set_memory_limit(2 * kMiB);
    Timeline& timeline = *fixture.timelines[0];
    std::atomic<std::uint64_t> submitted{0};
    std::atomic<int> failed{0};
    std::atomic<bool> stop{false};
    std::thread gpu([&] {
        while (!stop) {
            timeline.signal(submitted);
            std::this_thread::yield();
        }
    });
    std::vector<std::thread> users;
    users.reserve(2);
    for (int number = 0; number < 2; ++number) {
        users.emplace_back([&, number] {
            for (int round = 0; round < 200; ++round) {
                BoCacheRequest request;
                request.bo.bytes = (number == 0 ? 1 : 2) * kMiB / (round % 2 == 0 ? 1 : 2);
                request.wait_ns = 10 * kSecond;
                const Result<CachedBo, OsError> bo = fixture.cache->acquire(request);
                if (!bo) {
                    ++failed;  // the other one has it in hand: waiting is for what the GPU uses
                    continue;
                }
                const FencePoint fence = timeline.at(++submitted);
                if (fixture.cache->put(bo->id, {&fence, 1}) != Status::kOk) {
                    failed = 1'000'000;
                }
            }
        });
    }
    for (std::thread& user : users) {
        user.join();
    }
    stop = true;
    gpu.join();
    CHECK(failed < 400);
    CHECK(fixture.statistics().usage.live.bos == 0);
    CHECK(fixture.device->memory_usage().peak_bytes <= 2 * kMiB);
}

}  // namespace
}  // namespace granule::test
