// A BoCache on a soft device with a VM, and timelines that stand for jobs of the GPU.
//
// Time is what the test says: `now` is given to every call, in ns.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "src/bo_cache.hpp"
#include "tests/src/soft_fixture.hpp"

namespace granule::test {

using Reason = BoCacheStatistics::Reason;

inline constexpr std::uint64_t kMillisecond = 1'000'000;
inline constexpr std::uint64_t kSecond = 1000 * kMillisecond;

inline BoCacheRequest cache_request(std::uint64_t bytes, std::uint64_t now = kSecond) {
    BoCacheRequest request;
    request.bo.bytes = bytes;
    request.now_ns = now;
    return request;
}

// Of which nothing goes by itself.
inline BoCacheConfig patient() {
    BoCacheConfig config;
    config.max_age_ns = 1'000'000 * kSecond;
    config.trim_interval_ns = 1'000'000 * kSecond;
    return config;
}

inline Owned<BoCache> make_cache(Device& device, Vm* vm, const BoCacheConfig& config,
                                 NodeMemory nodes = NodeMemory::process()) {
    Result<Owned<BoCache>, Status> cache = BoCache::create(device, vm, config, nodes);
    REQUIRE(cache.has_value());
    return std::move(*cache);
}

struct BoCacheFixture {
    explicit BoCacheFixture(const BoCacheConfig& config = patient(), const SoftDeviceConfig& soft = device_config())
        : device(make_device(soft)), vm(make_vm(*device)), cache(make_cache(*device, vm.get(), config)) {
        for (Owned<Timeline>& timeline : timelines) {
            Result<Owned<Timeline>, OsError> made = device->create_timeline();
            REQUIRE(made.has_value());
            timeline = std::move(*made);
        }
    }
    BoCacheFixture(const BoCacheFixture&) = delete;
    BoCacheFixture& operator=(const BoCacheFixture&) = delete;
    BoCacheFixture(BoCacheFixture&&) = delete;
    BoCacheFixture& operator=(BoCacheFixture&&) = delete;
    ~BoCacheFixture() {
        CHECK(cache->validate());
        const std::uint64_t held = cache->statistics().usage.live.bos;
        cache = {};
        CHECK(device->bos().live() == held);
    }

    // In place of the cache that there is.
    void remake(const BoCacheConfig& config) {
        cache = {};
        cache = make_cache(*device, vm.get(), config);
    }
    [[nodiscard]] CachedBo get(const BoCacheRequest& request) const {
        const Result<CachedBo, OsError> bo = cache->acquire(request);
        REQUIRE(bo.has_value());
        REQUIRE(device->bos().find(bo->id) == bo->bo);
        REQUIRE(bo->bo->size >= request.bo.bytes);
        return *bo;
    }
    [[nodiscard]] CachedBo get(std::uint64_t bytes, std::uint64_t now = kSecond) const {
        return get(cache_request(bytes, now));
    }
    void put(const CachedBo& bo, std::uint64_t now = kSecond) const {
        REQUIRE(cache->put(bo.id, {}, BoBusy::kUntilFences, now) == Status::kOk);
    }
    void put_behind(const CachedBo& bo, const std::vector<FencePoint>& fences, std::uint64_t now = kSecond) const {
        REQUIRE(cache->put(bo.id, fences, BoBusy::kUntilFences, now) == Status::kOk);
    }
    [[nodiscard]] BoCacheStatistics statistics() const { return cache->statistics(); }
    [[nodiscard]] bool alive(BoId id) const { return device->bos().find(id) != nullptr; }

    Owned<SoftDevice> device;
    std::array<Owned<Timeline>, 10> timelines;
    Owned<Vm> vm;
    Owned<BoCache> cache;
};

}  // namespace granule::test
