// The soft kernel itself, asked directly for what granule never asks of a kernel: operations that cut leaves.
#include <cerrno>

#include "mali/descriptor.hpp"
#include "mali/mmu_sequence.hpp"
#include "tests/src/soft_fixture.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kBase = 4 * kGiB;

// An address space that nobody plans for.
struct Kernel {
    explicit Kernel(KernelBehaviour behaviour, LeafSizes sizes = kLeaves4K2M,
                    std::optional<mali::MmuProtocol> protocol = std::nullopt) {
        SoftDeviceConfig config = device_config(behaviour);
        config.leaf_sizes = sizes;
        config.protocol = protocol;
        config.bo_memory = BoMemory::kContiguous;
        device = make_device(config);
        vm = make_vm(*device);
        bo = make_bo(*device, kGiB);
    }
    [[nodiscard]] SoftAddressSpace& space() { return SoftDevice::address_space(*vm); }

    Result<void, BackendFailure> execute(const std::vector<PlanOp>& ops) {
        Plan plan;
        plan.touched = ops.front().va;
        for (const PlanOp& op : ops) {
            plan.push(op);
            plan.touched = {std::min(plan.touched.start, op.va.start), std::max(plan.touched.end, op.va.end)};
            plan.cost.tables += op.kind == PlanOp::Kind::kMap ? 1024 : 0;
        }
        REQUIRE(space().hold({&plan, 1}) == Status::kOk);
        const Result<void, BackendFailure> done = space().execute({&plan, 1});
        space().settle();
        REQUIRE(space().table().validate());
        return done;
    }
    [[nodiscard]] PlanOp map(const VaRange& va, std::uint64_t offset = 0, MapFlags flags = {}) const {
        return {PlanOp::Kind::kMap,
                PlanOp::Purpose::kRequested,
                va,
                {bo, BoOffset{offset}, flags, BindSerial{}},
                LeafPolicy::kLargest};
    }
    [[nodiscard]] static PlanOp unmap(const VaRange& va) {
        return {PlanOp::Kind::kUnmap, PlanOp::Purpose::kRequested, va, {}, LeafPolicy::kLargest};
    }
    [[nodiscard]] mali::Walk walk(std::uint64_t offset) { return space().table().walk(Va{kBase + offset}); }
    // Whether every page of [0, size) but those of `hole` shows the page of the BO with its number.
    [[nodiscard]] bool shows_all_but(std::uint64_t size, std::uint64_t hole, std::uint64_t hole_end) {
        for (std::uint64_t at = 0; at < size; at += kPageBytes) {
            const mali::Access access = gpu_access(*device, *vm, Va{kBase + at});
            const bool mapped = access.outcome == mali::Access::Outcome::kDone;
            if (mapped == (at >= hole && at < hole_end) || (mapped && access.pa != first_page() + at)) {
                return false;
            }
        }
        return true;
    }
    [[nodiscard]] Pa first_page() { return device->bos().find(bo)->runs[0].pa; }

    Owned<SoftDevice> device;
    Owned<Vm> vm;
    BoId bo{};
};

TEST_CASE("splits: a block that is cut becomes pages with its memory and attributes, without those that go") {
    Kernel kernel(KernelBehaviour::kSplits);
    REQUIRE(kernel.execute({kernel.map(range_at(kBase, 4 * kMiB), 0, {true, true, false})}).has_value());
    const std::uint64_t tables = kernel.space().table().table_count();
    const mali::Walk block = kernel.walk(0);
    REQUIRE(block.leaf == LeafSize::k2M);
    REQUIRE(kernel.execute({Kernel::unmap(range_at(kBase + 0x5000, 0x1000))}).has_value());

    CHECK(kernel.space().table().table_count() == tables + 1);
    CHECK(kernel.space().table().leaf_counts() == mali::LeafCounts{511, 1, 0});
    CHECK_FALSE(kernel.walk(0x5000).mapped);
    const mali::Walk page = kernel.walk(0x6000);
    CHECK(page.leaf == LeafSize::k4K);
    CHECK(page.leaf_pa == block.leaf_pa + 0x6000);
    CHECK(page.attributes == block.attributes);
    CHECK(page.descriptor ==
          mali::encode_leaf(mali::Format::kAarch64_4k, LeafSize::k4K, block.leaf_pa + 0x6000, block.attributes));
    CHECK(kernel.walk(2 * kMiB).leaf == LeafSize::k2M);
    CHECK(kernel.shows_all_but(4 * kMiB, 0x5000, 0x6000));
    CHECK(kernel.space().leaf_cuts() == 1);
}

