// What is queued in the kernel: waits and signals, all or nothing, what comes after what, and how a lost VM is noticed.
#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <vector>

#include "tests/drm/address_space_fixture.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test {
namespace {

struct QueueFixture : AddressSpaceFixture {
    explicit QueueFixture(KernelBehaviour behaviour = KernelBehaviour::kRefuses)
        : AddressSpaceFixture(fake_panthor(behaviour)) {}
    ~QueueFixture() {
        space->detach();
        static_cast<void>(drm.syncobj_destroy(file.fd(), wait.syncobj));
        static_cast<void>(drm.syncobj_destroy(file.fd(), signal.syncobj));
    }

    [[nodiscard]] bool mapped(std::uint64_t va) const { return page(*space, va).mapped; }

    Owned<PanthorAddressSpace> space = make_space();
    BoId bo = make_bo(16 * kMi);
    SyncobjPoint wait{make_syncobj(), 0};
    SyncobjPoint signal{make_syncobj(), 7};
};

TEST_CASE("a queued array waits with its first operation and signals with its last") {
    QueueFixture test;
    test.drm.hold_queues();
    const std::array plans{plan_of({map_op(at(0x400000, 2 * kMi), test.bo, 0)}),
                           plan_of({map_op(at(0x800000, 2 * kMi), test.bo, 0)}),
                           plan_of({map_op(at(0xc00000, 2 * kMi), test.bo, 0)})};
    REQUIRE(test.space->hold(plans) == Status::kOk);
    REQUIRE(submit(*test.space, plans, {}, {&test.signal, 1}).has_value());
    CHECK(test.space->traffic().ioctls == 1);
    CHECK(test.space->traffic().operations == 3);
    CHECK_FALSE(test.mapped(0x400000));
    CHECK_FALSE(test.signalled(test.signal));
    test.drm.release_queues();
    CHECK(test.mapped(0x400000));
    CHECK(test.mapped(0xc00000));
    CHECK(test.signalled(test.signal));
}

TEST_CASE("a queued array is carried out after what it waits for, and what is behind it after that") {
    QueueFixture test;
    const Owned<PanthorAddressSpace> other = test.make_space();
    test.drm.hold_queues();
    REQUIRE(submit(*other, {}, {}, {&test.signal, 1}).has_value());  // nothing but a point
    const std::array plans{plan_of({map_op(at(0x400000, 2 * kMi), test.bo, 0)}),
                           plan_of({unmap_op(at(0x400000, kMi))})};
    REQUIRE(submit(*test.space, {plans.data(), 1}, {&test.signal, 1}, {&test.wait, 1}).has_value());
    CHECK(test.drm.queued(test.file.fd(), test.space->kernel_id()) == 1);
    CHECK_FALSE(test.mapped(0x400000));
    test.drm.release_queues();
    CHECK(test.mapped(0x400000));
    CHECK(test.signalled(test.signal));
    CHECK(test.signalled(test.wait));
}

TEST_CASE("nothing to bind is an array of fences; nothing at all is no ioctl") {
    QueueFixture test;
    REQUIRE(submit(*test.space, {}, {}, {}).has_value());
    CHECK(test.space->traffic().ioctls == 0);
    REQUIRE(submit(*test.space, {}, {}, {&test.signal, 1}).has_value());
    CHECK(test.space->traffic().ioctls == 1);
    CHECK(test.signalled(test.signal));
    REQUIRE(submit(*test.space, {}, {&test.signal, 1}, {&test.wait, 1}).has_value());
    CHECK(test.signalled(test.wait));
}

// The first two windows of a BO side by side, and the next two in a group of their own behind them; between them a group
// of nothing but fences.
struct GroupsFixture : QueueFixture {
    std::array<Plan, 2> first{plan_of({map_op(at(0x400000, 2 * kMi), bo, 0)}),
                              plan_of({map_op(at(0x600000, 2 * kMi), bo, 2 * kMi)})};
    std::array<Plan, 2> third{plan_of({map_op(at(0x800000, 2 * kMi), bo, 4 * kMi)}),
                              plan_of({map_op(at(0xa00000, 2 * kMi), bo, 6 * kMi)})};
    SyncobjPoint between{make_syncobj(), 3};

