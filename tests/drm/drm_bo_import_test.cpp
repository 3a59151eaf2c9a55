// Imports and exports, and what happens where they meet the end of the BO.
#include <array>
#include <atomic>
#include <functional>
#include <thread>

#include "src/drm/drm_bo.hpp"
#include "tests/drm/device_fixture.hpp"
#include "tests/support/meanwhile_drm_calls.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test {
namespace {

TEST_CASE("the same dma-buf twice is the same BO, with one more reference") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        DeviceFixture fixture(newest(driver));
        const int foreign = fixture.drm.make_foreign_dma_buf(3 * kMiB);
        const BoId first = fixture.import(foreign);
        CHECK(fixture.import(foreign) == first);
        CHECK(fixture.bo(first).references() == 2);
        CHECK(fixture.bo(first).imported);
        CHECK(fixture.bo(first).size == 3 * kMiB);
        CHECK(fixture.drm.census().handles == 1);
        fixture.release(first);
        CHECK(fixture.object_of(first) != 0);
        fixture.release(first);
        CHECK(fixture.drm.census().handles == 0);
        const BoId again = fixture.import(foreign);
        CHECK(again != first);
        fixture.release(again);
        fixture.drm.close(foreign);
    }
}

TEST_CASE("a BO that was exported comes back as itself") {
    for (const DrmDriver driver : kDrivers) {
        for (const FakeKernel& kernel : {newest(driver), oldest(driver)}) {
            CAPTURE(to_string(driver));
            DeviceFixture fixture(kernel);
            const BoId id = fixture.make_shareable_bo(4096);
            const int dma_buf = fixture.dma_buf_of(id);
            CHECK(fixture.import(dma_buf) == id);
            CHECK(fixture.bo(id).references() == 2);
            CHECK_FALSE(fixture.bo(id).imported);
            fixture.release(id);
            fixture.release(id);
            fixture.drm.close(dma_buf);
        }
    }
}

TEST_CASE("a BO of another file of the device is what it is there, where the driver can be asked") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        DeviceFixture fixture(newest(driver));
        DrmDeviceConfig config;
        config.calls = &fixture.drm;
        Result<Owned<DrmDevice>, OsError> other = DrmDevice::open(FakeDrm::kPath, config);
        REQUIRE(other.has_value());
        BoRequest request;
        request.bytes = 8192;
        request.cpu_visible = driver == DrmDriver::kPanfrost;  // whose kernel has no word for it
        request.executable = true;
        request.shareable = true;
        const BoId id = fixture.make_bo(request);
        const int dma_buf = fixture.dma_buf_of(id);
        const Result<BoId, OsError> imported = (*other)->import_bo(dma_buf, 7);
        REQUIRE(imported.has_value());
        const Bo& bo = *(*other)->bos().find(*imported);
        CHECK_FALSE(bo.imported);
        CHECK(bo.size == 8192);
        CHECK(bo.made_by == 7);
        CHECK(bo.cpu_visible == request.cpu_visible);
        CHECK(bo.kernel_va.has_value() == (driver == DrmDriver::kPanfrost));
        CHECK(bo.kernel_flags == fixture.bo(id).kernel_flags);
        if (request.cpu_visible) {
            const Result<std::byte*, Status> here = fixture.bos().map_cpu(fixture.bo(id));
            const Result<std::byte*, Status> there = (*other)->bos().map_cpu(*(*other)->bos().find(*imported));
            REQUIRE(here.has_value());
            REQUIRE(there.has_value());
            (*here)[5000] = std::byte{9};
            CHECK((*there)[5000] == std::byte{9});
        }
        fixture.release(id);
        (*other)->bos().release(*(*other)->bos().find(*imported), 1);
        fixture.drm.close(dma_buf);
    }
}