TEST_CASE("splits: what is left of a 1 GiB block is 2 MiB blocks, and pages around the cut") {
    Kernel kernel(KernelBehaviour::kSplits, kLeaves4K2M1G);
    REQUIRE(kernel.execute({kernel.map(range_at(kBase, kGiB))}).has_value());
    REQUIRE(kernel.space().table().leaf_counts() == mali::LeafCounts{0, 0, 1});
    const std::uint64_t tables = kernel.space().table().table_count();
    REQUIRE(kernel.execute({Kernel::unmap(range_at(kBase + 0x345000, 0x1000))}).has_value());
    CHECK(kernel.space().table().table_count() == tables + 2);
    CHECK(kernel.space().table().leaf_counts() == mali::LeafCounts{511, 511, 0});
    CHECK(kernel.walk(0x346000).leaf_pa == kernel.first_page() + 0x346000);
    CHECK(kernel.walk(0x600000).leaf_pa == kernel.first_page() + 0x600000);
    CHECK(kernel.walk(0x600000).leaf == LeafSize::k2M);
    // 2 MiB out of it leave no pages.
    Kernel other(KernelBehaviour::kSplits, kLeaves4K2M1G);
    REQUIRE(other.execute({other.map(range_at(kBase, kGiB))}).has_value());
    REQUIRE(other.execute({Kernel::unmap(range_at(kBase + 4 * kMiB, 4 * kMiB))}).has_value());
    CHECK(other.space().table().leaf_counts() == mali::LeafCounts{0, 510, 0});
}

TEST_CASE("splits: a map over a part of a block cuts it as an unmap does") {
    Kernel kernel(KernelBehaviour::kSplits);
    REQUIRE(kernel.execute({kernel.map(range_at(kBase, 2 * kMiB))}).has_value());
    REQUIRE(kernel.execute({kernel.map(range_at(kBase + 0x1ff000, 0x2000), 8 * kMiB)}).has_value());
    CHECK(kernel.walk(0x1fe000).leaf_pa == kernel.first_page() + 0x1fe000);
    CHECK(kernel.walk(0x1ff000).leaf_pa == kernel.first_page() + 8 * kMiB);
    CHECK(kernel.space().table().leaf_counts() == mali::LeafCounts{513, 0, 0});
}

TEST_CASE("refuses: a block that would be cut stays, EINVAL names the operation, and what went before it is gone") {
    Kernel kernel(KernelBehaviour::kRefuses);
    REQUIRE(kernel.execute({kernel.map(range_at(kBase, 4 * kMiB))}).has_value());
    REQUIRE(translates(*kernel.device, *kernel.vm, Va{kBase}));
    const Result<void, BackendFailure> done =
        kernel.execute({Kernel::unmap(range_at(kBase + 8 * kMiB, kMiB)), Kernel::unmap(range_at(kBase, 3 * kMiB))});
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().status == Status::kBackendFailed);
    CHECK(done.error().error == EINVAL);
    CHECK(done.error().op == 1);
    CHECK(kernel.space().leaf_cuts() == 1);
    CHECK(kernel.space().table().leaf_counts() == mali::LeafCounts{0, 1, 0});
    // The GPU was told of it.
    CHECK_FALSE(translates(*kernel.device, *kernel.vm, Va{kBase}));
    CHECK(translates(*kernel.device, *kernel.vm, Va{kBase + 2 * kMiB}));
    CHECK(kernel.device->gpu().counters().stale == 0);
    // A map is refused in the same way.
    CHECK_FALSE(kernel.execute({kernel.map(range_at(kBase + 2 * kMiB, 0x1000), 8 * kMiB)}).has_value());
    CHECK(kernel.walk(2 * kMiB).leaf == LeafSize::k2M);
    CHECK(kernel.space().leaf_cuts() == 2);
}

