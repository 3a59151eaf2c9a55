// Pools of small buffers on panthor and panfrost: what they ask of the kernel, and what happens where it says no.
#include <cerrno>
#include <cstdint>
#include <vector>

#include "src/bo_pool.hpp"
#include "tests/drm/device_fixture.hpp"
#include "tests/support/failing_drm_calls.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kKiB = 1024;

Result<Owned<BoPool>, Status> make_pool(Device& device, Vm& vm) {
    VmSlabConfig slabs;
    slabs.zone = VaZone::kLow;
    return BoPool::create({}, device, vm, slabs);
}

// A DrmDevice whose calls fail when told to.
struct FailingFixture {
    explicit FailingFixture(DrmDriver driver) : drm(newest(driver)), calls(drm, driver) {
        DrmDeviceConfig config;
        config.calls = &calls;
        device = std::move(*DrmDevice::open(FakeDrm::kPath, config));
        vm = std::move(*device->create_vm({}));
    }
    FailingFixture(const FailingFixture&) = delete;
    FailingFixture& operator=(const FailingFixture&) = delete;
    FailingFixture(FailingFixture&&) = delete;
    FailingFixture& operator=(FailingFixture&&) = delete;
    ~FailingFixture() {
        calls.stop();
        vm = {};
        device = {};
        CHECK(drm.forgotten() == FakeDrmCensus{});
        CHECK(drm.census() == FakeDrmCensus{});
    }

    FakeDrm drm;
    FailingDrmCalls calls;
    Owned<DrmDevice> device;
    Owned<Vm> vm;
};

TEST_CASE("a thousand buffers cost the kernel a few slabs, and nothing for each") {
    for (const DrmDriver driver : kDrivers) {
        FailingFixture fixture(driver);
        const Owned<BoPool> pool = std::move(*make_pool(*fixture.device, *fixture.vm));
        const std::uint64_t before = fixture.calls.calls();
        std::vector<PoolBuffer> buffers;
        for (std::uint64_t i = 0; i < 1000; ++i) {
            buffers.push_back(pool->allocate(4 * kKiB).value());
        }
        const std::uint64_t slabs = pool->statistics().slabs_made;
        CHECK(slabs <= 5);
        CHECK(fixture.calls.calls() - before <= 6 * slabs);
        const std::uint64_t then = fixture.calls.calls();
        for (std::uint64_t round = 0; round < 10; ++round) {
            CHECK(pool->free(buffers[round].id) == Status::kOk);
            CHECK(pool->allocate(4 * kKiB).has_value());
        }
        CHECK(fixture.calls.calls() == then);
    }
}

TEST_CASE("panfrost: slabs are where the kernel puts them, and buffers are aligned all the same") {
    DeviceFixture fixture(newest(DrmDriver::kPanfrost));
    const Owned<Vm> vm = fixture.make_vm();
    {
        const Owned<BoPool> pool = std::move(*make_pool(*fixture.device, *vm));
        for (std::uint64_t alignment = 1; alignment <= 2 * kMiB; alignment *= 2) {
            for (const std::uint64_t bytes : {std::uint64_t{1}, 5 * kKiB, 3 * kMiB}) {
                const Result<PoolBuffer, OsError> buffer = pool->allocate(bytes, alignment);
                REQUIRE(buffer.has_value());
                CHECK(buffer->va.is_aligned(alignment));
                const Bo& bo = fixture.bo(buffer->bo);
                CHECK(*bo.kernel_va + buffer->offset.raw() == buffer->va);
                CHECK(buffer->offset.raw() + bytes <= bo.size);
                CHECK(fixture.drm.page(fixture.fd(), 0, buffer->va.align_down(kPageBytes).raw()).mapped);
            }
        }
        CHECK(pool->validate());
    }
    CHECK(fixture.bos().live() == 0);
    CHECK(vm->statistics().mappings == 0);
}

TEST_CASE("P3: whichever call of the kernel fails, a pool says so, keeps what it had, and leaves nothing behind") {
    for (const DrmDriver driver : kDrivers) {
        bool failed = true;
        std::uint64_t failures = 0;
        for (std::uint64_t k = 0; failed; ++k) {
            CAPTURE(k);
            FailingFixture fixture(driver);
            const Owned<BoPool> pool = std::move(*make_pool(*fixture.device, *fixture.vm));
            const PoolBuffer kept = pool->allocate(kMiB).value();
            CHECK(pool->allocate(kMiB).value().bo == kept.bo);  // that slab is full
            fixture.calls.fail_at(k, ENOMEM);
            const Result<PoolBuffer, OsError> slab = pool->allocate(kMiB, 64 * kKiB);
            const Result<PoolBuffer, OsError> own = pool->allocate(5 * kMiB);
            failed = fixture.calls.failed();
            fixture.calls.stop();
            CHECK(pool->validate());
            CHECK(pool->statistics().slabs == (slab ? 2 : 1));
            CHECK(pool->statistics().own_bos == (own ? 1 : 0));
            CHECK(fixture.device->bos().live() == pool->statistics().slabs + pool->statistics().own_bos);
            CHECK(pool->find(kept.id).has_value());
            failures += slab && own ? 0U : 1U;
        }
        CHECK(failures >= 4);
    }
}

TEST_CASE("P4: a slab that panthor does not unmap stays mapped and in the pool, until it does") {
    FailingFixture fixture(DrmDriver::kPanthor);
    const Owned<BoPool> pool = std::move(*make_pool(*fixture.device, *fixture.vm));
    const PoolBuffer own = pool->allocate(8 * kMiB).value();
    fixture.calls.fail_kind(DrmCallKind::kVmBind, 0, ENOMEM);
    CHECK(pool->free(own.id) == Status::kOk);
    REQUIRE(fixture.calls.failed());
    CHECK(fixture.vm->usable());
    CHECK(fixture.vm->address(own.va).mapping.has_value());
    CHECK(pool->statistics().idle_slabs == 1);
    CHECK(pool->trim() == 8 * kMiB);
    CHECK(fixture.device->bos().live() == 0);
    CHECK(pool->validate());
}

TEST_CASE("panthor: BOs that one VM alone may show are made for it") {
    FailingFixture fixture(DrmDriver::kPanthor);
    VmSlabConfig slabs;
    slabs.only_for_vm = true;
    const Owned<BoPool> pool = std::move(*BoPool::create({}, *fixture.device, *fixture.vm, slabs));
    const PoolBuffer buffer = pool->allocate(64).value();
    const Owned<Vm> other = std::move(*fixture.device->create_vm({}));
    BindRequest request;
    request.kind = BindRequest::Kind::kMap;
    request.va = other->reserve_va({.size = 256 * kKiB, .zone = VaZone::kLow}).value();
    request.shows.bo = buffer.bo;
    CHECK(other->bind(request).error().status == Status::kBackendFailed);
}

}  // namespace
}  // namespace granule::test
