// The contract of panthor's address space: one ioctl for what comes together, whose a failure is, and what is left of it.
#include "src/drm/panthor_address_space.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <vector>

#include "tests/drm/address_space_fixture.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test {
namespace {

constexpr std::array kBehaviours{KernelBehaviour::kSplits, KernelBehaviour::kRefuses, KernelBehaviour::kOopses,
                                 KernelBehaviour::kRealigns};

TEST_CASE("an address space is a VM of the kernel's, with at least the VA that it is to bind") {
    for (const KernelBehaviour behaviour : kBehaviours) {
        AddressSpaceFixture test(fake_panthor(behaviour));
        test.config.space = {Va{0x1000}, test.facts.vm_space.end};
        const Owned<PanthorAddressSpace> space = test.make_space();
        CHECK(space->kernel_id() != 0);
        CHECK(space->check() == Status::kOk);
        const BoId bo = test.make_bo(0x1000);
        const VaRange last{test.facts.vm_space.end - kPageBytes, test.facts.vm_space.end};
        const Plan plan = plan_of({map_op(last, bo, 0)});
        CHECK(space->execute({&plan, 1}).has_value());
        space->detach();
    }
}

TEST_CASE("there is no address space where the file has 32 VMs, or for more VA than the kernel gives") {
    AddressSpaceFixture test(fake_panthor(KernelBehaviour::kRealigns));
    {
        std::vector<Owned<PanthorAddressSpace>> spaces;
        for (std::uint32_t i = 0; i < panthor::kMaxVmsPerFile; ++i) {
            spaces.push_back(test.make_space());
        }
        const auto none = test.create();
        REQUIRE_FALSE(none.has_value());
        CHECK(none.error().error == EBUSY);
    }
    test.config.space.end = Va{kMaxVaEnd};
    const auto none = test.create();
    REQUIRE_FALSE(none.has_value());
    CHECK(none.error().status == Status::kOsFailed);
    CHECK(none.error().error == EINVAL);
}

TEST_CASE("without host memory there is no address space, and nothing is left of it") {
    TestMemory memory;
    const FakeKernel kernel = fake_panthor(KernelBehaviour::kRealigns);
    AddressSpaceFixture test(kernel, facts_of(kernel), memory.memory());
    std::uint64_t granted = 0;
    for (;; ++granted) {
        memory.refuse_after(granted);
        const auto space = test.create();
        if (space) {
            break;
        }
        CHECK(space.error().status == Status::kOutOfHostMemory);
        CHECK(test.drm.census().vms == 0);
    }
    CHECK(granted == 4);
    CHECK(memory.blocks().empty());
}

TEST_CASE("a transaction is one ioctl, with neighbours merged; what is nothing to do is none") {
    AddressSpaceFixture test(fake_panthor(KernelBehaviour::kRefuses));
    const Owned<PanthorAddressSpace> space = test.make_space();
    const BoId bo = test.make_bo(16 * kMi);
    const std::array plans{
        plan_of({map_op(at(0x400000, 2 * kMi), bo, 0)}),
        Plan{},
        plan_of({map_op(at(0x600000, 2 * kMi), bo, 2 * kMi)}),
        plan_of({unmap_op(at(0x400000, 2 * kMi)), residual(map_op(at(0x400000, kMi), bo, 0))}),
    };
    REQUIRE(space->hold(plans) == Status::kOk);
    REQUIRE(space->execute(plans).has_value());
    CHECK(space->traffic().ioctls == 1);
    CHECK(space->traffic().operations == 3);
    CHECK(space->traffic().largest_array == 3);
    CHECK(test.drm.count(DrmCallKind::kVmBind) == 1);
    CHECK(test.page(*space, 0x400000).mapped);
    CHECK_FALSE(test.page(*space, 0x500000).mapped);
    CHECK(test.page(*space, 0x600000).offset == 2 * kMi);

    REQUIRE(space->execute({&plans[1], 1}).has_value());
    CHECK(test.drm.count(DrmCallKind::kVmBind) == 1);
    CHECK(test.drm.quiet());
    space->detach();
}

// An array of elements 0 to 4, of three plans.
struct FailureFixture : AddressSpaceFixture {
    FailureFixture() : AddressSpaceFixture(fake_panthor(KernelBehaviour::kRefuses)) {
        const Plan before = plan_of({map_op(at(0x400000, 8 * kMi), bo, 0)});
        REQUIRE(space->execute({&before, 1}).has_value());
    }
    ~FailureFixture() { space->detach(); }

