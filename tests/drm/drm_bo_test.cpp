#include "src/drm/drm_bo.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "tests/drm/device_fixture.hpp"

namespace granule::test {
namespace {

TEST_CASE("a BO has whole pages, and a handle until the last reference goes") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        const DeviceFixture fixture(newest(driver));
        for (const auto& [asked, given] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
                 {1, 4096}, {4096, 4096}, {4096 + 904, 8192}, {2 * kMiB, 2 * kMiB}, {5 * kMiB + 1, 5 * kMiB + 4096}}) {
            const BoId id = fixture.make_bo(asked);
            CHECK(fixture.bo(id).size == given);
            CHECK(fixture.object_of(id) != 0);
            CHECK(fixture.bo(id).runs.empty());
            CHECK(fixture.bo(id).kernel_va.has_value() == (driver == DrmDriver::kPanfrost));
            CHECK_FALSE(fixture.bo(id).imported);
            const std::uint32_t gem = fixture.bo(id).gem;
            fixture.bos().retain(fixture.bo(id), 1);
            fixture.release(id);
            CHECK(fixture.object_of(id) != 0);
            CHECK(fixture.device->bo_backend().open_handles() == 1);
            fixture.release(id);
            CHECK(fixture.drm.object_of(fixture.fd(), gem) == 0);
            CHECK(fixture.device->bo_backend().open_handles() == 0);
        }
        CHECK(fixture.device->bo_backend().failed_closes() == 0);
    }
}

TEST_CASE("a BO of no bytes is refused before the kernel is asked") {
    for (const DrmDriver driver : kDrivers) {
        const DeviceFixture fixture(newest(driver));
        const auto asked = [&] {
            return fixture.drm.count(DrmCallKind::kBoCreate) + fixture.drm.count(DrmCallKind::kCreateBo);
        };
        const std::uint64_t before = asked();
        for (const std::uint64_t bytes : {std::uint64_t{0}, kMaxVaEnd + 1, ~std::uint64_t{0}}) {
            BoRequest request;
            request.bytes = bytes;
            const Result<BoId, OsError> id = fixture.device->create_bo(request);
            REQUIRE_FALSE(id.has_value());
            CHECK(id.error().status == Status::kBadArgument);
        }
        CHECK(asked() == before);
    }
}

Status refusal(const FakeKernel& kernel, const BoRequest& request) {
    const DeviceFixture fixture(kernel);
    const FakeDrmCensus before = fixture.drm.census();
    const Result<BoId, OsError> id = fixture.device->create_bo(request);
    REQUIRE_FALSE(id.has_value());
    CHECK(fixture.drm.census() == before);
    return id.error().status;
}

TEST_CASE("what a driver cannot make is refused, and says whether any could") {
    BoRequest cached;
    cached.bytes = 4096;
    cached.cpu_cached = true;
    BoRequest cached_unseen = cached;
    cached_unseen.cpu_visible = false;
    BoRequest grows;
    grows.bytes = 4096;
    grows.grows_on_fault = true;
    BoRequest executable_grows = grows;
    executable_grows.executable = true;
    BoRequest cached_grows = grows;
    cached_grows.cpu_cached = true;
    BoRequest exclusive;
    exclusive.bytes = 4096;
    exclusive.only_for_vm = 31;  // there is none
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        const bool panfrost = driver == DrmDriver::kPanfrost;
        CHECK(refusal(oldest(driver), cached) == Status::kNotSupported);
        CHECK(refusal(newest(driver), cached_unseen) == Status::kBadArgument);
        CHECK(refusal(newest(driver), cached_grows) == Status::kBadArgument);
        CHECK(refusal(newest(driver), executable_grows) == (panfrost ? Status::kBadArgument : Status::kNotSupported));
        CHECK(refusal(newest(driver), exclusive) == (panfrost ? Status::kNotSupported : Status::kBadArgument));
    }
    CHECK(refusal(newest(DrmDriver::kPanthor), grows) == Status::kNotSupported);
}

TEST_CASE("panfrost: a BO that grows has whole 2 MiB and no CPU view; all others are not executable unless asked for") {
    const DeviceFixture fixture(newest(DrmDriver::kPanfrost));
    BoRequest request;
    request.bytes = 1;
    request.grows_on_fault = true;
    const BoId heap = fixture.make_bo(request);
    CHECK(fixture.bo(heap).size == 2 * kMiB);
    CHECK(fixture.bo(heap).grows_on_fault);
    CHECK_FALSE(fixture.bo(heap).cpu_visible);
    CHECK(fixture.bo(heap).kernel_flags.noexec);
    CHECK(fixture.bos().map_cpu(fixture.bo(heap)).error() == Status::kNotSupported);
    request.grows_on_fault = false;
    const BoId plain = fixture.make_bo(request);
    CHECK(fixture.bo(plain).kernel_flags.noexec);
    request.executable = true;
    const BoId shader = fixture.make_bo(request);
    CHECK_FALSE(fixture.bo(shader).kernel_flags.noexec);
    for (const BoId id : {heap, plain, shader}) {
        fixture.release(id);
    }
}

