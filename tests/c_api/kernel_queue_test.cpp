// Binds of the C interface on kernels: panthor's queue, and panfrost, which places BOs itself.
#include <doctest/doctest.h>
#include <granule/granule.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/c_api/bind_array.hpp"
#include "tests/c_api/caller.hpp"
#include "tests/c_api/fake_kernel.hpp"
#include "tests/support/failing_drm_calls.hpp"
#include "tests/support/fake_drm.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kSomewhere = std::uint64_t{8} << 30;

// A device of a kernel with a VM and a BO of 4 MiB. All of it goes in the end, and nothing is left in the kernel.
class OnKernel {
public:
    explicit OnKernel(const FakeKernel& kernel, std::uint32_t vm_flags = 0) : drm(kernel), calls(drm, kernel.driver) {
        device = open_over(caller, calls);
        vm = make_vm(device, vm_flags);
        bo = make_bo(device, 4 * kMiB, "buffer");
        caller.lines.clear();
    }
    OnKernel(const OnKernel&) = delete;
    OnKernel& operator=(const OnKernel&) = delete;
    ~OnKernel() {
        granule_bo_unref(bo);
        granule_vm_destroy(vm);
        CHECK(granule_device_close(device) == 0);
        CHECK(drm.census() == FakeDrmCensus{});
        CHECK(drm.forgotten() == FakeDrmCensus{});
    }

    [[nodiscard]] std::uint64_t vm_binds() const { return drm.count(DrmCallKind::kVmBind); }

    Caller caller;
    FakeDrm drm;
    FailingDrmCalls calls;
    granule_device* device = nullptr;
    granule_vm* vm = nullptr;
    granule_bo* bo = nullptr;
};

FakeKernel panthor() {
    return fake_panthor(KernelBehaviour::kRefuses);
}

TEST_CASE(
    "panthor: an async array is one ioctl, whatever waits and signals are inside it, and our state follows at once") {
    OnKernel on(panthor());
    granule_timeline* const timeline = make_timeline(on.device);
    const granule_sync first{timeline, 1};
    const granule_sync second{timeline, 2};
    on.drm.hold_queues();
    std::vector<granule_bind_op> ops = {
        signalling(map_of(on.bo, GRANULE_VA_AUTO, kMiB), first),
        waiting_for(map_of(on.bo, GRANULE_VA_AUTO, 2 * kMiB, kMiB), first),
        signalling(sync_only(), second),
    };
    const std::uint64_t binds = on.vm_binds();
    auto error = GRANULE_SIZED(granule_error);
    REQUIRE(bind(on.vm, ops, GRANULE_BIND_ASYNC, &error) == GRANULE_STATUS_OK);
    CHECK(on.vm_binds() == binds + 1);
    CHECK(ops[0].va != GRANULE_VA_AUTO);
    CHECK(ops[1].va % (2 * kMiB) == kMiB);  // VA and BO agree modulo 2 MiB
    granule_bo* there = nullptr;
    std::uint64_t offset = 0;
    CHECK(granule_vm_lookup(on.vm, ops[1].va + 5, &there, &offset) == GRANULE_STATUS_OK);
    CHECK(there == on.bo);
    CHECK(offset == kMiB + 5);
    granule_bo_unref(there);
    CHECK(granule_timeline_value(timeline) == 0);
    CHECK(granule_vm_drain(on.vm, 1000, &error) == GRANULE_STATUS_TIMED_OUT);
    CHECK(state_of(on.vm).queued == 0);

    on.drm.release_queues();
    CHECK(granule_vm_drain(on.vm, GRANULE_WAIT_FOREVER, &error) == GRANULE_STATUS_OK);
    CHECK(granule_timeline_value(timeline) == 2);
    granule_timeline_unref(timeline);
    CHECK(on.drm.quiet());
}