    BackendFailure failed() {
        const Result<void, BackendFailure> done = space->execute(plans);
        REQUIRE_FALSE(done.has_value());
        return done.error();
    }

    BoId bo = make_bo(16 * kMi);
    Owned<PanthorAddressSpace> space = make_space();
    std::array<Plan, 3> plans{
        plan_of({unmap_op(at(0x800000, 2 * kMi))}),
        plan_of({unmap_op(at(0x400000, 2 * kMi)), residual(map_op(at(0x400000, kMi), bo, 0)),
                 residual(map_op(at(0x501000, kMi - 0x1000), bo, kMi + 0x1000))}),
        plan_of({map_op(at(0x2000000, 0x1000), bo, 0)}),
    };
};

TEST_CASE("P3: an operation that found no memory is named, and has not begun; those before it have") {
    constexpr std::array<BackendFailure, 5> kExpected{{{Status::kOutOfTableMemory, ENOMEM, 0, 0, false},
                                                       {Status::kOutOfTableMemory, ENOMEM, 1, 0, false},
                                                       {Status::kOutOfTableMemory, ENOMEM, 1, 1, true},
                                                       {Status::kOutOfTableMemory, ENOMEM, 1, 2, true},
                                                       {Status::kOutOfTableMemory, ENOMEM, 2, 0, false}}};
    for (std::size_t element = 0; element < kExpected.size(); ++element) {
        CAPTURE(element);
        FailureFixture test;
        test.calls.fail_bind_at(0, element, ENOMEM);
        const BackendFailure failure = test.failed();
        CHECK(failure.status == kExpected[element].status);
        CHECK(failure.error == ENOMEM);
        CHECK(failure.plan == kExpected[element].plan);
        CHECK(failure.op == kExpected[element].op);
        CHECK(failure.begun == kExpected[element].begun);
        // What is said to have been carried out has been.
        CHECK(test.page(*test.space, 0x800000).mapped == (element < 1));
        CHECK(test.page(*test.space, 0x500000).mapped == (element < 2));
    }
}

TEST_CASE("P3: an operation that failed otherwise may have done a part of what it was to do") {
    constexpr std::array<std::size_t, 5> kPlan{0, 1, 1, 1, 2};
    for (std::size_t element = 0; element < kPlan.size(); ++element) {
        for (const int error : {EINVAL, EIO, ENODEV}) {
            FailureFixture test;
            test.calls.fail_bind_at(0, element, error);
            const BackendFailure failure = test.failed();
            CHECK(failure.status == Status::kBackendFailed);
            CHECK(failure.error == error);
            CHECK(failure.plan == kPlan[element]);
            CHECK(failure.begun);
        }
    }
}

TEST_CASE("P3: a call that did not come to its first operation has changed nothing, whatever it fails with") {
    for (const int error : {EINVAL, ENOMEM, EFAULT, ENODEV}) {
        FailureFixture test;
        const std::vector<FakeGpuVm::Leaf> before = test.leaves(*test.space);
        test.calls.fail_kind(DrmCallKind::kVmBind, 0, error);
        const BackendFailure failure = test.failed();
        CHECK(failure.error == error);
        CHECK(failure.plan == 0);
        CHECK(failure.op == 0);
        CHECK_FALSE(failure.begun);
        CHECK(test.leaves(*test.space) == before);
    }
}

TEST_CASE("P3: a failure of a merged element is its first plan's where nothing was done, else its last one's") {
    FailureFixture test;
    const std::array plans{plan_of({unmap_op(at(0x600000, kMi))}), plan_of({unmap_op(at(0x700000, kMi))})};
    test.calls.fail_bind_at(0, 0, ENOMEM);
    Result<void, BackendFailure> done = test.space->execute(plans);
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().plan == 0);
    CHECK_FALSE(done.error().begun);

    test.calls.fail_bind_at(0, 0, EINVAL);
    done = test.space->execute(plans);
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().plan == 1);
    CHECK(done.error().begun);
}

TEST_CASE("an interrupted array goes on where it was") {
    FailureFixture whole;
    REQUIRE(whole.space->execute(whole.plans).has_value());
    for (std::size_t element = 0; element < 5; ++element) {
        for (const int error : {EINTR, EAGAIN}) {
            FailureFixture test;
            const std::uint64_t carried_out = test.drm.bind_operations();
            test.calls.fail_bind_at(0, element, error);
            REQUIRE(test.space->execute(test.plans).has_value());
            CHECK(test.drm.bind_operations() == carried_out + 5);
            CHECK(test.leaves(*test.space) == whole.leaves(*whole.space));
            CHECK(test.space->traffic().ioctls == 1 + 2);
        }
    }
    FailureFixture test;
    test.calls.fail_kind(DrmCallKind::kVmBind, 0, EINTR);  // before the first
    REQUIRE(test.space->execute(test.plans).has_value());
    CHECK(test.leaves(*test.space) == whole.leaves(*whole.space));
}

