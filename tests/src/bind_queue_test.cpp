// The bind queue: later, in order, after its fences; and what becomes of what fails or is never done.
#include "src/bind_queue.hpp"

#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "tests/src/soft_fixture.hpp"
#include "tests/support/test_memory.hpp"

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

    // Queued are a map of 2 MiB behind 1 and an unmap of a page of it behind 2: each happens at its number, not before.
    void check_map_then_unmap() {
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
};

TEST_CASE_FIXTURE(QueueFixture, "a bind happens after the fences that it waits for, and before those that it signals") {
    REQUIRE(submit(map_request(range_at(kGiB, 2 * kMiB), bo), 1, 1) == Status::kOk);
    REQUIRE(submit(unmap_request(range_at(kGiB, 0x1000)), 2, 2) == Status::kOk);
    check_map_then_unmap();
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

TEST_CASE_FIXTURE(QueueFixture, "groups happen in order, each between its own fences, also one of nothing but fences") {
    const BindRequest first = map_request(range_at(kGiB, 2 * kMiB), bo);
    const BindRequest third = unmap_request(range_at(kGiB, 0x1000));
    const Owned<Timeline> own = std::move(*device->timelines().create());
    const std::array waits{TimelinePoint{gate.get(), 1}, TimelinePoint{own.get(), 1}, TimelinePoint{gate.get(), 2}};
    const std::array signals{TimelinePoint{own.get(), 1}, TimelinePoint{done.get(), 1}, TimelinePoint{done.get(), 2}};
    const std::array groups{QueuedGroup{{&first, 1}, {&waits[0], 1}, {&signals[0], 1}},
                            QueuedGroup{{}, {&waits[1], 1}, {&signals[1], 1}},
                            QueuedGroup{{&third, 1}, {&waits[2], 1}, {&signals[2], 1}}};
    std::atomic<int> called{0};
    const auto count = [](void* context, const QueuedBind& result) {
        *static_cast<std::atomic<int>*>(context) += result.result.has_value() ? 1 : 100;
    };
    REQUIRE(queue->submit(groups, count, &called).has_value());
    check_map_then_unmap();
    CHECK(called == 3);
    REQUIRE(queue->submit(std::span<const QueuedGroup>{}).has_value());
    queue->drain();
}

TEST_CASE_FIXTURE(QueueFixture, "P3: a group that fails has changed nothing, and spoils none before or behind it") {
    const BindRequest good = map_request(range_at(kGiB, 2 * kMiB), bo);
    const std::array bad{map_request(range_at(2 * kGiB, kMiB), bo), map_request(range_at(3 * kGiB, 3 * kMiB), bo)};
    const BindRequest behind = map_request(range_at(4 * kGiB, 2 * kMiB), bo);
    const std::array<Owned<Timeline>, 3> fences{std::move(*device->timelines().create()),
                                                std::move(*device->timelines().create()),
                                                std::move(*device->timelines().create())};
    const std::array signals{TimelinePoint{fences[0].get(), 1}, TimelinePoint{fences[1].get(), 1},
                             TimelinePoint{fences[2].get(), 1}};
    const std::array groups{QueuedGroup{{&good, 1}, {}, {&signals[0], 1}}, QueuedGroup{bad, {}, {&signals[1], 1}},
                            QueuedGroup{{&behind, 1}, {}, {&signals[2], 1}}};
    std::vector<QueuedBind> seen;
    const auto keep = [](void* context, const QueuedBind& result) {
        static_cast<std::vector<QueuedBind>*>(context)->push_back(result);
    };
    REQUIRE(queue->submit(groups, keep, &seen).has_value());
    queue->drain();
    CHECK(fences[0]->status() == Status::kOk);
    CHECK(fences[1]->status() == Status::kOutOfRange);
    CHECK(fences[1]->value() == 1);
    CHECK(fences[2]->status() == Status::kOk);
    REQUIRE(seen.size() == 3);
    REQUIRE_FALSE(seen[1].result.has_value());
    CHECK(seen[1].result.error().request == 1);
    CHECK(vm->statistics().mapped_bytes == 4 * kMiB);
    CHECK_FALSE(vm->address(Va{2 * kGiB}).mapping.has_value());
}

TEST_CASE_FIXTURE(QueueFixture, "P3: groups one of which names no BO are not queued, and the error says where") {
    const BindRequest good = map_request(range_at(kGiB, 2 * kMiB), bo);
    const std::array bad{unmap_request(range_at(2 * kGiB, kMiB)), map_request(range_at(3 * kGiB, kMiB), BoId{1234})};
    const TimelinePoint signal{done.get(), 1};
    const std::array groups{QueuedGroup{{&good, 1}, {}, {&signal, 1}}, QueuedGroup{bad, {}, {}}};
    const auto queued = queue->submit(groups);
    REQUIRE_FALSE(queued.has_value());
    CHECK(queued.error().status == Status::kUnknownBo);
    CHECK(queued.error().group == 1);
    CHECK(queued.error().request == 1);
    queue->drain();
    CHECK(done->value() == 0);
    CHECK(vm->statistics().mappings == 0);
    CHECK(device->bos().find(bo)->references() == 1);
    queue->close();
    const auto refused = queue->submit({groups.data(), 1});
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().status == Status::kCancelled);
    CHECK(refused.error().group == BindError::kAll);
    CHECK(device->bos().find(bo)->references() == 1);
}

