// Threads: the GPU reads while the VM changes, VMs change side by side, queues are fed from everywhere. Best under
// -fsanitize=thread.
#include <thread>

#include "src/bind_queue.hpp"
#include "tests/src/soft_fixture.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kWindow = kGiB;  // of one 2 MiB block that is split and made whole again
constexpr int kRounds = 60;

SoftDeviceConfig config_with(mali::MmuProtocol protocol, Injection* injection = nullptr) {
    SoftDeviceConfig config = device_config(KernelBehaviour::kRefuses);
    config.protocol = protocol;
    config.injection = injection;
    return config;
}

std::uint64_t word_of(std::uint64_t page) {
    return 0x6000'0000'0000 + page;
}

// A block of 512 pages that each begin with their number.
struct NumberedBlock {
    explicit NumberedBlock(SoftDevice& device) : bo(make_bo(device, 2 * kMiB)) {
        std::byte* const cpu = device.bos().map_cpu(*device.bos().find(bo)).value();
        for (std::uint64_t page = 0; page < 512; ++page) {
            const std::uint64_t word = word_of(page);
            std::memcpy(cpu + page * kPageBytes, &word, sizeof(word));
        }
    }
    BoId bo;
};

struct Seen {
    std::uint64_t reads = 0;
    std::uint64_t wrong = 0;
    std::uint64_t faults = 0;
};

// Reads the pages of `pages` in turn until told to stop.
class GpuThread {
public:
    GpuThread(SoftDevice& device, Vm& vm, Va start, std::vector<std::uint64_t> pages)
        : thread_([&device, &vm, start, pages = std::move(pages), this] {
              while (!stop_.load()) {
                  for (const std::uint64_t page : pages) {
                      const std::optional<std::uint64_t> value = gpu_read(device, vm, start + page * kPageBytes);
                      ++seen_.reads;
                      seen_.faults += value ? 0U : 1U;
                      seen_.wrong += value && *value != word_of(page) ? 1U : 0U;
                  }
                  laps_.fetch_add(1);
                  laps_.notify_all();
              }
          }) {}
    // Returns when every page was read at least once more.
    void lap() {
        const std::uint64_t now = laps_.load();
        while (laps_.load() < now + 2) {
            laps_.wait(laps_.load());
        }
    }
    Seen join() {
        stop_.store(true);
        thread_.join();
        return seen_;
    }

private:
    std::atomic<bool> stop_{false};
    std::atomic<std::uint64_t> laps_{0};
    Seen seen_;
    std::thread thread_;
};

TEST_CASE(
    "where a plan promises no exposure, a GPU that reads residuals sees the right bytes or a stall, never a fault") {
    Owned<SoftDevice> device = make_device(config_with(mali::MmuProtocol::kCsfAtomic));
    Owned<Vm> vm = make_vm(*device);
    const NumberedBlock block(*device);
    const BoId other = make_bo(*device, kMiB);
    REQUIRE(vm->bind(map_request(range_at(kWindow, 2 * kMiB), block.bo)).has_value());
    // Pages next to the hole that comes and goes, and at the far ends.
    GpuThread gpu(*device, *vm, Va{kWindow}, {0, 15, 18, 19, 255, 256, 511});
    for (int round = 0; round < kRounds; ++round) {
        const VaRange hole = range_at(kWindow + 16 * kPageBytes, 2 * kPageBytes);
        const Result<BindReport, BindError> done =
            round % 2 == 0 ? vm->unmap(hole, UnmapPolicy::kSplit) : vm->bind(map_request(hole, other));
        REQUIRE(done.has_value());
        REQUIRE(done->exposed_bytes == 0);
        REQUIRE(done->residual_bytes != 0);
        gpu.lap();
        // Whole again: under one lock too.
        REQUIRE(vm->bind(map_request(range_at(kWindow, 2 * kMiB), block.bo)).has_value());
        REQUIRE(vm->statistics().blocks_2m == 1);
    }
    const Seen seen = gpu.join();
    CHECK(seen.reads > 0);
    CHECK(seen.faults == 0);
    CHECK(seen.wrong == 0);
    CHECK(device->gpu().counters().stale == 0);
}