TEST_CASE("what does not fit into the array is carried out in parts, and a failure is still its operation's") {
    AddressSpaceFixture test(fake_panthor(KernelBehaviour::kRefuses));
    const Owned<PanthorAddressSpace> space = test.make_space();
    const Plan small = plan_of({map_op(at(0x200000, 0x1000), kNoBo, 0)});
    REQUIRE(space->hold({&small, 1}) == Status::kOk);  // makes the BO that sparse shows
    const Plan large = plan_of({map_op(at(0x400000, 200 * kMi), kNoBo, 0)});
    REQUIRE(space->execute({&large, 1}).has_value());
    CHECK(space->traffic().ioctls == 2);
    CHECK(space->traffic().operations == 100);
    CHECK(space->traffic().largest_array == BindArray::kBaseOps);
    CHECK(test.page(*space, 0x400000).mapped);
    CHECK(test.page(*space, 0x400000 + 200 * kMi - 0x1000).offset == 2 * kMi - 0x1000);

    test.calls.fail_bind_at(1, 0, ENOMEM);
    const std::array plans{plan_of({unmap_op(at(0x200000, 0x1000))}), large};
    const Result<void, BackendFailure> done = space->execute(plans);
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().plan == 1);
    CHECK(done.error().op == 0);
    CHECK(done.error().begun);
    // The operation that was left half done is not gone on with by the next one.
    const Plan other = plan_of({unmap_op(at(0x400000, 200 * kMi))});
    REQUIRE(space->execute({&other, 1}).has_value());
    CHECK_FALSE(test.page(*space, 0x400000).mapped);
    space->detach();
}

TEST_CASE("P4: hold says when there is no host memory for maps; what gives back needs none") {
    TestMemory memory;
    const FakeKernel kernel = fake_panthor(KernelBehaviour::kRefuses);
    AddressSpaceFixture test(kernel, facts_of(kernel), memory.memory());
    Owned<PanthorAddressSpace> space = test.make_space();
    const BoId bo = test.make_bo(2 * kMi);
    std::vector<Plan> maps;
    std::vector<Plan> unmaps;
    for (std::uint64_t i = 0; i < 100; ++i) {
        const VaRange va = at(0x200000 + i * 0x4000, 0x2000);
        maps.push_back(plan_of({map_op(va, bo, 0)}));
        unmaps.push_back(plan_of({unmap_op(va), residual(map_op(at(va.start.raw(), 0x1000), bo, 0))}));
    }
    memory.refuse_everything();
    CHECK(space->hold(maps) == Status::kOutOfHostMemory);
    CHECK(space->hold(unmaps) == Status::kOk);
    REQUIRE(space->execute(unmaps).has_value());
    CHECK(space->traffic().ioctls == 4);
    memory.refuse_nothing();
    CHECK(space->hold(maps) == Status::kOk);
    REQUIRE(space->execute(maps).has_value());
    CHECK(space->traffic().ioctls == 5);
    space->detach();
    space = {};
    CHECK(memory.blocks().empty());
}

TEST_CASE("sparse shows a BO of 2 MiB where the driver has none, made once, and given back") {
    AddressSpaceFixture test(fake_panthor(KernelBehaviour::kRefuses));
    Owned<PanthorAddressSpace> space = test.make_space();
    const Plan plan = plan_of({map_op(at(0x300000, 4 * kMi), kNoBo, 0)});
    test.calls.fail_kind(DrmCallKind::kBoCreate, 0, ENOMEM);
    CHECK(space->hold({&plan, 1}) == Status::kOutOfDeviceMemory);
    test.calls.fail_kind(DrmCallKind::kBoCreate, 0, ENODEV);
    CHECK(space->hold({&plan, 1}) == Status::kBackendFailed);
    CHECK(test.drm.census().handles == 0);
    test.calls.stop();
    for (int i = 0; i < 2; ++i) {
        REQUIRE(space->hold({&plan, 1}) == Status::kOk);
        REQUIRE(space->execute({&plan, 1}).has_value());
    }
    CHECK(test.drm.census().handles == 1);
    CHECK(space->traffic().operations == 2 * 3);
    for (const std::uint64_t va : {0x300000U, 0x3ff000U, 0x400000U, 0x6ff000U}) {
        CHECK(test.page(*space, va).mapped);
        CHECK(test.page(*space, va).offset == va % (2 * kMi));
        CHECK(test.page(*space, va).flags.noexec);
    }
    space->detach();
    space = {};
    CHECK(test.drm.census().handles == 0);

    AddressSpaceFixture native(fake_panthor(KernelBehaviour::kRealigns));
    space = native.make_space();
    REQUIRE(space->hold({&plan, 1}) == Status::kOk);
    REQUIRE(space->execute({&plan, 1}).has_value());
    CHECK(space->traffic().operations == 1);
    CHECK(native.drm.census().handles == 0);
    CHECK(native.page(*space, 0x300000).sparse);
    space->detach();
    space = {};
}

