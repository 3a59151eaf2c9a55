// Binds that a thread of the VM carries out later (the soft device): what fails, what is held, what is released.
#include <doctest/doctest.h>
#include <granule/granule.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "tests/c_api/bind_array.hpp"
#include "tests/c_api/caller.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kSomewhere = std::uint64_t{8} << 30;

// A soft device with a VM, a reserved range, a BO and a timeline.
class OnThread {
public:
    explicit OnThread(std::uint32_t vm_flags = 0) {
        // With mimalloc: the thread allocates too.
        auto info = GRANULE_SIZED(granule_device_info);
        REQUIRE(granule_device_open(&info, &device, nullptr) == GRANULE_STATUS_OK);
        vm = make_vm(device, vm_flags);
        bo = make_bo(device, 4 * kMiB, "buffer");
        gate = make_timeline(device);
        REQUIRE(reserve_at(vm, kSomewhere, 4 * kMiB) == GRANULE_STATUS_OK);
    }
    OnThread(const OnThread&) = delete;
    OnThread& operator=(const OnThread&) = delete;
    ~OnThread() {
        open_gate();
        granule_bo_unref(bo);
        granule_timeline_unref(gate);
        granule_vm_destroy(vm);
        CHECK(granule_device_close(device) == 0);
    }
    void open_gate() const { CHECK(granule_timeline_signal(gate, 1, nullptr) == GRANULE_STATUS_OK); }
    void drain() const { CHECK(granule_vm_drain(vm, GRANULE_WAIT_FOREVER, nullptr) == GRANULE_STATUS_OK); }

    granule_device* device = nullptr;
    granule_vm* vm = nullptr;
    granule_bo* bo = nullptr;
    granule_timeline* gate = nullptr;
};

TEST_CASE("a queued bind that fails changes nothing, is told on what it signals, and keeps none behind it back") {
    const OnThread on;
    granule_timeline* const failed = make_timeline(on.device);
    granule_timeline* const fine = make_timeline(on.device);
    const granule_sync gate{on.gate, 1};
    const granule_sync failed_point{failed, 1};
    const granule_sync fine_point{fine, 1};
    std::vector<granule_bind_op> map = {map_of(on.bo, kSomewhere, 4 * kMiB)};
    REQUIRE(bind(on.vm, map) == GRANULE_STATUS_OK);
    // The unmap cuts a granule; with it fails the map of its group. The group behind it is another matter.
    std::vector<granule_bind_op> ops = {
        waiting_for(sync_only(), gate),
        map_of(on.bo, GRANULE_VA_AUTO, kMiB),
        signalling(unmap_of(kSomewhere + 4096, 4096), failed_point),
        signalling(map_of(on.bo, GRANULE_VA_AUTO, kMiB), fine_point),
    };
    REQUIRE(bind(on.vm, ops, GRANULE_BIND_ASYNC) == GRANULE_STATUS_OK);
    CHECK(state_of(on.vm).queued == 2);
    on.open_gate();
    CHECK(granule_timeline_wait(fine, 1, GRANULE_WAIT_FOREVER) == GRANULE_STATUS_OK);
    CHECK(granule_timeline_value(failed) == 1);
    CHECK(granule_timeline_status(failed) == GRANULE_STATUS_GRANULE_CUT);
    CHECK(granule_timeline_status(fine) == GRANULE_STATUS_OK);
    const granule_vm_state state = state_of(on.vm);
    CHECK(state.usable == 1);
    CHECK(state.queued == 0);
    CHECK(state.failed_binds == 1);
    CHECK(state.last_failed_bind.status == GRANULE_STATUS_GRANULE_CUT);
    CHECK(state.last_failed_bind.op == 2);
    CHECK(state.last_failed_bind.granule.start == kSomewhere);
    CHECK(std::string(state.last_failed_bind.label) == "buffer");
    auto report = GRANULE_SIZED(granule_address_report);
    REQUIRE(granule_vm_describe(on.vm, ops[1].va, &report) == GRANULE_STATUS_OK);
    CHECK(report.condition == GRANULE_ADDRESS_RESERVED);  // GRANULE_VA_AUTO: stays reserved
    REQUIRE(granule_vm_describe(on.vm, ops[3].va, &report) == GRANULE_STATUS_OK);
    CHECK(report.condition == GRANULE_ADDRESS_MAPPED);
    granule_timeline_unref(failed);
    granule_timeline_unref(fine);
}

