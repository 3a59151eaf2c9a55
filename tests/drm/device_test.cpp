#include "src/device.hpp"

#include <sys/sysinfo.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "src/drm/drm_device.hpp"
#include "tests/drm/device_fixture.hpp"
#include "tests/support/failing_drm_calls.hpp"
#include "tests/support/reserved_range.hpp"

namespace granule::test {
namespace {

// The newest driver's device, over calls that fail on request. What it left in the kernel is a failure.
struct FailingDevice {
    explicit FailingDevice(DrmDriver driver) : drm(newest(driver)), failing(drm, driver) {
        DrmDeviceConfig config;
        config.calls = &failing;
        Result<Owned<DrmDevice>, OsError> opened = DrmDevice::open(FakeDrm::kPath, config);
        REQUIRE(opened.has_value());
        device = std::move(*opened);
    }
    FailingDevice(const FailingDevice&) = delete;
    FailingDevice& operator=(const FailingDevice&) = delete;
    FailingDevice(FailingDevice&&) = delete;
    FailingDevice& operator=(FailingDevice&&) = delete;
    ~FailingDevice() {
        device = {};
        CHECK(drm.census() == FakeDrmCensus{});
    }

    FakeDrm drm;
    FailingDrmCalls failing;
    Owned<DrmDevice> device;
};

TEST_CASE("a device behind a kernel says what that kernel can, and no more") {
    for (const DrmDriver driver : kDrivers) {
        for (const bool new_one : {false, true}) {
            CAPTURE(to_string(driver));
            CAPTURE(new_one);
            const DeviceFixture fixture(new_one ? newest(driver) : oldest(driver));
            const Device& device = *fixture.device;
            const DeviceProperties& properties = device.properties();
            const KernelFacts& facts = fixture.device->facts();
            const bool panthor = driver == DrmDriver::kPanthor;
            CHECK(properties.kind == (panthor ? DeviceProperties::Kind::kPanthor : DeviceProperties::Kind::kPanfrost));
            CHECK(std::string_view(to_string(properties.kind)) == to_string(driver));
            CHECK(properties.kernel_facts == &facts);
            CHECK(properties.gpu == facts.gpu);
            CHECK(properties.gpu_id == facts.gpu_id);
            CHECK(properties.mmu_features == facts.mmu_features);
            CHECK(properties.va_bits == facts.va_bits);
            CHECK(properties.pa_bits == facts.pa_bits);
            CHECK(properties.behaviour == facts.behaviour);
            CHECK(properties.vm_space == facts.vm_space);
            CHECK(properties.vm_space.contains(properties.default_vm_space));
            CHECK(properties.coherent == facts.coherent);
            CHECK(properties.cpu_cached_bos == new_one);
            CHECK(properties.labels == new_one);
            CHECK(properties.sparse == panthor);
            CHECK(properties.native_sparse == (panthor && new_one));
            CHECK(properties.kernel_queue == panthor);
            CHECK(properties.kernel_places_bos == !panthor);
            CHECK(properties.evictable_bos == !panthor);
            CHECK(properties.bo_wait == !panthor);
            struct sysinfo machine {};
            REQUIRE(::sysinfo(&machine) == 0);
            CHECK(properties.heap_bytes == std::uint64_t{machine.totalram} * machine.mem_unit);
        }
    }
}

TEST_CASE("the properties keep their word: each call that they deny is refused as not supported, and no other") {
    for (const DrmDriver driver : kDrivers) {
        for (const bool new_one : {false, true}) {
            CAPTURE(to_string(driver));
            CAPTURE(new_one);
            const DeviceFixture fixture(new_one ? newest(driver) : oldest(driver));
            Device& device = *fixture.device;
            const DeviceProperties& properties = device.properties();
            const BoId id = fixture.make_bo(4096);
            Bo& bo = fixture.bo(id);
            const auto supported = [](const auto& result) {
                return result.has_value() || result.error().status != Status::kNotSupported;
            };
            CHECK(supported(device.wait_bo(bo, 0)) == properties.bo_wait);
            CHECK(supported(device.set_evictable(bo, false)) == properties.evictable_bos);
            const CacheSync whole{&bo, BoOffset{0}, bo.size, CacheOp::kFlush};
            CHECK(supported(device.sync_caches({&whole, 1})) == properties.cpu_cached_bos);
            BoRequest cached;
            cached.bytes = 4096;
            cached.cpu_cached = true;
            const Result<BoId, OsError> made = device.create_bo(cached);
            CHECK(supported(made) == properties.cpu_cached_bos);
            if (made) {
                fixture.release(*made);
            }
            {
                const Owned<Vm> vm = fixture.make_vm();
                const Result<BindReport, BindError> shown = device.show_bo(*vm, id);
                CHECK(supported(shown) == properties.kernel_places_bos);
                if (shown) {
                    device.free_mapped_bo(*vm, id);
                } else {
                    fixture.release(id);
                }
                BindRequest sparse;
                sparse.kind = BindRequest::Kind::kMap;
                sparse.va = {Va{kGiB}, Va{kGiB + 2 * kMiB}};
                CHECK(vm->bind(sparse).has_value() == properties.sparse);
                CHECK(supported(vm->submit(Transaction{}, {}, {})) == properties.kernel_queue);
            }
        }
    }
}

TEST_CASE("what a kernel says against a BO, a VM or a timeline arrives with its call and errno") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        const bool panthor = driver == DrmDriver::kPanthor;
        FailingDevice fixture(driver);
        FailingDrmCalls& failing = fixture.failing;
        Device& device = *fixture.device;
        const auto failed_with = [](const auto& result, std::string_view call, int error) {
            return !result && call == result.error().call && result.error().error == error;
        };
        BoRequest request;
        request.bytes = 4096;
        failing.fail_kind(panthor ? DrmCallKind::kBoCreate : DrmCallKind::kCreateBo, 0, ENODEV);
        CHECK(failed_with(device.create_bo(request), panthor ? "BO_CREATE" : "CREATE_BO", ENODEV));
        CHECK(device.memory_usage().bytes == 0);
        if (panthor) {
            failing.fail_kind(DrmCallKind::kVmCreate, 0, EBUSY);
            CHECK(failed_with(device.create_vm({}), "VM_CREATE", EBUSY));
            failing.fail_kind(DrmCallKind::kSyncobjCreate, 0, ENOMEM);
            CHECK(failed_with(device.create_timeline(), "SYNCOBJ_CREATE", ENOMEM));
        }
        failing.fail_kind(panthor ? DrmCallKind::kBoCreate : DrmCallKind::kCreateBo, 0, ENOMEM);
        const Result<Owned<Vm>, OsError> vm = device.create_vm({});
        REQUIRE(vm.has_value());
        const Result<BoId, BindError> mapped = device.create_mapped_bo(**vm, request);
        REQUIRE_FALSE(mapped.has_value());
        CHECK(mapped.error().status == Status::kOutOfDeviceMemory);
        CHECK(mapped.error().error == ENOMEM);
    }
}