TEST_CASE("oopses: an unmap that leaves parts of mappings on both of its sides kills the kernel, loudly and for good") {
    SUBCASE("whole leaves inside one mapping") {
        Kernel kernel(KernelBehaviour::kOopses);
        REQUIRE(kernel.execute({kernel.map(range_at(kBase, 6 * kMiB))}).has_value());
        const Result<void, BackendFailure> done = kernel.execute({Kernel::unmap(range_at(kBase + 2 * kMiB, 2 * kMiB))});
        REQUIRE_FALSE(done.has_value());
        CHECK(done.error().status == Status::kKernelOops);
        CHECK(kernel.space().leaf_cuts() == 0);
        // Nothing works any more.
        const Result<BindReport, BindError> bind = kernel.vm->bind(map_request(range_at(kGiB, 0x1000), kernel.bo));
        REQUIRE_FALSE(bind.has_value());
        CHECK(bind.error().status == Status::kKernelOops);
    }
    SUBCASE("pages inside one mapping") {
        Kernel kernel(KernelBehaviour::kOopses);
        REQUIRE(kernel.execute({kernel.map(range_at(kBase, 0x3000))}).has_value());
        CHECK(kernel.execute({Kernel::unmap(range_at(kBase + 0x1000, 0x1000))}).error().status == Status::kKernelOops);
    }
    SUBCASE("from one mapping into another") {
        Kernel kernel(KernelBehaviour::kOopses);
        REQUIRE(kernel.execute({kernel.map(range_at(kBase, 0x2000)), kernel.map(range_at(kBase + 0x2000, 0x2000))})
                    .has_value());
        CHECK(kernel.execute({Kernel::unmap(range_at(kBase + 0x1000, 0x2000))}).error().status == Status::kKernelOops);
    }
}

TEST_CASE("oopses: an unmap that leaves a part on one side, a map anywhere, and a cut leaf do not kill it") {
    Kernel kernel(KernelBehaviour::kOopses);
    REQUIRE(kernel.execute({kernel.map(range_at(kBase, 8 * kMiB))}).has_value());
    CHECK(kernel.execute({Kernel::unmap(range_at(kBase, 2 * kMiB))}).has_value());
    CHECK(kernel.execute({Kernel::unmap(range_at(kBase + 6 * kMiB, 2 * kMiB))}).has_value());
    CHECK(kernel.execute({kernel.map(range_at(kBase + 4 * kMiB, 2 * kMiB), 16 * kMiB)}).has_value());
    CHECK(kernel.execute({Kernel::unmap(range_at(kBase + 4 * kMiB, 2 * kMiB))}).has_value());
    const Result<void, BackendFailure> cut = kernel.execute({Kernel::unmap(range_at(kBase + 0x201000, 0x1000))});
    REQUIRE_FALSE(cut.has_value());
    CHECK(cut.error().status == Status::kBackendFailed);
    CHECK(cut.error().error == EINVAL);
    CHECK(kernel.execute({Kernel::unmap(range_at(kBase, 8 * kMiB))}).has_value());
}

