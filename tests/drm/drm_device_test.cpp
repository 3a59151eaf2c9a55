#include "src/drm/drm_device.hpp"

#include <chrono>
#include <string_view>

#include "tests/drm/device_fixture.hpp"
#include "tests/support/failing_drm_calls.hpp"

namespace granule::test {
namespace {

DrmDeviceConfig over(DrmCalls& calls) {
    DrmDeviceConfig config;
    config.calls = &calls;
    return config;
}

TEST_CASE("a path that is no device is an error that names the call") {
    FakeDrm drm(newest(DrmDriver::kPanthor));
    const Result<Owned<DrmDevice>, OsError> device = DrmDevice::open("/dev/dri/renderD129", over(drm));
    REQUIRE_FALSE(device.has_value());
    CHECK(std::string_view(device.error().call) == "open");
    CHECK(device.error().error == ENOENT);
    CHECK(device.error().status == Status::kOsFailed);
}

TEST_CASE("an adopted file is the same file by another number: the same handles, and it stays its owner's") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        FakeDrm drm(newest(driver));
        int fd = -1;
        REQUIRE(drm.open(FakeDrm::kPath, fd) == 0);
        {
            const Result<Owned<DrmDevice>, OsError> device = DrmDevice::adopt(fd, over(drm));
            REQUIRE(device.has_value());
            CHECK((*device)->file().fd() != fd);
            const Result<BoId, OsError> id = (*device)->create_bo({.bytes = 4096});
            REQUIRE(id.has_value());
            Bo& bo = *(*device)->bos().find(*id);
            CHECK(drm.object_of(fd, bo.gem) == drm.object_of((*device)->file().fd(), bo.gem));
            (*device)->bos().release(bo, 1);
        }
        DrmVersion version;
        CHECK(drm.version(fd, version) == 0);
        drm.close(fd);
        CHECK(drm.census() == FakeDrmCensus{});
        const Result<Owned<DrmDevice>, OsError> gone = DrmDevice::adopt(fd, over(drm));
        REQUIRE_FALSE(gone.has_value());
        CHECK(std::string_view(gone.error().call) == "F_DUPFD_CLOEXEC");
    }
}

TEST_CASE(
    "opening a device with every call failing once, with every error: a device or a reason, and nothing is left") {
    for (const DrmDriver driver : kDrivers) {
        FakeDrm drm(newest(driver));
        FailingDrmCalls calls(drm, driver);
        calls.record_kinds();
        REQUIRE(DrmDevice::open(FakeDrm::kPath, over(calls)).has_value());
        const std::vector<DrmCallKind> kinds(calls.recorded_kinds().begin(), calls.recorded_kinds().end());
        REQUIRE(kinds.size() > 3);
        for (std::size_t call = 0; call < kinds.size(); ++call) {
            for (const int error : possible_errors(kinds[call])) {
                CAPTURE(to_string(driver));
                CAPTURE(to_string(kinds[call]));
                CAPTURE(error);
                calls.fail_at(call, error);
                const Result<Owned<DrmDevice>, OsError> device = DrmDevice::open(FakeDrm::kPath, over(calls));
                if (!device) {
                    CHECK(device.error().error == error);
                }
            }
        }
        CHECK(drm.census() == FakeDrmCensus{});
        CHECK(drm.quiet());
    }
}

TEST_CASE("a VM has what the driver gives, without the half that is panthor's own, or the part that was asked for") {
    for (const DrmDriver driver : kDrivers) {
        CAPTURE(to_string(driver));
        const DeviceFixture fixture(newest(driver));
        const VaRange all = fixture.device->properties().vm_space;
        const VaRange lower{Va{0}, Va{std::uint64_t{1} << 47}};
        CHECK(fixture.make_vm()->config().space == (driver == DrmDriver::kPanthor ? lower : all));
        const VaRange part{Va{kGiB}, Va{2 * kGiB}};
        CHECK(fixture.make_vm(part)->config().space == part);
        VmConfig config;
        config.space = {Va{kGiB}, all.end + kPageBytes};
        CHECK(fixture.device->create_vm(config).error().status == Status::kOutOfRange);
        config.space = {Va{2 * kGiB}, Va{kGiB}};
        CHECK(fixture.device->create_vm(config).error().status == Status::kBadArgument);
        CHECK(fixture.drm.census().vms == 0);
    }
}

TEST_CASE("panthor: VMs are as many as the kernel gives, each with its number") {
    const DeviceFixture fixture(newest(DrmDriver::kPanthor));
    std::vector<Owned<Vm>> vms;
    vms.reserve(32);
    for (std::uint32_t i = 1; i <= 32; ++i) {
        vms.push_back(fixture.make_vm({Va{kGiB}, Va{2 * kGiB}}));
        CHECK(vms.back()->backend().kernel_id() == i);
    }
    const Result<Owned<Vm>, OsError> one_more = fixture.device->create_vm({});
    REQUIRE_FALSE(one_more.has_value());
    CHECK(one_more.error().status == Status::kOsFailed);
    CHECK(one_more.error().error == EBUSY);
    CHECK(std::string_view(one_more.error().call) == "VM_CREATE");
    vms.pop_back();
    vms.push_back(fixture.make_vm());
}

TEST_CASE("panfrost: a file has one VM at a time, and a failed one does not count") {
    const DeviceFixture fixture(newest(DrmDriver::kPanfrost));
    VmConfig bad;
    bad.zones[0] = {Va{0}, Va{kGiB}};  // not in the space
    CHECK_FALSE(fixture.device->create_vm(bad).has_value());
    Owned<Vm> vm = fixture.make_vm();
    CHECK(fixture.device->create_vm({}).error().status == Status::kNotSupported);
    vm = {};
    vm = fixture.make_vm();
    CHECK(vm->backend().kernel_id() == 0);
}

TEST_CASE("panthor: a timeline is a syncobj of the file, signalled from either side") {
    const DeviceFixture fixture(newest(DrmDriver::kPanthor));
    {
        const Result<Owned<Timeline>, OsError> timeline = fixture.device->create_timeline();
        REQUIRE(timeline.has_value());
        const std::uint32_t syncobj = DrmDevice::syncobj_of(**timeline);
        CHECK(syncobj != 0);
        CHECK(fixture.drm.census().syncobjs == 1);
        CHECK((*timeline)->value() == 0);
        REQUIRE(fixture.device->file().calls().syncobj_signal(fixture.fd(), syncobj, 3) == 0);
        CHECK((*timeline)->value() == 3);
        CHECK((*timeline)->wait(3, std::chrono::seconds(1)));
        (*timeline)->signal(7);
        std::uint64_t point = 0;
        REQUIRE(fixture.device->file().calls().syncobj_query(fixture.fd(), syncobj, point) == 0);
        CHECK(point == 7);
        CHECK_FALSE((*timeline)->wait(8, std::chrono::nanoseconds(1)));
    }
    CHECK(fixture.drm.census().syncobjs == 0);
}

}  // namespace
}  // namespace granule::test
