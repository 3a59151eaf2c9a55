// The k-th allocation of the library fails, for every k until none does, and so do the reservations of page tables and
// the allocations of device memory: an error with a type, nothing changed, nothing leaked. And P4: when there is no
// memory at all any more, everything can still be given back.
#include <optional>

#include "src/bind_queue.hpp"
#include "tests/src/soft_fixture.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test {
namespace {

bool says_what_ran_out(Status status) {
    return status == Status::kOutOfHostMemory || status == Status::kOutOfTableMemory ||
           status == Status::kOutOfDeviceMemory;
}

// One run through the library's calls that can run out of something. `run` is false where a call did; what it said and
// what it changed is checked here.
class Story {
public:
    Story(NodeMemory memory, Failing& failing, KernelBehaviour kernel) {
        config_ = device_config(kernel);
        config_.nodes = memory;
        config_.injection = &failing;
    }

    bool run() {
        Result<Owned<SoftDevice>, DeviceError> device = SoftDevice::create(config_);
        if (!device) {
            return short_of(device.error().status);
        }
        device_ = std::move(*device);
        VmConfig vm_config;
        vm_config.journal_capacity = 64;
        Result<Owned<Vm>, OsError> vm = device_->create_vm(vm_config);
        if (!vm) {
            return short_of(vm.error().status) && device_->memory().used() == 0;
        }
        vm_ = std::move(*vm);
        for (const BoMemory kind : kBoMemories) {
            if (!make_bo_of(kind)) {
                return false;
            }
        }
        return set_label() && reserve_va() && bind_all() && make_timelines() && queue();
    }

private:
    bool short_of(Status status) {
        CHECK(says_what_ran_out(status));
        return false;
    }

    template <class Call>
    bool step(Call call) {
        const VmState before = state_of(*device_, *vm_);
        const std::optional<Status> failure = call();
        if (failure) {
            CHECK(says_what_ran_out(*failure));
            const bool unchanged = state_of(*device_, *vm_) == before;
            CHECK(unchanged);
        }
        CHECK(disagreement(*device_, *vm_) == "");
        return !failure;
    }

    bool make_bo_of(BoMemory kind) {
        const std::uint64_t used = device_->memory().used();
        const std::uint64_t live_bytes = device_->bos().live_bytes();
        return step([&]() -> std::optional<Status> {
            const Result<BoId, OsError> made = device_->bos().create(5 * kMiB, kind, 0);
            if (made) {
                bo_ = *made;
                return std::nullopt;
            }
            CHECK(device_->memory().used() == used);
            CHECK(device_->bos().live_bytes() == live_bytes);
            return made.error().status;
        });
    }

    bool set_label() {
        const auto label = [&](std::string_view text) {
            return step([&]() -> std::optional<Status> {
                Bo& bo = *device_->bos().find(bo_);
                const ShortLabel before = device_->bos().short_label(bo_);
                const Status status = device_->bos().set_label(bo, text);
                CHECK(device_->bos().short_label(bo_).view() ==
                      (status == Status::kOk ? ShortLabel{text}.view() : before.view()));
                return status == Status::kOk ? std::nullopt : std::optional{status};
            });
        };
        return label("short") && label(std::string(4000, 'x'));
    }

    bool reserve_va() {
        for (int i = 0; i < 40; ++i) {
            if (!step([&]() -> std::optional<Status> {
                    const Result<VaRange, VaError> range = vm_->reserve_va({0x3000});
                    if (range) {
                        return std::nullopt;
                    }
                    CHECK(range.error().code == VaError::Code::kOutOfMemory);
                    return Status::kOutOfHostMemory;
                })) {
                return false;
            }
        }
        return true;
    }

    bool bind(const BindRequest& request) {
        return step([&]() -> std::optional<Status> {
            const Result<BindReport, BindError> done = vm_->bind(request);
            return done ? std::nullopt : std::optional{done.error().status};
        });
    }

