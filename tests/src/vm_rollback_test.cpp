// P3: the k-th operation fails, for every k until none does, on every kernel, with all leaf sizes and every kind of
// memory: nothing has changed. And where the undo fails too, that is said.
#include <functional>

#include "src/vm.hpp"
#include "tests/src/soft_fixture.hpp"

namespace granule::test {
namespace {

// What is done to the state that `Space` sets up.
struct Scenario {
    const char* name;
    std::vector<BindRequest> (*requests)(BoId a, BoId b);
};

// Around a 1 GiB boundary; the first mapping is 1 GiB + 8 MiB of `a`, the second 4 MiB of `b` a page further on, so
// that it has no blocks, the third is sparse, the fourth pages where blocks would fit.
constexpr std::uint64_t kA = kGiB;
constexpr std::uint64_t kB = 3 * kGiB;
constexpr std::uint64_t kSparse = kB + 8 * kMiB;
constexpr std::uint64_t kPages = kB + 16 * kMiB;

constexpr std::array kScenarios{
    Scenario{"an unmap inside a leaf",
             [](BoId, BoId) { return std::vector{unmap_request(range_at(kA + 0x5000, 0x3000))}; }},
    Scenario{"a map inside a leaf",
             [](BoId, BoId b) { return std::vector{map_request(range_at(kA + 0x5000, 0x3000), b, 0x1000)}; }},
    Scenario{"an unmap across many leaves",
             [](BoId, BoId) { return std::vector{unmap_request(range_at(kA + 0x3ff000, 4 * kMiB))}; }},
    Scenario{"a map across the last leaf and a hole",
             [](BoId, BoId b) { return std::vector{map_request(range_at(kA + kGiB + 7 * kMiB, 4 * kMiB), b)}; }},
    Scenario{"blocks over pages",
             [](BoId a, BoId) { return std::vector{map_request(range_at(kB, 4 * kMiB), a, 2 * kMiB)}; }},
    Scenario{"pages inside pages, cut on both sides",
             [](BoId, BoId) { return std::vector{unmap_request(range_at(kB + 0x5000, 0x3000))}; }},
    Scenario{"enlarge, through what is sparse",
             [](BoId, BoId) {
                 return std::vector{unmap_request(range_at(kSparse + 0x5000, 2 * kMiB), UnmapPolicy::kEnlarge)};
             }},
    Scenario{"requests in one window",
             [](BoId a, BoId b) {
                 return std::vector{unmap_request(range_at(kA + 0x5000, 0x1000)),
                                    map_request(range_at(kA + 0x8000, 0x4000), b, 0x2000),
                                    unmap_request(range_at(kA + 0x9000, 0x1000)),
                                    map_request(range_at(kA, 2 * kMiB), a),  // a block again
                                    unmap_request(range_at(kA + 0x100000, 0x1000)),
                                    sparse_request(range_at(kA + 0x100000, 0x2000))};
             }},
    Scenario{"requests that undo each other",
             [](BoId a, BoId b) {
                 return std::vector{
                     unmap_request(range_at(kA, kGiB + 8 * kMiB)), map_request(range_at(kA, 8 * kMiB), a, 2 * kMiB),
                     map_request(range_at(kA + 0x1ff000, 0x2000), b), unmap_request(range_at(kA + 2 * kMiB, 2 * kMiB)),
                     map_request(range_at(kA, kGiB + 8 * kMiB), a)};
             }},
    Scenario{"a mapping of the transaction is cut in its middle",
             [](BoId a, BoId b) {
                 return std::vector{map_request(range_at(kB + 2 * kMiB, 8 * kMiB), a),
                                    map_request(range_at(kB + 4 * kMiB, 2 * kMiB), b),
                                    unmap_request(range_at(kB + 6 * kMiB, 2 * kMiB)),
                                    unmap_request(range_at(kB + 0x1000, 0x1000))};
             }},
    Scenario{"blocks over the middle of pages, and then more",
             [](BoId a, BoId) {
                 return std::vector{map_request(range_at(kB + 2 * kMiB, 2 * kMiB), a),
                                    unmap_request(range_at(kSparse, 4 * kMiB))};
             }},
    Scenario{"blocks over pages that could be blocks",
             [](BoId, BoId b) {
                 return std::vector{map_request(range_at(kPages, 4 * kMiB), b),
                                    unmap_request(range_at(kPages + 0x1000, 0x1000))};
             }},
    Scenario{"holes", [](BoId, BoId) { return std::vector{unmap_request(range_at(kMiB, kMiB))}; }},
};

// Two BOs and a VM with the three mappings.
class Space {
public:
    Space(KernelBehaviour kernel, LeafSizes leaf_sizes, BoMemory memory) {
        SoftDeviceConfig config = device_config(kernel);
        config.leaf_sizes = leaf_sizes;
        config.bo_memory = memory;
        config.injection = &failing;
        device = make_device(config);
        // Scattered pages of 1 GiB cost time and show nothing more.
        const std::uint64_t bytes = memory == BoMemory::kScattered ? 16 * kMiB : kGiB + 8 * kMiB;
        mapped_a_ = std::min(bytes, kGiB + 8 * kMiB);
        a = make_bo(*device, bytes);
        b = make_bo(*device, 8 * kMiB);
        renew();
    }