TEST_CASE("caches of many parts of many BOs are synced with one ioctl for 64, all checked before the first") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        const bool panthor = driver == DrmDriver::kPanthor;
        DeviceFixture fixture(newest(driver));
        Device& device = *fixture.device;
        BoRequest request;
        request.bytes = 8192;
        request.cpu_cached = true;
        std::vector<BoId> ids;
        ids.reserve(3);
        for (int i = 0; i < 3; ++i) {
            ids.push_back(fixture.make_bo(request));
        }
        const auto ioctls = [&] { return fixture.drm.count(panthor ? DrmCallKind::kBoSync : DrmCallKind::kSyncBo); };
        constexpr std::array<std::size_t, 7> kCounts{0, 1, 2, 63, 64, 65, 200};
        for (const std::size_t count : kCounts) {
            CAPTURE(count);
            std::vector<CacheSync> parts;
            parts.reserve(count);
            for (std::size_t i = 0; i < count; ++i) {
                parts.push_back({&fixture.bo(ids[i % 3]), BoOffset{i * 8}, 64,
                                 i % 2 == 0 ? CacheOp::kFlush : CacheOp::kFlushAndInvalidate});
            }
            const std::uint64_t before = ioctls();
            CHECK(device.sync_caches(parts).has_value());
            CHECK(ioctls() - before == (count + 63) / 64);
            if (count == 0) {
                continue;
            }
            parts.back().offset = BoOffset{8192 - 63};
            CHECK(device.sync_caches(parts).error().status == Status::kOutOfRange);
            parts.back().bo = nullptr;
            CHECK(device.sync_caches(parts).error().status == Status::kBadArgument);
            CHECK(ioctls() - before == (count + 63) / 64);
        }
        const int foreign = fixture.drm.make_foreign_dma_buf(4096);
        const BoId imported = fixture.import(foreign);
        const std::array parts{CacheSync{&fixture.bo(ids[0]), BoOffset{0}, 64, CacheOp::kFlush},
                               CacheSync{&fixture.bo(imported), BoOffset{0}, 64, CacheOp::kFlush}};
        CHECK(device.sync_caches(parts).error().status == Status::kNotSupported);
        fixture.release(imported);
        fixture.drm.close(foreign);
        for (const BoId id : ids) {
            fixture.release(id);
        }
    }
}

