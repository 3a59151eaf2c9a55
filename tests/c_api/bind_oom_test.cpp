// Binds of the C interface without memory: nothing has changed, and what gives back does not fail.
#include <doctest/doctest.h>
#include <granule/granule.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/c_api/bind_array.hpp"
#include "tests/c_api/caller.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kSomewhere = std::uint64_t{8} << 30;

struct Everything {
    explicit Everything(std::uint32_t vm_flags = 0) {
        device = caller.open();
        vm = make_vm(device, vm_flags);
        bo = make_bo(device, 8 * kMiB, "buffer");
        REQUIRE(reserve_at(vm, kSomewhere, 8 * kMiB) == GRANULE_STATUS_OK);
    }
    Everything(const Everything&) = delete;
    Everything& operator=(const Everything&) = delete;
    ~Everything() {
        caller.memory.refuse_everything();  // P4
        granule_bo_unref(bo);
        granule_vm_destroy(vm);
        CHECK(granule_device_close(device) == 0);
    }

    Caller caller;
    granule_device* device = nullptr;
    granule_vm* vm = nullptr;
    granule_bo* bo = nullptr;
};

TEST_CASE("P3: an array for which memory runs out anywhere has changed nothing, and has chosen no VA") {
    bool done = false;
    for (std::uint64_t granted = 0; !done; ++granted) {
        REQUIRE(granted < 1000);
        CAPTURE(granted);
        Everything all;
        std::vector<granule_bind_op> before_it = {map_of(all.bo, kSomewhere, 4 * kMiB)};
        REQUIRE(bind(all.vm, before_it) == GRANULE_STATUS_OK);
        std::vector<granule_bind_op> ops = {
            map_of(all.bo, GRANULE_VA_AUTO, 3 * kMiB),
            map_of(all.bo, kSomewhere + kMiB, kMiB, 5 * kMiB),
            unmap_of(kSomewhere, kMiB / 2),
            map_of(all.bo, GRANULE_VA_AUTO, kMiB),
        };
        for (granule_bind_op& op : ops) {
            op.cut = GRANULE_CUT_SPLIT;
        }
        const std::string before = shown(all.vm);
        all.caller.memory.refuse_after(granted);
        auto error = GRANULE_SIZED(granule_error);
        const granule_status status = bind(all.vm, ops, GRANULE_BIND_IMMEDIATE, &error);
        all.caller.memory.refuse_nothing();
        if (status == GRANULE_STATUS_OK) {
            done = true;
            CHECK(ops[0].va != GRANULE_VA_AUTO);
            continue;
        }
        CHECK(error.partly_done == 0);
        CHECK(error.vm_lost == 0);
        CHECK(shown(all.vm) == before);
        CHECK(ops[0].va == GRANULE_VA_AUTO);
        CHECK(ops[3].va == GRANULE_VA_AUTO);
    }
}

TEST_CASE("P3: a queued array for which memory runs out is not queued") {
    bool done = false;
    for (std::uint64_t granted = 0; !done; ++granted) {
        REQUIRE(granted < 1000);
        CAPTURE(granted);
        Everything all;
        granule_timeline* const gate = make_timeline(all.device);
        const granule_sync opened{gate, 1};
        std::vector<granule_bind_op> ops = {
            waiting_for(map_of(all.bo, GRANULE_VA_AUTO, 3 * kMiB), opened),
            waiting_for(unmap_of(kSomewhere, 8 * kMiB, GRANULE_UNMAP_RELEASE_VA), opened),
        };
        const std::string before = shown(all.vm);
        all.caller.memory.refuse_after(granted);
        const granule_status status = bind(all.vm, ops, GRANULE_BIND_ASYNC);
        all.caller.memory.refuse_nothing();
        if (status == GRANULE_STATUS_OK) {
            done = true;
        } else {
            CHECK(shown(all.vm) == before);
            CHECK(state_of(all.vm).queued == 0);
            CHECK(ops[0].va == GRANULE_VA_AUTO);
        }
        CHECK(granule_timeline_signal(gate, 1, nullptr) == GRANULE_STATUS_OK);
        CHECK(granule_vm_drain(all.vm, GRANULE_WAIT_FOREVER, nullptr) == GRANULE_STATUS_OK);
        granule_timeline_unref(gate);
    }
}

