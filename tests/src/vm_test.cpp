// The contract of a VM, by examples: what binds do, how they refuse, and what can be asked afterwards. Over 500 lines: one list of
// promises, in their order.
#include "src/vm.hpp"

#include "tests/src/soft_fixture.hpp"

namespace granule::test {
namespace {

// A VM of a G610 whose kernel refuses to cut leaves.
struct VmFixture {
    Owned<SoftDevice> device = make_device(device_config(KernelBehaviour::kRefuses));
    Owned<Vm> vm = make_vm(*device);
    BoId bo = make_bo(*device, 8 * kMiB, "colour buffer");

    Bo& object(BoId id) { return *device->bos().find(id); }
    BindError refused(const BindRequest& request) {
        const VmState before = state_of(*device, *vm);
        const Result<BindReport, BindError> done = vm->bind(request);
        REQUIRE_FALSE(done.has_value());
        CHECK(done.error().undone);
        CHECK(state_of(*device, *vm) == before);
        return done.error();
    }
    BindReport bound(const BindRequest& request) {
        const Result<BindReport, BindError> done = vm->bind(request);
        REQUIRE(done.has_value());
        CHECK(disagreement(*device, *vm) == "");
        return *done;
    }
};

TEST_CASE_FIXTURE(VmFixture, "a bind makes the GPU see the BO at the VA, and an unmap ends that") {
    const VaRange va = range_at(0x200000, 4 * kMiB);
    const BindReport report = bound(map_request(va, bo, 2 * kMiB));
    CHECK(report.operations == 1);
    CHECK(report.touched == va);
    CHECK(gpu_access(*device, *vm, va.start + 0x1234).pa == pa_in(*device, bo, 2 * kMiB + 0x1234));
    CHECK(SoftDevice::address_space(*vm).table().leaf_counts().blocks_2m == 2);

    const Result<BindReport, BindError> unmapped = vm->unmap(va, UnmapPolicy::kReject);
    REQUIRE(unmapped.has_value());
    CHECK(unmapped->unmapped_bytes == va.size());
    CHECK_FALSE(translates(*device, *vm, va.start));
    CHECK(vm->statistics().mapped_bytes == 0);
    CHECK(vm->statistics().peak_mapped_bytes == va.size());
    CHECK(vm->statistics().binds == 2);
}

TEST_CASE_FIXTURE(VmFixture, "an unmap of holes is done, and nothing was to do") {
    const BindReport report = bound(unmap_request(range_at(0x200000, kMiB)));
    CHECK(report.operations == 0);
    CHECK(report.unmapped_bytes == 0);
    CHECK(report.touched.empty());
}

TEST_CASE_FIXTURE(VmFixture, "a request that is no range of whole pages is a bad argument") {
    CHECK(refused(map_request(range_at(0x200800, 0x1000), bo)).status == Status::kBadArgument);
    CHECK(refused(map_request(range_at(0x200000, 0x800), bo)).status == Status::kBadArgument);
    CHECK(refused(map_request(range_at(0x200000, 0x1000), bo, 0x10)).status == Status::kBadArgument);
    CHECK(refused(unmap_request(range_at(0x200000, 0))).status == Status::kBadArgument);
}

TEST_CASE_FIXTURE(VmFixture, "a range outside the VM or the BO is out of range") {
    const Va end = vm->config().space.end;
    CHECK(refused(map_request({end - kPageBytes, end + kPageBytes}, bo)).status == Status::kOutOfRange);
    CHECK(refused(unmap_request({Va{UINT64_MAX - 4095}, Va{UINT64_MAX}})).status == Status::kOutOfRange);
    CHECK(refused(unmap_request({Va{0x3000}, Va{0x1000}})).status == Status::kOutOfRange);
    CHECK(refused(map_request({Va{0x3000}, Va{0x1000}}, bo)).status == Status::kOutOfRange);
    CHECK(refused(map_request(range_at(0x200000, 8 * kMiB + kPageBytes), bo)).status == Status::kOutOfRange);
    CHECK(refused(map_request(range_at(0x200000, kMiB), bo, 8 * kMiB)).status == Status::kOutOfRange);
    CHECK(refused(map_request(range_at(0x200000, kMiB), bo, UINT64_MAX - 4095)).status == Status::kOutOfRange);
}

TEST_CASE_FIXTURE(VmFixture, "a BO that is not there, or not there any more, is unknown") {
    CHECK(refused(map_request(range_at(0x200000, kMiB), BoId{77})).status == Status::kUnknownBo);
    device->bos().release(object(bo), 1);
    CHECK(refused(map_request(range_at(0x200000, kMiB), bo)).status == Status::kUnknownBo);
}

TEST_CASE_FIXTURE(VmFixture, "reject names the granule, its mapping and the label of its BO") {
    bound(map_request(range_at(0x200000, 4 * kMiB), bo, 0));
    const BindError error = refused(unmap_request(range_at(0x401000, 0x1000), UnmapPolicy::kReject));
    CHECK(error.status == Status::kGranuleCut);
    CHECK(error.plan.code == PlanError::Code::kGranuleCut);
    CHECK(error.plan.request == range_at(0x401000, 0x1000));
    CHECK(error.plan.granule == range_at(0x400000, 2 * kMiB));
    CHECK(error.plan.leaf == LeafSize::k2M);
    CHECK(error.plan.mapping.va == range_at(0x200000, 4 * kMiB));
    CHECK(error.plan.mapping.shows.bo == bo);
    CHECK(error.label.view() == "colour buffer");
}

TEST_CASE_FIXTURE(VmFixture, "P2: split takes away exactly what was asked for") {
    bound(map_request(range_at(0x200000, 4 * kMiB), bo));
    const BindReport report = bound(unmap_request(range_at(0x3ff000, 0x2000)));
    CHECK(report.granules == 2);
    CHECK(report.residual_bytes == 4 * kMiB - 0x2000);
    CHECK(report.exposed_bytes == report.residual_bytes);
    CHECK(report.unmapped_bytes == 0x2000);
    CHECK(report.touched == range_at(0x200000, 4 * kMiB));
    CHECK(gpu_access(*device, *vm, Va{0x3fefff}).pa == pa_in(*device, bo, 0x1fefff));
    CHECK_FALSE(translates(*device, *vm, Va{0x3ff000}));
    CHECK_FALSE(translates(*device, *vm, Va{0x400fff}));
    CHECK(gpu_access(*device, *vm, Va{0x401000}).pa == pa_in(*device, bo, 0x201000));
    CHECK(SoftDevice::address_space(*vm).leaf_cuts() == 0);
}

TEST_CASE_FIXTURE(VmFixture, "enlarge takes whole granules and says how much more that was") {
    bound(map_request(range_at(0x200000, 4 * kMiB), bo));
    const BindReport report = bound(unmap_request(range_at(0x3ff000, 0x1000), UnmapPolicy::kEnlarge));
    CHECK(report.enlarged_bytes == 2 * kMiB - 0x1000);
    CHECK(report.unmapped_bytes == 2 * kMiB);
    CHECK_FALSE(translates(*device, *vm, Va{0x200000}));
    CHECK(translates(*device, *vm, Va{0x400000}));
}

TEST_CASE_FIXTURE(VmFixture, "a mapping of pages is cut by nobody, so that rebinding parts of it has no residuals") {
    BindRequest request = map_request(range_at(0x200000, 4 * kMiB), bo);
    request.leaves = LeafPolicy::kPage;
    bound(request);
    CHECK(vm->statistics().blocks_2m == 0);
    const BindReport report = bound(unmap_request(range_at(0x3ff000, 0x2000), UnmapPolicy::kReject));
    CHECK(report.residual_bytes == 0);
}

TEST_CASE_FIXTURE(VmFixture, "flags become what the GPU may do") {
    bound(map_request(range_at(0x200000, 0x1000), bo, 0, UnmapPolicy::kReject, {true, false, false}));
    bound(map_request(range_at(0x201000, 0x1000), bo, 0, UnmapPolicy::kReject, {false, true, true}));
    const auto outcome = [&](std::uint64_t va, mali::AccessKind kind) {
        return gpu_access(*device, *vm, Va{va}, kind).outcome;
    };
    CHECK(outcome(0x200000, mali::AccessKind::kRead) == mali::Access::Outcome::kDone);
    CHECK(outcome(0x200000, mali::AccessKind::kWrite) == mali::Access::Outcome::kFault);
    CHECK(outcome(0x200000, mali::AccessKind::kExecute) == mali::Access::Outcome::kDone);
    CHECK(outcome(0x201000, mali::AccessKind::kWrite) == mali::Access::Outcome::kDone);
    CHECK(outcome(0x201000, mali::AccessKind::kExecute) == mali::Access::Outcome::kFault);
    CHECK(gpu_access(*device, *vm, Va{0x201000}).attributes.memory == mali::MemoryType::kUncached);
}

TEST_CASE_FIXTURE(VmFixture, "sparse: reads are harmless, and writes land in no BO") {
    const std::uint64_t size = 6 * kMiB;
    bound(sparse_request(range_at(0x200000, size)));
    const Result<std::byte*, Status> cpu = device->bos().map_cpu(object(bo));
    REQUIRE(cpu.has_value());
    for (std::uint64_t at = 0; at < size; at += 0x1000) {
        REQUIRE(gpu_read(*device, *vm, Va{0x200000 + at}).has_value());
        REQUIRE(gpu_write(*device, *vm, Va{0x200000 + at}, ~std::uint64_t{0}));
        const Pa pa = gpu_access(*device, *vm, Va{0x200000 + at}).pa;
        REQUIRE(pa >= SoftDevice::address_space(*vm).sparse_pa());
        REQUIRE(pa < SoftDevice::address_space(*vm).sparse_pa() + kBlock2MBytes);
    }
    CHECK(std::all_of(*cpu, *cpu + 8 * kMiB, [](std::byte byte) { return byte == std::byte{0}; }));
    // A part of it is bound, and let go of again: the rest goes on as it was.
    bound(map_request(range_at(0x410000, 0x10000), bo));
    bound(sparse_request(range_at(0x410000, 0x10000)));
    CHECK(translates(*device, *vm, Va{0x410000}));
    CHECK(translates(*device, *vm, Va{0x400000}));
    CHECK(object(bo).mapped_pages() == 0);
}

TEST_CASE_FIXTURE(VmFixture, "sparse: what one VM writes, no other VM reads, also when the first one has ended") {
    Owned<Vm> other = make_vm(*device);
    const VaRange va = range_at(0x200000, 4 * kMiB);
    const std::uint64_t used = device->memory().used();
    CHECK(SoftDevice::address_space(*vm).sparse_pa() == Pa{});
    bound(sparse_request(va));
    REQUIRE(other->bind(sparse_request(va)).has_value());
    CHECK(device->memory().used() >= used + 2 * kBlock2MBytes);
    for (std::uint64_t at = 0; at < va.size(); at += 0x1000) {
        REQUIRE(gpu_write(*device, *vm, va.start + at, ~std::uint64_t{0}));
        REQUIRE(gpu_read(*device, *other, va.start + at) == 0);
    }
    vm = {};
    vm = make_vm(*device);
    bound(sparse_request(va));
    for (std::uint64_t at = 0; at < va.size(); at += 0x1000) {
        REQUIRE(gpu_read(*device, *vm, va.start + at) == 0);
    }
    // One block each, however much is sparse, and given back with the VM.
    const Pa block = SoftDevice::address_space(*vm).sparse_pa();
    bound(sparse_request(range_at(0x800000, 4 * kMiB)));
    CHECK(SoftDevice::address_space(*vm).sparse_pa() == block);
    vm = {};
    other = {};
    CHECK(device->memory().used() < used);
}

TEST_CASE("sparse: a first map that finds no memory for its block is refused, and has changed nothing") {
    for (const KernelBehaviour kernel : kKernels) {
        Failing failing;
        SoftDeviceConfig config = device_config(kernel);
        config.injection = &failing;
        const Owned<SoftDevice> device = make_device(config);
        const Owned<Vm> vm = make_vm(*device);
        const VmState before = state_of(*device, *vm);
        const std::uint64_t used = device->memory().used();
        Transaction transaction;
        REQUIRE(transaction.add(sparse_request(range_at(kGiB, 2 * kMiB))) == Status::kOk);
        for (const std::size_t requests : {std::size_t{1}, std::size_t{2}}) {
            failing.fail_all(Injection::Site::kDeviceMemory);
            const Result<BindReport, BindError> done = vm->commit(transaction);
            failing.stop();
            REQUIRE(transaction.size() == requests);
            REQUIRE_FALSE(done.has_value());
            CHECK(done.error().status == Status::kOutOfDeviceMemory);
            CHECK(state_of(*device, *vm) == before);
            CHECK(SoftDevice::address_space(*vm).sparse_pa() == Pa{});
            REQUIRE(transaction.add(sparse_request(range_at(2 * kGiB, 0x1000))) == Status::kOk);
        }
        CHECK(device->memory().used() == used);
        CHECK(vm->commit(transaction).has_value());
        CHECK(disagreement(*device, *vm) == "");
    }
}

TEST_CASE_FIXTURE(VmFixture, "a map over itself changes nothing that the GPU sees") {
    const VaRange va = range_at(0x200000, 4 * kMiB);
    bound(map_request(va, bo));
    const std::uint64_t references = object(bo).references();
    const std::vector<LeafState> leaves = leaves_of(*vm);
    const BindReport report = bound(map_request(va, bo));
    CHECK(leaves_of(*vm) == leaves);
    CHECK(object(bo).references() == references);
    CHECK(mappings_of(*vm).front().shows.serial == report.serial);
}

TEST_CASE_FIXTURE(VmFixture,
                  "a BO whose handle is released lives until nothing shows it, also when it is mapped over itself") {
    const VaRange va = range_at(0x200000, 2 * kMiB);
    bound(map_request(va, bo));
    device->bos().release(object(bo), 1);
    REQUIRE(device->bos().find(bo) != nullptr);
    CHECK(gpu_write(*device, *vm, va.start, 42));
    bound(map_request(va, bo));
    CHECK(gpu_read(*device, *vm, va.start) == 42);
    CHECK(object(bo).references() == va.size() / kPageBytes);
    bound(unmap_request(range_at(0x200000, 0x1000)));
    REQUIRE(device->bos().find(bo) != nullptr);
    bound(unmap_request(va));
    CHECK(device->bos().find(bo) == nullptr);
    CHECK(device->bos().live() == 0);
}

TEST_CASE_FIXTURE(VmFixture, "the end of a VM gives back the BOs that only it kept") {
    bound(map_request(range_at(0x200000, 2 * kMiB), bo));
    device->bos().release(object(bo), 1);
    const std::uint64_t used = device->memory().used();
    vm = {};
    CHECK(device->bos().live() == 0);
    CHECK(device->memory().used() < used);
}

TEST_CASE_FIXTURE(VmFixture, "explain says what bind would do, and does nothing") {
    bound(map_request(range_at(0x200000, 2 * kMiB), bo));
    const VmState before = state_of(*device, *vm);
    const Result<Plan, BindError> plan = vm->explain(unmap_request(range_at(0x201000, 0x1000)));
    REQUIRE(plan.has_value());
    CHECK(plan->ops().size() == 3);
    CHECK(plan->cost.residual_bytes == 2 * kMiB - 0x1000);
    CHECK(state_of(*device, *vm) == before);
    const Result<Plan, BindError> refusal =
        vm->explain(unmap_request(range_at(0x201000, 0x1000), UnmapPolicy::kReject));
    REQUIRE_FALSE(refusal.has_value());
    CHECK(refusal.error().status == Status::kGranuleCut);
    CHECK(refusal.error().label.view() == "colour buffer");
}

TEST_CASE_FIXTURE(VmFixture, "what may be bound and where VA is found is checked when a VM is made") {
    const auto status = [&](const VmConfig& config) {
        const Result<Owned<Vm>, OsError> made = device->create_vm(config);
        return made ? Status::kOk : made.error().status;
    };
    VmConfig config;
    config.space = {Va{0x1000}, Va{0x20800}};
    CHECK(status(config) == Status::kBadArgument);
    config.space = {Va{0x20000}, Va{0x1000}};
    CHECK(status(config) == Status::kBadArgument);
    config.space = {Va{0}, Va{kMaxVaEnd + kPageBytes}};
    CHECK(status(config) == Status::kOutOfRange);
    config.space = range_at(0, kGiB);
    config.zones[static_cast<std::size_t>(VaZone::kMain)] = range_at(kGiB, kGiB);
    CHECK(status(config) == Status::kBadArgument);
    config.zones[static_cast<std::size_t>(VaZone::kMain)] = range_at(0, kGiB);
    CHECK(status(config) == Status::kOk);
}

TEST_CASE("the default zones lie in the space, and leave what 32-bit offsets from 0 reach") {
    for (const VaRange& space : {range_at(0, kMaxVaEnd), range_at(32 * kMiB, 4 * kGiB - 32 * kMiB),
                                 range_at(0, 16 * kMiB), range_at(8 * kGiB, kGiB)}) {
        const std::array<VaRange, kVaZones> zones = default_zones(space);
        for (const VaRange& zone : zones) {
            CHECK((zone.empty() || space.contains(zone)));
            CHECK((zone.empty() || zone.start.raw() >= 32 * kMiB));
        }
    }
}

TEST_CASE_FIXTURE(VmFixture, "VA comes out of a zone, or from a place that is free") {
    VaRequest request;
    request.size = 2 * kMiB;
    request.alignment = 2 * kMiB;
    const Result<VaRange, VaError> range = vm->reserve_va(request);
    REQUIRE(range.has_value());
    CHECK(range->is_aligned(2 * kMiB));
    const Result<VaRange, VaError> again = vm->reserve_va_at(*range);
    REQUIRE_FALSE(again.has_value());
    CHECK(again.error().code == VaError::Code::kOccupied);
    CHECK(vm->release_va(*range).has_value());
    CHECK(vm->reserve_va_at(*range).has_value());
    CHECK_FALSE(vm->release_va(range_at(0x123000, 0x1000)).has_value());
}

TEST_CASE_FIXTURE(VmFixture, "P5: VA is not handed out again before the fences of its last use have signalled") {
    Result<Owned<Timeline>, Status> timeline = device->timelines().create();
    REQUIRE(timeline.has_value());
    const VaRange range = range_at(kGiB, 2 * kMiB);
    REQUIRE(vm->reserve_va_at(range).has_value());
    const std::array fences{(*timeline)->at(5)};
    REQUIRE(vm->release_va(range, fences).has_value());
    CHECK(vm->address(range.start).retired);
    CHECK_FALSE(vm->reserve_va_at(range).has_value());
    (*timeline)->signal(4);
    CHECK_FALSE(vm->reserve_va_at(range).has_value());
    (*timeline)->signal(5);
    CHECK(vm->reserve_va_at(range).has_value());
    // A timeline that is gone has signalled: nothing else could ever.
    const std::array never{(*timeline)->at(100)};
    REQUIRE(vm->release_va(range, never).has_value());
    CHECK_FALSE(vm->reserve_va_at(range).has_value());
    *timeline = {};
    CHECK(vm->reserve_va_at(range).has_value());
}

TEST_CASE_FIXTURE(VmFixture, "P6: an address that is mapped says what it shows, its leaf and its label") {
    bound(map_request(range_at(0x200000, 4 * kMiB), bo));
    REQUIRE(vm->reserve_va_at(range_at(kGiB, kMiB)).has_value());
    const AddressReport report = vm->address(Va{0x412345});
    REQUIRE(report.mapping.has_value());
    CHECK(report.mapping->va == range_at(0x200000, 4 * kMiB));
    CHECK(report.granule == range_at(0x400000, 2 * kMiB));
    CHECK(report.label.view() == "colour buffer");
    CHECK_FALSE(report.removed.has_value());
    CHECK_FALSE(report.reserved.has_value());
    CHECK(vm->address(Va{kGiB + 0x1234}).reserved == range_at(kGiB, kMiB));
}

TEST_CASE_FIXTURE(VmFixture,
                  "P6: an address in a hole names its neighbours, and VAs that no GPU has are answered too") {
    bound(map_request(range_at(0x200000, 0x1000), bo));
    bound(map_request(range_at(0x210000, 0x1000), bo));
    const AddressReport report = vm->address(Va{0x205000});
    CHECK_FALSE(report.mapping.has_value());
    CHECK(report.below->va.start == Va{0x200000});
    CHECK(report.above->va.start == Va{0x210000});
    CHECK_FALSE(vm->address(Va{UINT64_MAX}).mapping.has_value());
    CHECK(vm->address(Va{kMaxVaEnd}).below->va.start == Va{0x210000});
}

TEST_CASE_FIXTURE(VmFixture, "P6: who removed a mapping, by what and when, also once its BO is gone") {
    bound(map_request(range_at(0x200000, 2 * kMiB), bo, 0x1000));
    const BindReport cut = bound(unmap_request(range_at(0x280000, 0x1000)));
    const BoId other = make_bo(*device, kMiB, "other");
    const BindReport over = bound(map_request(range_at(0x290000, 0x1000), other));
    device->bos().release(object(bo), 1);
    const std::uint64_t before = monotonic_ns();
    const BindReport all = bound(unmap_request(range_at(0x200000, 2 * kMiB)));
    const std::uint64_t after = monotonic_ns();
    REQUIRE(device->bos().find(bo) == nullptr);

    const std::optional<Removal> unmapped = vm->address(Va{0x280fff}).removed;
    REQUIRE(unmapped.has_value());
    CHECK(unmapped->what.va == range_at(0x280000, 0x1000));
    CHECK(unmapped->what.shows.bo == bo);
    CHECK(unmapped->what.shows.offset == BoOffset{0x81000});
    CHECK(unmapped->label.view() == "colour buffer");
    CHECK(unmapped->by == cut.serial);
    CHECK(unmapped->how == Removal::By::kUnmap);
    CHECK(unmapped->time_ns != 0);
    CHECK(unmapped->time_ns <= before);

    const std::optional<Removal> latest = vm->address(Va{0x290000}).removed;
    REQUIRE(latest.has_value());
    CHECK(latest->label.view() == "other");
    CHECK(before <= latest->time_ns);
    CHECK(latest->time_ns <= after);
    CHECK(latest->by == all.serial);

    // What the map removed is the last that was there before `other`.
    Owned<Vm> second = make_vm(*device);
    const BoId third = make_bo(*device, kMiB, "third");
    REQUIRE(second->bind(map_request(range_at(0x200000, 0x2000), third)).has_value());
    const Result<BindReport, BindError> mapped_over = second->bind(map_request(range_at(0x201000, 0x1000), other));
    REQUIRE(mapped_over.has_value());
    const AddressReport report = second->address(Va{0x201000});
    CHECK(report.mapping->shows.bo == other);
    REQUIRE(report.removed.has_value());
    CHECK(report.removed->how == Removal::By::kMap);
    CHECK(report.removed->label.view() == "third");
    CHECK(report.removed->by == mapped_over->serial);
    CHECK(after <= report.removed->time_ns);
    CHECK(over.serial < all.serial);
}

TEST_CASE_FIXTURE(VmFixture,
                  "a transaction does all of its requests, and joins those that go on where the last one ended") {
    Transaction transaction;
    for (std::uint64_t tile = 0; tile < 64; ++tile) {
        REQUIRE(transaction.add(map_request(range_at(0x200000 + tile * 0x10000, 0x10000), bo, tile * 0x10000)) ==
                Status::kOk);
    }
    REQUIRE(transaction.add(map_request(range_at(0x800000, 0x1000), bo)) == Status::kOk);
    CHECK(transaction.added() == 65);
    CHECK(transaction.size() == 2);
    const Result<BindReport, BindError> done = vm->commit(transaction);
    REQUIRE(done.has_value());
    CHECK(done->operations == 2);
    CHECK(disagreement(*device, *vm) == "");
    CHECK(vm->statistics().blocks_2m == 2);
    CHECK(vm->statistics().mappings == 2);
}

TEST_CASE_FIXTURE(VmFixture,
                  "P3: a transaction whose middle request fails has changed nothing, and names the request") {
    bound(map_request(range_at(0x200000, 4 * kMiB), bo));
    const VmState before = state_of(*device, *vm);
    Transaction transaction;
    REQUIRE(transaction.add(map_request(range_at(0x300000, 0x3000), bo)) == Status::kOk);
    REQUIRE(transaction.add(unmap_request(range_at(0x200000, 2 * kMiB))) == Status::kOk);
    REQUIRE(transaction.add(map_request(range_at(0x900000, 0x1000), BoId{99})) == Status::kOk);
    REQUIRE(transaction.add(unmap_request(range_at(0x400000, 2 * kMiB))) == Status::kOk);
    const Result<BindReport, BindError> done = vm->commit(transaction);
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().status == Status::kUnknownBo);
    CHECK(done.error().request == 2);
    CHECK(done.error().undone);
    CHECK(state_of(*device, *vm) == before);
    CHECK_FALSE(vm->address(Va{0x300000}).removed.has_value());
}

TEST_CASE_FIXTURE(VmFixture, "what a transaction maps and maps over again is not kept") {
    device->bos().retain(object(bo), 1);
    Transaction transaction;
    const BoId other = make_bo(*device, 2 * kMiB);
    REQUIRE(transaction.add(map_request(range_at(0x200000, 2 * kMiB), other)) == Status::kOk);
    REQUIRE(transaction.add(map_request(range_at(0x200000, 2 * kMiB), bo)) == Status::kOk);
    REQUIRE(transaction.add(unmap_request(range_at(0x300000, 0x1000))) == Status::kOk);
    REQUIRE(vm->commit(transaction).has_value());
    CHECK(disagreement(*device, *vm) == "");
    CHECK(object(other).references() == 1);
    CHECK(object(other).mapped_pages() == 0);
    CHECK(object(bo).mapped_pages() == 511);
}

TEST_CASE("a device says what is wrong with what was asked of it") {
    const auto status = [](const SoftDeviceConfig& config) {
        const Result<Owned<SoftDevice>, DeviceError> made = SoftDevice::create(config);
        return made ? Status::kOk : made.error().status;
    };
    SoftDeviceConfig config = device_config();
    CHECK(status(config) == Status::kOk);
    config.memory_bytes = kMiB;
    CHECK(status(config) == Status::kBadArgument);
    config.memory_bytes = std::uint64_t{1} << 40;  // as much as its addresses reach, but it does not begin at 0
    CHECK(status(config) == Status::kBadArgument);
    config = device_config(KernelBehaviour::kSplits, "G52");
    config.protocol = mali::MmuProtocol::kCsfAtomic;
    CHECK(status(config) == Status::kBadArgument);
    config.gpu = nullptr;
    CHECK(status(config) == Status::kBadArgument);
}

}  // namespace
TEST_CASE_FIXTURE(VmFixture,
                  "P5: a fence of a timeline that there never was is refused, and the VA stays its owner's") {
    const VaRange va = vm->reserve_va({2 * kMiB, 2 * kMiB}).value();
    const FencePoint never{TimelineId{777}, 1};
    const auto released = vm->release_va(va, {&never, 1});
    REQUIRE_FALSE(released.has_value());
    CHECK(released.error().code == VaError::Code::kBadRequest);
    CHECK(vm->release_va(va).has_value());
}

TEST_CASE("P6: an address report says when older removals were forgotten") {
    const Owned<SoftDevice> device = make_device(device_config());
    const Owned<Vm> vm = make_vm(*device, 2);
    const BoId bo = make_bo(*device, 4 * kKiB);
    for (std::uint64_t i = 0; i < 3; ++i) {
        CHECK(vm->address(Va{kGiB}).history_complete);
        REQUIRE(vm->bind(map_request(range_at(kGiB + i * kMiB, 4 * kKiB), bo)).has_value());
        REQUIRE(vm->unmap(range_at(kGiB + i * kMiB, 4 * kKiB), UnmapPolicy::kReject).has_value());
    }
    const AddressReport report = vm->address(Va{kGiB});
    CHECK_FALSE(report.removed.has_value());
    CHECK_FALSE(report.history_complete);
    CHECK(vm->address(Va{kGiB + 2 * kMiB}).removed.has_value());
}

TEST_CASE_FIXTURE(VmFixture, "an empty transaction does nothing") {
    const std::uint64_t binds = vm->statistics().binds;
    REQUIRE(vm->commit(Transaction{}).has_value());
    CHECK(vm->statistics().binds == binds);
}

}  // namespace granule::test
