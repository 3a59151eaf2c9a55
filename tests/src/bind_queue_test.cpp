// The bind queue: later, in order, after its fences; and what becomes of what fails or is never done.
#include "src/bind_queue.hpp"

#include <thread>

#include "tests/src/soft_fixture.hpp"

namespace granule::test {
namespace {

constexpr std::chrono::seconds kLong{60};

struct QueueFixture {
    Owned<SoftDevice> device = make_device(device_config());
    Owned<Vm> vm = make_vm(*device);
    BoId bo = make_bo(*device, 2 * kMiB);
    Owned<Timeline> gate = std::move(*device->timelines().create());
    Owned<Timeline> done = std::move(*device->timelines().create());
    Owned<BindQueue> queue = std::move(*BindQueue::create(*vm, NodeMemory::process()));

    Status submit(const BindRequest& request, std::uint64_t wait, std::uint64_t signal,
                  BindQueue::Callback callback = nullptr, void* context = nullptr) {
        Transaction transaction;
        REQUIRE(transaction.add(request) == Status::kOk);
        const TimelinePoint waits{gate.get(), wait};
        const TimelinePoint signals{done.get(), signal};
        return queue->submit(transaction, {&waits, 1}, {&signals, 1}, callback, context);
    }
};

TEST_CASE_FIXTURE(QueueFixture, "a bind happens after the fences that it waits for, and before those that it signals") {
    REQUIRE(submit(map_request(range_at(kGiB, 2 * kMiB), bo), 1, 1) == Status::kOk);
    REQUIRE(submit(unmap_request(range_at(kGiB, 0x1000)), 2, 2) == Status::kOk);
    CHECK_FALSE(done->wait(1, std::chrono::milliseconds(30)));
    CHECK(vm->statistics().mappings == 0);
    gate->signal(1);
    REQUIRE(done->wait(1, kLong));
    CHECK(vm->statistics().mapped_bytes == 2 * kMiB);
    CHECK(done->value() == 1);
    gate->signal(2);
    REQUIRE(done->wait(2, kLong));
    CHECK(vm->statistics().mapped_bytes == 2 * kMiB - 0x1000);
}

TEST_CASE_FIXTURE(QueueFixture,
                  "a transaction that fails says so to its callback and its fences, and spoils nothing behind it") {
    QueuedBind seen{BindReport{}, 0};
    const auto keep = [](void* context, const QueuedBind& result) { *static_cast<QueuedBind*>(context) = result; };
    REQUIRE(submit(map_request(range_at(kGiB, 3 * kMiB), bo), 0, 1, keep, &seen) == Status::kOk);  // the BO is smaller
    REQUIRE(submit(map_request(range_at(kGiB, 2 * kMiB), bo), 0, 2) == Status::kOk);
    REQUIRE(done->wait(2, kLong));
    REQUIRE_FALSE(seen.result.has_value());
    CHECK(seen.result.error().status == Status::kOutOfRange);
    CHECK(done->status() == Status::kOutOfRange);
    CHECK(vm->statistics().mapped_bytes == 2 * kMiB);
}

TEST_CASE_FIXTURE(QueueFixture, "what is queued holds its BOs, and lets go of them before it signals") {
    REQUIRE(submit(map_request(range_at(kGiB, 2 * kMiB), bo), 1, 1) == Status::kOk);
    device->bos().release(*device->bos().find(bo), 1);
    REQUIRE(device->bos().find(bo) != nullptr);
    CHECK(device->bos().find(bo)->references() == 1);
    gate->signal(1);
    REQUIRE(done->wait(1, kLong));
    CHECK(done->status() == Status::kOk);
    CHECK(device->bos().find(bo)->references() == 512);
    REQUIRE(vm->unmap(range_at(kGiB, 2 * kMiB), UnmapPolicy::kReject).has_value());
    CHECK(device->bos().find(bo) == nullptr);
}

TEST_CASE_FIXTURE(QueueFixture, "a BO that is not there is refused at once, and nothing is queued or held") {
    Transaction transaction;
    REQUIRE(transaction.add(map_request(range_at(kGiB, 0x1000), bo)) == Status::kOk);
    REQUIRE(transaction.add(map_request(range_at(2 * kGiB, 0x1000), BoId{1234})) == Status::kOk);
    const TimelinePoint signals{done.get(), 1};
    CHECK(queue->submit(transaction, {}, {&signals, 1}) == Status::kUnknownBo);
    queue->drain();
    CHECK(done->value() == 0);
    CHECK(device->bos().find(bo)->references() == 1);
}

TEST_CASE_FIXTURE(
    QueueFixture,
    "closing cancels what waits: callbacks and fences say so, BOs are let go, later submits are refused") {
    std::atomic<int> cancelled{0};
    const auto count = [](void* context, const QueuedBind& result) {
        if (!result.result && result.result.error().status == Status::kCancelled) {
            ++*static_cast<std::atomic<int>*>(context);
        }
    };
    for (std::uint64_t i = 1; i <= 5; ++i) {
        REQUIRE(submit(map_request(range_at(kGiB, 2 * kMiB), bo), 100, i, count, &cancelled) == Status::kOk);
    }
    queue->close();
    CHECK(cancelled == 5);
    CHECK(done->value() == 5);
    CHECK(done->status() == Status::kCancelled);
    CHECK(vm->statistics().mappings == 0);
    CHECK(device->bos().find(bo)->references() == 1);
    CHECK(submit(unmap_request(range_at(kGiB, 0x1000)), 0, 6) == Status::kCancelled);
    CHECK(done->value() == 5);
    queue->drain();
    queue->close();
}

TEST_CASE_FIXTURE(QueueFixture, "draining waits for all that was submitted; a synchronous bind does not") {
    REQUIRE(submit(map_request(range_at(kGiB, 2 * kMiB), bo), 1, 1) == Status::kOk);
    REQUIRE(vm->bind(map_request(range_at(4 * kGiB, 2 * kMiB), bo)).has_value());
    std::thread later([&] { gate->signal(1); });
    queue->drain();
    CHECK(vm->statistics().mapped_bytes == 4 * kMiB);
    CHECK(done->value() == 1);
    later.join();
}

TEST_CASE_FIXTURE(QueueFixture, "who has waited for the fence may destroy the timeline at once") {
    for (std::uint64_t i = 0; i < 200; ++i) {
        Owned<Timeline> fence = std::move(*device->timelines().create());
        Transaction transaction;
        REQUIRE(transaction.add(unmap_request(range_at(kGiB, 0x1000))) == Status::kOk);
        const TimelinePoint signal{fence.get(), 1};
        REQUIRE(queue->submit(transaction, {}, {&signal, 1}) == Status::kOk);
        REQUIRE(fence->wait(1, kLong));
    }
}

}  // namespace
}  // namespace granule::test
