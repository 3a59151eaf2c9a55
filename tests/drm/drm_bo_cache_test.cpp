// The BO cache over the fake kernels: which calls it makes, and, above all, which it does not.
#include <cerrno>
#include <string>
#include <vector>

#include "src/bo_cache.hpp"
#include "tests/drm/device_fixture.hpp"
#include "tests/support/failing_drm_calls.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kSecond = 1'000'000'000;

BoCacheConfig patient() {
    BoCacheConfig config;
    config.max_age_ns = 1000 * kSecond;
    config.evictable_after_ns = 10 * kSecond;
    config.trim_interval_ns = ~std::uint64_t{0};
    return config;
}

BoCacheRequest cache_request(std::uint64_t bytes, std::uint64_t now = kSecond) {
    BoCacheRequest request;
    request.bo.bytes = bytes;
    request.flags.noexec = true;
    request.now_ns = now;
    return request;
}

// A device over a fake kernel whose calls are counted, and fail when told to.
struct CacheFixture {
    explicit CacheFixture(const FakeKernel& kernel, const BoCacheConfig& config = patient())
        : drm(kernel), calls(drm, kernel.driver) {
        DrmDeviceConfig device_config;
        device_config.calls = &calls;
        Result<Owned<DrmDevice>, OsError> opened = DrmDevice::open(FakeDrm::kPath, device_config);
        REQUIRE(opened.has_value());
        device = std::move(*opened);
        VmConfig vm_config;
        vm_config.journal_capacity = 256;
        Result<Owned<Vm>, OsError> made = device->create_vm(vm_config);
        REQUIRE(made.has_value());
        vm = std::move(*made);
        remake(config);
    }
    CacheFixture(const CacheFixture&) = delete;
    CacheFixture& operator=(const CacheFixture&) = delete;
    CacheFixture(CacheFixture&&) = delete;
    CacheFixture& operator=(CacheFixture&&) = delete;
    ~CacheFixture() {
        CHECK(cache->validate());
        cache = {};
        CHECK(device->bos().live() == 0);
        CHECK(vm->statistics().mappings == 0);
        vm = {};
        device = {};
        CHECK(drm.forgotten() == FakeDrmCensus{});
        CHECK(drm.census() == FakeDrmCensus{});
        CHECK(drm.quiet() == !loses_vm);
    }

    void remake(const BoCacheConfig& config) {
        cache = {};
        Result<Owned<BoCache>, Status> made = BoCache::create(*device, vm.get(), config, NodeMemory::process());
        REQUIRE(made.has_value());
        cache = std::move(*made);
    }
    [[nodiscard]] CachedBo get(const BoCacheRequest& request) const {
        const Result<CachedBo, OsError> bo = cache->acquire(request);
        REQUIRE(bo.has_value());
        return *bo;
    }
    void put(const CachedBo& bo, BoBusy busy = BoBusy::kUntilFences, std::uint64_t now = kSecond) const {
        REQUIRE(cache->put(bo.id, {}, busy, now) == Status::kOk);
    }

    FakeDrm drm;
    FailingDrmCalls calls;
    Owned<DrmDevice> device;
    Owned<Vm> vm;
    Owned<BoCache> cache;
    bool loses_vm = false;
};

TEST_CASE("a hit makes no call, of a BO that has a CPU view and a label neither, on either driver") {
    for (const DrmDriver driver : kDrivers) {
        CacheFixture fixture(newest(driver));
        BoCacheRequest request = cache_request(64 * kKiB);
        request.cpu_view = true;
        request.label = "batch";
        const CachedBo first = fixture.get(request);
        REQUIRE(first.cpu != nullptr);
        fixture.put(first);
        const std::uint64_t calls = fixture.calls.calls();
        for (int i = 0; i < 1000; ++i) {
            const CachedBo bo = fixture.get(request);
            REQUIRE(bo.id == first.id);
            REQUIRE(bo.cpu == first.cpu);
            REQUIRE(bo.va == first.va);
            fixture.put(bo);
        }
        CHECK(fixture.calls.calls() == calls);
        CHECK(fixture.cache->statistics().hits_without_calls == 1000);
        // Another name is one call.
        request.label = "varyings";
        fixture.put(fixture.get(request));
        CHECK(fixture.calls.calls() == calls + 1);
        CHECK(fixture.drm.label_of(fixture.device->file().fd(), first.bo->gem) == "varyings");
    }
}