TEST_CASE("who cuts a leaf depends on the kernel and on the memory behind it") {
    const auto rule = [](AddressSpaceFixture& test, std::uint64_t bytes, bool imported) {
        const Owned<PanthorAddressSpace> space = test.make_space();
        Backing shows;
        if (bytes != 0) {
            shows.bo = test.make_bo(bytes);
            test.bos.find(shows.bo)->imported = imported;
        }
        return space->layout().cut_rule(shows);
    };
    for (const std::uint64_t bytes : {std::uint64_t{0}, kMi, 2 * kMi}) {
        AddressSpaceFixture splits(fake_panthor(KernelBehaviour::kSplits));
        CHECK(rule(splits, bytes, true) == CutRule::kByKernel);
        AddressSpaceFixture refuses(fake_panthor(KernelBehaviour::kRefuses));
        CHECK(rule(refuses, bytes, false) == CutRule::kExplicit);
        AddressSpaceFixture oopses(fake_panthor(KernelBehaviour::kOopses));
        CHECK(rule(oopses, bytes, false) == CutRule::kExplicit);
        CHECK(rule(oopses, bytes, true) == (bytes == 0 ? CutRule::kExplicit : CutRule::kWholeWindow));
    }
    AddressSpaceFixture huge(fake_panthor(KernelBehaviour::kRealigns));
    CHECK(rule(huge, 0, false) == CutRule::kByKernel);
    CHECK(rule(huge, 2 * kMi, false) == CutRule::kByKernel);
    CHECK(rule(huge, 2 * kMi - 0x1000, false) == CutRule::kExplicit);
    CHECK(rule(huge, 2 * kMi, true) == CutRule::kWholeWindow);
    AddressSpaceFixture small(fake_panthor(KernelBehaviour::kRealigns, FakeMemory::kSmall));
    CHECK(rule(small, 0, false) == CutRule::kByKernel);
    CHECK(rule(small, 2 * kMi, false) == CutRule::kExplicit);
    CHECK(rule(small, 2 * kMi, true) == CutRule::kWholeWindow);
    small.facts.sparse = false;  // a BO like others stands for it
    CHECK(rule(small, 0, false) == CutRule::kExplicit);
}

TEST_CASE("a window may be a block wherever it lies whole in what is shown") {
    AddressSpaceFixture test(fake_panthor(KernelBehaviour::kRefuses));
    const Owned<PanthorAddressSpace> space = test.make_space();
    Backing shows{test.make_bo(4 * kMi), BoOffset{0x1000}, {}, {}};
    const Extent extent = space->layout().extent_at(shows, Va{0x200000});
    CHECK_FALSE(extent.known);
    CHECK(extent.bytes == 4 * kMi - 0x1000);
    CHECK_FALSE(space->layout().extent_at({}, Va{0x200000}).known);
    CHECK(space->layout().extent_at({}, Va{0x200000}).bytes >= test.config.space.size());
}

TEST_CASE("a cut left to a kernel that does not know the block is a failure, not the success that VM_BIND reports") {
    const FakeKernel kernel = fake_panthor(KernelBehaviour::kRealigns, FakeMemory::kLucky);
    KernelFacts facts = facts_of(kernel);
    facts.huge_pages = true;  // as a driver with huge pages has it where memory was fragmented
    AddressSpaceFixture test(kernel, facts);
    const Owned<PanthorAddressSpace> space = test.make_space();
    BoId bo = kNoBo;
    Plan plan;
    do {  // until one lies so that it has a block there
        bo = test.make_bo(8 * kMi);
        plan = plan_of({map_op(at(0x400000, 8 * kMi), bo, 0)});
        REQUIRE(space->execute({&plan, 1}).has_value());
    } while (test.page(*space, 0x600000).leaf != LeafSize::k2M);
    CHECK(test.drm.count(DrmCallKind::kVmGetState) == 0);
    plan = plan_of({unmap_op(at(0x600000, 0x1000))});
    plan.cost.kernel_cuts = 1;
    const Result<void, BackendFailure> done = space->execute({&plan, 1});
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().status == Status::kVmUnusable);
    CHECK(done.error().begun);
    CHECK(space->check() == Status::kVmUnusable);
    // A map is refused for the same reason.
    plan = plan_of({map_op(at(0x4000000, 0x1000), bo, 0)});
    CHECK(space->execute({&plan, 1}).error().status == Status::kVmUnusable);
    space->detach();
}