    bool bind_all() {
        constexpr std::uint64_t kStart = kGiB - 2 * kMiB;
        const BoId huge{1};
        const BoId contiguous{2};
        if (!bind(map_request(range_at(kStart, 5 * kMiB), huge)) ||
            !bind(unmap_request(range_at(kStart + 0x1000, 0x1000))) ||
            !bind(map_request(range_at(kStart + 2 * kMiB + 0x8000, 0x2000), bo_)) ||
            !bind(sparse_request(range_at(16 * kMiB, 8 * kMiB))) ||
            !bind(map_request(range_at(1024 * kGiB, 5 * kMiB), contiguous))) {
            return false;
        }
        return step([&]() -> std::optional<Status> {
            Transaction transaction(config_.nodes);
            for (std::uint64_t i = 0; i < 12; ++i) {
                const VaRange page = range_at(kStart + 0x100000 + i * 0x40000, 0x2000);
                const Status added =
                    transaction.add(i % 3 == 0 ? unmap_request(page) : map_request(page, bo_, i * 0x1000));
                if (added != Status::kOk) {
                    CHECK(transaction.added() == i);
                    return added;
                }
            }
            const Result<BindReport, BindError> done = vm_->commit(transaction);
            return done ? std::nullopt : std::optional{done.error().status};
        });
    }

    bool make_timelines() {
        for (Owned<Timeline>& timeline : timelines_) {
            if (!step([&]() -> std::optional<Status> {
                    Result<Owned<Timeline>, Status> made = device_->timelines().create();
                    if (!made) {
                        return made.error();
                    }
                    timeline = std::move(*made);
                    return std::nullopt;
                })) {
                return false;
            }
        }
        return true;
    }

    bool queue() {
        Result<Owned<BindQueue>, OsError> made = BindQueue::create(*vm_, config_.nodes);
        if (!made) {
            return short_of(made.error().status);
        }
        Transaction transaction(config_.nodes);
        if (transaction.add(unmap_request(range_at(kGiB, 0x1000))) != Status::kOk) {
            return false;
        }
        // What is submitted waits until all of it was, so that only one thread at a time allocates.
        const TimelinePoint wait{timelines_[0].get(), 1};
        const TimelinePoint signal{timelines_[1].get(), 1};
        const Status submitted = (*made)->submit(transaction, {&wait, 1}, {&signal, 1});
        if (submitted != Status::kOk) {
            return short_of(submitted);
        }
        timelines_[0]->signal(1);
        CHECK(timelines_[1]->wait(1, std::chrono::seconds(60)));
        (*made)->drain();
        return timelines_[1]->status() == Status::kOk;
    }