TEST_CASE("a miss is one call a step: the BO, its name, its offset and its view once, and on panthor its mapping") {
    for (const DrmDriver driver : kDrivers) {
        CacheFixture fixture(newest(driver));
        BoCacheRequest request = cache_request(64 * kKiB);
        request.cpu_view = true;
        request.label = "batch";
        const std::uint64_t calls = fixture.calls.calls();
        fixture.put(fixture.get(request));
        CHECK(fixture.calls.calls() - calls == (driver == DrmDriver::kPanthor ? 5 : 4));
        CHECK(fixture.calls.calls(driver == DrmDriver::kPanthor ? DrmCallKind::kBoMmapOffset : DrmCallKind::kMmapBo) ==
              1);
    }
}

TEST_CASE("panthor: a timeline is asked once for a look, however many BOs wait for it") {
    CacheFixture fixture(newest(DrmDriver::kPanthor));
    Result<Owned<Timeline>, OsError> timeline = fixture.device->create_timeline();
    REQUIRE(timeline.has_value());
    std::vector<CachedBo> bos;
    bos.reserve(50);
    for (int i = 0; i < 50; ++i) {
        bos.push_back(fixture.get(cache_request(64 * kKiB)));
    }
    for (std::size_t i = 0; i < bos.size(); ++i) {
        const FencePoint fence = (*timeline)->at(i + 1);
        REQUIRE(fixture.cache->put(bos[i].id, {&fence, 1}, BoBusy::kUntilFences, kSecond) == Status::kOk);
    }
    (*timeline)->signal(40);
    const std::uint64_t calls = fixture.calls.calls();
    for (int i = 0; i < 40; ++i) {
        CHECK(fixture.get(cache_request(64 * kKiB)).reused);
    }
    CHECK(fixture.calls.calls() == calls + 1);
    (*timeline)->signal(1000);
    for (const CachedBo& bo : bos) {
        static_cast<void>(fixture.cache->put(bo.id));
    }
}

TEST_CASE("panthor, whose kernel cannot purge: what is cached is memory, and age and cap are what bounds it") {
    BoCacheConfig config = patient();
    config.max_bytes = 4 * kMiB;
    config.max_age_ns = 2 * kSecond;
    CacheFixture fixture(newest(DrmDriver::kPanthor), config);
    std::vector<CachedBo> bos;
    bos.reserve(8);
    for (int i = 0; i < 8; ++i) {
        bos.push_back(fixture.get(cache_request(kMiB)));
    }
    for (const CachedBo& bo : bos) {
        fixture.put(bo);
    }
    CHECK(fixture.drm.census().mapped_bytes == 4 * kMiB);
    CHECK(fixture.drm.census().handles == 4);
    fixture.cache->offer_idle();  // to nobody
    CHECK(fixture.cache->statistics().offered == 0);
    CHECK(fixture.cache->trim(5 * kSecond) == 4 * kMiB);
    CHECK(fixture.drm.census().mapped_bytes == 0);
}

TEST_CASE("panthor: BOs of a VM that is lost stay until it is rebuilt, where they were, and end then") {
    CacheFixture fixture(newest(DrmDriver::kPanthor));
    fixture.loses_vm = true;
    const CachedBo bo = fixture.get(cache_request(kMiB));
    const CachedBo kept = fixture.get(cache_request(2 * kMiB));
    fixture.put(bo);
    fixture.drm.fail_next_job(ENOMEM);
    Transaction transaction;
    BindRequest over;
    over.kind = BindRequest::Kind::kMap;
    over.va = {Va{4 * kGiB}, Va{4 * kGiB + kMiB}};
    over.shows.bo = kept.id;
    REQUIRE(transaction.add(over) == Status::kOk);
    REQUIRE(fixture.vm->submit(transaction, {}, {}).has_value());
    REQUIRE(fixture.vm->check() == Status::kVmUnusable);
    CHECK(fixture.cache->evict_all() == 0);
    CHECK(fixture.cache->statistics().usage.retiring.bytes == kMiB);
    REQUIRE(fixture.vm->rebuild().has_value());
    CHECK(fixture.vm->address(bo.va.start).mapping->shows.bo == bo.id);
    CHECK(fixture.cache->trim(2 * kSecond) == kMiB);
    CHECK_FALSE(fixture.vm->address(bo.va.start).mapping.has_value());
    REQUIRE(fixture.vm->unmap(over.va, UnmapPolicy::kReject).has_value());
    fixture.put(kept);
}