TEST_CASE("where a plan says that it exposes, faults stay inside the residuals, and no byte is ever wrong") {
    for (const mali::MmuProtocol protocol : {mali::MmuProtocol::kJobManager, mali::MmuProtocol::kCsfFlush}) {
        Owned<SoftDevice> device = make_device(config_with(protocol));
        Owned<Vm> vm = make_vm(*device);
        const NumberedBlock block(*device);
        REQUIRE(vm->bind(map_request(range_at(kWindow, 2 * kMiB), block.bo)).has_value());
        REQUIRE(vm->bind(map_request(range_at(kWindow + 2 * kMiB, 2 * kMiB), block.bo)).has_value());
        REQUIRE(vm->bind(map_request(range_at(kWindow - 2 * kMiB, 2 * kMiB), block.bo)).has_value());
        GpuThread below(*device, *vm, Va{kWindow - 2 * kMiB}, {0, 511});
        GpuThread above(*device, *vm, Va{kWindow + 2 * kMiB}, {0, 511});
        GpuThread inside(*device, *vm, Va{kWindow}, {0, 15, 18, 511});
        for (int round = 0; round < kRounds / 4; ++round) {
            const Result<BindReport, BindError> done =
                vm->unmap(range_at(kWindow + 16 * kPageBytes, 2 * kPageBytes), UnmapPolicy::kSplit);
            REQUIRE(done.has_value());
            REQUIRE(done->exposed_bytes == 2 * kMiB - 2 * kPageBytes);
            inside.lap();
            REQUIRE(vm->bind(map_request(range_at(kWindow, 2 * kMiB), block.bo)).has_value());
        }
        for (GpuThread* const neighbour : {&below, &above}) {
            const Seen seen = neighbour->join();
            CHECK(seen.faults == 0);
            CHECK(seen.wrong == 0);
        }
        CHECK(inside.join().wrong == 0);
    }
}

TEST_CASE("an exposure that is said is really there: the GPU faults if it looks at just that moment") {
    // Looks while the residuals are away: between the unmap of the granule and the first map.
    struct Look : Injection {
        int at(Site site) noexcept override {
            if (site == Site::kOperation && armed && ++seen == 2) {
                faulted = !translates(*device, *vm, Va{kWindow});
            }
            return 0;
        }
        SoftDevice* device = nullptr;
        Vm* vm = nullptr;
        bool armed = false;
        int seen = 0;
        bool faulted = false;
    } look;
    Owned<SoftDevice> device = make_device(config_with(mali::MmuProtocol::kJobManager, &look));
    Owned<Vm> vm = make_vm(*device);
    look.device = device.get();
    look.vm = vm.get();
    const NumberedBlock block(*device);
    REQUIRE(vm->bind(map_request(range_at(kWindow, 2 * kMiB), block.bo)).has_value());
    REQUIRE(translates(*device, *vm, Va{kWindow}));
    look.armed = true;
    REQUIRE(vm->unmap(range_at(kWindow + 0x10000, 0x1000), UnmapPolicy::kSplit).has_value());
    CHECK(look.faulted);
    CHECK(translates(*device, *vm, Va{kWindow}));
}