TEST_CASE(
    "P5: panthor: VA that an async unmap releases is nobody's before the kernel has unmapped it, fences or none") {
    OnKernel on(panthor());
    REQUIRE(reserve_at(on.vm, kSomewhere, 4 * kMiB) == GRANULE_STATUS_OK);
    std::vector<granule_bind_op> map = {map_of(on.bo, kSomewhere, 4 * kMiB)};
    REQUIRE(bind(on.vm, map) == GRANULE_STATUS_OK);
    on.drm.hold_queues();
    std::vector<granule_bind_op> unmap = {unmap_of(kSomewhere, 4 * kMiB, GRANULE_UNMAP_RELEASE_VA)};
    REQUIRE(bind(on.vm, unmap, GRANULE_BIND_ASYNC) == GRANULE_STATUS_OK);
    CHECK(reserve_at(on.vm, kSomewhere, 4 * kMiB) == GRANULE_STATUS_VA_OCCUPIED);
    auto report = GRANULE_SIZED(granule_address_report);
    REQUIRE(granule_vm_describe(on.vm, kSomewhere, &report) == GRANULE_STATUS_OK);
    CHECK(report.condition == GRANULE_ADDRESS_UNMAPPED);
    CHECK(report.reserved_waiting == 1);
    // What is released already cannot be released again.
    CHECK(bind(on.vm, unmap, GRANULE_BIND_ASYNC) == GRANULE_STATUS_BAD_ARGUMENT);
    on.drm.release_queues();
    CHECK(reserve_at(on.vm, kSomewhere, 4 * kMiB) == GRANULE_STATUS_OK);
}

// A hundred timelines that come and go, each with a point that a queued bind is to signal.
void signal_many(const OnKernel& on) {
    for (int i = 0; i < 100; ++i) {
        granule_timeline* const passing = make_timeline(on.device);
        const granule_sync point{passing, 1};
        std::vector<granule_bind_op> only = {signalling(sync_only(), point)};
        REQUIRE(bind(on.vm, only, GRANULE_BIND_ASYNC) == GRANULE_STATUS_OK);
        granule_timeline_unref(passing);
    }
}

TEST_CASE("P5: panthor: a timeline that a queued bind is to signal lives until then, whoever lets go of it") {
    OnKernel on(panthor());
    // And not much longer: they do not pile up.
    signal_many(on);
    CHECK(on.drm.census().syncobjs < 50);
    CHECK(granule_vm_drain(on.vm, 0, nullptr) == GRANULE_STATUS_OK);
    CHECK(on.drm.census().syncobjs < 5);

    granule_timeline* const timeline = make_timeline(on.device);
    const granule_sync sync{timeline, 1};
    REQUIRE(reserve_at(on.vm, kSomewhere, kMiB) == GRANULE_STATUS_OK);
    on.drm.hold_queues();
    std::vector<granule_bind_op> ops = {signalling(sync_only(), sync)};
    REQUIRE(bind(on.vm, ops, GRANULE_BIND_ASYNC) == GRANULE_STATUS_OK);
    REQUIRE(granule_va_release(on.vm, kSomewhere, kMiB, &sync, 1, nullptr) == GRANULE_STATUS_OK);
    granule_timeline_unref(timeline);
    CHECK(reserve_at(on.vm, kSomewhere, kMiB) == GRANULE_STATUS_VA_OCCUPIED);
    signal_many(on);
    CHECK(reserve_at(on.vm, kSomewhere, kMiB) == GRANULE_STATUS_VA_OCCUPIED);
    on.drm.release_queues();
    CHECK(reserve_at(on.vm, kSomewhere, kMiB) == GRANULE_STATUS_OK);
}

TEST_CASE("panthor: a VM whose queue does not move ends all the same") {
    Caller caller;
    FakeDrm drm(panthor());
    granule_device* const device = open_over(caller, drm);
    granule_vm* const vm = make_vm(device);
    granule_bo* const bo = make_bo(device, kMiB, "buffer");
    granule_timeline* const done = make_timeline(device);
    const granule_sync point{done, 1};
    drm.hold_queues();
    std::vector<granule_bind_op> ops = {signalling(map_of(bo, GRANULE_VA_AUTO, kMiB), point)};
    REQUIRE(bind(vm, ops, GRANULE_BIND_ASYNC) == GRANULE_STATUS_OK);
    granule_bo_unref(bo);
    granule_vm_destroy(vm);
    granule_timeline_unref(done);
    CHECK(granule_device_close(device) == 0);
}

TEST_CASE("panthor: a deferred bind comes behind the job that the driver added, and adds a point of its own") {
    OnKernel on(panthor(), GRANULE_VM_TRACK_ACTIVITY);
    const granule_sync idle = granule_vm_activity_begin(on.vm);
    CHECK(idle.point == 0);
    REQUIRE(granule_timeline_signal(idle.timeline, 1, nullptr) == GRANULE_STATUS_OK);  // the job
    granule_vm_activity_end(on.vm, 1);
    std::vector<granule_bind_op> ops = {map_of(on.bo, GRANULE_VA_AUTO, kMiB), map_of(on.bo, GRANULE_VA_AUTO, kMiB)};
    on.drm.hold_queues();
    REQUIRE(bind(on.vm, ops, GRANULE_BIND_DEFERRED) == GRANULE_STATUS_OK);
    CHECK(granule_vm_activity(on.vm).point == 2);
    CHECK(granule_timeline_value(idle.timeline) == 1);
    on.drm.release_queues();
    CHECK(granule_timeline_value(idle.timeline) == 2);
    // One that is not queued adds none.
    on.calls.fail_bind_at(0, 0, EINVAL);
    CHECK(bind(on.vm, ops, GRANULE_BIND_DEFERRED) == GRANULE_STATUS_BACKEND_FAILED);
    CHECK(granule_vm_activity(on.vm).point == 2);
}