TEST_CASE("realigns: the leaf goes whole and the rest of it comes back as pages") {
    Kernel kernel(KernelBehaviour::kRealigns);
    REQUIRE(kernel.execute({kernel.map(range_at(kBase, 6 * kMiB))}).has_value());
    REQUIRE(kernel.execute({Kernel::unmap(range_at(kBase + 0x1fc000, 0x208000))}).has_value());
    CHECK(kernel.space().table().leaf_counts() == mali::LeafCounts{508 + 508, 0, 0});
    CHECK(kernel.shows_all_but(6 * kMiB, 0x1fc000, 0x404000));
    CHECK(kernel.space().leaf_cuts() == 2);
    CHECK(kernel.device->gpu().counters().stale == 0);
}

TEST_CASE(
    "every kernel: a map replaces what was there, an unmap of holes is success, edges between leaves cut nothing") {
    for (const KernelBehaviour behaviour : kKernels) {
        Kernel kernel(behaviour, kLeaves4K2M1G);
        REQUIRE(kernel.execute({kernel.map(range_at(kBase - 2 * kMiB + 0x1000, 4 * kMiB - 0x1000), 0)}).has_value());
        REQUIRE(kernel.execute({kernel.map(range_at(kBase, kGiB))}).has_value());
        CHECK(kernel.space().table().leaf_counts() == mali::LeafCounts{511, 0, 1});
        CHECK(kernel.execute({Kernel::unmap(range_at(kBase - 2 * kGiB, 2 * kGiB))}).has_value());
        CHECK(kernel.execute({kernel.map(range_at(kBase, kGiB), 0)}).has_value());
        CHECK(kernel.execute({Kernel::unmap(range_at(0, 64 * kGiB))}).has_value());
        CHECK(kernel.space().table().leaf_counts() == mali::LeafCounts{});
        CHECK(kernel.space().table().table_count() == 1);
        CHECK(kernel.space().leaf_cuts() == 0);
    }
}

std::uint64_t writes_of(const mali::MmuSequence& sequence) {
    std::uint64_t writes = 0;
    for (const mali::MmuStep& step : sequence) {
        writes += step.kind == mali::MmuStep::Kind::kWrite ? 1 : 0;
    }
    return writes;
}

TEST_CASE("registers are written once an operation where entries come first, and once a plan where it is locked") {
    for (const mali::MmuProtocol protocol :
         {mali::MmuProtocol::kJobManager, mali::MmuProtocol::kCsfFlush, mali::MmuProtocol::kCsfAtomic}) {
        Kernel kernel(KernelBehaviour::kRefuses, kLeaves4K2M, protocol);
        const VaRange va = range_at(kBase, 4 * kMiB);
        const auto writes = [&] { return kernel.device->gpu().counters().register_writes; };
        // Without a slot the GPU has nothing of this VM, and nothing is written.
        REQUIRE(kernel.execute({kernel.map(va)}).has_value());
        CHECK(writes() == 0);
        REQUIRE(translates(*kernel.device, *kernel.vm, Va{kBase}));
        const std::uint64_t enabled = writes();
        CHECK(enabled == writes_of(mali::enable_as(protocol, 0, {})));

        REQUIRE(kernel.execute({Kernel::unmap(va), kernel.map(range_at(kBase, 2 * kMiB))}).has_value());
        const std::uint64_t begin = writes_of(mali::begin_update(protocol, 0, va));
        const std::uint64_t end = writes_of(mali::end_update(protocol, 0, va));
        CHECK(begin == (protocol == mali::MmuProtocol::kCsfAtomic ? 3 : 0));
        CHECK(writes() - enabled == (protocol == mali::MmuProtocol::kCsfAtomic ? begin + end : 2 * end));
        // What was mapped is seen, what was unmapped is not, whatever the TLB had.
        CHECK(translates(*kernel.device, *kernel.vm, Va{kBase}));
        CHECK_FALSE(translates(*kernel.device, *kernel.vm, Va{kBase + 2 * kMiB}));
        CHECK(kernel.device->gpu().counters().stale == 0);
    }
}

}  // namespace
}  // namespace granule::test
