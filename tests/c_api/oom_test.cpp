// Every request for memory refused in turn: OUT_OF_HOST_MEMORY, an empty out pointer, and nothing left behind.
#include <doctest/doctest.h>
#include <granule/granule.h>

#include <cstdint>

#include "tests/c_api/caller.hpp"

namespace granule::test {
namespace {

// Calls `call(granule_error*)` until it goes through; each time before, it has to fail for want of memory, with as many
// blocks out as before.
template <class Call>
void refuse_each(Caller& caller, Call&& call) {
    for (std::uint64_t granted = 0;; ++granted) {
        CAPTURE(granted);
        REQUIRE(granted < 100);
        const std::size_t before = caller.memory.blocks().size();
        const std::uint64_t refused = caller.memory.refusals();
        caller.memory.refuse_after(granted);
        auto error = GRANULE_SIZED(granule_error);
        const granule_status status = call(&error);
        caller.memory.refuse_nothing();
        if (caller.memory.refusals() == refused) {
            CHECK(status == GRANULE_STATUS_OK);
            CHECK(granted > 0);
            return;
        }
        if (status == GRANULE_STATUS_OK) {
            continue;  // what was refused was not needed
        }
        CHECK(status == GRANULE_STATUS_OUT_OF_HOST_MEMORY);
        CHECK(error.status == GRANULE_STATUS_OUT_OF_HOST_MEMORY);
        CHECK(caller.memory.blocks().size() == before);
    }
}

TEST_CASE("opening a device: any request for memory may be refused") {
    Caller caller;
    granule_device* device = nullptr;
    refuse_each(caller, [&](granule_error* error) {
        const granule_device_info info = caller.device_info();
        const granule_status status = granule_device_open(&info, &device, error);
        CHECK((device != nullptr) == (status == GRANULE_STATUS_OK));
        return status;
    });
    CHECK(granule_device_close(device) == 0);
}

TEST_CASE("making a BO with a label: any request for memory may be refused") {
    Caller caller;
    granule_device* const device = caller.open();
    granule_bo_unref(make_bo(device, 4096));  // what all BOs share
    auto info = GRANULE_SIZED(granule_bo_info);
    info.size = 3 << 20;
    info.label = "a label that needs memory of its own";
    granule_bo* bo = nullptr;
    refuse_each(caller, [&](granule_error* error) {
        const granule_status status = granule_bo_create(device, &info, &bo, error);
        CHECK((bo != nullptr) == (status == GRANULE_STATUS_OK));
        return status;
    });
    granule_bo_unref(bo);
    CHECK(granule_device_close(device) == 0);
}

TEST_CASE("making a timeline: any request for memory may be refused") {
    Caller caller;
    granule_device* const device = caller.open();
    granule_timeline_unref(make_timeline(device));
    granule_timeline* timeline = nullptr;
    refuse_each(caller, [&](granule_error* error) {
        const granule_status status = granule_timeline_create(device, &timeline, error);
        CHECK((timeline != nullptr) == (status == GRANULE_STATUS_OK));
        return status;
    });
    granule_timeline_unref(timeline);
    CHECK(granule_device_close(device) == 0);
}

TEST_CASE("making a BO cache: any request for memory may be refused") {
    Caller caller;
    granule_device* const device = caller.open();
    granule_bo_cache* cache = nullptr;
    refuse_each(caller, [&](granule_error* error) {
        const granule_status status = granule_bo_cache_create(device, nullptr, nullptr, &cache, error);
        CHECK((cache != nullptr) == (status == GRANULE_STATUS_OK));
        return status;
    });
    granule_bo_cache_destroy(cache);
    CHECK(granule_device_close(device) == 0);
}

TEST_CASE("cleaning CPU caches: the list's memory may be refused") {
    Caller caller;
    granule_device* const device = caller.open();
    granule_bo* const bo = make_bo(device, 4096, nullptr, GRANULE_BO_CPU_CACHED);
    const granule_bo_part part{bo, 0, 4096, GRANULE_CPU_CACHE_FLUSH};
    refuse_each(caller, [&](granule_error* error) { return granule_bo_sync(device, &part, 1, error); });
    granule_bo_unref(bo);
    CHECK(granule_device_close(device) == 0);
}

}  // namespace
}  // namespace granule::test