TEST_CASE("P3: panthor: what the kernel does not queue, or does not do, has changed nothing") {
    OnKernel on(panthor());
    REQUIRE(reserve_at(on.vm, kSomewhere, 4 * kMiB) == GRANULE_STATUS_OK);
    std::vector<granule_bind_op> map = {map_of(on.bo, kSomewhere, 4 * kMiB)};
    REQUIRE(bind(on.vm, map) == GRANULE_STATUS_OK);
    const std::string before = shown(on.vm);
    for (const granule_bind_mode mode : {GRANULE_BIND_IMMEDIATE, GRANULE_BIND_ASYNC}) {
        CAPTURE(static_cast<int>(mode));
        std::vector<granule_bind_op> ops = {map_of(on.bo, GRANULE_VA_AUTO, kMiB),
                                            unmap_of(kSomewhere, 4 * kMiB, GRANULE_UNMAP_RELEASE_VA)};
        on.calls.fail_bind_at(0, mode == GRANULE_BIND_IMMEDIATE ? 1 : 0, EIO);
        auto error = GRANULE_SIZED(granule_error);
        CHECK(bind(on.vm, ops, mode, &error) == GRANULE_STATUS_BACKEND_FAILED);
        CHECK(error.os_error == EIO);
        CHECK(error.op == (mode == GRANULE_BIND_IMMEDIATE ? 1 : GRANULE_NO_OP));
        CHECK(error.vm_lost == 0);
        CHECK(error.partly_done == 0);
        CHECK(ops[0].va == GRANULE_VA_AUTO);
        CHECK(shown(on.vm) == before);
        REQUIRE(on.caller.lines.size() == 1);
        CHECK(on.caller.lines[0].rfind("W VM 'test': a bind failed, and was undone: ", 0) == 0);
        on.caller.lines.clear();
    }
    CHECK(on.drm.quiet());
}

TEST_CASE(
    "panthor: a VM that the kernel dropped is found by asking, told once, and comes back with all that was mapped") {
    OnKernel on(panthor());
    std::vector<granule_bind_op> ops = {map_of(on.bo, GRANULE_VA_AUTO, kMiB)};
    on.drm.fail_next_job(EIO);
    REQUIRE(bind(on.vm, ops, GRANULE_BIND_ASYNC) == GRANULE_STATUS_OK);
    auto error = GRANULE_SIZED(granule_error);
    CHECK(state_of(on.vm).usable == 1);  // nobody has asked
    CHECK(granule_vm_check(on.vm, &error) == GRANULE_STATUS_VM_UNUSABLE);
    CHECK(granule_vm_check(on.vm, &error) == GRANULE_STATUS_VM_UNUSABLE);
    CHECK(state_of(on.vm).usable == 0);
    CHECK(state_of(on.vm).lost_because == GRANULE_STATUS_VM_UNUSABLE);
    CHECK(bind(on.vm, ops, GRANULE_BIND_ASYNC, &error) == GRANULE_STATUS_VM_UNUSABLE);
    CHECK(error.vm_lost == 1);
    CHECK(error.op == GRANULE_NO_OP);
    CHECK(on.caller.lines ==
          std::vector<std::string>{
              "E VM 'test': it is lost: the kernel dropped the address space; granule_vm_rebuild()"});

    auto report = GRANULE_SIZED(granule_rebuild_report);
    const std::uint32_t old = state_of(on.vm).kernel_id;
    REQUIRE(granule_vm_rebuild(on.vm, &report, &error) == GRANULE_STATUS_OK);
    CHECK(report.mappings == 1);
    CHECK(report.bytes == kMiB);
    CHECK(report.kernel_id != old);
    CHECK(report.kernel_id == state_of(on.vm).kernel_id);
    CHECK(granule_vm_check(on.vm, &error) == GRANULE_STATUS_OK);
    CHECK(granule_vm_rebuild(on.vm, nullptr, &error) == GRANULE_STATUS_BAD_ARGUMENT);
}