TEST_CASE("two VMs are bound from two threads while the GPU reads both") {
    Owned<SoftDevice> device = make_device(config_with(mali::MmuProtocol::kCsfAtomic));
    std::array vms{make_vm(*device), make_vm(*device)};
    const NumberedBlock block(*device);
    for (Owned<Vm>& vm : vms) {
        REQUIRE(vm->bind(map_request(range_at(kWindow, 2 * kMiB), block.bo)).has_value());
    }
    GpuThread first(*device, *vms[0], Va{kWindow}, {0, 20, 511});
    GpuThread second(*device, *vms[1], Va{kWindow}, {1, 21, 510});
    std::atomic<int> failed{0};
    const auto work = [&](Vm& vm) {
        for (int round = 0; round < 4 * kRounds; ++round) {
            const std::uint64_t at = kWindow + 0x5000 + static_cast<std::uint64_t>(round % 7) * 0x1000;
            const bool done = vm.unmap(range_at(at, 0x1000), UnmapPolicy::kSplit).has_value() &&
                              vm.bind(map_request(range_at(kWindow, 2 * kMiB), block.bo)).has_value();
            failed += done ? 0 : 1;
        }
    };
    std::thread one([&] { work(*vms[0]); });
    std::thread two([&] { work(*vms[1]); });
    one.join();
    two.join();
    for (const Seen& seen : {first.join(), second.join()}) {
        CHECK(seen.faults == 0);
        CHECK(seen.wrong == 0);
    }
    CHECK(failed == 0);
    CHECK(device->gpu().counters().stale == 0);
    CHECK(disagreement(*device, *vms[0]) == "");
    CHECK(disagreement(*device, *vms[1]) == "");
}

