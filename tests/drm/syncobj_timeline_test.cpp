#include "src/drm/syncobj_timeline.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "tests/support/failing_drm_calls.hpp"
#include "tests/support/fake_drm.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

struct Fixture {
    explicit Fixture(const FakeKernel& kernel = fake_panthor(KernelBehaviour::kSplits))
        : drm(kernel), calls(drm, kernel.driver) {
        int fd = -1;
        REQUIRE(drm.open(FakeDrm::kPath, fd) == 0);
        file.emplace(calls, fd);
    }

    [[nodiscard]] Owned<SyncobjTimeline> make_source() const {
        Result<Owned<SyncobjTimeline>, OsError> made = SyncobjTimeline::create(*file, NodeMemory::process());
        REQUIRE(made.has_value());
        return std::move(*made);
    }
    // A timeline, and the source in it.
    [[nodiscard]] std::pair<Owned<Timeline>, SyncobjTimeline*> make_timeline() {
        Owned<SyncobjTimeline> source = make_source();
        SyncobjTimeline* const at = source.get();
        Result<Owned<Timeline>, Status> timeline = table.create(std::move(source));
        REQUIRE(timeline.has_value());
        return {std::move(*timeline), at};
    }

    FakeDrm drm;
    FailingDrmCalls calls;
    std::optional<DrmFile> file;
    TimelineTable table{NodeMemory::process()};
};