TEST_CASE("panthor does not know which BOs a job uses, and says so") {
    CacheFixture fixture(newest(DrmDriver::kPanthor));
    const CachedBo bo = fixture.get(cache_request(kMiB));
    CHECK(fixture.cache->put(bo.id, {}, BoBusy::kAsKernelKnows) == Status::kNotSupported);
    fixture.put(bo);
}

TEST_CASE("panfrost: the kernel is offered the pages of what has been idle for long, once, and asked for them back") {
    CacheFixture fixture(newest(DrmDriver::kPanfrost));
    const CachedBo old = fixture.get(cache_request(64 * kKiB));
    const CachedBo young = fixture.get(cache_request(64 * kKiB));
    fixture.put(old, BoBusy::kUntilFences, 1 * kSecond);
    fixture.put(young, BoBusy::kUntilFences, 8 * kSecond);
    fixture.cache->trim(12 * kSecond);
    CHECK(fixture.calls.calls(DrmCallKind::kMadvise) == 1);
    fixture.cache->trim(13 * kSecond);
    CHECK(fixture.calls.calls(DrmCallKind::kMadvise) == 1);
    // The young one first: it costs nothing.
    CHECK(fixture.get(cache_request(64 * kKiB)).id == young.id);
    CHECK(fixture.calls.calls(DrmCallKind::kMadvise) == 1);
    CHECK(fixture.get(cache_request(64 * kKiB)).id == old.id);
    CHECK(fixture.calls.calls(DrmCallKind::kMadvise) == 2);
    CHECK(fixture.cache->statistics().hits_without_calls == 1);
    fixture.drm.purge();  // what was asked back is not taken
    fixture.put(old);
    fixture.put(young);
    CHECK(fixture.get(cache_request(64 * kKiB)).reused);
    fixture.put(young);
}

TEST_CASE("panfrost: a BO whose pages the kernel took is not handed out, and ends") {
    CacheFixture fixture(newest(DrmDriver::kPanfrost));
    std::vector<CachedBo> bos;
    bos.reserve(3);
    for (int i = 0; i < 3; ++i) {
        bos.push_back(fixture.get(cache_request(64 * kKiB)));
    }
    for (const CachedBo& bo : bos) {
        fixture.put(bo);
    }
    fixture.cache->offer_idle();
    CHECK(fixture.cache->statistics().offered == 3);
    fixture.drm.purge();
    const CachedBo fresh = fixture.get(cache_request(64 * kKiB));
    CHECK_FALSE(fresh.reused);
    CHECK(fixture.cache->statistics().ended_by(BoCacheStatistics::Reason::kPurged) == 3);
    CHECK(fixture.drm.census().handles == 1);
    fixture.put(fresh);
}

TEST_CASE("panfrost: the kernel is asked whether the BO that was put first is idle, and no other if it is not") {
    CacheFixture fixture(newest(DrmDriver::kPanfrost));
    const std::vector<CachedBo> bos{fixture.get(cache_request(kMiB)), fixture.get(cache_request(kMiB))};
    for (const CachedBo& bo : bos) {
        fixture.put(bo, BoBusy::kAsKernelKnows);
    }
    const FencePoint fence{TimelineId{1}, 1};
    CHECK(fixture.cache->put(bos[0].id, {&fence, 1}, BoBusy::kAsKernelKnows) == Status::kBadArgument);
    fixture.calls.fail_kind(DrmCallKind::kWaitBo, 0, ETIMEDOUT);
    const CachedBo fresh = fixture.get(cache_request(kMiB));
    CHECK_FALSE(fresh.reused);
    CHECK(fixture.calls.calls(DrmCallKind::kWaitBo) == 1);
    fixture.calls.stop();
    CHECK(fixture.get(cache_request(kMiB)).id == bos[0].id);
    CHECK(fixture.get(cache_request(kMiB)).id == bos[1].id);
    CHECK(fixture.calls.calls(DrmCallKind::kWaitBo) == 3);
    // What ends is not asked for: the kernel keeps what its jobs use.
    for (const CachedBo& bo : {bos[0], bos[1], fresh}) {
        fixture.put(bo, BoBusy::kAsKernelKnows);
    }
    fixture.cache->offer_idle();
    CHECK(fixture.cache->statistics().offered == 3);
    CHECK(fixture.get(cache_request(kMiB)).reused);
    CHECK(fixture.cache->evict_all() == 2 * kMiB);
    CHECK(fixture.calls.calls(DrmCallKind::kWaitBo) == 4);
    for (const CachedBo& bo : bos) {
        static_cast<void>(fixture.cache->put(bo.id));
    }
    static_cast<void>(fixture.cache->put(fresh.id));
}

