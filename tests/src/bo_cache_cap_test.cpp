// What bounds a BoCache: its cap, age, the high-water mark, memory that is short; and how BOs end.
#include <string>
#include <thread>
#include <vector>

#include "tests/src/bo_cache_fixture.hpp"

namespace granule::test {
namespace {

TEST_CASE_FIXTURE(BoCacheFixture,
                  "the cap holds after every put: the one that was idle longest goes, unmapped and all") {
    BoCacheConfig config = patient();
    config.max_bytes = 4 * kMiB;
    remake(config);
    std::vector<CachedBo> bos;
    bos.reserve(6);
    for (int i = 0; i < 6; ++i) {
        bos.push_back(get(kMiB));
    }
    for (std::size_t i = 0; i < bos.size(); ++i) {
        put(bos[i], kSecond + i);
        CHECK(statistics().usage.cached_bytes() <= 4 * kMiB);
        CHECK(cache->validate());
    }
    for (std::size_t i = 0; i < bos.size(); ++i) {
        CHECK(alive(bos[i].id) == (i >= 2));
        CHECK(vm->address(bos[i].va.start).mapping.has_value() == (i >= 2));
        CHECK(vm->address(bos[i].va.start).reserved.has_value() == (i >= 2));
    }
    CHECK(statistics().ended_by(Reason::kCap) == 2);
    CHECK(get(kMiB).id == bos[5].id);  // the newest: the CPU's caches know it
}

TEST_CASE_FIXTURE(BoCacheFixture,
                  "what the GPU still uses is not ended for the cap: it retires, and is not used again") {
    BoCacheConfig config = patient();
    config.max_bytes = 2 * kMiB;
    remake(config);
    const std::vector<CachedBo> bos{get(kMiB), get(kMiB), get(kMiB)};
    for (const CachedBo& bo : bos) {
        put_behind(bo, {timelines[0]->at(1)});
    }
    CHECK(statistics().usage.waiting.bos == 2);
    CHECK(statistics().usage.retiring.bos == 1);
    CHECK(translates(*device, *vm, bos[0].va.start));  // the GPU may be at it
    timelines[0]->signal(1);
    CHECK(get(kMiB).id != bos[0].id);
    CHECK_FALSE(alive(bos[0].id));
    CHECK(statistics().usage.retiring.bos == 0);
}

TEST_CASE_FIXTURE(BoCacheFixture, "for the cap, what is idle goes before what the GPU still uses") {
    BoCacheConfig config = patient();
    config.max_bytes = 2 * kMiB;
    remake(config);
    const CachedBo busy = get(kMiB);
    const CachedBo idle = get(kMiB);
    const CachedBo third = get(kMiB);
    put_behind(busy, {timelines[0]->at(1)});
    put(idle);
    put_behind(third, {timelines[0]->at(1)});
    CHECK_FALSE(alive(idle.id));
    CHECK(statistics().usage.waiting.bos == 2);
}

TEST_CASE_FIXTURE(BoCacheFixture, "trim ends what was idle for longer than the age, and nothing younger") {
    BoCacheConfig config = patient();
    config.max_age_ns = 2 * kSecond;
    remake(config);
    const CachedBo old = get(kMiB);
    const CachedBo young = get(kMiB);
    put(old, 10 * kSecond);
    put(young, 11 * kSecond);
    CHECK(cache->trim(12 * kSecond) == 0);
    CHECK(cache->trim(12 * kSecond + 1) == kMiB);
    CHECK_FALSE(alive(old.id));
    CHECK(alive(young.id));
    CHECK(cache->trim(14 * kSecond) == kMiB);
    CHECK(device->bos().live() == 0);
    CHECK(vm->statistics().mappings == 0);
    CHECK(reserved_in(*vm).empty());
    CHECK(statistics().ended_by(Reason::kAge) == 2);
}

TEST_CASE_FIXTURE(BoCacheFixture, "the age of what waited counts from when it was seen to be idle") {
    BoCacheConfig config = patient();
    config.max_age_ns = 2 * kSecond;
    remake(config);
    const CachedBo bo = get(kMiB);
    put_behind(bo, {timelines[0]->at(1)}, 10 * kSecond);
    CHECK(cache->trim(20 * kSecond) == 0);  // busy
    timelines[0]->signal(1);
    CHECK(cache->trim(30 * kSecond) == 0);
    CHECK(cache->trim(32 * kSecond) == 0);
    CHECK(cache->trim(32 * kSecond + 1) == kMiB);
}

TEST_CASE_FIXTURE(BoCacheFixture, "acquire and put trim too, once in an interval") {
    BoCacheConfig config;
    config.max_age_ns = 2 * kSecond;
    config.trim_interval_ns = kSecond;
    remake(config);
    const CachedBo one = get(kMiB, 10 * kSecond);  // trims
    const CachedBo two = get(2 * kMiB, 10 * kSecond);
    put(one, 10 * kSecond + 1);
    put(two, 10 * kSecond + 2);
    const CachedBo three = get(3 * kMiB, 13 * kSecond);
    CHECK_FALSE(alive(one.id));
    CHECK_FALSE(alive(two.id));
    put(three, 13 * kSecond);
    CHECK(alive(three.id));
    const CachedBo four = get(4 * kMiB, 16 * kSecond);
    CHECK_FALSE(alive(three.id));
    put(four, 16 * kSecond);
    config.trim_interval_ns = ~std::uint64_t{0};
    remake(config);
    put(get(kMiB, 10 * kSecond), 10 * kSecond);
    put(get(2 * kMiB, 90 * kSecond), 90 * kSecond);
    CHECK(statistics().ended_by(Reason::kAge) == 0);
}

TEST_CASE_FIXTURE(BoCacheFixture, "evict_all ends what is idle, and what is busy as soon as it is not") {
    const CachedBo idle = get(kMiB);
    const CachedBo busy = get(kMiB);
    put(idle);
    put_behind(busy, {timelines[0]->at(1)});
    CHECK(cache->evict_all() == kMiB);
    CHECK(statistics().usage.cached_bytes() == 0);
    CHECK(statistics().usage.retiring.bos == 1);
    CHECK_FALSE(get(kMiB).reused);
    timelines[0]->signal(1);
    CHECK(cache->trim(2 * kSecond) == kMiB);
    CHECK_FALSE(alive(busy.id));
    CHECK(statistics().ended_by(Reason::kAsked) == 2);
}

TEST_CASE_FIXTURE(BoCacheFixture, "above the high-water mark a new BO comes in the place of idle ones") {
    BoCacheConfig config = patient();
    config.high_water_bytes = 4 * kMiB;
    remake(config);
    const std::vector<CachedBo> bos{get(kMiB), get(kMiB), get(kMiB)};
    for (std::size_t i = 0; i < bos.size(); ++i) {
        put(bos[i], kSecond + i);
    }
    const CachedBo half = get(kMiB / 2);
    CHECK(statistics().usage.idle.bos == 3);
    const CachedBo two = get(2 * kMiB);
    CHECK(statistics().usage.idle.bos == 1);
    CHECK(alive(bos[2].id));
    CHECK(statistics().usage.peak_bytes <= 4 * kMiB + 2 * kMiB);
    CHECK(statistics().usage.all_bytes() <= 4 * kMiB);
    const CachedBo much = get(8 * kMiB);  // it is a mark, not a limit
    CHECK(statistics().usage.idle.bos == 0);
    CHECK(statistics().ended_by(Reason::kHighWater) == 3);
    put(half);
    put(two);
    put(much);
}

TEST_CASE("memory that is short is made from what is idle, of any kind and size") {
    SoftDeviceConfig soft = device_config();
    soft.memory_bytes = 64 * kMiB;
    BoCacheFixture fixture(patient(), soft);
    for (int i = 0; i < 10; ++i) {
        const CachedBo bo = fixture.get((static_cast<std::uint64_t>(i) + 1) * kMiB);
        fixture.put(bo);
    }
    const CachedBo large = fixture.get(40 * kMiB);
    CHECK(large.bo->size == 40 * kMiB);
    CHECK(fixture.statistics().ended_by(Reason::kShortage) == 10);
    const Result<CachedBo, OsError> more = fixture.cache->acquire(cache_request(40 * kMiB));
    REQUIRE_FALSE(more.has_value());
    CHECK(more.error().status == Status::kOutOfDeviceMemory);
    CHECK(fixture.statistics().failures == 1);
    CHECK(fixture.statistics().usage.live.bos == 1);
    CHECK(fixture.cache->validate());
    fixture.put(large);
}

TEST_CASE_FIXTURE(BoCacheFixture, "a budget that is reached is met from what is idle too") {
    device->set_memory_limit(4 * kMiB);
    put(get(3 * kMiB));
    const CachedBo two = get(2 * kMiB);
    CHECK(statistics().ended_by(Reason::kShortage) == 1);
    const Result<CachedBo, OsError> more = cache->acquire(cache_request(4 * kMiB));
    REQUIRE_FALSE(more.has_value());
    CHECK(more.error().status == Status::kOverBudget);
    put(two);
}

TEST_CASE_FIXTURE(BoCacheFixture, "where memory is short, an acquire that may wait gets what is busy when it is done") {
    device->set_memory_limit(4 * kMiB);
    const CachedBo same = get(3 * kMiB);
    put_behind(same, {timelines[0]->at(1), timelines[1]->at(1)});
    // Not without waiting.
    CHECK(cache->acquire(cache_request(3 * kMiB)).error().status == Status::kOverBudget);
    CHECK(statistics().waits == 0);
    std::thread gpu([&] {
        timelines[0]->signal(1);
        timelines[1]->signal(1);
    });
    BoCacheRequest request = cache_request(3 * kMiB);
    request.wait_ns = ~std::uint64_t{0};
    const CachedBo again = get(request);
    gpu.join();
    CHECK(again.id == same.id);
    // Of another size: what was waited for ends.
    put_behind(again, {timelines[0]->at(2)});
    std::thread gpu_again([&] { timelines[0]->signal(2); });
    request.bo.bytes = 2 * kMiB;
    const CachedBo other = get(request);
    gpu_again.join();
    CHECK_FALSE(alive(same.id));
    put_behind(other, {timelines[0]->at(3)});
    // And not for longer than it may.
    request.bo.bytes = 3 * kMiB;
    request.wait_ns = kMillisecond;
    const Result<CachedBo, OsError> timed_out = cache->acquire(request);
    REQUIRE_FALSE(timed_out.has_value());
    CHECK(timed_out.error().status == Status::kOverBudget);
    CHECK(statistics().waits >= 1);
    timelines[0]->signal(3);
}

TEST_CASE("an unmap that a kernel does not take leaves the BO retiring, and trim tries again") {
    Failing failing;
    SoftDeviceConfig soft = device_config();
    soft.injection = &failing;
    BoCacheFixture fixture(patient(), soft);
    const CachedBo bo = fixture.get(kMiB);
    fixture.put(bo);
    failing.fail_after(Injection::Site::kOperation, 0);
    CHECK(fixture.cache->evict_all() == 0);
    CHECK(fixture.statistics().stuck == 1);
    CHECK(fixture.statistics().usage.retiring.bos == 1);
    CHECK(translates(*fixture.device, *fixture.vm, bo.va.start));
    CHECK(fixture.cache->validate());
    CHECK(fixture.cache->trim(2 * kSecond) == kMiB);
    CHECK_FALSE(fixture.alive(bo.id));
    CHECK(fixture.statistics().usage.retiring.bos == 0);
}

TEST_CASE("BOs of a VM that is lost are held by it until it ends, and by nobody else") {
    Failing failing;
    SoftDeviceConfig soft = device_config();
    soft.injection = &failing;
    BoCacheFixture fixture(patient(), soft);
    const CachedBo bo = fixture.get(4 * kMiB);
    fixture.put(bo);
    failing.fail_after(Injection::Site::kOperation, 1, 1000);
    REQUIRE_FALSE(fixture.vm->unmap({bo.va.start, bo.va.start + kPageBytes}, UnmapPolicy::kSplit).has_value());
    failing.stop();
    REQUIRE_FALSE(fixture.vm->usable());
    CHECK(fixture.cache->evict_all() == 0);
    CHECK(fixture.statistics().usage.retiring.bytes == 4 * kMiB);
    fixture.cache = {};
    CHECK(fixture.alive(bo.id));
    fixture.vm = {};
    CHECK_FALSE(fixture.alive(bo.id));
    fixture.vm = make_vm(*fixture.device);
    fixture.cache = make_cache(*fixture.device, fixture.vm.get(), patient());
}

}  // namespace
}  // namespace granule::test