TEST_CASE("a BO that was not made shareable is not exported, and the kernel is not asked") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        const DeviceFixture fixture(newest(driver));
        const BoId id = fixture.make_bo(4096);
        const Result<int, OsError> file = fixture.device->export_bo(fixture.bo(id));
        REQUIRE_FALSE(file.has_value());
        CHECK(file.error().status == Status::kBadArgument);
        CHECK(fixture.drm.count(DrmCallKind::kExportHandle) == 0);
        fixture.release(id);
    }
}

TEST_CASE("what was imported may be exported") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        DeviceFixture fixture(newest(driver));
        const int foreign = fixture.drm.make_foreign_dma_buf(4096);
        const BoId id = fixture.import(foreign);
        const int again = fixture.dma_buf_of(id);
        CHECK(fixture.import(again) == id);
        fixture.release(id);
        fixture.release(id);
        fixture.drm.close(again);
        fixture.drm.close(foreign);
    }
}

TEST_CASE("however many views of a BO there are, its place in the file is asked for once") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        const DeviceFixture fixture(newest(driver));
        const BoId id = fixture.make_bo(8192);
        Bo& bo = fixture.bo(id);
        const auto look_ups = [&] {
            return fixture.drm.count(driver == DrmDriver::kPanthor ? DrmCallKind::kBoMmapOffset : DrmCallKind::kMmapBo);
        };
        const ReservedRange first(bo.size);
        const ReservedRange second(bo.size);
        REQUIRE(fixture.bos().map_cpu_at(bo, first.start()) == Status::kOk);
        REQUIRE(fixture.bos().map_cpu_at(bo, second.start(), CpuAccess::kReadOnly) == Status::kOk);
        const Result<std::byte*, Status> own = fixture.bos().map_cpu(bo);
        REQUIRE(own.has_value());
        CHECK(look_ups() == 1);
        first.start()[5000] = std::byte{17};
        CHECK(second.start()[5000] == std::byte{17});
        CHECK((*own)[5000] == std::byte{17});
        CHECK_FALSE(writable(second.start() + 5000));
        CHECK_FALSE(readable(first.page_behind()));
        fixture.release(id);
    }
}

TEST_CASE("a view that the kernel refuses leaves the range reserved, and may be asked for again") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        const bool panthor = driver == DrmDriver::kPanthor;
        FailingDevice fixture(driver);
        FailingDrmCalls& failing = fixture.failing;
        BoTable& bos = fixture.device->bos();
        BoRequest request;
        request.bytes = 8192;
        Bo& bo = *bos.find(fixture.device->create_bo(request).value());
        const ReservedRange range(bo.size);
        for (const DrmCallKind kind :
             {panthor ? DrmCallKind::kBoMmapOffset : DrmCallKind::kMmapBo, DrmCallKind::kMap}) {
            failing.fail_kind(kind, 0, ENOMEM);
            CHECK(bos.map_cpu_at(bo, range.start()) == Status::kOutOfHostMemory);
            CHECK(failing.failed());
            failing.stop();
            CHECK(taken(range.start()));
            CHECK(taken(range.start() + kPageBytes));
            CHECK_FALSE(readable(range.start()));
        }
        CHECK(bos.map_cpu_at(bo, range.start()) == Status::kOk);
        CHECK(bos.map_cpu_at(bo, range.start() + 1) == Status::kBadArgument);
        bos.release(bo, 1);
        if (panthor) {
            request.cpu_visible = false;
            Bo& hidden = *bos.find(fixture.device->create_bo(request).value());
            CHECK(bos.map_cpu_at(hidden, range.start()) == Status::kNotSupported);
            bos.release(hidden, 1);
        }
    }
}

