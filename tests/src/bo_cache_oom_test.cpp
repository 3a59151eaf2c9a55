// Every allocation of the library, every piece of device memory, every page table and every operation of a kernel, failing
// once: the call says so, nothing is leaked, and nothing changed but that idle BOs may be gone.
#include <optional>

#include "tests/src/bo_cache_fixture.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test {
namespace {

// What a failed call may not have changed.
struct Kept {
    BoCount live;
    BoCount waiting;
    std::uint64_t asked_bytes = 0;
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;

    explicit Kept(const BoCacheStatistics& statistics)
        : live(statistics.usage.live),
          waiting(statistics.usage.waiting),
          asked_bytes(statistics.usage.asked_bytes),
          hits(statistics.hits),
          misses(statistics.misses) {}
    bool operator==(const Kept&) const = default;
};

// All that a cache allocates for, in order. Ends at the first call that fails.
class Story {
public:
    explicit Story(NodeMemory nodes, Injection* injection) {
        config_ = device_config(KernelBehaviour::kRefuses);
        config_.nodes = nodes;
        config_.injection = injection;
        config_.memory_bytes = kGiB;
    }

    // Whether it came to its end.
    bool run() {
        Result<Owned<SoftDevice>, DeviceError> device = SoftDevice::create(config_);
        if (!device) {
            return false;
        }
        device_ = std::move(*device);
        VmConfig vm_config;
        vm_config.journal_capacity = 64;
        Result<Owned<Vm>, OsError> vm = device_->create_vm(vm_config);
        Result<Owned<Timeline>, OsError> timeline = device_->create_timeline();
        if (!vm || !timeline) {
            return false;
        }
        vm_ = std::move(*vm);
        timeline_ = std::move(*timeline);
        BoCacheConfig config = patient();
        config.max_bytes = 16 * kMiB;
        Result<Owned<BoCache>, Status> cache = BoCache::create(*device_, vm_.get(), config, config_.nodes);
        if (!cache) {
            CHECK(cache.error() == Status::kOutOfHostMemory);
            return false;
        }
        cache_ = std::move(*cache);
        const bool done = acquire_all();
        // P4: whatever failed, all of it goes back.
        cache_->evict_all();
        timeline_->signal(1000);
        cache_->trim(2 * kSecond);
        CHECK(cache_->statistics().usage.all_bytes() == 0);
        CHECK(cache_->validate());
        CHECK(device_->bos().live() == 0);
        CHECK(vm_->statistics().mappings == 0);
        CHECK(reserved_in(*vm_).empty());
        CHECK(disagreement(*device_, *vm_) == "");
        return done;
    }

private:
    // nullopt: it failed.
    std::optional<CachedBo> acquire(std::uint64_t bytes, std::string_view label, bool cpu_view) {
        const Kept before{cache_->statistics()};
        const std::size_t mappings = vm_->statistics().mappings;
        const std::uint64_t bos = device_->bos().live();
        BoCacheRequest request = cache_request(bytes);
        request.label = label;
        request.cpu_view = cpu_view;
        request.zeroed = cpu_view;
        const Result<CachedBo, OsError> got = cache_->acquire(request);
        if (got) {
            return *got;
        }
        CHECK((got.error().status == Status::kOutOfHostMemory || got.error().status == Status::kOutOfDeviceMemory ||
               got.error().status == Status::kOutOfTableMemory || got.error().status == Status::kBackendFailed));
        const bool unchanged = Kept{cache_->statistics()} == before;
        CHECK(unchanged);
        CHECK(device_->bos().live() <= bos);
        CHECK(vm_->statistics().mappings <= mappings);
        CHECK(vm_->statistics().mappings == device_->bos().live());
        CHECK(cache_->validate());
        CHECK(vm_->usable());
        return std::nullopt;
    }