TEST_CASE("what is queued holds its BOs and timelines") {
    const OnThread on;
    granule_timeline* const signalled = make_timeline(on.device);
    granule_timeline* const waited = make_timeline(on.device);
    granule_bo* const bo = make_bo(on.device, kMiB, "let go of");
    const granule_sync wait{waited, 1};
    const granule_sync gate{on.gate, 1};
    const granule_sync signal{signalled, 7};
    std::vector<granule_bind_op> ops = {
        waiting_for(sync_only(), gate),
        signalling(waiting_for(map_of(bo, GRANULE_VA_AUTO, kMiB), wait), signal),
    };
    REQUIRE(bind(on.vm, ops, GRANULE_BIND_ASYNC) == GRANULE_STATUS_OK);
    REQUIRE(granule_timeline_signal(waited, 1, nullptr) == GRANULE_STATUS_OK);
    granule_bo_unref(bo);
    granule_timeline_unref(signalled);
    granule_timeline_unref(waited);
    CHECK(granule_vm_drain(on.vm, 1000, nullptr) == GRANULE_STATUS_TIMED_OUT);
    on.open_gate();
    on.drain();
    granule_bo* there = nullptr;
    CHECK(granule_vm_lookup(on.vm, ops[1].va, &there, nullptr) == GRANULE_STATUS_OK);
    CHECK(there == bo);
    granule_bo_unref(there);
}

TEST_CASE("P5: VA that a queued unmap releases is free when the unmap was done, and stays reserved where it failed") {
    for (const bool fails : {false, true}) {
        CAPTURE(fails);
        const OnThread on;
        const granule_sync gate{on.gate, 1};
        std::vector<granule_bind_op> map = {map_of(on.bo, kSomewhere, 4 * kMiB)};
        REQUIRE(bind(on.vm, map) == GRANULE_STATUS_OK);
        std::vector<granule_bind_op> ops = {
            waiting_for(unmap_of(kSomewhere, 4 * kMiB, GRANULE_UNMAP_RELEASE_VA), gate)};
        REQUIRE(bind(on.vm, ops, GRANULE_BIND_ASYNC) == GRANULE_STATUS_OK);
        CHECK(reserve_at(on.vm, kSomewhere, 4 * kMiB) == GRANULE_STATUS_VA_OCCUPIED);
        REQUIRE(granule_soft_fail(on.device, GRANULE_SOFT_OPERATION, 0, fails ? EIO : 0) == GRANULE_STATUS_OK);
        on.open_gate();
        on.drain();
        CHECK(state_of(on.vm).failed_binds == (fails ? 1 : 0));
        CHECK(reserve_at(on.vm, kSomewhere, 4 * kMiB) == (fails ? GRANULE_STATUS_VA_OCCUPIED : GRANULE_STATUS_OK));
    }
}

TEST_CASE("the end of a VM waits for what is queued") {
    OnThread on;
    granule_timeline* const done = make_timeline(on.device);
    const granule_sync gate{on.gate, 1};
    const granule_sync point{done, 1};
    std::vector<granule_bind_op> ops = {signalling(waiting_for(map_of(on.bo, kSomewhere, kMiB), gate), point)};
    REQUIRE(bind(on.vm, ops, GRANULE_BIND_ASYNC) == GRANULE_STATUS_OK);
    std::thread opens([&] { on.open_gate(); });
    granule_vm_destroy(on.vm);
    CHECK(granule_timeline_value(done) == 1);
    CHECK(granule_timeline_status(done) == GRANULE_STATUS_OK);
    opens.join();
    granule_timeline_unref(done);
    on.vm = nullptr;
}

