// A DrmDevice over the fake kernel, with the look at both that tests want.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <string_view>
#include <utility>

#include "src/drm/drm_device.hpp"
#include "tests/support/fake_drm.hpp"

namespace granule::test {

inline constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

// Ends with whatever the test left over: ~DeviceFixture checks that the kernel has nothing of ours.
struct DeviceFixture {
    explicit DeviceFixture(const FakeKernel& kernel, NodeMemory nodes = NodeMemory::process()) : drm(kernel) {
        DrmDeviceConfig config;
        config.calls = &drm;
        config.nodes = nodes;
        Result<Owned<DrmDevice>, OsError> opened = DrmDevice::open(FakeDrm::kPath, config);
        REQUIRE(opened.has_value());
        device = std::move(*opened);
    }
    DeviceFixture(const DeviceFixture&) = delete;
    DeviceFixture& operator=(const DeviceFixture&) = delete;
    DeviceFixture(DeviceFixture&&) = delete;
    DeviceFixture& operator=(DeviceFixture&&) = delete;
    ~DeviceFixture() {
        device = {};
        CHECK(drm.forgotten() == FakeDrmCensus{});
        CHECK(drm.census() == FakeDrmCensus{});
        CHECK(drm.quiet());
    }

    [[nodiscard]] BoTable& bos() const noexcept { return device->bos(); }
    [[nodiscard]] int fd() const noexcept { return device->file().fd(); }
    [[nodiscard]] Bo& bo(BoId id) const {
        Bo* const found = bos().find(id);
        REQUIRE(found != nullptr);
        return *found;
    }
    [[nodiscard]] BoId make_bo(std::uint64_t bytes) const {
        BoRequest request;
        request.bytes = bytes;
        return make_bo(request);
    }
    [[nodiscard]] BoId make_shareable_bo(std::uint64_t bytes) const {
        BoRequest request;
        request.bytes = bytes;
        request.shareable = true;
        return make_bo(request);
    }
    [[nodiscard]] BoId make_bo(const BoRequest& request) const {
        const Result<BoId, OsError> id = device->create_bo(request);
        REQUIRE(id.has_value());
        return *id;
    }
    [[nodiscard]] Owned<Vm> make_vm(const VaRange& space = {}) const {
        VmConfig config;
        config.space = space;
        config.journal_capacity = 256;
        Result<Owned<Vm>, OsError> vm = device->create_vm(config);
        REQUIRE(vm.has_value());
        return std::move(*vm);
    }
    void release(BoId id) const { bos().release(bo(id), 1); }
    // Which of the kernel's objects a BO is; 0: its handle is not open.
    [[nodiscard]] std::uint64_t object_of(BoId id) const { return drm.object_of(fd(), bo(id).gem); }
    [[nodiscard]] int dma_buf_of(BoId id) const {
        const Result<int, OsError> dma_buf = device->export_bo(bo(id));
        REQUIRE(dma_buf.has_value());
        return *dma_buf;
    }
    [[nodiscard]] BoId import(int dma_buf) const {
        const Result<BoId, OsError> id = device->import_bo(dma_buf);
        REQUIRE(id.has_value());
        return *id;
    }

    FakeDrm drm;
    Owned<DrmDevice> device;
};

inline Status status_of_sync(Device& device, const CacheSync& part) {
    const Result<void, OsError> done = device.sync_caches({&part, 1});
    return done ? Status::kOk : done.error().status;
}

inline constexpr std::array kDrivers{DrmDriver::kPanthor, DrmDriver::kPanfrost};

// The newest kernel with that driver.
inline FakeKernel newest(DrmDriver driver) {
    return driver == DrmDriver::kPanthor ? fake_panthor(KernelBehaviour::kRealigns) : fake_panfrost();
}
// One without labels, cached BOs and BO_QUERY_INFO.
inline FakeKernel oldest(DrmDriver driver) {
    FakeKernel kernel = driver == DrmDriver::kPanthor ? fake_panthor(KernelBehaviour::kSplits) : fake_panfrost();
    kernel.minor = 2;
    return kernel;
}

}  // namespace granule::test