    ~GroupsFixture() { static_cast<void>(drm.syncobj_destroy(file.fd(), between.syncobj)); }
    [[nodiscard]] std::array<PlanGroup, 3> groups() const {
        return {PlanGroup{first, {}, {&between, 1}}, PlanGroup{{}, {&between, 1}, {&signal, 1}},
                PlanGroup{third, {&signal, 1}, {&wait, 1}}};
    }
};

TEST_CASE("groups are one ioctl: neighbours are one operation within a group, never across its end") {
    GroupsFixture test;
    test.drm.hold_queues();
    REQUIRE(test.space->submit(test.groups()).has_value());
    CHECK(test.space->traffic().ioctls == 1);
    CHECK(test.space->traffic().operations == 3);
    CHECK_FALSE(test.mapped(0x400000));
    test.drm.release_queues();
    for (const std::uint64_t va : {0x400000U, 0x600000U, 0x800000U, 0xa00000U}) {
        CHECK(test.mapped(va));
    }
    CHECK(test.signalled(test.between));
    CHECK(test.signalled(test.signal));
    CHECK(test.signalled(test.wait));
}

TEST_CASE(
    "a group waits with its first operation and signals with its last: what is before goes on, what is behind waits") {
    GroupsFixture test;
    // On what another queue has still to do.
    const Owned<PanthorAddressSpace> other = test.make_space();
    test.drm.hold_queue(test.file.fd(), other->kernel_id());
    REQUIRE(submit(*other, {}, {}, {&test.signal, 1}).has_value());
    const std::array groups{PlanGroup{test.first, {}, {&test.between, 1}},
                            PlanGroup{test.third, {&test.signal, 1}, {&test.wait, 1}},
                            PlanGroup{{}, {&test.wait, 1}, {}}};
    REQUIRE(test.space->submit(groups).has_value());
    CHECK(test.mapped(0x400000));
    CHECK(test.mapped(0x600000));
    CHECK(test.signalled(test.between));
    CHECK_FALSE(test.mapped(0x800000));
    CHECK_FALSE(test.signalled(test.wait));
    // The queue's own fence is the last operation's, though that does nothing: a synchronous array waits for all of it.
    const Plan in_its_way = plan_of({unmap_op(at(0x800000, 2 * kMi))});
    CHECK(test.space->execute({&in_its_way, 1}).error().status == Status::kTimedOut);
    test.drm.release_queues();
    CHECK(test.mapped(0xa00000));
    REQUIRE(test.space->execute({&in_its_way, 1}).has_value());
    CHECK_FALSE(test.mapped(0x800000));
}

TEST_CASE("groups without plans and fences are not there") {
    GroupsFixture test;
    const std::array nothing{PlanGroup{}, PlanGroup{}};
    REQUIRE(test.space->submit(nothing).has_value());
    REQUIRE(test.space->submit(std::span<const PlanGroup>{}).has_value());
    CHECK(test.space->traffic().ioctls == 0);
    const std::array some{PlanGroup{}, PlanGroup{test.first, {}, {&test.signal, 1}}, PlanGroup{}};
    REQUIRE(test.space->submit(some).has_value());
    CHECK(test.space->traffic().operations == 1);
    CHECK(test.signalled(test.signal));
}

TEST_CASE("P3: groups one of which cannot be queued are not queued") {
    GroupsFixture test;
    const SyncobjPoint nobody{4711, 1};
    const SyncobjPoint never{test.wait.syncobj, 9};
    const auto refused = [&](std::span<const PlanGroup> groups) {
        const Result<void, BackendFailure> done = test.space->submit(groups);
        REQUIRE_FALSE(done.has_value());
        CHECK_FALSE(done.error().begun);
        CHECK(test.drm.queued(test.file.fd(), test.space->kernel_id()) == 0);
        CHECK(test.leaves(*test.space).empty());
        CHECK_FALSE(test.signalled(test.between));
        return done.error().error;
    };
    for (std::size_t bad = 0; bad < 3; ++bad) {
        CAPTURE(bad);
        std::array<PlanGroup, 3> groups = test.groups();
        groups.at(bad).waits = {&nobody, 1};
        CHECK(refused(groups) == ENOENT);
        groups.at(bad).waits = {&never, 1};
        CHECK(refused(groups) == EINVAL);
        test.calls.fail_kind(DrmCallKind::kVmBind, 0, EINVAL);
        CHECK(refused(test.groups()) == EINVAL);
        test.calls.stop();
    }
    REQUIRE(test.space->submit(test.groups()).has_value());
    CHECK(test.mapped(0xa00000));
}

TEST_CASE(
    "P3: whichever allocation of groups fails, nothing is queued; more groups of fences than there was room for") {
    bool queued = false;
    for (std::uint64_t k = 0; !queued; ++k) {
        REQUIRE(k < 20);
        TestMemory memory;
        const FakeKernel kernel = fake_panthor(KernelBehaviour::kRefuses);
        AddressSpaceFixture test(kernel, facts_of(kernel), memory.memory());
        const Owned<PanthorAddressSpace> space = test.make_space();
        const SyncobjPoint signal{test.make_syncobj(), 1};
        const BoId bo = test.make_bo(2 * kMi);
        const Plan plan = plan_of({map_op(at(0x400000, 2 * kMi), bo, 0)});
        std::vector<PlanGroup> groups(2 * BindArray::kBaseOps, {{}, {}, {&signal, 1}});
        groups.push_back({{&plan, 1}, {}, {}});
        memory.refuse_after(k);
        const Result<void, BackendFailure> done = space->submit(groups);
        queued = done.has_value();
        CHECK(test.page(*space, 0x400000).mapped == queued);
        CHECK(test.signalled(signal) == queued);
        if (queued) {
            CHECK(k == 3);  // fences, operations, and whose they are
        } else {
            CHECK(done.error().status == Status::kOutOfHostMemory);
        }
        space->detach();
        CHECK(test.drm.syncobj_destroy(test.file.fd(), signal.syncobj) == 0);
    }
}

TEST_CASE("P3: an array that cannot be queued whole is not queued") {
    QueueFixture test;
    const std::array plans{plan_of({map_op(at(0x400000, 2 * kMi), test.bo, 0)}),
                           plan_of({map_op(at(0x800000, 2 * kMi), test.bo, 0)})};
    const auto refused = [&](std::span<const SyncobjPoint> waits) {
        const Result<void, BackendFailure> done = submit(*test.space, plans, waits, {});
        REQUIRE_FALSE(done.has_value());
        CHECK_FALSE(done.error().begun);
        CHECK(test.drm.queued(test.file.fd(), test.space->kernel_id()) == 0);
        CHECK(test.leaves(*test.space).empty());
        return done.error();
    };
    const SyncobjPoint nobody{4711, 1};
    CHECK(refused({&nobody, 1}).error == ENOENT);
    CHECK(refused({&test.wait, 1}).error == EINVAL);  // nobody has said yet what will signal it
    test.calls.fail_kind(DrmCallKind::kVmBind, 0, ENOMEM);
    CHECK(refused({}).status == Status::kOutOfTableMemory);
    test.calls.stop();
    CHECK(test.space->check() == Status::kOk);
    REQUIRE(submit(*test.space, plans, {}, {}).has_value());
    CHECK(test.mapped(0x800000));
}

TEST_CASE("without a syncobj or host memory nothing is queued; a few fences need no memory") {
    TestMemory memory;
    const FakeKernel kernel = fake_panthor(KernelBehaviour::kRefuses);
    AddressSpaceFixture test(kernel, facts_of(kernel), memory.memory());
    const Owned<PanthorAddressSpace> space = test.make_space();
    const BoId bo = test.make_bo(2 * kMi);
    const Plan plan = plan_of({map_op(at(0x400000, 2 * kMi), bo, 0)});
    test.calls.fail_kind(DrmCallKind::kSyncobjCreate, 0, ENOMEM);
    CHECK(submit(*space, {&plan, 1}, {}, {}).error().status == Status::kOutOfHostMemory);
    test.calls.stop();
    memory.refuse_everything();
    const SyncobjPoint signal{test.make_syncobj(), 1};
    const std::vector<SyncobjPoint> few(8, signal);
    const std::vector<SyncobjPoint> many(100, signal);
    REQUIRE(submit(*space, {&plan, 1}, {}, {&signal, 1}).has_value());
    CHECK(submit(*space, {&plan, 1}, few, {}).has_value());
    CHECK(submit(*space, {&plan, 1}, many, {}).error().status == Status::kOutOfHostMemory);
    const std::vector<Plan> long_array(BindArray::kBaseOps + 1, plan);
    CHECK(submit(*space, long_array, {}, {}).error().status == Status::kOutOfHostMemory);
    memory.refuse_nothing();
    CHECK(submit(*space, {&plan, 1}, many, {}).has_value());
    space->detach();
    CHECK(test.drm.syncobj_destroy(test.file.fd(), signal.syncobj) == 0);
}

TEST_CASE(
    "a synchronous array waits for queued ones that touch its windows, and changes nothing where they take too long") {
    QueueFixture test(KernelBehaviour::kSplits);
    const Plan before = plan_of({map_op(at(0x400000, 2 * kMi), test.bo, 0)});
    REQUIRE(test.space->execute({&before, 1}).has_value());
    test.drm.hold_queues();
    const Plan later = plan_of({unmap_op(at(0x500000, 0x1000))});
    REQUIRE(submit(*test.space, {&later, 1}, {}, {}).has_value());
    const std::vector<FakeGpuVm::Leaf> leaves = test.leaves(*test.space);

    const Plan in_its_way = plan_of({map_op(at(0x580000, 0x1000), test.bo, 0)});
    const Result<void, BackendFailure> done = test.space->execute({&in_its_way, 1});
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().status == Status::kTimedOut);
    CHECK_FALSE(done.error().begun);
    CHECK(test.leaves(*test.space) == leaves);