TEST_CASE("panfrost: BOs that no VA space could hold are refused before their size is cut to 32 bits") {
    BoRequest request;
    for (const std::uint64_t bytes : {4 * kGiB - 4095, 4 * kGiB, 4 * kGiB + 4096, kMaxVaEnd}) {
        request.bytes = bytes;
        CHECK(refusal(newest(DrmDriver::kPanfrost), request) == Status::kOutOfVa);
    }
    request.bytes = 4 * kGiB - 4096;  // the kernel's to refuse: 32 MiB too much
    CHECK(refusal(newest(DrmDriver::kPanfrost), request) == Status::kOutOfVa);
    request.grows_on_fault = true;
    request.bytes = 4 * kGiB - 4096;
    CHECK(refusal(newest(DrmDriver::kPanfrost), request) == Status::kOutOfVa);
}

TEST_CASE("the CPU sees a BO whole, zeroed, at one place, for which the kernel is asked once") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        const DeviceFixture fixture(newest(driver));
        const BoId id = fixture.make_bo(3 * kMiB);
        const Result<std::byte*, Status> cpu = fixture.bos().map_cpu(fixture.bo(id));
        REQUIRE(cpu.has_value());
        CHECK(std::all_of(*cpu, *cpu + 3 * kMiB, [](std::byte b) { return b == std::byte{0}; }));
        (*cpu)[3 * kMiB - 1] = std::byte{42};
        CHECK(fixture.bos().map_cpu(fixture.bo(id)).value() == *cpu);
        CHECK(fixture.drm.count(DrmCallKind::kBoMmapOffset) + fixture.drm.count(DrmCallKind::kMmapBo) == 1);
        CHECK(fixture.drm.count(DrmCallKind::kMap) == 1);
        CHECK(fixture.drm.census().cpu_maps == 1);
        fixture.release(id);
        CHECK(fixture.drm.census().cpu_maps == 0);
    }
}

TEST_CASE("a BO that is not for the CPU has no view, and the kernel is not asked for one") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        const DeviceFixture fixture(newest(driver));
        BoRequest request;
        request.bytes = 4096;
        request.cpu_visible = false;
        const BoId id = fixture.make_bo(request);
        CHECK(fixture.bos().map_cpu(fixture.bo(id)).error() == Status::kNotSupported);
        CHECK(fixture.drm.count(DrmCallKind::kBoMmapOffset) + fixture.drm.count(DrmCallKind::kMmapBo) == 0);
        fixture.release(id);
    }
}

TEST_CASE("the kernel knows the label, up to the byte that its NUL takes, cut where no character is") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        const DeviceFixture fixture(newest(driver));
        const BoId id = fixture.make_bo(4096);
        Bo& bo = fixture.bo(id);
        const auto in_kernel = [&] { return fixture.drm.label_of(fixture.fd(), bo.gem); };
        for (const std::size_t length : {std::size_t{1}, std::size_t{4094}, std::size_t{4095}}) {
            const std::string label(length, 'x');
            REQUIRE(fixture.bos().set_label(bo, label) == Status::kOk);
            CHECK(in_kernel() == label);
        }
        for (const std::size_t length : {std::size_t{4096}, std::size_t{4097}, std::size_t{100'000}}) {
            REQUIRE(fixture.bos().set_label(bo, std::string(length, 'y')) == Status::kOk);
            CHECK(in_kernel() == std::string(4095, 'y'));
        }
        REQUIRE(fixture.bos().set_label(bo, std::string(4093, 'z') + "\u20ac") == Status::kOk);  // 3 bytes
        CHECK(in_kernel() == std::string(4093, 'z'));
        REQUIRE(fixture.bos().set_label(bo, "") == Status::kOk);
        CHECK(in_kernel().empty());
        fixture.release(id);
    }
}

TEST_CASE("drivers without labels are not asked, and BOs have theirs all the same") {
    for (const DrmDriver driver : kDrivers) {
        const DeviceFixture fixture(oldest(driver));
        const BoId id = fixture.make_bo(4096);
        CHECK(fixture.bos().set_label(fixture.bo(id), "shadow map") == Status::kOk);
        CHECK(fixture.bos().short_label(id).view() == "shadow map");
        CHECK(fixture.drm.count(DrmCallKind::kBoSetLabel) + fixture.drm.count(DrmCallKind::kSetLabelBo) == 0);
        fixture.release(id);
    }
}

