// An address space of panthor over the fake kernel, with every call between the two to be made to fail.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "src/drm/drm_bo.hpp"
#include "src/drm/panthor_address_space.hpp"
#include "tests/support/failing_drm_calls.hpp"
#include "tests/support/fake_drm.hpp"

namespace granule::test {

inline constexpr std::uint64_t kMi = std::uint64_t{1} << 20;

[[nodiscard]] inline VaRange at(std::uint64_t start, std::uint64_t bytes) {
    return {Va{start}, Va{start + bytes}};
}

[[nodiscard]] inline PlanOp unmap_op(const VaRange& va) {
    PlanOp op;
    op.va = va;
    return op;
}

[[nodiscard]] inline PlanOp map_op(const VaRange& va, BoId bo, std::uint64_t offset,
                                   LeafPolicy leaves = LeafPolicy::kLargest) {
    PlanOp op;
    op.kind = PlanOp::Kind::kMap;
    op.va = va;
    op.shows.bo = bo;
    op.shows.offset = BoOffset{offset};
    op.shows.flags.noexec = true;
    op.leaves = leaves;
    return op;
}

[[nodiscard]] inline PlanOp residual(PlanOp op) {
    op.purpose = PlanOp::Purpose::kResidual;
    return op;
}

[[nodiscard]] inline Plan plan_of(std::initializer_list<PlanOp> ops) {
    Plan plan;
    for (const PlanOp& op : ops) {
        plan.push(op);
        plan.touched = plan.touched.hull(op.va);
    }
    return plan;
}

// Plans between one set of fences.
[[nodiscard]] inline Result<void, BackendFailure> submit(PanthorAddressSpace& space, std::span<const Plan> plans,
                                                         std::span<const SyncobjPoint> waits,
                                                         std::span<const SyncobjPoint> signals) {
    const PlanGroup group{plans, waits, signals};
    return space.submit({&group, 1});
}

// What the driver tells of such a kernel.
[[nodiscard]] inline KernelFacts facts_of(const FakeKernel& kernel) {
    KernelFacts facts;
    facts.driver = kernel.driver;
    facts.behaviour = kernel.behaviour;
    facts.va_bits = kernel.va_bits;
    facts.vm_space = {Va{0}, Va{std::uint64_t{1} << 47}};
    facts.sparse = kernel.map_sparse;
    facts.huge_pages = kernel.huge_page_parameter;
    return facts;
}

// Ends with whatever the test left over: the destructor checks that the kernel has nothing of ours.
struct AddressSpaceFixture {
    explicit AddressSpaceFixture(const FakeKernel& kernel) : AddressSpaceFixture(kernel, facts_of(kernel)) {}
    AddressSpaceFixture(const FakeKernel& kernel, const KernelFacts& known, NodeMemory memory = NodeMemory::process())
        : drm(kernel),
          calls(drm, DrmDriver::kPanthor),
          file(calls, opened(drm)),
          facts(known),
          bo_backend(file, facts, NodeMemory::process()),
          bos(bo_backend, NodeMemory::process()),
          nodes(memory) {
        config.space = at(0x200000, 1024 * kMi);
        config.queue_wait = std::chrono::milliseconds(1);
    }
    AddressSpaceFixture(const AddressSpaceFixture&) = delete;
    AddressSpaceFixture& operator=(const AddressSpaceFixture&) = delete;
    AddressSpaceFixture(AddressSpaceFixture&&) = delete;
    AddressSpaceFixture& operator=(AddressSpaceFixture&&) = delete;
    ~AddressSpaceFixture() {
        calls.stop();
        for (const BoId bo : made) {
            bos.release(*bos.find(bo), 1);
        }
        const FakeDrmCensus left = drm.census();
        CHECK(left.fds == 1);
        CHECK(left.handles == 0);
        CHECK(left.vms == 0);
        CHECK(left.syncobjs == 0);
        CHECK(left.mapped_bytes == 0);
    }

    [[nodiscard]] static int opened(DrmCalls& calls) {
        int fd = -1;
        REQUIRE(calls.open(FakeDrm::kPath, fd) == 0);
        return fd;
    }
    [[nodiscard]] Result<Owned<PanthorAddressSpace>, OsError> create() {
        return PanthorAddressSpace::create(config, file, facts, bos, nodes);
    }
    [[nodiscard]] Owned<PanthorAddressSpace> make_space() {
        Result<Owned<PanthorAddressSpace>, OsError> space = create();
        REQUIRE(space.has_value());
        return std::move(*space);
    }
    [[nodiscard]] BoId make_bo(std::uint64_t bytes) {
        const Result<BoId, OsError> bo = bos.create(bytes, BoMemory::kHuge, 0);
        REQUIRE(bo.has_value());
        made.push_back(*bo);
        return *bo;
    }
    [[nodiscard]] std::vector<FakeGpuVm::Leaf> leaves(const PanthorAddressSpace& space) const {
        return drm.leaves(file.fd(), space.kernel_id());
    }
    [[nodiscard]] FakePage page(const PanthorAddressSpace& space, std::uint64_t va) const {
        return drm.page(file.fd(), space.kernel_id(), va);
    }
    // A syncobj of the file, unsignalled. The test destroys it.
    [[nodiscard]] std::uint32_t make_syncobj() {
        std::uint32_t handle = 0;
        REQUIRE(drm.syncobj_create(file.fd(), false, handle) == 0);
        return handle;
    }
    [[nodiscard]] bool signalled(const SyncobjPoint& point) {
        return drm.syncobj_wait(file.fd(), {&point.syncobj, 1}, {&point.point, 1}, 0) == 0;
    }

    FakeDrm drm;
    FailingDrmCalls calls;
    DrmFile file;
    KernelFacts facts;
    DrmBoBackend bo_backend;
    BoTable bos;
    NodeMemory nodes;
    PanthorAddressSpaceConfig config;
    std::vector<BoId> made;
};

}  // namespace granule::test