    // A new VM in the same state.
    void renew() {
        vm = {};
        vm = make_vm(*device);
        REQUIRE(vm->bind(map_request(range_at(kA, mapped_a_), a)).has_value());
        REQUIRE(vm->bind(map_request(range_at(kB - 0x1000, 6 * kMiB), b, 0x2000)).has_value());
        REQUIRE(vm->bind(sparse_request(range_at(kSparse, 4 * kMiB))).has_value());
        BindRequest pages = map_request(range_at(kPages, 6 * kMiB), a, 2 * kMiB);
        pages.leaves = LeafPolicy::kPage;
        REQUIRE(vm->bind(pages).has_value());
    }

    Result<BindReport, BindError> commit(const Scenario& scenario) {
        std::vector<BindRequest> requests = scenario.requests(a, b);
        if (requests.size() == 1) {
            return vm->bind(requests.front());
        }
        Transaction transaction;
        for (BindRequest& request : requests) {
            if (request.kind == BindRequest::Kind::kMap && request.shows.bo == a && request.va.size() > mapped_a_) {
                request.va.end = request.va.start + mapped_a_;
            }
            REQUIRE(transaction.add(request) == Status::kOk);
        }
        return vm->commit(transaction);
    }

    Failing failing;
    Owned<SoftDevice> device;
    BoId a{};
    BoId b{};
    Owned<Vm> vm;

private:
    std::uint64_t mapped_a_ = 0;
};

void for_each_space(const std::function<void(Space&)>& body) {
    for (const KernelBehaviour kernel : kKernels) {
        for (const LeafSizes sizes : {kLeaves4K2M, kLeaves4K2M1G}) {
            for (const BoMemory memory : kBoMemories) {
                CAPTURE(std::string(to_string(kernel)));
                CAPTURE(sizes);
                CAPTURE(static_cast<int>(memory));
                Space space(kernel, sizes, memory);
                body(space);
            }
        }
    }
}

TEST_CASE("P3: whichever operation of whichever bind fails, mappings, ledger, tables and BOs are what they were") {
    for_each_space([](Space& space) {
        for (const Scenario& scenario : kScenarios) {
            CAPTURE(std::string(scenario.name));
            const VmState before = state_of(*space.device, *space.vm);
            std::uint64_t k = 0;
            for (bool failed = true; failed; ++k) {
                CAPTURE(k);
                REQUIRE(k < 64);
                space.failing.fail_after(Injection::Site::kOperation, k);
                const Result<BindReport, BindError> done = space.commit(scenario);
                failed = space.failing.failed();
                space.failing.stop();
                REQUIRE(done.has_value() != failed);
                if (failed) {
                    REQUIRE(done.error().status == Status::kBackendFailed);
                    REQUIRE(done.error().error == Failing::kError);
                    REQUIRE(done.error().undone);
                    const bool unchanged = state_of(*space.device, *space.vm) == before;
                    REQUIRE(unchanged);
                    REQUIRE(space.vm->usable());
                }
                REQUIRE(disagreement(*space.device, *space.vm) == "");
            }
            CHECK(SoftDevice::address_space(*space.vm).leaf_cuts() == 0);
            space.renew();
        }
    });
}

TEST_CASE("P3: an undo that fails is said, and makes the VM unusable and the GPU's accesses faults") {
    for_each_space([](Space& space) {
        for (const Scenario& scenario : kScenarios) {
            CAPTURE(std::string(scenario.name));
            const std::uint64_t references = space.device->bos().find(space.b)->references();
            bool all = false;
            for (std::uint64_t k = 1; !all; ++k) {
                CAPTURE(k);
                space.failing.fail_after(Injection::Site::kOperation, k, UINT64_MAX);
                const Result<BindReport, BindError> done = space.commit(scenario);
                all = !space.failing.failed();
                space.failing.stop();
                if (!all) {
                    REQUIRE_FALSE(done.has_value());
                    REQUIRE_FALSE(done.error().undone);
                    REQUIRE_FALSE(space.vm->usable());
                    REQUIRE_FALSE(translates(*space.device, *space.vm, Va{kB}));
                    const Result<BindReport, BindError> next = space.vm->unmap(range_at(kB, kMiB), UnmapPolicy::kSplit);
                    REQUIRE_FALSE(next.has_value());
                    REQUIRE(next.error().status == Status::kVmUnusable);
                    // The soft device has nothing to begin again with.
                    REQUIRE(space.vm->check() == Status::kVmUnusable);
                    REQUIRE(space.vm->rebuild().error().status == Status::kNotSupported);
                    REQUIRE_FALSE(space.vm->usable());
                    // What is mapped is still held, as the state from before says.
                    REQUIRE(space.device->bos().find(space.b)->references() == references);
                }
                space.renew();
            }
        }
    });
}

TEST_CASE("P3: a device without a queue says so to a submit, which has changed nothing") {
    Space space(KernelBehaviour::kRefuses, kLeaves4K2M, BoMemory::kHuge);
    const VmState before = state_of(*space.device, *space.vm);
    for (const Scenario& scenario : kScenarios) {
        Transaction transaction;
        for (const BindRequest& request : scenario.requests(space.a, space.b)) {
            REQUIRE(transaction.add(request) == Status::kOk);
        }
        const Result<BindReport, BindError> done = space.vm->submit(transaction, {}, {});
        REQUIRE_FALSE(done.has_value());
        CHECK(done.error().status == Status::kNotSupported);
        CHECK(done.error().undone);
        const bool unchanged = state_of(*space.device, *space.vm) == before;
        CHECK(unchanged);
    }
    CHECK(space.vm->check() == Status::kOk);
    CHECK(space.vm->kernel_id() == 0);
}

TEST_CASE("P3: an undo that fails at a later step than its first is said too") {
    // The unmap of the granule is done, the residual fails, then the undo's unmap is done and its map fails.
    class Nth final : public Injection {
    public:
        int at(Site site) noexcept override {
            if (site != Site::kOperation || !armed) {
                return 0;
            }
            ++seen;
            return seen == 2 || seen == 4 ? EIO : 0;
        }
        bool armed = false;
        int seen = 0;
    } nth;
    SoftDeviceConfig config = device_config(KernelBehaviour::kRefuses);
    config.injection = &nth;
    Owned<SoftDevice> device = make_device(config);
    Owned<Vm> vm = make_vm(*device);
    const BoId bo = make_bo(*device, 2 * kMiB);
    REQUIRE(vm->bind(map_request(range_at(kA, 2 * kMiB), bo)).has_value());
    nth.armed = true;
    const Result<BindReport, BindError> done = vm->bind(unmap_request(range_at(kA, 0x1000)));
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().error == EIO);
    CHECK(done.error().op == 1);
    CHECK_FALSE(done.error().undone);
    CHECK_FALSE(vm->usable());
    CHECK_FALSE(translates(*device, *vm, Va{kA + 0x1000}));
}

}  // namespace
TEST_CASE("P3: a transaction that cuts a block and then maps over it is undone from every operation, on every kernel") {
    // Pages, a block and pages; the first step cuts the block, the second replaces all three.
    for (const KernelBehaviour kernel : kKernels) {
        for (std::uint64_t granted = 0;; ++granted) {
            CAPTURE(to_string(kernel));
            CAPTURE(granted);
            Failing failing;
            SoftDeviceConfig config = device_config(kernel);
            config.injection = &failing;
            const Owned<SoftDevice> device = make_device(config);
            const Owned<Vm> vm = make_vm(*device);
            const BoId below = make_bo(*device, 8 * kMiB);
            const BoId above = make_bo(*device, 8 * kMiB);
            const VaRange all = range_at(kGiB + kMiB, 4 * kMiB);
            REQUIRE(vm->bind(map_request(all, below, kMiB)).has_value());
            const VmState before = state_of(*device, *vm);
            Transaction transaction;
            REQUIRE(transaction.add(unmap_request(range_at(kGiB + 3 * kMiB, 64 * kKiB))) == Status::kOk);
            REQUIRE(transaction.add(map_request(all, above, 4 * kKiB)) == Status::kOk);
            REQUIRE(transaction.add(map_request(range_at(kGiB + 64 * kMiB, 4 * kKiB), above)) == Status::kOk);
            failing.fail_after(Injection::Site::kOperation, granted);
            const auto done = vm->commit(transaction);
            const bool failed = failing.failed();
            failing.stop();
            if (!failed) {
                CHECK(done.has_value());
                break;
            }
            REQUIRE_FALSE(done.has_value());
            CHECK(done.error().undone);
            CHECK(vm->usable());
            CHECK(state_of(*device, *vm) == before);
            CHECK(disagreement(*device, *vm) == "");
        }
    }
}

}  // namespace granule::test