TEST_CASE("P4: unmaps, alone and in arrays, cut granules and release VA without any memory") {
    for (const bool array : {false, true}) {
        CAPTURE(array);
        Everything all;
        std::vector<granule_bind_op> map = {map_of(all.bo, kSomewhere, 8 * kMiB)};
        REQUIRE(bind(all.vm, map) == GRANULE_STATUS_OK);
        all.caller.memory.refuse_everything();
        auto error = GRANULE_SIZED(granule_error);
        auto report = GRANULE_SIZED(granule_bind_report);
        if (array) {
            std::vector<granule_bind_op> unmap = {unmap_of(kSomewhere + kMiB, 4096),
                                                  unmap_of(kSomewhere + 5 * kMiB, 4096),
                                                  unmap_of(kSomewhere, 8 * kMiB, GRANULE_UNMAP_RELEASE_VA)};
            unmap[0].cut = GRANULE_CUT_SPLIT;
            unmap[1].cut = GRANULE_CUT_SPLIT;
            REQUIRE(granule_vm_bind(all.vm, GRANULE_BIND_IMMEDIATE, unmap.data(), 3, &report, &error) ==
                    GRANULE_STATUS_OK);
            CHECK(report.granules == 2);
            CHECK(report.unmapped_bytes == 8 * kMiB);
            CHECK(error.status == GRANULE_STATUS_OK);  // success leaves it alone
        } else {
            REQUIRE(granule_vm_unmap(all.vm, kSomewhere + kMiB, 4096, GRANULE_CUT_SPLIT, &report, &error) ==
                    GRANULE_STATUS_OK);
            std::vector<granule_bind_op> rest = {unmap_of(kSomewhere, 8 * kMiB, GRANULE_UNMAP_RELEASE_VA)};
            REQUIRE(bind(all.vm, rest) == GRANULE_STATUS_OK);
        }
        CHECK(shown(all.vm).empty());
        all.caller.memory.refuse_nothing();
        CHECK(reserve_at(all.vm, kSomewhere, 8 * kMiB) == GRANULE_STATUS_OK);
    }
}

TEST_CASE("an array of unmaps that is carried out one by one for want of memory says what stays done") {
    Everything all;
    std::vector<granule_bind_op> map = {map_of(all.bo, kSomewhere, 8 * kMiB)};
    REQUIRE(bind(all.vm, map) == GRANULE_STATUS_OK);
    all.caller.memory.refuse_everything();
    std::vector<granule_bind_op> unmap = {unmap_of(kSomewhere, 2 * kMiB), unmap_of(kSomewhere + 3 * kMiB, 4096)};
    auto error = GRANULE_SIZED(granule_error);
    CHECK(bind(all.vm, unmap, GRANULE_BIND_IMMEDIATE, &error) == GRANULE_STATUS_GRANULE_CUT);
    CHECK(error.op == 1);
    CHECK(error.partly_done == 1);
    CHECK(error.vm_lost == 0);
    all.caller.memory.refuse_nothing();
}

TEST_CASE("a VM for which memory runs out anywhere is not made, and leaves nothing") {
    Caller caller;
    granule_device* const device = caller.open();
    const std::size_t blocks = caller.memory.blocks().size();
    bool done = false;
    for (std::uint64_t granted = 0; !done; ++granted) {
        REQUIRE(granted < 1000);
        CAPTURE(granted);
        auto info = GRANULE_SIZED(granule_vm_info);
        info.flags = GRANULE_VM_TRACK_ACTIVITY;
        info.on_binding = [](void*, const granule_binding*) {};
        granule_vm* vm = nullptr;
        caller.memory.refuse_after(granted);
        done = granule_vm_create(device, &info, &vm, nullptr) == GRANULE_STATUS_OK;
        caller.memory.refuse_nothing();
        CHECK((vm != nullptr) == done);
        granule_vm_destroy(vm);
        CHECK(caller.memory.blocks().size() <= blocks + 1);  // the table of timelines may have grown
    }
    CHECK(granule_device_close(device) == 0);
}

}  // namespace
}  // namespace granule::test