    const Plan elsewhere = plan_of({map_op(at(0x600000, 0x1000), test.bo, 0)});
    REQUIRE(test.space->execute({&elsewhere, 1}).has_value());
    CHECK(test.mapped(0x600000));
    test.calls.fail_kind(DrmCallKind::kSyncobjWait, 0, ENODEV);
    CHECK(test.space->execute({&in_its_way, 1}).error().status == Status::kBackendFailed);
    test.calls.stop();

    test.drm.release_queues();
    const std::uint64_t waits = test.drm.count(DrmCallKind::kSyncobjWait);
    REQUIRE(test.space->execute({&in_its_way, 1}).has_value());
    CHECK(test.drm.count(DrmCallKind::kSyncobjWait) == waits + 1);
    REQUIRE(test.space->execute({&in_its_way, 1}).has_value());  // known to be empty now
    CHECK(test.drm.count(DrmCallKind::kSyncobjWait) == waits + 1);
}

TEST_CASE("on kernels that oops a synchronous array waits for all that is queued") {
    QueueFixture test(KernelBehaviour::kOopses);
    test.drm.hold_queues();
    const Plan later = plan_of({map_op(at(0x400000, 2 * kMi), test.bo, 0)});
    REQUIRE(submit(*test.space, {&later, 1}, {}, {}).has_value());
    const Plan elsewhere = plan_of({map_op(at(0x4000000, 0x1000), test.bo, 0)});
    CHECK(test.space->execute({&elsewhere, 1}).error().status == Status::kTimedOut);
    test.drm.release_queues();
    CHECK(test.space->execute({&elsewhere, 1}).has_value());
}