TEST_CASE("an imported BO, and one whose origin no driver tells, is its exporter's to keep coherent") {
    for (const DrmDriver driver : kDrivers) {
        for (const FakeKernel& kernel : {newest(driver), oldest(driver)}) {
            DeviceFixture fixture(kernel);
            const int foreign = fixture.drm.make_foreign_dma_buf(4096);
            const BoId id = fixture.import(foreign);
            CHECK(fixture.bo(id).imported);
            CHECK(status_of_sync(*fixture.device, {&fixture.bo(id), BoOffset{0}, 4096, CacheOp::kFlush}) ==
                  Status::kNotSupported);
            fixture.release(id);
            fixture.drm.close(foreign);
        }
    }
}

TEST_CASE("panthor: a BO for one VM only is neither made shareable nor exported, and is what it was") {
    const DeviceFixture fixture(newest(DrmDriver::kPanthor));
    const Owned<Vm> vm = fixture.make_vm();
    BoRequest request;
    request.bytes = 4096;
    request.only_for_vm = vm->backend().kernel_id();
    request.shareable = true;
    CHECK(fixture.device->create_bo(request).error().status == Status::kBadArgument);
    request.shareable = false;
    const BoId id = fixture.make_bo(request);
    const FakeDrmCensus before = fixture.drm.census();
    const Result<int, OsError> dma_buf = fixture.device->export_bo(fixture.bo(id));
    REQUIRE_FALSE(dma_buf.has_value());
    CHECK(dma_buf.error().status == Status::kBadArgument);
    // The kernel would refuse it too.
    CHECK(fixture.device->bo_backend().export_dma_buf(fixture.bo(id)).error().error == EINVAL);
    CHECK(fixture.drm.census() == before);
    fixture.release(id);
}

TEST_CASE("what is no dma-buf is not imported") {
    const DeviceFixture fixture(newest(DrmDriver::kPanthor));
    const Result<BoId, OsError> id = fixture.device->import_bo(fixture.fd());
    REQUIRE_FALSE(id.has_value());
    CHECK(id.error().error != 0);
    CHECK(std::string_view(id.error().call) == "PRIME_FD_TO_HANDLE");
    CHECK(fixture.drm.census().handles == 0);
}

// A device in which the last reference of a BO is given back after the kernel has answered an import of it, and before
// anybody looks at the answer.
struct Meeting {
    explicit Meeting(DrmDriver driver, NodeMemory nodes) : drm(newest(driver)), calls(drm, [this] { meet(); }) {
        DrmDeviceConfig config;
        config.calls = &calls;
        config.nodes = nodes;
        Result<Owned<DrmDevice>, OsError> opened = DrmDevice::open(FakeDrm::kPath, config);
        REQUIRE(opened.has_value());
        device = std::move(*opened);
        BoRequest request;
        request.bytes = 3 * kMiB;
        request.shareable = true;
        const Result<BoId, OsError> made = device->create_bo(request);
        REQUIRE(made.has_value());
        first = *made;
        REQUIRE(bos().map_cpu(*bos().find(first)).has_value());
        const Result<int, OsError> exported = device->export_bo(*bos().find(first));
        REQUIRE(exported.has_value());
        dma_buf = *exported;
        meets = true;
    }
    void meet() {
        if (std::exchange(meets, false)) {
            owner = std::thread([this] { bos().release(*bos().find(first), 1); });
            while (bos().live() != 0) {  // its count is 0 then, and its end waits for us
                std::this_thread::yield();
            }
        }
    }
    [[nodiscard]] Result<BoId, OsError> import_and_meet() {
        const Result<BoId, OsError> id = device->import_bo(dma_buf);
        owner.join();
        return id;
    }
    [[nodiscard]] BoTable& bos() const noexcept { return device->bos(); }

    FakeDrm drm;
    bool meets = false;
    MeanwhileDrmCalls calls;
    Owned<DrmDevice> device;
    BoId first = kNoBo;
    int dma_buf = -1;
    std::thread owner;
};

