#include "src/drm/device_list.hpp"

#include <doctest/doctest.h>

#include <cerrno>

#include "tests/support/failing_drm_calls.hpp"
#include "tests/support/fake_drm.hpp"

namespace granule::test {
namespace {

TEST_CASE("a device is looked at, and closed again") {
    FakeDrm drm(fake_panthor(KernelBehaviour::kRefuses));
    const DrmDeviceEntry entry = look_at_drm_device(drm, FakeDrm::kPath, {});
    CHECK(entry.path.view() == FakeDrm::kPath);
    CHECK(entry.version.name.view() == "panthor");
    REQUIRE(entry.facts.has_value());
    CHECK(entry.facts->behaviour == KernelBehaviour::kRefuses);
    CHECK(drm.census() == FakeDrmCensus{});
    CHECK(drm.forgotten() == FakeDrmCensus{});
}

TEST_CASE("a device that cannot be looked at says why, and is closed") {
    const FakeKernel kernel = fake_panthor(KernelBehaviour::kRefuses);
    FakeDrm drm(kernel);
    const DrmDeviceEntry missing = look_at_drm_device(drm, "/dev/dri/renderD129", {});
    CHECK_FALSE(missing.facts.has_value());
    CHECK(missing.error.status == Status::kOsFailed);
    CHECK(missing.error.error == ENOENT);
    CHECK(missing.version.name.view().empty());

    FailingDrmCalls failing(drm, kernel.driver);
    failing.fail_kind(DrmCallKind::kDevQuery, 0, EINVAL);
    const DrmDeviceEntry failed = look_at_drm_device(failing, FakeDrm::kPath, {});
    CHECK_FALSE(failed.facts.has_value());
    CHECK(failed.error.error == EINVAL);
    CHECK(failed.version.name.view() == "panthor");
    CHECK(drm.census() == FakeDrmCensus{});
    CHECK(drm.forgotten() == FakeDrmCensus{});
}

TEST_CASE("the list of this machine's devices is in the order of their paths, each known or with a reason") {
    KernelFactsOptions options;
    options.probe = false;
    const auto devices = list_drm_devices(system_drm_calls(), options, NodeMemory::process());
    REQUIRE(devices.has_value());
    CHECK(devices->size() <= kMaxDrmDevices);
    for (std::size_t i = 0; i < devices->size(); ++i) {
        const DrmDeviceEntry& entry = (*devices)[i];
        CHECK(entry.path.view().starts_with("/dev/dri/render"));
        CHECK((entry.facts.has_value() || entry.error.call[0] != '\0'));
        if (i != 0) {
            CHECK((*devices)[i - 1].path.view() < entry.path.view());
        }
    }
}

}  // namespace
}  // namespace granule::test