TEST_CASE("caches are flushed for a part that lies in the BO, where the driver can") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        const DeviceFixture fixture(newest(driver));
        BoRequest request;
        request.bytes = 8192;
        request.cpu_cached = true;
        const BoId id = fixture.make_bo(request);
        const Bo& bo = fixture.bo(id);
        const auto sync = [&](std::uint64_t offset, std::uint64_t bytes, CacheOp operation) {
            return status_of_sync(*fixture.device, {&bo, BoOffset{offset}, bytes, operation});
        };
        for (const CacheOp operation : {CacheOp::kFlush, CacheOp::kFlushAndInvalidate}) {
            CHECK(sync(0, 8192, operation) == Status::kOk);
            CHECK(sync(100, 1, operation) == Status::kOk);
            CHECK(sync(8192, 0, operation) == Status::kOk);
            CHECK(sync(8192, 1, operation) == Status::kOutOfRange);
            CHECK(sync(8193, 0, operation) == Status::kOutOfRange);
            CHECK(sync(1, ~std::uint64_t{0}, operation) == Status::kOutOfRange);
        }
        fixture.release(id);

        const DeviceFixture old(oldest(driver));
        const BoId other = old.make_bo(4096);
        CHECK(status_of_sync(*old.device, {&old.bo(other), BoOffset{0}, 4096, CacheOp::kFlush}) ==
              Status::kNotSupported);
        old.release(other);
    }
}

TEST_CASE("panfrost: the kernel may take the pages of an evictable BO, and says so") {
    DeviceFixture fixture(newest(DrmDriver::kPanfrost));
    DrmBoBackend& backend = fixture.device->bo_backend();
    const BoId kept = fixture.make_bo(4096);
    const BoId taken = fixture.make_bo(4096);
    CHECK(backend.set_evictable(fixture.bo(taken), true).value());
    CHECK(backend.set_evictable(fixture.bo(kept), true).value());
    CHECK(backend.set_evictable(fixture.bo(kept), false).value());
    fixture.drm.purge();
    CHECK(backend.set_evictable(fixture.bo(kept), false).value());
    CHECK_FALSE(backend.set_evictable(fixture.bo(taken), false).value());
    fixture.release(kept);
    fixture.release(taken);
}

TEST_CASE("panfrost waits for a BO; panthor, whose kernel does not know, says so, and keeps all pages") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        const DeviceFixture fixture(newest(driver));
        DrmBoBackend& backend = fixture.device->bo_backend();
        const BoId id = fixture.make_bo(4096);
        if (driver == DrmDriver::kPanfrost) {
            CHECK(backend.wait(fixture.bo(id), 0).has_value());
        } else {
            CHECK(backend.wait(fixture.bo(id), 0).error().status == Status::kNotSupported);
            CHECK(backend.set_evictable(fixture.bo(id), true).error().status == Status::kNotSupported);
        }
        fixture.release(id);
    }
}

TEST_CASE("a handle that somebody else closed is counted, and its number may be another BO's") {
    DeviceFixture fixture(newest(DrmDriver::kPanthor));
    DrmBoBackend& backend = fixture.device->bo_backend();
    const BoId robbed = fixture.make_bo(4096);
    REQUIRE(fixture.drm.close_handle(fixture.fd(), fixture.bo(robbed).gem) == 0);
    fixture.release(robbed);
    CHECK(backend.failed_closes() == 1);

    const BoId robbed_too = fixture.make_bo(4096);
    REQUIRE(fixture.drm.close_handle(fixture.fd(), fixture.bo(robbed_too).gem) == 0);
    const BoId heir = fixture.make_bo(8192);
    REQUIRE(fixture.bo(heir).gem == fixture.bo(robbed_too).gem);
    fixture.release(robbed_too);  // not the heir's handle
    CHECK(fixture.object_of(heir) != 0);
    CHECK(backend.failed_closes() == 2);
    CHECK(backend.open_handles() == 1);
    fixture.release(heir);
    CHECK(backend.open_handles() == 0);
}

TEST_CASE("10,000 BOs come and go in any order, and no handle is left") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        const DeviceFixture fixture(newest(driver));
        std::vector<BoId> live;
        live.reserve(64);
        std::uint64_t random = 1;
        for (int i = 0; i < 10'000; ++i) {
            live.push_back(fixture.make_bo(4096));
            random = random * 6364136223846793005U + 1442695040888963407U;
            if (live.size() == 64) {
                std::swap(live[(random >> 33) % live.size()], live.back());
                fixture.release(live.back());
                live.pop_back();
            }
        }
        CHECK(fixture.device->bo_backend().open_handles() == live.size());
        for (const BoId id : live) {
            fixture.release(id);
        }
        CHECK(fixture.drm.census().handles == 0);
        CHECK(fixture.device->bo_backend().open_handles() == 0);
    }
}

}  // namespace
}  // namespace granule::test