TEST_CASE("the end of a VM cancels what waits for what nobody signals, and says so on what it would have signalled") {
    Caller caller;
    granule_device* const device = caller.open();
    granule_vm* const vm = make_vm(device);
    granule_bo* const bo = make_bo(device, kMiB, "buffer");
    granule_timeline* const never = make_timeline(device);
    granule_timeline* const done = make_timeline(device);
    const granule_sync gate{never, 1};
    const granule_sync first{done, 1};
    const granule_sync second{done, 2};
    std::vector<granule_bind_op> ops = {signalling(waiting_for(map_of(bo, kSomewhere, kMiB), gate), first),
                                        signalling(unmap_of(kSomewhere, kMiB), second)};
    REQUIRE(bind(vm, ops, GRANULE_BIND_ASYNC) == GRANULE_STATUS_OK);
    granule_bo_unref(bo);
    granule_vm_destroy(vm);
    CHECK(granule_timeline_value(done) == 2);
    CHECK(granule_timeline_status(done) == GRANULE_STATUS_CANCELLED);
    CHECK(granule_timeline_value(never) == 0);
    REQUIRE(!caller.lines.empty());
    CHECK(caller.lines.front() == "W VM 'test': it ends with binds that still wait: they are cancelled");
    granule_timeline_unref(done);
    granule_timeline_unref(never);
    CHECK(granule_device_close(device) == 0);
}

TEST_CASE("a deferred bind waits for the VM to be idle, and the next one for it") {
    const OnThread on(GRANULE_VM_TRACK_ACTIVITY);
    const granule_sync idle = granule_vm_activity_begin(on.vm);
    granule_vm_activity_end(on.vm, 1);  // a job that signals 1
    std::vector<granule_bind_op> map = {map_of(on.bo, kSomewhere, kMiB)};
    std::vector<granule_bind_op> unmap = {unmap_of(kSomewhere, kMiB)};
    REQUIRE(bind(on.vm, map, GRANULE_BIND_DEFERRED) == GRANULE_STATUS_OK);
    REQUIRE(bind(on.vm, unmap, GRANULE_BIND_DEFERRED) == GRANULE_STATUS_OK);
    CHECK(granule_vm_activity(on.vm).point == 3);
    CHECK(state_of(on.vm).queued == 2);
    CHECK(granule_timeline_value(idle.timeline) == 0);
    CHECK(granule_timeline_signal(idle.timeline, 1, nullptr) == GRANULE_STATUS_OK);
    CHECK(granule_timeline_wait(idle.timeline, 3, GRANULE_WAIT_FOREVER) == GRANULE_STATUS_OK);
    auto report = GRANULE_SIZED(granule_address_report);
    REQUIRE(granule_vm_describe(on.vm, kSomewhere, &report) == GRANULE_STATUS_OK);
    CHECK(report.removed_by == 2);
}

TEST_CASE("where neighbours became one, the operation that cuts the granule is named") {
    const OnThread on;
    std::vector<granule_bind_op> map = {map_of(on.bo, kSomewhere, 4 * kMiB)};
    REQUIRE(bind(on.vm, map) == GRANULE_STATUS_OK);
    // One unmap of [0, 3 MiB) as three: it is the last that ends inside a leaf.
    std::vector<granule_bind_op> ops = {unmap_of(kSomewhere, kMiB), unmap_of(kSomewhere + kMiB, kMiB),
                                        unmap_of(kSomewhere + 2 * kMiB, kMiB)};
    auto error = GRANULE_SIZED(granule_error);
    CHECK(bind(on.vm, ops, GRANULE_BIND_IMMEDIATE, &error) == GRANULE_STATUS_GRANULE_CUT);
    CHECK(error.op == 2);
    CHECK(error.granule.start == kSomewhere + 2 * kMiB);
}

TEST_CASE("an array that releases the same VA twice is refused") {
    const OnThread on;
    std::vector<granule_bind_op> ops = {unmap_of(kSomewhere, 4 * kMiB, GRANULE_UNMAP_RELEASE_VA),
                                        unmap_of(kSomewhere, 4 * kMiB, GRANULE_UNMAP_RELEASE_VA)};
    const std::string before = shown(on.vm);
    auto error = GRANULE_SIZED(granule_error);
    CHECK(bind(on.vm, ops, GRANULE_BIND_IMMEDIATE, &error) == GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(error.op == 1);
    CHECK(shown(on.vm) == before);
    // Nor is a part of what was reserved released.
    ops = {unmap_of(kSomewhere, kMiB, GRANULE_UNMAP_RELEASE_VA)};
    CHECK(bind(on.vm, ops, GRANULE_BIND_IMMEDIATE, &error) == GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(error.occupant.end == kSomewhere + 4 * kMiB);
}

}  // namespace
}  // namespace granule::test