    bool acquire_all() {
        std::vector<CachedBo> out;
        bool done = true;
        // More than the first block of anything holds.
        for (std::uint64_t i = 0; i < 200 && done; ++i) {
            const std::optional<CachedBo> bo = acquire((i % 40 + 1) * 16 * kKiB, "", i % 50 == 0);
            done = bo.has_value();
            if (done) {
                out.push_back(*bo);
            }
        }
        for (std::size_t i = 0; i < out.size(); ++i) {
            const FencePoint fence = timeline_->at(i);
            CHECK(cache_->put(out[i].id, {&fence, i % 2}, BoBusy::kUntilFences, kSecond) == Status::kOk);
            CHECK(cache_->statistics().usage.cached_bytes() <= 16 * kMiB);
        }
        timeline_->signal(150);
        out.clear();
        for (std::uint64_t i = 0; i < 12 && done; ++i) {
            const std::optional<CachedBo> bo = acquire((i % 4 + 30) * 16 * kKiB, std::string(i * 90, 'x'), true);
            done = bo.has_value();
            if (done) {
                out.push_back(*bo);
            }
        }
        for (const CachedBo& bo : out) {
            CHECK(cache_->put(bo.id, {}, BoBusy::kUntilFences, kSecond) == Status::kOk);
        }
        return done;
    }

    SoftDeviceConfig config_;
    Owned<SoftDevice> device_;
    Owned<Timeline> timeline_;
    Owned<Vm> vm_;
    Owned<BoCache> cache_;
};

TEST_CASE("P3: whichever allocation fails, an acquire says so, has changed nothing, and nothing is leaked") {
    bool refused = true;
    for (std::uint64_t k = 0; refused; ++k) {
        CAPTURE(k);
        REQUIRE(k < 10'000);
        TestMemory memory;
        memory.refuse_after(k);
        // Some of them are those of the device, which looks as if it had no memory left: then it is asked again.
        const bool done = Story(memory.memory(), nullptr).run();
        refused = memory.refusals() != 0;
        REQUIRE((done || refused));
        REQUIRE(memory.blocks().empty());
        REQUIRE(memory.misuses() == 0);
    }
}

TEST_CASE(
    "P3: the same for device memory, page tables and the kernel's operations; a shortage that passes is survived") {
    for (const Injection::Site site :
         {Injection::Site::kDeviceMemory, Injection::Site::kTableMemory, Injection::Site::kOperation}) {
        bool failed = true;
        for (std::uint64_t k = 0; failed; ++k) {
            CAPTURE(k);
            REQUIRE(k < 10'000);
            TestMemory memory;
            Failing failing;
            failing.fail_after(site, k);
            // Memory that is short once is there when it is asked for again.
            const bool done = Story(memory.memory(), &failing).run();
            failed = failing.failed();
            REQUIRE((done || failed));
            REQUIRE(memory.blocks().empty());
            // The VM begins with a table; operations are asked for by each bind, the first ones say it all.
            k += k > 30 ? 17 : 0;
        }
    }
}

TEST_CASE("P4: without any memory, everything that is handed out is put, waits, is trimmed and ends") {
    TestMemory memory;
    SoftDeviceConfig soft = device_config();
    soft.nodes = memory.memory();
    BoCacheConfig config = patient();
    config.max_bytes = 64 * kMiB;
    {
        BoCacheFixture fixture(config, soft);
        fixture.cache = {};
        fixture.cache = make_cache(*fixture.device, fixture.vm.get(), config, memory.memory());
        std::vector<CachedBo> bos;
        bos.reserve(300);
        for (std::uint64_t i = 0; i < 300; ++i) {
            bos.push_back(fixture.get((i % 60 + 1) * 8 * kKiB));
        }
        memory.refuse_everything();
        const std::uint64_t requests = memory.requests();
        for (std::size_t i = 0; i < bos.size(); ++i) {
            if (i % 3 == 0) {
                fixture.put(bos[i]);
            } else {
                fixture.put_behind(bos[i], {fixture.timelines[0]->at(i), fixture.timelines[1]->at(i)});
            }
        }
        fixture.timelines[0]->signal(200);
        fixture.timelines[1]->signal(100);
        fixture.cache->trim(2 * kSecond);
        CHECK(fixture.cache->validate());
        CHECK(fixture.get(8 * kKiB).reused);  // nor does a hit need memory
        fixture.cache->evict_all();
        fixture.timelines[0]->signal(1000);
        fixture.timelines[1]->signal(1000);
        fixture.cache->trim(3 * kSecond);
        CHECK(fixture.statistics().usage.live.bos == 1);
        CHECK(fixture.device->bos().live() == 1);
        CHECK(memory.requests() == requests);
        memory.refuse_nothing();
    }
    CHECK(memory.blocks().empty());
}

}  // namespace
}  // namespace granule::test
