// P3 through a VM on panthor: a transaction that fails at any of its operations leaves the pages as they were, and one that
// fails in the kernel's queue is found out and made good by a rebuild.
#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "src/vm.hpp"
#include "tests/drm/address_space_fixture.hpp"

namespace granule::test {
namespace {

constexpr std::array kBehaviours{KernelBehaviour::kSplits, KernelBehaviour::kRefuses, KernelBehaviour::kOopses,
                                 KernelBehaviour::kRealigns};

BindRequest map_request(const VaRange& va, BoId bo, std::uint64_t offset, LeafPolicy leaves = LeafPolicy::kLargest) {
    BindRequest request;
    request.kind = BindRequest::Kind::kMap;
    request.va = va;
    request.shows.bo = bo;
    request.shows.offset = BoOffset{offset};
    request.policy = UnmapPolicy::kSplit;
    request.leaves = leaves;
    return request;
}

BindRequest unmap_request(const VaRange& va) {
    BindRequest request;
    request.va = va;
    request.policy = UnmapPolicy::kSplit;
    return request;
}

struct VmOnPanthor : AddressSpaceFixture {
    explicit VmOnPanthor(KernelBehaviour behaviour) : AddressSpaceFixture(fake_panthor(behaviour)) {
        Owned<PanthorAddressSpace> made_space = make_space();
        space = made_space.get();
        VmConfig vm_config;
        vm_config.space = config.space;
        vm_config.journal_capacity = 64;
        Result<Owned<Vm>, Status> made_vm =
            Vm::create(vm_config, bos, timelines, std::move(made_space), NodeMemory::process());
        REQUIRE(made_vm.has_value());
        vm = std::move(*made_vm);
        for (const BindRequest& request :
             {map_request(at(0x400000, 16 * kMi), bo, 0), map_request(at(0x1600000, 8 * kMi), kNoBo, 0),
              map_request(at(0x2000000, 4 * kMi), bo, 0x1000, LeafPolicy::kPage)}) {
            REQUIRE(vm->bind(request).has_value());
        }
    }

    // Cuts blocks, pages and sparse windows, inside and at their ends, and covers some whole.
    [[nodiscard]] Transaction changes() const {
        Transaction transaction;
        for (const BindRequest& request :
             {unmap_request(at(0x501000, 0x2000)), unmap_request(at(0x7ff000, 0x2000)),
              map_request(at(0xa80000, 5 * kMi), bo, 0x3000), unmap_request(at(0xc00000, 2 * kMi)),
              map_request(at(0x1700000, 3 * kMi), kNoBo, 0, LeafPolicy::kPage), unmap_request(at(0x1900000, kMi)),
              map_request(at(0x2100000, 2 * kMi), bo, 0), map_request(at(0x3000000, 4 * kMi), bo, 0)}) {
            REQUIRE(transaction.add(request) == Status::kOk);
        }
        return transaction;
    }

    using Page = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t, bool>;
    [[nodiscard]] std::vector<Page> pages() const {
        std::vector<Page> all;
        for (const FakeGpuVm::Leaf& leaf : leaves(*space)) {
            for (std::uint64_t done = 0; done < bytes_of(leaf.page.leaf); done += kPageBytes) {
                all.emplace_back(leaf.va + done, leaf.page.object, leaf.page.offset + done, leaf.page.sparse);
            }
        }
        return all;
    }