TEST_CASE_FIXTURE(QueueFixture, "P3: whichever allocation of groups fails, it says so, and queued and holds nothing") {
    const std::array requests{map_request(range_at(kGiB, kMiB), bo), unmap_request(range_at(2 * kGiB, kMiB))};
    const TimelinePoint wait{gate.get(), 1};
    const TimelinePoint signal{done.get(), 1};
    const std::array groups{QueuedGroup{requests, {&wait, 1}, {}}, QueuedGroup{requests, {}, {&signal, 1}}};
    TestMemory memory;
    const Owned<BindQueue> short_queue = std::move(*BindQueue::create(*vm, memory.memory()));
    for (std::uint64_t k = 0;; ++k) {
        CAPTURE(k);
        REQUIRE(k < 100);
        memory.refuse_after(k);
        const auto queued = short_queue->submit(groups);
        if (queued) {
            CHECK(k >= 6);  // an item, its requests and its fences, twice
            break;
        }
        CHECK(queued.error().status == Status::kOutOfHostMemory);
        CHECK(queued.error().group == (k < 3 ? 0 : 1));
        CHECK(device->bos().find(bo)->references() == 1);
    }
    memory.refuse_nothing();
    gate->signal(1);
    REQUIRE(done->wait(1, kLong));
    short_queue->drain();
}

// A timeline of a kernel that has forgotten it.
class BrokenSource final : public TimelineSource {
public:
    explicit BrokenSource(std::atomic<std::uint64_t>& waits) : waits_(waits) {}
    [[nodiscard]] std::uint64_t value() const noexcept override { return 0; }
    [[nodiscard]] Status signal(std::uint64_t /*value*/) noexcept override { return Status::kOsFailed; }
    [[nodiscard]] Status wait(std::uint64_t /*value*/, std::chrono::nanoseconds /*timeout*/) const noexcept override {
        ++waits_;
        return Status::kOsFailed;
    }

private:
    std::atomic<std::uint64_t>& waits_;
};

TEST_CASE_FIXTURE(QueueFixture,
                  "a fence that cannot be waited for fails what waits for it, at once, and nothing behind it") {
    std::atomic<std::uint64_t> waits{0};
    const Owned<Timeline> broken =
        std::move(*device->timelines().create(make_owned<BrokenSource>(NodeMemory::process(), waits)));
    const BindRequest bind = map_request(range_at(kGiB, 2 * kMiB), bo);
    const TimelinePoint wait{broken.get(), 1};
    const std::array signals{TimelinePoint{done.get(), 1}, TimelinePoint{gate.get(), 1}};
    const std::array groups{QueuedGroup{{&bind, 1}, {&wait, 1}, {&signals[0], 1}},
                            QueuedGroup{{}, {}, {&signals[1], 1}}};
    std::vector<QueuedBind> seen;
    const auto keep = [](void* context, const QueuedBind& result) {
        static_cast<std::vector<QueuedBind>*>(context)->push_back(result);
    };
    REQUIRE(queue->submit(groups, keep, &seen).has_value());
    CHECK(gate->wait(1, kLong));
    queue->close();
    CHECK(waits == 1);
    CHECK(done->status() == Status::kOsFailed);
    CHECK(gate->status() == Status::kOk);
    REQUIRE(seen.size() == 2);
    REQUIRE_FALSE(seen[0].result.has_value());
    CHECK(seen[0].result.error().status == Status::kOsFailed);
    CHECK(seen[0].result.error().request == BindError::kAll);  // none of its requests is to blame
    CHECK(vm->statistics().mappings == 0);
    CHECK(device->bos().find(bo)->references() == 1);
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