TEST_CASE("panfrost places BOs: they are cached where they are, whatever VA was asked for") {
    CacheFixture fixture(newest(DrmDriver::kPanfrost));
    BoCacheRequest request = cache_request(3 * kMiB);
    const CachedBo bo = fixture.get(request);
    CHECK(bo.va.start == *bo.bo->kernel_va);
    CHECK(fixture.vm->address(bo.va.start).mapping->shows.bo == bo.id);
    fixture.put(bo);
    request.va.zone = VaZone::kLow;
    request.va.alignment = 4 * kMiB;
    request.flags = {};
    CHECK(fixture.get(request).id == bo.id);
    fixture.put(bo);
    request.bo.executable = true;
    const CachedBo executable = fixture.get(request);
    CHECK_FALSE(executable.reused);
    fixture.put(executable);
    fixture.cache->evict_all();
    CHECK_FALSE(fixture.vm->address(bo.va.start).mapping.has_value());
}

TEST_CASE("an exported BO is not kept, and what it showed ends; an import of it finds another BO's place free") {
    CacheFixture fixture(newest(DrmDriver::kPanthor));
    BoCacheRequest request = cache_request(kMiB);
    request.bo.shareable = true;
    const CachedBo bo = fixture.get(request);
    const Result<int, OsError> dma_buf = fixture.device->export_bo(*bo.bo);
    REQUIRE(dma_buf.has_value());
    fixture.put(bo);
    CHECK(fixture.device->bos().live() == 0);
    CHECK(fixture.drm.census().mapped_bytes == 0);
    fixture.drm.close(*dma_buf);
    const CachedBo other = fixture.get(request);
    CHECK_FALSE(other.reused);
    fixture.put(other);
    CHECK(fixture.get(request).id == other.id);  // never exported
    fixture.put(other);
}

// Makes, reuses and ends BOs of three sizes, with and without a CPU view, and tells the kernel what is idle.
void story(const CacheFixture& fixture) {
    std::vector<CachedBo> out;
    for (std::uint64_t i = 0; i < 6; ++i) {
        BoCacheRequest request = cache_request((i % 3 + 1) * kMiB);
        request.cpu_view = i % 2 == 0;
        request.label = i % 2 == 0 ? "even" : "odd";
        const BoCacheStatistics before = fixture.cache->statistics();
        const Result<CachedBo, OsError> bo = fixture.cache->acquire(request);
        if (bo) {
            out.push_back(*bo);
        } else {
            CHECK(fixture.cache->statistics().usage.live == before.usage.live);
            CHECK(fixture.cache->statistics().failures == before.failures + 1);
        }
        if (i == 2) {
            for (const CachedBo& done : out) {
                fixture.put(done);
            }
            out.clear();
            fixture.cache->offer_idle();
        }
    }
    for (const CachedBo& done : out) {
        fixture.put(done);
    }
    fixture.cache->evict_all();
    CHECK(fixture.cache->statistics().usage.cached_bytes() == 0);
    CHECK(fixture.cache->validate());
}

TEST_CASE("P3, P4: whichever call of a kernel fails, with each of its errnos, nothing is left over and all goes on") {
    for (const DrmDriver driver : kDrivers) {
        std::vector<DrmCallKind> kinds;
        {
            CacheFixture fixture(newest(driver));
            fixture.calls.record_kinds();
            story(fixture);
            const std::span<const DrmCallKind> recorded = fixture.calls.recorded_kinds();
            kinds.assign(recorded.begin(), recorded.end());
        }
        REQUIRE(kinds.size() > 20);
        for (std::size_t k = 0; k < kinds.size(); ++k) {
            if (kinds[k] == DrmCallKind::kCloseHandle) {
                continue;  // fails only where somebody else closed the handle
            }
            for (const int error : possible_errors(kinds[k])) {
                CAPTURE(k);
                CAPTURE(error);
                CAPTURE(to_string(kinds[k]));
                CacheFixture fixture(newest(driver));
                fixture.calls.fail_at(k, error);
                story(fixture);
                CHECK(fixture.calls.failed());
                fixture.calls.stop();
                CHECK(fixture.vm->usable());
                // What was stuck is not any more.
                fixture.cache->trim(2 * kSecond);
                CHECK(fixture.cache->statistics().usage.all_bytes() == 0);
                story(fixture);
            }
        }
    }
}

}  // namespace
}  // namespace granule::test