TEST_CASE("after detach the GPU sees nothing, even where unmapping fails or the queue does not end") {
    for (const bool unmap_fails : {false, true}) {
        for (const bool queue_hangs : {false, true}) {
            AddressSpaceFixture test(fake_panthor(KernelBehaviour::kOopses));
            const Owned<PanthorAddressSpace> space = test.make_space();
            const BoId bo = test.make_bo(8 * kMi);
            const Plan first = plan_of({map_op(at(0x400000, 8 * kMi), bo, 0)});
            REQUIRE(space->execute({&first, 1}).has_value());
            const Plan later = plan_of({map_op(at(0x2000000, 2 * kMi), bo, 0)});
            if (queue_hangs) {
                test.drm.hold_queues();
            }
            REQUIRE(submit(*space, {&later, 1}, {}, {}).has_value());
            if (unmap_fails) {
                test.calls.fail_kind(DrmCallKind::kVmBind, 0, ENOMEM);
            }
            space->detach();
            test.calls.stop();
            CHECK((space->kernel_id() == 0) == (unmap_fails || queue_hangs));
            if (queue_hangs) {
                test.drm.release_queues();
            }
            CHECK(test.drm.census().mapped_bytes == 0);
            if (space->kernel_id() == 0) {
                CHECK(space->check() == Status::kVmUnusable);
                CHECK(space->execute({&first, 1}).error().status == Status::kVmUnusable);
                CHECK(submit(*space, {&first, 1}, {}, {}).error().status == Status::kVmUnusable);
                space->detach();
            }
        }
    }
}

TEST_CASE("renew puts an empty VM in the place of the old one, or changes nothing") {
    AddressSpaceFixture test(fake_panthor(KernelBehaviour::kRefuses));
    Owned<PanthorAddressSpace> space = test.make_space();
    const BoId bo = test.make_bo(8 * kMi);
    const std::array plans{plan_of({map_op(at(0x400000, 8 * kMi), bo, 0)}),
                           plan_of({map_op(at(0x2000000, kMi), kNoBo, 0)})};
    REQUIRE(space->hold(plans) == Status::kOk);
    REQUIRE(submit(*space, plans, {}, {}).has_value());
    const std::uint32_t old = space->kernel_id();
    test.calls.fail_kind(DrmCallKind::kVmCreate, 0, ENOMEM);
    const Result<void, BackendFailure> failed = space->renew();
    REQUIRE_FALSE(failed.has_value());
    CHECK(failed.error().status == Status::kOutOfTableMemory);
    CHECK(space->kernel_id() == old);
    CHECK(test.page(*space, 0x400000).mapped);

    test.calls.stop();
    REQUIRE(space->renew().has_value());
    CHECK(space->kernel_id() != old);
    CHECK(test.drm.census().vms == 1);
    CHECK(test.drm.census().handles == 2);  // the BO, and what sparse shows
    CHECK(test.leaves(*space).empty());
    REQUIRE(submit(*space, plans, {}, {}).has_value());
    REQUIRE(space->execute(plans).has_value());
    CHECK(test.page(*space, 0x2000000).mapped);
    space->detach();

    // The 33rd VM of the file does not come before one of the others went.
    std::vector<Owned<PanthorAddressSpace>> others;
    for (std::uint32_t i = 1; i < panthor::kMaxVmsPerFile; ++i) {
        others.push_back(test.make_space());
    }
    REQUIRE(space->renew().has_value());
    CHECK(space->check() == Status::kOk);
    test.calls.fail_kind(DrmCallKind::kVmCreate, 1, ENOMEM);
    CHECK_FALSE(space->renew().has_value());
    CHECK(space->check() == Status::kVmUnusable);
    test.calls.stop();
    REQUIRE(space->renew().has_value());
    CHECK(space->check() == Status::kOk);
}

}  // namespace
}  // namespace granule::test