TEST_CASE("P3: panthor: a wait for a point that nobody has submitted is refused, and nothing is queued") {
    OnKernel on(panthor());
    granule_timeline* const timeline = make_timeline(on.device);
    const granule_sync never{timeline, 7};
    std::vector<granule_bind_op> ops = {map_of(on.bo, GRANULE_VA_AUTO, kMiB),
                                        waiting_for(map_of(on.bo, GRANULE_VA_AUTO, kMiB), never)};
    auto error = GRANULE_SIZED(granule_error);
    CHECK(bind(on.vm, ops, GRANULE_BIND_ASYNC, &error) == GRANULE_STATUS_BACKEND_FAILED);
    CHECK(error.os_error == EINVAL);
    CHECK(error.vm_lost == 0);
    CHECK(ops[0].va == GRANULE_VA_AUTO);
    CHECK(shown(on.vm).empty());
    CHECK(on.drm.census().mapped_bytes == 0);
    granule_timeline_unref(timeline);
}

TEST_CASE("panfrost: BOs are shown whole where the kernel has put them, an array of them or none") {
    OnKernel on(fake_panfrost());
    granule_bo* const other = make_bo(on.device, kMiB, "other", GRANULE_BO_EXECUTABLE);
    auto error = GRANULE_SIZED(granule_error);
    // The second one breaks the rule: nothing is shown.
    std::vector<granule_bind_op> ops = {map_of(on.bo, GRANULE_VA_AUTO, 4 * kMiB),
                                        map_of(other, GRANULE_VA_AUTO, kMiB / 2)};
    CHECK(bind(on.vm, ops, GRANULE_BIND_IMMEDIATE, &error) == GRANULE_STATUS_NOT_SUPPORTED);
    CHECK(error.op == 1);
    CHECK(ops[0].va == GRANULE_VA_AUTO);
    CHECK(shown(on.vm).empty());

    ops[1].size = kMiB;
    REQUIRE(bind(on.vm, ops, GRANULE_BIND_IMMEDIATE, &error) == GRANULE_STATUS_OK);
    CHECK(ops[0].va != ops[1].va);
    auto report = GRANULE_SIZED(granule_address_report);
    REQUIRE(granule_vm_describe(on.vm, ops[1].va, &report) == GRANULE_STATUS_OK);
    CHECK(report.mapping.bo_id == granule_bo_id(other));
    CHECK(report.mapping.flags == 0);  // as the kernel maps an executable BO

    // What an unmap takes whole is all of it, whatever the leaves are.
    CHECK(report.granule.start == ops[1].va);
    CHECK(report.granule.end == ops[1].va + kMiB);

    // A part cannot be unmapped; the whole can, and be shown again at the same place.
    CHECK(granule_vm_unmap(on.vm, ops[0].va, kMiB, GRANULE_CUT_REJECT, nullptr, &error) == GRANULE_STATUS_GRANULE_CUT);
    CHECK(granule_vm_unmap(on.vm, ops[0].va, kMiB, GRANULE_CUT_SPLIT, nullptr, &error) == GRANULE_STATUS_NOT_SUPPORTED);
    std::vector<granule_bind_op> unmap = {unmap_of(ops[0].va, 4 * kMiB, GRANULE_UNMAP_RELEASE_VA)};
    REQUIRE(bind(on.vm, unmap) == GRANULE_STATUS_OK);
    std::vector<granule_bind_op> again = {map_of(on.bo, GRANULE_VA_AUTO, 4 * kMiB)};
    REQUIRE(bind(on.vm, again) == GRANULE_STATUS_OK);
    CHECK(again[0].va == ops[0].va);

    CHECK(bind(on.vm, again, GRANULE_BIND_ASYNC) == GRANULE_STATUS_NOT_SUPPORTED);
    CHECK(bind(on.vm, again, GRANULE_BIND_DEFERRED) == GRANULE_STATUS_NOT_SUPPORTED);
    CHECK(reserve_at(on.vm, kSomewhere / 4, kMiB) == GRANULE_STATUS_NOT_SUPPORTED);
    CHECK(granule_vm_drain(on.vm, 0, &error) == GRANULE_STATUS_OK);
    // Its creator may let go of it: it ends with its last page.
    granule_bo_unref(other);
    CHECK(granule_vm_unmap(on.vm, ops[1].va, kMiB, GRANULE_CUT_REJECT, nullptr, &error) == GRANULE_STATUS_OK);
}

}  // namespace
}  // namespace granule::test
