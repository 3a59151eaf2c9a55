// The C interface over panthor and panfrost, as tests/support/fake_drm.hpp plays them.
#include <doctest/doctest.h>
#include <granule/granule.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/c_api/bind_array.hpp"
#include "tests/c_api/caller.hpp"
#include "tests/c_api/fake_kernel.hpp"
#include "tests/support/fake_drm.hpp"

namespace granule::test {
namespace {

granule_device_properties properties_of(const granule_device* device) {
    auto properties = GRANULE_SIZED(granule_device_properties);
    REQUIRE(granule_device_get_properties(device, &properties) == GRANULE_STATUS_OK);
    return properties;
}

TEST_CASE("panthor: properties, GEM handles, timelines that are syncobjs") {
    Caller caller;
    FakeDrm drm(fake_panthor(KernelBehaviour::kRefuses));
    granule_device* const device = open_over(caller, drm);
    const granule_device_properties properties = properties_of(device);
    CHECK(properties.kind == GRANULE_DEVICE_PANTHOR);
    CHECK(properties.kernel == GRANULE_KERNEL_REFUSES);
    CHECK(properties.kernel_from == GRANULE_KERNEL_FROM_RELEASE);
    CHECK(properties.driver_major == 1);
    CHECK(std::string(properties.kernel_release).substr(0, 4) == "6.18");
    CHECK(properties.async_binds == 1);
    CHECK(properties.kernel_queue == 1);
    CHECK(properties.timelines_in_kernel == 1);
    CHECK(properties.kernel_places_bos == 0);
    CHECK(granule_device_fd(device) >= 0);

    granule_bo* const bo = make_bo(device, 4096);
    CHECK(granule_bo_gem_handle(bo) != 0);
    auto error = GRANULE_SIZED(granule_error);
    CHECK(granule_bo_wait(bo, 0, &error) == GRANULE_STATUS_NOT_SUPPORTED);
    CHECK(granule_bo_set_evictable(bo, 1, nullptr, &error) == GRANULE_STATUS_NOT_SUPPORTED);
    granule_bo_unref(bo);

    granule_timeline* const timeline = make_timeline(device);
    CHECK(granule_timeline_syncobj(timeline) != 0);
    CHECK(granule_timeline_signal(timeline, 3, &error) == GRANULE_STATUS_OK);
    CHECK(granule_timeline_value(timeline) == 3);
    CHECK(granule_timeline_wait(timeline, 3, 0) == GRANULE_STATUS_OK);
    CHECK(granule_timeline_wait(timeline, 4, 0) == GRANULE_STATUS_TIMED_OUT);
    // Another one over the same syncobj sees the same value, and leaves the syncobj.
    granule_timeline* adopted = nullptr;
    REQUIRE(granule_timeline_from_syncobj(device, granule_timeline_syncobj(timeline), &adopted, &error) ==
            GRANULE_STATUS_OK);
    CHECK(granule_timeline_value(adopted) == 3);
    granule_timeline_unref(adopted);
    CHECK(granule_timeline_value(timeline) == 3);
    CHECK(granule_timeline_from_syncobj(device, 999, &adopted, &error) == GRANULE_STATUS_OS_FAILED);
    CHECK(error.os_error == ENOENT);
    CHECK(adopted == nullptr);
    granule_timeline_unref(timeline);

    CHECK(granule_device_close(device) == 0);
    CHECK(drm.census() == FakeDrmCensus{});
    CHECK(drm.forgotten() == FakeDrmCensus{});
}

TEST_CASE("panfrost: the kernel knows which BOs are used, and has no timelines") {
    Caller caller;
    FakeDrm drm(fake_panfrost());
    granule_device* const device = open_over(caller, drm);
    const granule_device_properties properties = properties_of(device);
    CHECK(properties.kind == GRANULE_DEVICE_PANFROST);
    CHECK(properties.async_binds == 0);
    CHECK(properties.kernel_places_bos == 1);
    CHECK(properties.evictable_bos == 1);
    CHECK(properties.timelines_in_kernel == 0);

    auto error = GRANULE_SIZED(granule_error);
    granule_timeline* timeline = nullptr;
    CHECK(granule_timeline_create(device, &timeline, &error) == GRANULE_STATUS_NOT_SUPPORTED);
    CHECK(granule_timeline_from_syncobj(device, 1, &timeline, &error) == GRANULE_STATUS_NOT_SUPPORTED);

    granule_bo* const bo = make_bo(device, 65536);
    CHECK(granule_bo_wait(bo, 1000, &error) == GRANULE_STATUS_OK);
    int retained = -1;
    CHECK(granule_bo_set_evictable(bo, 1, &retained, &error) == GRANULE_STATUS_OK);
    CHECK(retained == 1);
    CHECK(granule_bo_set_evictable(bo, 0, &retained, &error) == GRANULE_STATUS_OK);
    CHECK(retained == 1);
    granule_bo_unref(bo);

    // A BO that is put without fences is used again once the kernel says that no job uses it.
    granule_bo_cache* cache = nullptr;
    REQUIRE(granule_bo_cache_create(device, nullptr, nullptr, &cache, nullptr) == GRANULE_STATUS_OK);
    auto info = GRANULE_SIZED(granule_cached_bo_info);
    info.size = 65536;
    granule_cached_bo got{};
    REQUIRE(granule_bo_cache_get(cache, &info, &got, nullptr) == GRANULE_STATUS_OK);
    CHECK(granule_bo_cache_put(cache, got.bo, nullptr, 0) == GRANULE_STATUS_OK);
    const std::uint64_t waits = drm.count(DrmCallKind::kWaitBo);
    REQUIRE(granule_bo_cache_get(cache, &info, &got, nullptr) == GRANULE_STATUS_OK);
    CHECK(got.reused == 1);
    CHECK(drm.count(DrmCallKind::kWaitBo) == waits + 1);
    CHECK(granule_bo_cache_put(cache, got.bo, nullptr, 0) == GRANULE_STATUS_OK);
    granule_bo_cache_destroy(cache);

    CHECK(granule_device_close(device) == 0);
    CHECK(drm.census() == FakeDrmCensus{});
    CHECK(drm.forgotten() == FakeDrmCensus{});
}

TEST_CASE("panthor: the 33rd VM of an open device is EBUSY, and the next after one has ended is not") {
    Caller caller;
    FakeDrm drm(fake_panthor(KernelBehaviour::kRefuses));
    granule_device* const device = open_over(caller, drm);
    std::vector<granule_vm*> vms;
    granule_vm* vm = nullptr;
    auto error = GRANULE_SIZED(granule_error);
    while (vms.size() < 40 && granule_vm_create(device, nullptr, &vm, &error) == GRANULE_STATUS_OK) {
        vms.push_back(vm);
    }
    CHECK(vms.size() == 32);
    CHECK(error.status == GRANULE_STATUS_OS_FAILED);
    CHECK(error.os_error == EBUSY);
    CHECK(vm == nullptr);
    granule_vm_destroy(vms.back());
    vms.pop_back();
    REQUIRE(granule_vm_create(device, nullptr, &vm, &error) == GRANULE_STATUS_OK);
    vms.push_back(vm);
    for (granule_vm* const each : vms) {
        granule_vm_destroy(each);
    }
    CHECK(granule_device_close(device) == 0);
    CHECK(drm.forgotten() == FakeDrmCensus{});
}

TEST_CASE("panthor: a BO for one VM is shown in no other, nor after a rebuild, and is not exported") {
    Caller caller;
    FakeDrm drm(fake_panthor(KernelBehaviour::kRefuses));
    granule_device* const device = open_over(caller, drm);
    granule_vm* vm = nullptr;
    granule_vm* other = nullptr;
    REQUIRE(granule_vm_create(device, nullptr, &vm, nullptr) == GRANULE_STATUS_OK);
    REQUIRE(granule_vm_create(device, nullptr, &other, nullptr) == GRANULE_STATUS_OK);
    auto info = GRANULE_SIZED(granule_bo_info);
    info.size = 65536;
    info.only_for = vm;
    granule_bo* bo = nullptr;
    auto error = GRANULE_SIZED(granule_error);
    REQUIRE(granule_bo_create(device, &info, &bo, &error) == GRANULE_STATUS_OK);
    int fd = 0;
    CHECK(granule_bo_export(bo, &fd, &error) == GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(fd == -1);
    std::vector<granule_bind_op> map = {map_of(bo, GRANULE_VA_AUTO, 65536)};
    CHECK(bind(other, map, GRANULE_BIND_IMMEDIATE, &error) == GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(std::string(error.why) == "the BO is only for another VM");
    CHECK(map[0].va == GRANULE_VA_AUTO);
    REQUIRE(bind(vm, map, GRANULE_BIND_IMMEDIATE, &error) == GRANULE_STATUS_OK);

    // The kernel drops the VM: the new one is another VM to it.
    drm.fail_next_job(EIO);
    std::vector<granule_bind_op> queued = {unmap_of(map[0].va, 4096)};
    queued[0].cut = GRANULE_CUT_SPLIT;
    REQUIRE(bind(vm, queued, GRANULE_BIND_ASYNC, &error) == GRANULE_STATUS_OK);
    REQUIRE(granule_vm_check(vm, &error) == GRANULE_STATUS_VM_UNUSABLE);
    CHECK(granule_vm_rebuild(vm, nullptr, &error) != GRANULE_STATUS_OK);
    CHECK(state_of(vm).usable == 0);
    granule_bo_unref(bo);
    granule_vm_destroy(vm);
    granule_vm_destroy(other);
    CHECK(granule_device_close(device) == 0);
    CHECK(drm.forgotten() == FakeDrmCensus{});
}

TEST_CASE(
    "panthor: of an imported BO a whole window is one granule where the kernel realigns, whatever the leaves are") {
    constexpr std::uint64_t kWindow = std::uint64_t{2} << 20;
    Caller caller;
    FakeDrm drm(fake_panthor(KernelBehaviour::kRealigns));
    granule_device* const device = open_over(caller, drm);
    granule_device* const other = open_over(caller, drm);
    granule_bo* const bo = make_bo(device, 2 * kWindow, "frame", GRANULE_BO_SHAREABLE);
    int fd = -1;
    granule_bo* there = nullptr;
    REQUIRE(granule_bo_export(bo, &fd, nullptr) == GRANULE_STATUS_OK);
    REQUIRE(granule_bo_import(other, fd, &there, nullptr) == GRANULE_STATUS_OK);
    drm.close(fd);
    granule_vm* const vm = make_vm(other);
    // Not the same modulo 2 MiB: no leaf is larger than a page.
    std::vector<granule_bind_op> map = {map_of(there, 4 * kWindow, kWindow, 4096)};
    REQUIRE(bind(vm, map) == GRANULE_STATUS_OK);
    auto report = GRANULE_SIZED(granule_address_report);
    REQUIRE(granule_vm_describe(vm, 4 * kWindow + 8192, &report) == GRANULE_STATUS_OK);
    CHECK(report.granule.start == 4 * kWindow);
    CHECK(report.granule.end == 5 * kWindow);
    // And so says who is asked to cut it.
    auto error = GRANULE_SIZED(granule_error);
    CHECK(granule_vm_unmap(vm, 4 * kWindow + 8192, 4096, GRANULE_CUT_REJECT, nullptr, &error) ==
          GRANULE_STATUS_GRANULE_CUT);
    CHECK(error.granule.start == report.granule.start);
    CHECK(error.granule.end == report.granule.end);
    granule_vm_destroy(vm);
    granule_bo_unref(bo);
    granule_bo_unref(there);
    CHECK(granule_device_close(device) == 0);
    CHECK(granule_device_close(other) == 0);
    CHECK(drm.forgotten() == FakeDrmCensus{});
}

TEST_CASE("labels reach the kernel, and what two open devices share is one BO in each, by PRIME") {
    for (const bool panthor : {true, false}) {
        CAPTURE(panthor);
        Caller caller;
        FakeDrm drm(panthor ? fake_panthor(KernelBehaviour::kRealigns) : fake_panfrost());
        granule_device* const device = open_over(caller, drm);
        granule_device* const other = open_over(caller, drm);
        granule_bo* const bo = make_bo(device, 8192, "vertices", GRANULE_BO_SHAREABLE);
        const int file = granule_device_fd(device);
        CHECK(properties_of(device).labels == 1);
        CHECK(drm.label_of(file, granule_bo_gem_handle(bo)) == "vertices");
        CHECK(granule_bo_set_label(bo, "indices") == GRANULE_STATUS_OK);
        CHECK(drm.label_of(file, granule_bo_gem_handle(bo)) == "indices");

        int fd = -1;
        auto error = GRANULE_SIZED(granule_error);
        REQUIRE(granule_bo_export(bo, &fd, &error) == GRANULE_STATUS_OK);
        granule_bo* again = nullptr;
        REQUIRE(granule_bo_import(device, fd, &again, &error) == GRANULE_STATUS_OK);
        CHECK(again == bo);
        granule_bo_unref(again);
        granule_bo* there = nullptr;
        REQUIRE(granule_bo_import(other, fd, &there, &error) == GRANULE_STATUS_OK);
        REQUIRE(granule_bo_import(other, fd, &again, &error) == GRANULE_STATUS_OK);
        CHECK(again == there);
        CHECK(there != bo);
        CHECK(drm.object_of(granule_device_fd(other), granule_bo_gem_handle(there)) ==
              drm.object_of(file, granule_bo_gem_handle(bo)));
        granule_bo_unref(again);
        granule_bo_unref(bo);
        CHECK(granule_bo_size(there) == 8192);
        granule_bo_unref(there);
        drm.close(fd);
        CHECK(granule_device_close(device) == 0);
        CHECK(granule_device_close(other) == 0);
        CHECK(drm.census() == FakeDrmCensus{});
        CHECK(drm.forgotten() == FakeDrmCensus{});
    }
}

TEST_CASE("panfrost: a BO that may be taken was taken, and says so when it is wanted again") {
    Caller caller;
    FakeDrm drm(fake_panfrost());
    granule_device* const device = open_over(caller, drm);
    granule_bo* const bo = make_bo(device, 65536);
    int retained = -1;
    REQUIRE(granule_bo_set_evictable(bo, 1, &retained, nullptr) == GRANULE_STATUS_OK);
    drm.purge();
    REQUIRE(granule_bo_set_evictable(bo, 0, &retained, nullptr) == GRANULE_STATUS_OK);
    CHECK(retained == 0);
    granule_bo_unref(bo);
    CHECK(granule_device_close(device) == 0);
    CHECK(drm.forgotten() == FakeDrmCensus{});
}

}  // namespace
}  // namespace granule::test