TEST_CASE("many threads on one VM: each finds its own part as it left it") {
    Owned<SoftDevice> device = make_device(config_with(mali::MmuProtocol::kCsfAtomic));
    Owned<Vm> vm = make_vm(*device);
    constexpr std::uint64_t kThreads = 4;
    std::atomic<int> failed{0};
    std::vector<std::thread> threads;
    for (std::uint64_t id = 0; id < kThreads; ++id) {
        threads.emplace_back([&, id] {
            const Va mine{kWindow + id * 4 * kMiB};
            for (std::uint64_t round = 0; round < kRounds; ++round) {
                const Result<BoId, OsError> bo = device->create_bo(2 * kMiB);
                bool good = bo && vm->bind(map_request(range_at(mine.raw(), 2 * kMiB), *bo)).has_value();
                device->bos().release(*device->bos().find(*bo), 1);
                good = good && gpu_read(*device, *vm, mine) == 0;  // zeros, whoever had the memory before
                good = good && gpu_write(*device, *vm, mine, word_of(round * kThreads + id));
                good = good && vm->unmap(range_at(mine.raw() + 0x3000, 0x2000), UnmapPolicy::kSplit).has_value();
                good = good && gpu_read(*device, *vm, mine) == word_of(round * kThreads + id);
                good = good && vm->address(mine).mapping->shows.bo == *bo;
                const Result<VaRange, VaError> va = vm->reserve_va({0x2000});
                good = good && va && vm->release_va(*va).has_value();
                good = good && vm->unmap(range_at(mine.raw(), 2 * kMiB), UnmapPolicy::kReject).has_value();
                failed += good ? 0 : 1;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(failed == 0);
    CHECK(device->bos().live() == 0);
    CHECK(vm->statistics().mappings == 0);
    CHECK(device->gpu().counters().stale == 0);
}

TEST_CASE("queues of two VMs that wait for each other's timelines, fed from several threads, do all in order") {
    Owned<SoftDevice> device = make_device(config_with(mali::MmuProtocol::kCsfAtomic));
    const BoId bo = make_bo(*device, 2 * kMiB);
    std::array vms{make_vm(*device), make_vm(*device)};
    std::array timelines{std::move(*device->timelines().create()), std::move(*device->timelines().create())};
    std::array queues{std::move(*BindQueue::create(*vms[0], NodeMemory::process())),
                      std::move(*BindQueue::create(*vms[1], NodeMemory::process()))};
    constexpr std::uint64_t kLinks = 50;
    std::atomic<int> failed{0};
    std::vector<std::thread> threads;
    // Queue 0 signals n when queue 1 has done n - 1, and queue 1 signals n when queue 0 has.
    for (const std::size_t mine : {std::size_t{0}, std::size_t{1}}) {
        threads.emplace_back([&, mine] {
            for (std::uint64_t link = 1; link <= kLinks; ++link) {
                Transaction transaction;
                const VaRange page = range_at(kWindow + link * 0x2000, 0x1000);
                failed += transaction.add(map_request(page, bo)) == Status::kOk ? 0 : 1;
                const TimelinePoint wait{timelines[1 - mine].get(), mine == 0 ? link - 1 : link};
                const TimelinePoint signal{timelines[mine].get(), link};
                failed += queues[mine]->submit(transaction, {&wait, 1}, {&signal, 1}) == Status::kOk ? 0 : 1;
            }
        });
    }
    // And what waits for nothing, from elsewhere.
    threads.emplace_back([&] {
        for (std::uint64_t i = 0; i < kLinks; ++i) {
            Transaction transaction;
            failed += transaction.add(unmap_request(range_at(8 * kGiB, 0x1000))) == Status::kOk ? 0 : 1;
            failed += queues[i % 2]->submit(transaction, {}, {}) == Status::kOk ? 0 : 1;
        }
    });
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (Owned<BindQueue>& queue : queues) {
        queue->drain();
    }
    CHECK(failed == 0);
    for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
        CHECK(timelines[i]->value() == kLinks);
        CHECK(timelines[i]->status() == Status::kOk);
        CHECK(vms[i]->statistics().mappings == kLinks);
        queues[i] = {};
    }
}

TEST_CASE("a BO that is retained by its id is that BO, or none, while its last reference is given back elsewhere") {
    const Owned<SoftDevice> device = make_device(config_with(mali::MmuProtocol::kCsfAtomic));
    BoTable& bos = device->bos();
    std::atomic<BoId> newest{kNoBo};
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> got{0};
    std::atomic<std::uint64_t> wrong{0};
    std::vector<std::thread> threads;
    threads.reserve(2);
    for (int i = 0; i < 2; ++i) {
        threads.emplace_back([&] {
            while (!stop.load()) {
                const BoId id = newest.load();
                Bo* const bo = bos.retain_if_live(id, 3);
                if (bo == nullptr) {
                    continue;
                }
                wrong += bo->id == id && bo->size == kPageBytes && bos.find(id) == bo ? 0U : 1U;
                ++got;
                bos.release(*bo, 3);
            }
        });
    }
    // All in a slot or two: the id is all that tells them apart.
    for (std::uint64_t made = 0; made < 2000 || got.load() < 100; ++made) {
        const Result<BoId, OsError> id = bos.create(1, BoMemory::kContiguous, 0);
        if (!id) {
            ++wrong;
            break;
        }
        Bo* const bo = bos.find(*id);
        newest.store(*id);
        bos.release(*bo, 1);
    }
    stop.store(true);
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(wrong == 0);
    CHECK(bos.live() == 0);
    CHECK(bos.live_bytes() == 0);
    CHECK(device->memory().used() == 0);
}

}  // namespace
TEST_CASE("a bind that races with the last release of its BO either holds the BO or does not find it") {
    const Owned<SoftDevice> device = make_device(device_config());
    const Owned<Vm> vm = make_vm(*device);
    std::atomic<std::uint32_t> published{0};
    std::atomic<bool> stop{false};
    std::thread owner([&] {
        for (int round = 0; round < 2000; ++round) {
            const BoId bo = device->create_bo(64 * kKiB).value();
            Bo& object = *device->bos().find(bo);
            published.store(static_cast<std::uint32_t>(bo));
            device->bos().release(object, 1);
        }
        stop.store(true);
    });
    std::uint64_t bound = 0;
    std::uint64_t unknown = 0;
    std::uint64_t other = 0;
    while (!stop.load()) {
        const auto done = vm->bind(map_request(range_at(kGiB, 64 * kKiB), BoId{published.load()}));
        bound += done ? 1U : 0U;
        unknown += !done && done.error().status == Status::kUnknownBo ? 1U : 0U;
        other += !done && done.error().status != Status::kUnknownBo ? 1U : 0U;
    }
    owner.join();
    CHECK(other == 0);
    CHECK(bound + unknown > 0);
    REQUIRE(vm->unmap(range_at(kGiB, 64 * kKiB), UnmapPolicy::kReject).has_value());
    CHECK(device->bos().live() == 0);
    CHECK(disagreement(*device, *vm) == "");
}

}  // namespace granule::test
