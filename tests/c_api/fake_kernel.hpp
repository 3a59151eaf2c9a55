// The C interface over a kernel that tests/support/ plays: what granule_device_open does, but for the calls of the system.
#pragma once

#include <doctest/doctest.h>
#include <granule/granule.h>

#include <utility>

#include "src/c_api/device_handle.hpp"
#include "src/drm/drm_device.hpp"
#include "tests/c_api/caller.hpp"
#include "tests/support/fake_drm.hpp"

namespace granule::test {

// `calls` reach a FakeDrm, and outlive the device.
[[nodiscard]] inline granule_device* open_over(Caller& caller, DrmCalls& calls) {
    granule_device* const handle = granule_device::create(caller.allocator(), caller.logger());
    REQUIRE(handle != nullptr);
    DrmDeviceConfig config;
    config.calls = &calls;
    config.nodes = handle->nodes();
    Result<Owned<DrmDevice>, OsError> device = DrmDevice::open(FakeDrm::kPath, config);
    REQUIRE(device);
    handle->use(std::move(*device));
    return handle;
}

}  // namespace granule::test
