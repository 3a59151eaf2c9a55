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
    REQUIRE(test.space->submit(plans, {}, {&test.signal, 1}).has_value());
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
    REQUIRE(other->submit({}, {}, {&test.signal, 1}).has_value());  // nothing but a point
    const std::array plans{plan_of({map_op(at(0x400000, 2 * kMi), test.bo, 0)}),
                           plan_of({unmap_op(at(0x400000, kMi))})};
    REQUIRE(test.space->submit({plans.data(), 1}, {&test.signal, 1}, {&test.wait, 1}).has_value());
    CHECK(test.drm.queued(test.file.fd(), test.space->kernel_id()) == 1);
    CHECK_FALSE(test.mapped(0x400000));
    test.drm.release_queues();
    CHECK(test.mapped(0x400000));
    CHECK(test.signalled(test.signal));
    CHECK(test.signalled(test.wait));
}

TEST_CASE("nothing to bind is an array of fences; nothing at all is no ioctl") {
    QueueFixture test;
    REQUIRE(test.space->submit({}, {}, {}).has_value());
    CHECK(test.space->traffic().ioctls == 0);
    REQUIRE(test.space->submit({}, {}, {&test.signal, 1}).has_value());
    CHECK(test.space->traffic().ioctls == 1);
    CHECK(test.signalled(test.signal));
    REQUIRE(test.space->submit({}, {&test.signal, 1}, {&test.wait, 1}).has_value());
    CHECK(test.signalled(test.wait));
}

TEST_CASE("P3: an array that cannot be queued whole is not queued") {
    QueueFixture test;
    const std::array plans{plan_of({map_op(at(0x400000, 2 * kMi), test.bo, 0)}),
                           plan_of({map_op(at(0x800000, 2 * kMi), test.bo, 0)})};
    const auto refused = [&](std::span<const SyncobjPoint> waits) {
        const Result<void, BackendFailure> done = test.space->submit(plans, waits, {});
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
    REQUIRE(test.space->submit(plans, {}, {}).has_value());
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
    CHECK(space->submit({&plan, 1}, {}, {}).error().status == Status::kOutOfHostMemory);
    test.calls.stop();
    memory.refuse_everything();
    const SyncobjPoint signal{test.make_syncobj(), 1};
    const std::vector<SyncobjPoint> few(8, signal);
    const std::vector<SyncobjPoint> many(100, signal);
    REQUIRE(space->submit({&plan, 1}, {}, {&signal, 1}).has_value());
    CHECK(space->submit({&plan, 1}, few, {}).has_value());
    CHECK(space->submit({&plan, 1}, many, {}).error().status == Status::kOutOfHostMemory);
    const std::vector<Plan> long_array(BindArray::kBaseOps + 1, plan);
    CHECK(space->submit(long_array, {}, {}).error().status == Status::kOutOfHostMemory);
    memory.refuse_nothing();
    CHECK(space->submit({&plan, 1}, many, {}).has_value());
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
    REQUIRE(test.space->submit({&later, 1}, {}, {}).has_value());
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
    REQUIRE(test.space->submit({&later, 1}, {}, {}).has_value());
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
    REQUIRE(test.space->submit({&later, 1}, {}, {}).has_value());
    const Plan unmap = plan_of({unmap_op(at(0x600000, 2 * kMi))});  // not inside a mapping, if that had been well
    const Result<void, BackendFailure> done = test.space->execute({&unmap, 1});
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().status == Status::kVmUnusable);
    CHECK_FALSE(done.error().begun);
    CHECK(test.drm.log().oops.empty());
}

TEST_CASE(
    "a queued operation that fails signals all the same; check says that the VM is lost, and renew that it is not") {
    QueueFixture test;
    test.drm.fail_next_job(ENOMEM);
    const Plan plan = plan_of({map_op(at(0x400000, 2 * kMi), test.bo, 0)});
    REQUIRE(test.space->submit({&plan, 1}, {}, {&test.signal, 1}).has_value());
    CHECK(test.signalled(test.signal));
    CHECK(test.space->check() == Status::kVmUnusable);
    CHECK(test.space->execute({&plan, 1}).error().status == Status::kVmUnusable);
    CHECK(test.space->submit({&plan, 1}, {}, {}).error().status == Status::kVmUnusable);
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