TEST_CASE("an import that meets the release of the last reference gives a BO whose handle is open") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        Meeting meeting(driver, NodeMemory::process());
        BoTable& bos = meeting.bos();
        const DrmBoBackend& backend = meeting.device->bo_backend();
        const std::uint32_t gem = bos.find(meeting.first)->gem;
        const std::optional<Va> kernel_va = bos.find(meeting.first)->kernel_va;
        const int fd = meeting.device->file().fd();
        const std::uint64_t object = meeting.drm.object_of(fd, gem);

        const Result<BoId, OsError> second = meeting.import_and_meet();
        REQUIRE(second.has_value());
        CHECK(*second != meeting.first);
        CHECK(bos.find(meeting.first) == nullptr);
        const Bo& bo = *bos.find(*second);
        CHECK(bo.gem == gem);
        CHECK(meeting.drm.object_of(fd, gem) == object);
        CHECK(bo.size == 3 * kMiB);
        CHECK(bo.kernel_va == kernel_va);
        CHECK_FALSE(bo.imported);
        CHECK(backend.open_handles() == 1);
        CHECK(meeting.drm.census().cpu_maps == 0);
        CHECK(bos.map_cpu(*bos.find(*second)).has_value());
        CHECK(meeting.device->import_bo(meeting.dma_buf).value() == *second);
        bos.release(*bos.find(*second), 2);
        CHECK(backend.open_handles() == 0);
        CHECK(backend.failed_closes() == 0);
        meeting.drm.close(meeting.dma_buf);
        CHECK(meeting.drm.census().handles == 0);
        CHECK(meeting.drm.census().objects == 0);
    }
}

TEST_CASE("an import that meets the release and has no memory leaves the handle to the BO that ends") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        TestMemory memory;
        Meeting meeting(driver, memory.memory());
        memory.refuse_everything();
        const Result<BoId, OsError> second = meeting.import_and_meet();
        REQUIRE_FALSE(second.has_value());
        CHECK(second.error().status == Status::kOutOfHostMemory);
        CHECK(meeting.drm.census().handles == 0);
        CHECK(meeting.device->bo_backend().open_handles() == 0);
        CHECK(meeting.device->bo_backend().failed_closes() == 0);
        meeting.drm.close(meeting.dma_buf);
    }
}

TEST_CASE("threads import and release the same dma-bufs, and every BO has its object for as long as it is held") {
    constexpr int kThreads = 4;
    constexpr int kRounds = 4000;
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        DeviceFixture fixture(newest(driver));
        std::array<int, 3> dma_bufs{};
        std::array<std::uint64_t, 3> objects{};
        for (std::size_t i = 0; i < dma_bufs.size(); ++i) {
            dma_bufs[i] = fixture.drm.make_foreign_dma_buf(4096 * (i + 1));
            const BoId id = fixture.import(dma_bufs[i]);
            objects[i] = fixture.object_of(id);
            fixture.release(id);
        }
        std::atomic<std::uint64_t> wrong{0};
        std::array<std::thread, kThreads> threads;
        for (int t = 0; t < kThreads; ++t) {
            threads[static_cast<std::size_t>(t)] = std::thread([&, t] {
                for (int round = 0; round < kRounds; ++round) {
                    const std::size_t i = static_cast<std::size_t>(round + t) % dma_bufs.size();
                    const Result<BoId, OsError> id = fixture.device->import_bo(dma_bufs[i]);
                    if (!id) {
                        ++wrong;
                        continue;
                    }
                    Bo& bo = *fixture.bos().find(*id);
                    if (fixture.drm.object_of(fixture.fd(), bo.gem) != objects[i] || bo.size != 4096 * (i + 1)) {
                        ++wrong;
                    }
                    fixture.bos().release(bo, 1);
                }
            });
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
        CHECK(wrong == 0);
        CHECK(fixture.bos().live() == 0);
        CHECK(fixture.device->bo_backend().open_handles() == 0);
        CHECK(fixture.device->bo_backend().failed_closes() == 0);
        CHECK(fixture.drm.census().handles == 0);
        for (const int dma_buf : dma_bufs) {
            fixture.drm.close(dma_buf);
        }
    }
}

}  // namespace
}  // namespace granule::test