TEST_CASE("on kernels that oops nothing is unmapped one by one in a VM that the queue has lost") {
    QueueFixture test(KernelBehaviour::kOopses);
    const Plan before = plan_of({map_op(at(0x400000, 8 * kMi), test.bo, 0)});
    REQUIRE(test.space->execute({&before, 1}).has_value());
    test.drm.fail_next_job(ENOMEM);
    const Plan later = plan_of({map_op(at(0x600000, 2 * kMi), test.bo, 0)});
    REQUIRE(submit(*test.space, {&later, 1}, {}, {}).has_value());
    const Plan unmap = plan_of({unmap_op(at(0x600000, 2 * kMi))});  // not inside a mapping, if that had been well
    const Result<void, BackendFailure> done = test.space->execute({&unmap, 1});
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().status == Status::kVmUnusable);
    CHECK_FALSE(done.error().begun);
    CHECK(test.drm.log().oops.empty());
}

TEST_CASE("on kernels that oops nothing is done where nobody can say whether the queue has lost the VM") {
    QueueFixture test(KernelBehaviour::kOopses);
    const Plan later = plan_of({map_op(at(0x400000, 2 * kMi), test.bo, 0)});
    REQUIRE(submit(*test.space, {&later, 1}, {}, {}).has_value());
    const std::vector<FakeGpuVm::Leaf> leaves = test.leaves(*test.space);
    const Plan unmap = plan_of({unmap_op(at(0x400000, 2 * kMi))});
    test.calls.fail_kind(DrmCallKind::kVmGetState, 0, ENODEV);
    const Result<void, BackendFailure> done = test.space->execute({&unmap, 1});
    test.calls.stop();
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().status == Status::kBackendFailed);
    CHECK(done.error().error == ENODEV);
    CHECK_FALSE(done.error().begun);
    CHECK(test.leaves(*test.space) == leaves);
    REQUIRE(test.space->execute({&unmap, 1}).has_value());
}

TEST_CASE(
    "a queued operation that fails signals all the same; check says that the VM is lost, and renew that it is not") {
    QueueFixture test;
    test.drm.fail_next_job(ENOMEM);
    const Plan plan = plan_of({map_op(at(0x400000, 2 * kMi), test.bo, 0)});
    REQUIRE(submit(*test.space, {&plan, 1}, {}, {&test.signal, 1}).has_value());
    CHECK(test.signalled(test.signal));
    CHECK(test.space->check() == Status::kVmUnusable);
    CHECK(test.space->execute({&plan, 1}).error().status == Status::kVmUnusable);
    CHECK(submit(*test.space, {&plan, 1}, {}, {}).error().status == Status::kVmUnusable);
    test.calls.fail_kind(DrmCallKind::kVmGetState, 0, ENODEV);
    CHECK(test.space->check() == Status::kBackendFailed);
    test.calls.stop();
    REQUIRE(test.space->renew().has_value());
    CHECK(test.space->check() == Status::kOk);
    REQUIRE(test.space->execute({&plan, 1}).has_value());
    CHECK(test.mapped(0x400000));
}

}  // namespace
}  // namespace granule::test