TEST_CASE("a time from now becomes a time of the clock, and one that is too long the end of it") {
    const auto now = [] { return std::chrono::steady_clock::now().time_since_epoch().count(); };
    const std::int64_t before = now();
    const std::int64_t second = monotonic_deadline(std::chrono::seconds(1));
    CHECK(second >= before + 1'000'000'000);
    CHECK(second <= now() + 1'000'000'000);
    CHECK(monotonic_deadline(nanoseconds::max()) == INT64_MAX);
    CHECK(monotonic_deadline(nanoseconds::max() - nanoseconds(1)) == INT64_MAX);
    for (const nanoseconds past : {nanoseconds(0), nanoseconds(-1), nanoseconds::min()}) {
        const std::int64_t deadline = monotonic_deadline(past);
        CHECK(deadline > 0);
        CHECK(deadline <= now());
    }
}

TEST_CASE("a timeline of a kernel only goes up, and ends with its syncobj") {
    Fixture fixture;
    {
        const auto [timeline, source] = fixture.make_timeline();
        CHECK(fixture.drm.census().syncobjs == 1);
        CHECK(timeline->source() == source);
        CHECK(timeline->value() == 0);
        CHECK(timeline->wait(0, nanoseconds(0)));
        timeline->signal(5);
        timeline->signal(3);
        timeline->signal(5);
        CHECK(timeline->value() == 5);
        CHECK(fixture.drm.count(DrmCallKind::kSyncobjSignal) == 1);
        CHECK(timeline->wait(4, nanoseconds(0)));
        CHECK_FALSE(timeline->wait(6, milliseconds(1)));
        CHECK_FALSE(timeline->wait(6, nanoseconds(-1)));
        CHECK_FALSE(timeline->wait(6, nanoseconds::min()));
        CHECK(timeline->status() == Status::kOk);
        CHECK(fixture.table.signalled(timeline->at(5)));
        CHECK_FALSE(fixture.table.signalled(timeline->at(6)));
        timeline->signal(7, Status::kCancelled);
        CHECK(timeline->status() == Status::kCancelled);
    }
    CHECK(fixture.drm.census().syncobjs == 0);
}

TEST_CASE("what somebody else signals in the kernel is seen, and wakes who waits") {
    Fixture fixture;
    const auto [timeline, source] = fixture.make_timeline();
    REQUIRE(fixture.drm.syncobj_signal(fixture.file->fd(), source->syncobj(), 2) == 0);
    CHECK(timeline->value() == 2);
    std::thread kernel([&fixture, handle = source->syncobj()] {
        std::this_thread::sleep_for(milliseconds(5));
        CHECK(fixture.drm.syncobj_signal(fixture.file->fd(), handle, 9) == 0);
    });
    CHECK(timeline->wait(9, nanoseconds::max()));
    kernel.join();
}

TEST_CASE("P5 a signal here is no signal before the kernel says so") {
    Fixture fixture;
    const auto [timeline, source] = fixture.make_timeline();
    // Point 1 is promised by an array of binds that waits for a syncobj of its own.
    std::uint32_t gate = 0;
    REQUIRE(fixture.drm.syncobj_create(fixture.file->fd(), false, gate) == 0);
    drm_panthor_vm_create vm{};
    REQUIRE(fixture.drm.ioctl(fixture.file->fd(), panthor::kVmCreate, &vm) == 0);
    fixture.drm.hold_queues();
    const std::array syncs{drm_panthor_sync_op{panthor::kSyncTimeline | panthor::kSyncSignal, source->syncobj(), 1}};
    drm_panthor_vm_bind_op op{};
    op.flags = panthor::kOpSyncOnly;
    op.syncs = {sizeof(drm_panthor_sync_op), 1, reinterpret_cast<std::uintptr_t>(syncs.data())};
    drm_panthor_vm_bind bind{vm.id, panthor::kBindAsync, {sizeof(op), 1, reinterpret_cast<std::uintptr_t>(&op)}};
    REQUIRE(fixture.drm.ioctl(fixture.file->fd(), panthor::kVmBind, &bind) == 0);

    timeline->signal(2);
    CHECK(timeline->value() == 0);
    CHECK_FALSE(timeline->wait(1, nanoseconds(0)));
    CHECK_FALSE(fixture.table.signalled(timeline->at(2)));
    fixture.drm.release_queues();
    CHECK(timeline->wait(2, std::chrono::seconds(10)));
    CHECK(timeline->value() == 2);
}

TEST_CASE("a signal that the kernel will not take still lets nobody wait for ever") {
    Fixture fixture;
    const auto [timeline, source] = fixture.make_timeline();
    std::thread waiter([timeline = timeline.get()] { CHECK(timeline->wait(4, nanoseconds::max())); });
    std::this_thread::sleep_for(milliseconds(5));
    fixture.calls.fail_kind(DrmCallKind::kSyncobjSignal, 0, ENOMEM);
    timeline->signal(4);
    waiter.join();
    CHECK(timeline->value() == 4);
    CHECK(timeline->status() == Status::kOsFailed);
    CHECK(source->value() == 0);
}

TEST_CASE("a syncobj that is gone ends a wait at once, and keeps the value that it had") {
    Fixture fixture;
    const auto [timeline, source] = fixture.make_timeline();
    timeline->signal(3);
    CHECK(timeline->value() == 3);
    fixture.calls.fail_device();
    CHECK_FALSE(timeline->wait(4, nanoseconds::max()));
    CHECK(source->wait(4, nanoseconds::max()) == Status::kOsFailed);
    CHECK(timeline->wait(3, nanoseconds(0)));
    CHECK(timeline->value() == 3);
    CHECK(source->signal(4) == Status::kOsFailed);
    fixture.calls.stop();
    CHECK(timeline->value() == 3);
}

TEST_CASE("every call failing while one is made: told, and no syncobj is left") {
    for (const DrmCallKind kind : {DrmCallKind::kSyncobjCreate, DrmCallKind::kSyncobjQuery}) {
        for (const int error : possible_errors(kind)) {
            CAPTURE(to_string(kind));
            CAPTURE(error);
            const Fixture fixture;
            const_cast<FailingDrmCalls&>(fixture.calls).fail_kind(kind, 0, error);
            const auto made = SyncobjTimeline::create(*fixture.file, NodeMemory::process());
            REQUIRE_FALSE(made.has_value());
            CHECK(made.error().error == error);
            CHECK(made.error().status == (error == EOPNOTSUPP ? Status::kNotSupported : Status::kOsFailed));
            CHECK(fixture.drm.census().syncobjs == 0);
        }
    }
}

TEST_CASE("without memory there is no timeline, and no syncobj is left") {
    Fixture fixture;
    TestMemory memory;
    memory.refuse_everything();
    const auto made = SyncobjTimeline::create(*fixture.file, memory.memory());
    REQUIRE_FALSE(made.has_value());
    CHECK(made.error().status == Status::kOutOfHostMemory);
    CHECK(fixture.drm.census().syncobjs == 0);
}

TEST_CASE("panfrost has no timelines") {
    const Fixture fixture(fake_panfrost());
    const auto made = SyncobjTimeline::create(*fixture.file, NodeMemory::process());
    REQUIRE_FALSE(made.has_value());
    CHECK(made.error().status == Status::kNotSupported);
    CHECK(fixture.drm.census().syncobjs == 0);
}

}  // namespace
}  // namespace granule::test
