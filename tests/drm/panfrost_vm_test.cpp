// panfrost: the VA that the kernel chose, taken over into a VM.
#include <string>
#include <vector>

#include "tests/drm/device_fixture.hpp"
#include "tests/support/failing_drm_calls.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test {
namespace {

constexpr VaRange kSpace{Va{32 * kMiB}, Va{4 * kGiB}};

struct PanfrostFixture : DeviceFixture {
    PanfrostFixture() : DeviceFixture(newest(DrmDriver::kPanfrost)), vm(make_vm()) {}

    [[nodiscard]] BoId make_mapped(const BoRequest& request) const {
        const Result<BoId, BindError> id = device->create_mapped_bo(*vm, request);
        REQUIRE(id.has_value());
        return *id;
    }
    [[nodiscard]] BoId make_mapped(std::uint64_t bytes) const { return make_mapped(BoRequest{.bytes = bytes}); }
    [[nodiscard]] VaRange range_of(BoId id) const {
        REQUIRE(bo(id).kernel_va.has_value());
        return {*bo(id).kernel_va, *bo(id).kernel_va + bo(id).size};
    }
    void free(BoId id) const { device->free_mapped_bo(*vm, id); }

    Owned<Vm> vm;
};

TEST_CASE_FIXTURE(PanfrostFixture, "a BO is shown where the kernel put it, reserved, and named (P6)") {
    const BoId id = make_mapped(5 * kMiB);
    REQUIRE(bos().set_label(bo(id), "framebuffer") == Status::kOk);
    const VaRange range = range_of(id);
    CHECK(kSpace.contains(range));
    for (const Va va : {range.start, range.start + 3 * kMiB, range.end - 1}) {
        const AddressReport report = vm->address(va);
        REQUIRE(report.mapping.has_value());
        CHECK(report.mapping->va == range);
        CHECK(report.mapping->shows.bo == id);
        CHECK(report.mapping->shows.flags.noexec);
        CHECK(report.label.view() == "framebuffer");
        CHECK(report.reserved == range);
        CHECK(drm.page(fd(), 0, va.align_down(kPageBytes).raw()).mapped);
    }
    // Conservative: what could be a block is one.
    CHECK(vm->granule_at(range.start) == LeafSize::k2M);
    CHECK(vm->granule_at(range.end - 1) == LeafSize::k4K);
    free(id);
    CHECK(bos().find(id) == nullptr);
    const AddressReport after = vm->address(range.start);
    CHECK_FALSE(after.mapping.has_value());
    CHECK_FALSE(after.reserved.has_value());
    REQUIRE(after.removed.has_value());
    CHECK(after.removed->label.view() == "framebuffer");
    CHECK_FALSE(drm.page(fd(), 0, range.start.raw()).mapped);
}

TEST_CASE_FIXTURE(PanfrostFixture, "a VA that the kernel gives out again is free here too") {
    for (int i = 0; i < 100; ++i) {
        const BoId one = make_mapped(2 * kMiB + 4096);
        const BoId two = make_mapped(64 * kPageBytes);
        CHECK_FALSE(range_of(one).overlaps(range_of(two)));
        free(one);
        free(two);
    }
    CHECK(vm->statistics().mappings == 0);
}

TEST_CASE_FIXTURE(PanfrostFixture,
                  "a mapping is one granule: an unmap of a part is refused and names it, or takes it whole") {
    const BoId id = make_mapped(4 * kMiB);
    REQUIRE(bos().set_label(bo(id), "heap") == Status::kOk);
    const VaRange range = range_of(id);
    const std::vector<VaRange> parts{{range.start, range.start + kPageBytes},
                                     {range.start + 2 * kMiB, range.end},
                                     {range.start + kMiB, range.start + 3 * kMiB},
                                     {range.end - kPageBytes, range.end}};
    for (const VaRange& part : parts) {
        const Result<BindReport, BindError> rejected = vm->unmap(part, UnmapPolicy::kReject);
        REQUIRE_FALSE(rejected.has_value());
        CHECK(rejected.error().status == Status::kGranuleCut);
        CHECK(rejected.error().plan.granule == range);
        CHECK(rejected.error().label.view() == "heap");
        const Result<BindReport, BindError> split = vm->unmap(part, UnmapPolicy::kSplit);
        REQUIRE_FALSE(split.has_value());
        CHECK(split.error().status == Status::kNotSupported);
        CHECK(split.error().undone);
        CHECK(vm->usable());
        CHECK(vm->address(part.start).mapping->va == range);
    }
    const Result<BindReport, BindError> enlarged = vm->unmap(parts[2], UnmapPolicy::kEnlarge);
    REQUIRE(enlarged.has_value());
    CHECK(enlarged->unmapped_bytes == 4 * kMiB);
    CHECK(enlarged->enlarged_bytes == 2 * kMiB);
    CHECK(vm->statistics().mappings == 0);
    REQUIRE(vm->release_va(range).has_value());
    release(id);
}

TEST_CASE_FIXTURE(PanfrostFixture, "what the kernel did not map is not mapped here: everything else is refused") {
    const BoId id = make_bo(4 * kMiB);
    const VaRange range = range_of(id);
    BindRequest good;
    good.kind = BindRequest::Kind::kMap;
    good.va = range;
    good.shows.bo = id;
    good.shows.flags = bo(id).kernel_flags;
    std::vector<BindRequest> bad(6, good);
    bad[0].va = {range.start + kPageBytes, range.end + kPageBytes};
    bad[1].va.end = range.end - kPageBytes;
    bad[2].va = {range.start, range.end - kPageBytes};
    bad[2].shows.offset = BoOffset{kPageBytes};
    bad[3].shows = {};  // sparse
    bad[4].shows.flags.readonly = true;
    bad[5].leaves = LeafPolicy::kPage;
    for (const BindRequest& request : bad) {
        const Result<BindReport, BindError> bound = vm->bind(request);
        REQUIRE_FALSE(bound.has_value());
        CHECK(bound.error().status == Status::kNotSupported);
        CHECK(vm->statistics().mappings == 0);
        Transaction both;
        REQUIRE(both.add(good) == Status::kOk);
        REQUIRE(both.add(request) == Status::kOk);
        const Result<BindReport, BindError> many = vm->commit(both);
        REQUIRE_FALSE(many.has_value());
        // One that cuts what the first request maps is refused for that.
        CHECK((many.error().status == Status::kNotSupported || many.error().status == Status::kGranuleCut));
        CHECK(many.error().undone);
        CHECK(vm->statistics().mappings == 0);
        CHECK(vm->statistics().blocks_2m == 0);
        CHECK(bo(id).references() == 1);
    }
    REQUIRE(vm->bind(good).has_value());
    REQUIRE(vm->bind(good).has_value());  // over itself
    CHECK(vm->statistics().mappings == 1);
    REQUIRE(vm->unmap(kSpace, UnmapPolicy::kReject).has_value());
    release(id);
}

TEST_CASE_FIXTURE(PanfrostFixture, "BOs that execute, and BOs that grow, are shown as the kernel has them") {
    const BoId shader = make_mapped({.bytes = 64 * kPageBytes, .executable = true});
    CHECK_FALSE(vm->address(range_of(shader).start).mapping->shows.flags.noexec);
    const BoId heap = make_mapped({.bytes = 16 * kMiB, .grows_on_fault = true});
    CHECK(vm->address(range_of(heap).start).mapping->va.size() == 16 * kMiB);
    CHECK(vm->granule_at(range_of(heap).start) == LeafSize::k2M);
    free(shader);
    free(heap);
}

TEST_CASE_FIXTURE(PanfrostFixture, "an imported BO is shown once, and freed like any other") {
    const int foreign = drm.make_foreign_dma_buf(3 * kMiB);
    const BoId id = import(foreign);
    REQUIRE(device->show_bo(*vm, id).has_value());
    CHECK(import(foreign) == id);
    const Result<BindReport, BindError> again = device->show_bo(*vm, id);
    REQUIRE_FALSE(again.has_value());
    CHECK(again.error().status == Status::kVaOccupied);
    CHECK(vm->address(range_of(id).start).mapping->shows.bo == id);
    const VaRange range = range_of(id);
    free(id);
    CHECK_FALSE(vm->address(range.start).mapping.has_value());
    REQUIRE(device->show_bo(*vm, id).has_value());  // who still holds it may show it again
    free(id);
    CHECK(bos().find(id) == nullptr);
    CHECK(device->show_bo(*vm, id).error().status == Status::kUnknownBo);
    drm.close(foreign);
}

TEST_CASE("panthor's kernel shows no BO anywhere: there is nothing to show") {
    const DeviceFixture fixture(newest(DrmDriver::kPanthor));
    const Owned<Vm> vm = fixture.make_vm();
    CHECK(fixture.device->create_mapped_bo(*vm, {.bytes = 4096}).error().status == Status::kNotSupported);
    CHECK(fixture.drm.census().handles == 0);
}

TEST_CASE_FIXTURE(PanfrostFixture, "VA runs out: the BO that has none is refused, and one that ends makes room") {
    std::vector<BoId> ids;
    Result<BoId, BindError> last = BoId{};
    while ((last = device->create_mapped_bo(*vm, {.bytes = 256 * kMiB})).has_value()) {
        ids.push_back(*last);
        REQUIRE(ids.size() < 20);
    }
    CHECK(ids.size() == 15);  // of 16 in 4 GiB, the first begins below 32 MiB
    CHECK(last.error().status == Status::kOutOfVa);
    CHECK(drm.census().handles == 15);
    free(ids.back());
    ids.back() = make_mapped(256 * kMiB);
    for (const BoId id : ids) {
        free(id);
    }
}

// A mapped BO's life over calls and memory that fail.
int mapped_life(DrmDevice& device, FakeDrm& drm, Vm& vm) {
    int failed = 0;
    std::vector<BoId> ids;
    for (const std::uint64_t bytes : {std::uint64_t{4096}, 5 * kMiB, 2 * kMiB}) {
        const FakeDrmCensus before = drm.census();
        const VmStatistics statistics = vm.statistics();
        const Result<BoId, BindError> id = device.create_mapped_bo(vm, {.bytes = bytes});
        if (id) {
            ids.push_back(*id);
        } else {
            ++failed;
            CHECK(id.error().undone);
            CHECK(drm.census() == before);
            CHECK(vm.statistics().mappings == statistics.mappings);
            CHECK(vm.statistics().blocks_2m == statistics.blocks_2m);
        }
    }
    for (const BoId id : ids) {
        device.free_mapped_bo(vm, id);
    }
    CHECK(vm.statistics().mappings == 0);
    CHECK(vm.usable());
    std::size_t reserved = 0;
    vm.for_each_reserved([&](const VaAllocation&) { ++reserved; });
    CHECK(reserved == 0);
    return failed;
}

TEST_CASE("every call and every allocation of mapped BOs fails once: the kernel, the VM and its VA are as before") {
    const FakeKernel kernel = newest(DrmDriver::kPanfrost);
    for (const DrmCallKind kind : {DrmCallKind::kCreateBo, DrmCallKind::kCloseHandle}) {
        for (std::uint64_t call = 0; call < 3; ++call) {
            for (const int error : possible_errors(kind)) {
                FakeDrm drm(kernel);
                FailingDrmCalls calls(drm, kernel.driver);
                DrmDeviceConfig config;
                config.calls = &calls;
                const Result<Owned<DrmDevice>, OsError> device = DrmDevice::open(FakeDrm::kPath, config);
                REQUIRE(device.has_value());
                const Result<Owned<Vm>, OsError> vm = (*device)->create_vm({});
                REQUIRE(vm.has_value());
                calls.fail_kind(kind, call, error);
                CHECK(mapped_life(**device, drm, **vm) == (kind == DrmCallKind::kCreateBo ? 1 : 0));
                CHECK(calls.failed());
            }
        }
    }
    bool refused = true;
    for (std::uint64_t granted = 0; refused; ++granted) {
        CAPTURE(granted);
        TestMemory memory;
        {
            DeviceFixture fixture(kernel, memory.memory());
            const Owned<Vm> vm = fixture.make_vm();
            memory.refuse_after(granted);
            const int failed = mapped_life(*fixture.device, fixture.drm, *vm);
            refused = memory.refusals() != 0;
            CHECK((failed != 0 || !refused));
            memory.refuse_nothing();
        }
        CHECK(memory.blocks().empty());
    }
}

}  // namespace
}  // namespace granule::test