    TimelineTable timelines{NodeMemory::process()};
    BoId bo = make_bo(32 * kMi);
    PanthorAddressSpace* space = nullptr;
    Owned<Vm> vm;
};

TEST_CASE("P3: a transaction that fails at any of its operations is undone, on every kernel; else it is one ioctl") {
    for (const KernelBehaviour behaviour : kBehaviours) {
        CAPTURE(to_string(behaviour));
        for (const int error : {ENOMEM, EINVAL}) {
            std::size_t element = 0;
            for (;; ++element) {
                CAPTURE(element);
                VmOnPanthor test(behaviour);
                const std::vector<VmOnPanthor::Page> before = test.pages();
                const std::uint64_t binds = test.drm.count(DrmCallKind::kVmBind);
                test.calls.fail_bind_at(0, element, error);
                const Result<BindReport, BindError> done = test.vm->commit(test.changes());
                REQUIRE(test.drm.quiet());
                if (done) {
                    CHECK(test.drm.count(DrmCallKind::kVmBind) == binds + 1);
                    break;
                }
                REQUIRE(done.error().undone);
                REQUIRE(done.error().error == error);
                REQUIRE(test.vm->usable());
                REQUIRE(test.pages() == before);
                test.calls.stop();
                REQUIRE(test.vm->commit(test.changes()).has_value());
                REQUIRE(test.drm.quiet());
            }
            CHECK(element > 8);
        }
    }
}

TEST_CASE("P3: a queued transaction that fails in the kernel is found out, and a rebuild makes it good") {
    // Not on kernels that oops: unmaps behind the map that fails are not harmless there (panthor_address_space.hpp).
    for (const KernelBehaviour behaviour :
         {KernelBehaviour::kSplits, KernelBehaviour::kRefuses, KernelBehaviour::kRealigns}) {
        CAPTURE(to_string(behaviour));
        VmOnPanthor undisturbed(behaviour);
        REQUIRE(undisturbed.vm->submit(undisturbed.changes(), {}, {}).has_value());

        VmOnPanthor test(behaviour);
        const SyncobjPoint signal{test.make_syncobj(), 1};
        const std::uint64_t binds = test.drm.count(DrmCallKind::kVmBind);
        test.drm.fail_next_job(ENOMEM);
        REQUIRE(test.vm->submit(test.changes(), {}, {&signal, 1}).has_value());
        CHECK(test.drm.count(DrmCallKind::kVmBind) == binds + 1);
        CHECK(test.signalled(signal));
        CHECK(test.vm->usable());  // nobody has asked yet
        CHECK(test.vm->check() == Status::kVmUnusable);
        CHECK_FALSE(test.vm->usable());
        CHECK(test.drm.census().mapped_bytes == 0);

        // No memory for it: as lost as before, and the next time is good.
        test.calls.fail_kind(DrmCallKind::kVmCreate, 0, ENOMEM);
        CHECK_FALSE(test.vm->rebuild().has_value());
        CHECK_FALSE(test.vm->usable());
        test.calls.fail_bind_at(0, 2, ENOMEM);
        CHECK_FALSE(test.vm->rebuild().has_value());
        CHECK_FALSE(test.vm->usable());
        test.calls.stop();
        const Result<RebuildReport, BindError> rebuilt = test.vm->rebuild();
        REQUIRE(rebuilt.has_value());
        CHECK(rebuilt->kernel_id == test.vm->kernel_id());
        CHECK(test.drm.census().vms == 1);
        CHECK(test.vm->usable());
        CHECK(test.pages() == undisturbed.pages());
        REQUIRE(test.vm->commit(test.changes()).has_value());
        CHECK(test.pages() == undisturbed.pages());
        CHECK(test.drm.syncobj_destroy(test.file.fd(), signal.syncobj) == 0);
        CHECK(test.drm.log().warnings.empty());
        CHECK_FALSE(test.drm.log().oopsed());
    }
}

TEST_CASE("P3: what the kernel was left to cut is undone where nobody can say whether it lost the VM over it") {
    VmOnPanthor test(KernelBehaviour::kRealigns);
    const std::vector<VmOnPanthor::Page> before = test.pages();
    const BindRequest cut = unmap_request(at(0x501000, 0x2000));
    REQUIRE(test.vm->explain(cut)->cost.kernel_cuts == 1);
    test.calls.fail_kind(DrmCallKind::kVmGetState, 0, ENODEV);
    const Result<BindReport, BindError> done = test.vm->bind(cut);
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().status == Status::kBackendFailed);
    CHECK(done.error().error == ENODEV);
    CHECK(done.error().undone);
    CHECK(test.vm->usable());
    CHECK(test.pages() == before);
}

TEST_CASE("P3: a submitted transaction of groups is one ioctl, ends as one that is committed, and fails as a whole") {
    for (const KernelBehaviour behaviour : kBehaviours) {
        CAPTURE(to_string(behaviour));
        VmOnPanthor committed(behaviour);
        REQUIRE(committed.vm->commit(committed.changes()).has_value());

        VmOnPanthor test(behaviour);
        const std::vector<VmOnPanthor::Page> before = test.pages();
        const SyncobjPoint signal{test.make_syncobj(), 1};
        const SyncobjPoint last{test.make_syncobj(), 1};
        const Transaction changes = test.changes();
        const std::array groups{BindGroup{changes.requests().first(3), {}, {&signal, 1}},
                                BindGroup{{}, {&signal, 1}, {}},
                                BindGroup{changes.requests().subspan(3), {&signal, 1}, {&last, 1}}};
        const std::uint64_t binds = test.drm.count(DrmCallKind::kVmBind);
        test.calls.fail_kind(DrmCallKind::kVmBind, 0, ENOMEM);
        const Result<BindReport, BindError> refused = test.vm->submit(groups);
        test.calls.stop();
        REQUIRE_FALSE(refused.has_value());
        CHECK(refused.error().status == Status::kOutOfTableMemory);
        CHECK(refused.error().group == BindError::kAll);
        CHECK(refused.error().undone);
        CHECK(test.pages() == before);
        REQUIRE(test.vm->submit(groups).has_value());
        CHECK(test.drm.count(DrmCallKind::kVmBind) == binds + 1);
        CHECK(test.signalled(last));
        CHECK(test.vm->check() == Status::kOk);
        CHECK(test.pages() == committed.pages());
        CHECK(test.drm.quiet());
        CHECK(test.drm.syncobj_destroy(test.file.fd(), signal.syncobj) == 0);
        CHECK(test.drm.syncobj_destroy(test.file.fd(), last.syncobj) == 0);
    }
}

}  // namespace
}  // namespace granule::test