    SoftDeviceConfig config_;
    Owned<SoftDevice> device_;
    std::array<Owned<Timeline>, 20> timelines_;
    Owned<Vm> vm_;
    BoId bo_{};
};

TEST_CASE("P3: whichever allocation of the library fails, the call says so, has changed nothing and leaks nothing") {
    for (const KernelBehaviour kernel : {KernelBehaviour::kRefuses, KernelBehaviour::kOopses}) {
        bool done = false;
        for (std::uint64_t k = 0; !done; ++k) {
            CAPTURE(k);
            REQUIRE(k < 10'000);
            TestMemory memory;
            Failing none;
            memory.refuse_after(k);
            done = Story(memory.memory(), none, kernel).run();
            REQUIRE(done == (memory.refusals() == 0));
            REQUIRE(memory.blocks().empty());
            REQUIRE(memory.misuses() == 0);
        }
    }
}

TEST_CASE("P3: the same for each reservation of page tables and each allocation of device memory") {
    for (const Injection::Site site : {Injection::Site::kTableMemory, Injection::Site::kDeviceMemory}) {
        bool done = false;
        for (std::uint64_t k = 0; !done; ++k) {
            CAPTURE(k);
            REQUIRE(k < 10'000);
            TestMemory memory;
            Failing failing;
            failing.fail_after(site, k);
            done = Story(memory.memory(), failing, KernelBehaviour::kRefuses).run();
            REQUIRE(done != failing.failed());
            REQUIRE(memory.blocks().empty());
            // The scattered BO has 1280 pages: the first and the last of them are enough.
            if (site == Injection::Site::kDeviceMemory && k == 8) {
                k += 1270;
            }
        }
    }
}

TEST_CASE("a BO that device memory cannot hold is refused, and so is a binding that page tables cannot describe") {
    SoftDeviceConfig config = device_config();
    config.memory_bytes = 16 * kMiB;
    Owned<SoftDevice> device = make_device(config);
    Owned<Vm> vm = make_vm(*device);
    const std::uint64_t used = device->memory().used();
    for (const BoMemory kind : kBoMemories) {
        for (const std::uint64_t bytes : {15 * kMiB, 16 * kMiB + 1, kMaxVaEnd}) {
            const Result<BoId, OsError> made = device->bos().create(bytes, kind, 0);
            REQUIRE_FALSE(made.has_value());
            CHECK(made.error().status == Status::kOutOfDeviceMemory);
            CHECK(device->memory().used() == used);
        }
        CHECK(device->bos().create(0, kind, 0).error().status == Status::kBadArgument);
    }
    const VmState before = state_of(*device, *vm);
    const Result<BindReport, BindError> done = vm->bind(sparse_request(range_at(kGiB, 64 * kGiB)));
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().status == Status::kOutOfTableMemory);
    CHECK(state_of(*device, *vm) == before);
}

// A device where everything that can be refused is.
struct NothingLeft {
    explicit NothingLeft(KernelBehaviour kernel, LeafSizes sizes) {
        SoftDeviceConfig config = device_config(kernel);
        config.nodes = memory.memory();
        config.leaf_sizes = sizes;
        config.bo_memory = BoMemory::kContiguous;
        config.injection = &failing;
        device = make_device(config);
        vm = make_vm(*device, 1024);
    }
    void begin() {
        memory.refuse_everything();
        failing.armed = true;
    }
    struct : Injection {
        int at(Site site) noexcept override {
            if (site == Site::kOperation) {
                return fails_at != 0 && --fails_at == 0 ? EIO : 0;
            }
            return armed ? ENOMEM : 0;
        }
        bool armed = false;
        int fails_at = 0;  // the operation that fails, counted from 1; 0: none
    } failing;
    TestMemory memory;
    Owned<SoftDevice> device;
    Owned<Vm> vm;
};

TEST_CASE(
    "P4: without any memory, thousands of holes in one mapping can be unmapped, and the rest, and all given back") {
    for (const KernelBehaviour kernel : kKernels) {
        for (const LeafSizes sizes : {kLeaves4K2M, kLeaves4K2M1G}) {
            CAPTURE(std::string(to_string(kernel)));
            NothingLeft space(kernel, sizes);
            const BoId bo = make_bo(*space.device, kGiB + 8 * kMiB);
            // An odd number of pages on each side of every cut: the most that can be left of a mapping.
            const VaRange va = range_at(kGiB - 0x1000, kGiB + 8 * kMiB);
            const VaRange blocks = range_at(4 * kGiB, kGiB + 8 * kMiB);
            REQUIRE(space.vm->bind(map_request(va, bo)).has_value());
            REQUIRE(space.vm->bind(map_request(blocks, bo)).has_value());
            REQUIRE(space.vm->statistics().blocks_1g == (sizes == kLeaves4K2M1G ? 1 : 0));
            REQUIRE(space.vm->reserve_va_at(va).has_value());
            space.begin();

            for (const VaRange& range : {va, blocks}) {
                // The densest there is, over two windows; then a hole in each further window, on odd pages.
                for (std::uint64_t at = 0x1000; at < 4 * kMiB; at += 0x2000) {
                    REQUIRE(space.vm->unmap({range.start + at, range.start + at + 0x1000}, UnmapPolicy::kSplit)
                                .has_value());
                }
                for (std::uint64_t at = 4 * kMiB + 0x3000; at + 0x2000 < range.size(); at += 2 * kMiB + 0x2000) {
                    REQUIRE(space.vm->unmap({range.start + at, range.start + at + 0x2000}, UnmapPolicy::kSplit)
                                .has_value());
                }
                REQUIRE(disagreement(*space.device, *space.vm) == "");
            }
            CHECK(space.vm->statistics().mappings > 2 * 1024);
            CHECK(SoftDevice::address_space(*space.vm).leaf_cuts() == 0);
            CHECK(space.vm->release_va(va).has_value());
            REQUIRE(space.vm->unmap(range_at(0, 8 * kGiB), UnmapPolicy::kReject).has_value());
            CHECK(space.vm->statistics().mapped_bytes == 0);
            CHECK(SoftDevice::address_space(*space.vm).table().table_count() == 1);
            space.device->bos().release(*space.device->bos().find(bo), 1);
            CHECK(space.device->bos().live() == 0);
            space.vm = {};
            space.device = {};
            CHECK(space.memory.blocks().empty());
            CHECK(space.memory.refusals() == 0);  // nobody even asked
        }
    }
}

TEST_CASE("P4: without any memory, an unmap that the kernel fails is undone, and a VM ends whatever is mapped") {
    for (const KernelBehaviour kernel : kKernels) {
        NothingLeft space(kernel, kLeaves4K2M1G);
        const BoId bo = make_bo(*space.device, kGiB);
        REQUIRE(space.vm->bind(map_request(range_at(kGiB, kGiB), bo)).has_value());
        REQUIRE(space.vm->bind(sparse_request(range_at(3 * kGiB - 0x1000, 8 * kMiB))).has_value());
        space.begin();
        const VmState before = state_of(*space.device, *space.vm);
        for (const VaRange& hole : {range_at(kGiB + 0x5000, 0x1000), range_at(3 * kGiB + 0x5000, 0x1000)}) {
            for (const int k : {1, 2, 3}) {
                space.failing.fails_at = k;
                const Result<BindReport, BindError> done = space.vm->unmap(hole, UnmapPolicy::kSplit);
                REQUIRE_FALSE(done.has_value());
                CHECK(done.error().undone);
                const bool unchanged = state_of(*space.device, *space.vm) == before;
                CHECK(unchanged);
            }
        }
        space.device->bos().release(*space.device->bos().find(bo), 1);
        space.vm = {};
        CHECK(space.device->bos().live() == 0);
        CHECK(space.memory.refusals() == 0);
    }
}

}  // namespace
TEST_CASE("P4: without any memory, a transaction of unmaps is carried out all the same") {
    for (const KernelBehaviour kernel : kKernels) {
        CAPTURE(std::string(to_string(kernel)));
        NothingLeft space(kernel, kLeaves4K2M);
        const BoId bo = make_bo(*space.device, 16 * kMiB);
        REQUIRE(space.vm->bind(map_request(range_at(kGiB, 16 * kMiB), bo)).has_value());
        Transaction transaction;
        REQUIRE(transaction.add(unmap_request(range_at(kGiB + 4 * kKiB, 4 * kKiB))) == Status::kOk);
        REQUIRE(transaction.add(unmap_request(range_at(kGiB + 12 * kKiB, 4 * kKiB))) == Status::kOk);
        REQUIRE(transaction.add(unmap_request(range_at(kGiB + 6 * kMiB, 4 * kMiB))) == Status::kOk);
        space.begin();
        const auto done = space.vm->commit(transaction);
        REQUIRE(done.has_value());
        CHECK(done->unmapped_bytes == 4 * kMiB + 8 * kKiB);
        CHECK(space.vm->statistics().mapped_bytes == 12 * kMiB - 8 * kKiB);
        CHECK(disagreement(*space.device, *space.vm) == "");
    }
}

TEST_CASE("without any memory, a transaction of unmaps that the kernel fails half way says that it is not undone") {
    NothingLeft space(KernelBehaviour::kRefuses, kLeaves4K2M);
    const BoId bo = make_bo(*space.device, 16 * kMiB);
    REQUIRE(space.vm->bind(map_request(range_at(kGiB, 16 * kMiB), bo)).has_value());
    Transaction transaction;
    REQUIRE(transaction.add(unmap_request(range_at(kGiB, 2 * kMiB))) == Status::kOk);
    REQUIRE(transaction.add(unmap_request(range_at(kGiB + 4 * kMiB, 2 * kMiB))) == Status::kOk);
    space.begin();
    space.failing.fails_at = 2;
    const auto done = space.vm->commit(transaction);
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().request == 1);
    CHECK_FALSE(done.error().undone);
    CHECK(space.vm->usable());
    CHECK(space.vm->statistics().mapped_bytes == 14 * kMiB);
    CHECK(disagreement(*space.device, *space.vm) == "");
}

}  // namespace granule::test