TEST_CASE("a memory limit counts what the driver makes of a size, and what an import brings is counted apart") {
    DeviceFixture fixture(newest(DrmDriver::kPanfrost));
    Device& device = *fixture.device;
    device.set_memory_limit(2 * kMiB);
    BoRequest heap;
    heap.bytes = 2 * kMiB + 1;  // the driver rounds to 4 MiB
    heap.grows_on_fault = true;
    CHECK(device.create_bo(heap).error().status == Status::kOverBudget);
    heap.bytes = 4096;  // to 2 MiB
    const Result<BoId, OsError> id = device.create_bo(heap);
    REQUIRE(id.has_value());
    CHECK(device.memory_usage().bytes == 2 * kMiB);
    BoRequest page;
    page.bytes = 1;
    CHECK(device.create_bo(page).error().status == Status::kOverBudget);
    fixture.release(*id);
    // Small as a request, too large as what it becomes: made, seen, and gone again.
    device.set_memory_limit(kMiB);
    const FakeDrmCensus before = fixture.drm.census();
    CHECK(device.create_bo(heap).error().status == Status::kOverBudget);
    CHECK(fixture.drm.census() == before);
    CHECK(device.memory_usage().bytes == 0);
    const int foreign = fixture.drm.make_foreign_dma_buf(4 * kMiB);
    const BoId imported = fixture.import(foreign);
    CHECK(device.memory_usage().bytes == 0);
    CHECK(device.memory_usage().imported_bytes == 4 * kMiB);
    fixture.release(imported);
    CHECK(device.memory_usage().imported_bytes == 0);
    fixture.drm.close(foreign);
}

TEST_CASE("panthor: a syncobj of somebody's serves as a timeline, and stays theirs") {
    const DeviceFixture fixture(newest(DrmDriver::kPanthor));
    DrmCalls& calls = fixture.device->file().calls();
    std::uint32_t syncobj = 0;
    REQUIRE(calls.syncobj_create(fixture.fd(), false, syncobj) == 0);
    REQUIRE(calls.syncobj_signal(fixture.fd(), syncobj, 4) == 0);
    {
        const Result<Owned<Timeline>, OsError> timeline = fixture.device->adopt_timeline(syncobj);
        REQUIRE(timeline.has_value());
        CHECK(DrmDevice::syncobj_of(**timeline) == syncobj);
        CHECK((*timeline)->value() == 4);
        (*timeline)->signal(9);
        CHECK((*timeline)->wait(9, std::chrono::seconds(1)));
        CHECK(fixture.drm.census().syncobjs == 1);
    }
    CHECK(fixture.drm.census().syncobjs == 1);
    std::uint64_t point = 0;
    REQUIRE(calls.syncobj_query(fixture.fd(), syncobj, point) == 0);
    CHECK(point == 9);
    REQUIRE(calls.syncobj_destroy(fixture.fd(), syncobj) == 0);
    const Result<Owned<Timeline>, OsError> gone = fixture.device->adopt_timeline(syncobj);
    REQUIRE_FALSE(gone.has_value());
    CHECK(gone.error().status == Status::kOsFailed);
    CHECK(gone.error().error == ENOENT);
    CHECK(std::string_view(gone.error().call) == "SYNCOBJ_QUERY");
}

TEST_CASE("panfrost: there are no timelines, own or adopted") {
    const DeviceFixture fixture(newest(DrmDriver::kPanfrost));
    CHECK(fixture.device->create_timeline().error().status == Status::kNotSupported);
    CHECK(fixture.device->adopt_timeline(1).error().status == Status::kNotSupported);
}

}  // namespace
}  // namespace granule::test
