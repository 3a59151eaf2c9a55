#include "src/timeline.hpp"

#include <atomic>
#include <thread>
#include <vector>

#include "tests/src/soft_fixture.hpp"

namespace granule::test {
namespace {

TEST_CASE("a timeline only goes up, and keeps the first failure that a signal carried") {
    TimelineTable table(NodeMemory::process());
    const Owned<Timeline> timeline = std::move(*table.create());
    CHECK(timeline->value() == 0);
    CHECK(timeline->wait(0, std::chrono::nanoseconds(0)));
    timeline->signal(5);
    timeline->signal(3);
    CHECK(timeline->value() == 5);
    CHECK(timeline->status() == Status::kOk);
    timeline->signal(6, Status::kCancelled);
    timeline->signal(7, Status::kBackendFailed);
    timeline->signal(8);
    CHECK(timeline->value() == 8);
    CHECK(timeline->status() == Status::kCancelled);
    CHECK(table.signalled(timeline->at(8)));
    CHECK_FALSE(table.signalled(timeline->at(9)));
}

TEST_CASE("a wait ends when the point is reached, or with its time, whatever that is") {
    TimelineTable table(NodeMemory::process());
    const Owned<Timeline> timeline = std::move(*table.create());
    CHECK_FALSE(timeline->wait(1, std::chrono::milliseconds(1)));
    CHECK_FALSE(timeline->wait(1, std::chrono::nanoseconds(-1)));
    CHECK_FALSE(timeline->wait(1, std::chrono::nanoseconds::min()));
    std::thread signaller([&] {
        timeline->signal(1);
        timeline->signal(2);
    });
    CHECK(timeline->wait(2, std::chrono::nanoseconds::max()));
    signaller.join();
}

TEST_CASE("a number names one timeline, ever; one that is gone counts as signalled") {
    TimelineTable table(NodeMemory::process());
    std::vector<Owned<Timeline>> timelines;
    for (std::uint64_t i = 0; i < 40; ++i) {
        timelines.push_back(std::move(*table.create()));
        timelines.back()->signal(i);
    }
    const FencePoint gone = timelines[7]->at(1000);
    const FencePoint there = timelines[8]->at(1000);
    CHECK_FALSE(table.signalled(gone));
    timelines.erase(timelines.begin() + 7);
    CHECK(table.signalled(gone));
    CHECK_FALSE(table.signalled(there));
    const Owned<Timeline> later = std::move(*table.create());
    CHECK(later->id() != gone.timeline);
    CHECK(table.signalled(gone));
    for (const Owned<Timeline>& timeline : timelines) {
        CHECK(table.value(timeline->id()) == timeline->value());
    }
}

TEST_CASE("a timeline can be waited for by its number, as long as it is there, and is signalled once it is not") {
    TimelineTable table(NodeMemory::process());
    Owned<Timeline> timeline = std::move(*table.create());
    const FencePoint point = timeline->at(3);
    CHECK_FALSE(table.wait(point, std::chrono::nanoseconds(0)));
    std::thread signaller([&] { timeline->signal(3); });
    CHECK(table.wait(point, std::chrono::nanoseconds::max()));
    signaller.join();
    timeline = {};
    CHECK(table.wait(point, std::chrono::nanoseconds(0)));
    CHECK(table.wait({point.timeline, 1000}, std::chrono::nanoseconds(0)));
}

TEST_CASE("a timeline that ends while others wait for it by its number lets them all go first") {
    for (int round = 0; round < 20; ++round) {
        TimelineTable table(NodeMemory::process());
        Owned<Timeline> timeline = std::move(*table.create());
        const FencePoint point = timeline->at(1);
        std::atomic<int> begun{0};
        std::atomic<int> ended{0};
        std::vector<std::thread> waiters;
        waiters.reserve(3);
        for (int i = 0; i < 3; ++i) {
            waiters.emplace_back([&] {
                ++begun;
                ended += table.wait(point, std::chrono::nanoseconds::max()) ? 1 : 0;
            });
        }
        while (begun != 3) {
            std::this_thread::yield();
        }
        timeline = {};
        for (std::thread& waiter : waiters) {
            waiter.join();
        }
        CHECK(ended == 3);
    }
}

}  // namespace
}  // namespace granule::test
