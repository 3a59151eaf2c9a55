// Groups that are submitted together: queued in order between fences of their own, all of them or none (P3, P4), and the
// error says which request of which group it was.
#include <algorithm>

#include "tests/src/scripted_fixture.hpp"

namespace granule::test {
namespace {

constexpr std::array kFirstWaits = {SyncobjPoint{7, 3}, SyncobjPoint{8, 0}};
constexpr std::array kFirstSignals = {SyncobjPoint{9, 5}};
constexpr std::array kSecondWaits = {SyncobjPoint{9, 5}};
constexpr std::array kSecondSignals = {SyncobjPoint{10, 1}, SyncobjPoint{11, 2}};
constexpr std::array kThirdSignals = {SyncobjPoint{12, 0}};

bool same(const std::vector<SyncobjPoint>& queued, std::span<const SyncobjPoint> given) {
    return std::equal(queued.begin(), queued.end(), given.begin(), given.end());
}

// Three groups: the second of nothing but fences, the third cuts what the first maps.
struct ThreeGroups {
    explicit ThreeGroups(const ScriptedSpace& space)
        : first{map_request(range_at(2 * kGiB, 4 * kMiB), space.bo[0]),
                unmap_request(range_at(kPlanned + 0x5000, 0x3000))},
          third{unmap_request(range_at(2 * kGiB + kMiB, 2 * kMiB)),
                map_request(range_at(kWindows, 4 * kMiB), space.bo[1]),
                unmap_request(range_at(kByKernel + 0x5000, 0x3000))} {}

    [[nodiscard]] std::array<BindGroup, 3> groups() const {
        return {BindGroup{first, kFirstWaits, kFirstSignals}, BindGroup{{}, kSecondWaits, kSecondSignals},
                BindGroup{third, {}, kThirdSignals}};
    }

    std::vector<BindRequest> first;
    std::vector<BindRequest> third;
};

TEST_CASE("groups are queued in order, each between its fences, and are one bind") {
    for (const KernelBehaviour behaviour :
         {KernelBehaviour::kSplits, KernelBehaviour::kRefuses, KernelBehaviour::kOopses, KernelBehaviour::kRealigns}) {
        CAPTURE(std::string(to_string(behaviour)));
        ScriptedSpace space(behaviour);
        set_up(space);
        const ThreeGroups three(space);
        const std::uint64_t binds = space.vm->statistics().binds;
        const auto done = space.vm->submit(three.groups());
        REQUIRE(done.has_value());
        const std::vector<ScriptedKernel::Submission>& queue = space.kernel.queue();
        REQUIRE(queue.size() == 3);
        CHECK(queue[0].plans.size() == 2);
        CHECK((same(queue[0].waits, kFirstWaits) && same(queue[0].signals, kFirstSignals)));
        CHECK(queue[1].plans.empty());
        CHECK((same(queue[1].waits, kSecondWaits) && same(queue[1].signals, kSecondSignals)));
        CHECK(queue[2].plans.size() == 3);
        CHECK((same(queue[2].waits, {}) && same(queue[2].signals, kThirdSignals)));
        CHECK(space.vm->statistics().binds == binds + 1);
        CHECK(space.vm->address(Va{2 * kGiB}).mapping->shows.serial == done->serial);
        CHECK(space.vm->address(Va{kWindows}).mapping->shows.serial == done->serial);
        CHECK_FALSE(space.vm->address(Va{2 * kGiB + kMiB}).mapping.has_value());
        space.kernel.run_queue();
        CHECK(space.disagreement() == "");
    }
}

TEST_CASE("no groups are nothing, and groups of nothing but fences are queued") {
    ScriptedSpace space(KernelBehaviour::kRefuses);
    REQUIRE(space.vm->submit(std::span<const BindGroup>{}).has_value());
    CHECK(space.kernel.queue().empty());
    const std::array fences{BindGroup{{}, kFirstWaits, {}}, BindGroup{{}, {}, kFirstSignals}};
    REQUIRE(space.vm->submit(fences).has_value());
    CHECK(space.kernel.queue().size() == 2);
}

TEST_CASE("P3: a request that is wrong is named with its group, and no group was queued") {
    ScriptedSpace space(KernelBehaviour::kRefuses);
    set_up(space);
    const ScriptedSpace::State before = space.state();
    const ThreeGroups good(space);
    const auto refused = [&](const ThreeGroups& three) {
        const auto done = space.vm->submit(three.groups());
        REQUIRE_FALSE(done.has_value());
        CHECK(done.error().undone);
        CHECK((space.state() == before));
        CHECK(space.kernel.queue().empty());
        CHECK(space.disagreement() == "");
        return done.error();
    };
    for (std::size_t group : {std::size_t{0}, std::size_t{2}}) {
        const std::size_t count = group == 0 ? good.first.size() : good.third.size();
        for (std::size_t i = 0; i < count; ++i) {
            CAPTURE(group);
            CAPTURE(i);
            ThreeGroups bad = good;
            (group == 0 ? bad.first : bad.third)[i] = map_request(range_at(3 * kGiB, kMiB), BoId{99});
            const BindError error = refused(bad);
            CHECK(error.status == Status::kUnknownBo);
            CHECK(error.group == group);
            CHECK(error.request == i);
        }
    }
    // A granule of what an earlier group maps.
    ThreeGroups cuts = good;
    cuts.third[0].policy = UnmapPolicy::kReject;
    const BindError cut = refused(cuts);
    CHECK(cut.status == Status::kGranuleCut);
    CHECK(cut.group == 2);
    CHECK(cut.request == 0);
}

TEST_CASE("P3: what the kernel does not queue, it queues none of, and no request is blamed") {
    ScriptedSpace space(KernelBehaviour::kRealigns);
    set_up(space);
    const ScriptedSpace::State before = space.state();
    const ThreeGroups three(space);
    ScriptedKernel::Script refuses;
    refuses.submit = Status::kBackendFailed;
    ScriptedKernel::Script short_of_tables;
    short_of_tables.hold = Status::kOutOfTableMemory;
    ScriptedKernel::Script short_of_memory;
    short_of_memory.queue_room = 4;
    for (const ScriptedKernel::Script& script : {refuses, short_of_tables, short_of_memory}) {
        space.kernel.follow(script);
        const auto done = space.vm->submit(three.groups());
        REQUIRE_FALSE(done.has_value());
        CHECK(done.error().group == BindError::kAll);
        CHECK(done.error().request == BindError::kAll);
        CHECK(done.error().undone);
        CHECK((space.state() == before));
        CHECK(space.kernel.queue().empty());
    }
    space.kernel.follow(refuses);
    const BindRequest request = unmap_request(range_at(kPlanned, 2 * kMiB));
    const BindGroup one{{&request, 1}, kFirstWaits, {}};
    CHECK(space.vm->submit({&one, 1}).error().request == BindError::kAll);  // it may be the fence
    CHECK((space.state() == before));
    space.kernel.follow({});
    space.kernel.lose();
    REQUIRE(space.vm->check() == Status::kVmUnusable);
    CHECK(space.vm->submit(three.groups()).error().group == BindError::kAll);
}

TEST_CASE("P3: whichever allocation of groups fails, it says so and has changed and queued nothing") {
    ScriptedSpace space(KernelBehaviour::kRealigns);
    set_up(space);
    const ThreeGroups three(space);
    const ScriptedSpace::State before = space.state();
    for (std::uint64_t k = 0;; ++k) {
        CAPTURE(k);
        REQUIRE(k < 1000);
        const std::uint64_t refusals = space.memory.refusals();
        space.memory.refuse_after(k);
        const auto done = space.vm->submit(three.groups());
        const bool refused = space.memory.refusals() != refusals;
        space.memory.refuse_nothing();
        CHECK(refused != done.has_value());
        if (done) {
            break;
        }
        CHECK(done.error().status == Status::kOutOfHostMemory);
        CHECK((space.state() == before));
        CHECK(space.kernel.queue().empty());
    }
    space.kernel.run_queue();
    CHECK(space.disagreement() == "");
}

// Two unmaps, only fences, one unmap.
struct Unmaps {
    std::array<BindRequest, 2> first = {unmap_request(range_at(kPlanned + 0x1000, 0x1000)),
                                        unmap_request(range_at(kWindows + 0x3000, 0x1000))};
    BindRequest third = unmap_request(range_at(kByKernel + 0x3000, 0x1000));

    [[nodiscard]] std::array<BindGroup, 3> groups() const {
        return {BindGroup{first, kFirstWaits, kFirstSignals}, BindGroup{{}, kSecondWaits, kSecondSignals},
                BindGroup{{&third, 1}, {}, kThirdSignals}};
    }
};

TEST_CASE("P4: without any memory groups of unmaps are submitted one by one, and every fence keeps its place") {
    ScriptedSpace space(KernelBehaviour::kRealigns);
    set_up(space);
    const Unmaps unmaps;
    space.memory.refuse_everything();
    const auto done = space.vm->submit(unmaps.groups());
    space.memory.refuse_nothing();
    REQUIRE(done.has_value());
    CHECK(done->unmapped_bytes == 3 * 0x1000);
    const std::vector<ScriptedKernel::Submission>& queue = space.kernel.queue();
    REQUIRE(queue.size() == 4);
    CHECK((same(queue[0].waits, kFirstWaits) && same(queue[0].signals, {})));
    CHECK((same(queue[1].waits, {}) && same(queue[1].signals, kFirstSignals)));
    CHECK(queue[2].plans.empty());
    CHECK((same(queue[2].waits, kSecondWaits) && same(queue[2].signals, kSecondSignals)));
    CHECK((same(queue[3].waits, {}) && same(queue[3].signals, kThirdSignals)));
    space.kernel.run_queue();
    CHECK(space.disagreement() == "");
}

TEST_CASE("P4: where one of them is not queued then, those before it are, and the error says which and that") {
    const Unmaps unmaps;
    for (std::size_t fails = 0; fails < 4; ++fails) {
        CAPTURE(fails);
        ScriptedSpace space(KernelBehaviour::kRealigns);
        set_up(space);
        const std::uint64_t mapped = space.vm->statistics().mapped_bytes;
        ScriptedKernel::Script script;
        script.submit = Status::kBackendFailed;
        script.submit_at = fails;
        space.kernel.follow(script);
        space.memory.refuse_everything();
        const auto done = space.vm->submit(unmaps.groups());
        space.memory.refuse_nothing();
        REQUIRE_FALSE(done.has_value());
        CHECK(done.error().status == Status::kBackendFailed);
        constexpr std::array<std::size_t, 4> kGroups = {0, 0, 1, 2};
        constexpr std::array<std::size_t, 4> kRequests = {0, 1, BindError::kAll, 0};
        CHECK(done.error().group == kGroups.at(fails));
        CHECK(done.error().request == kRequests.at(fails));
        CHECK(done.error().undone == (fails == 0));
        CHECK(space.vm->usable());
        CHECK(space.kernel.queue().size() == fails);
        const std::size_t unmapped = std::min<std::size_t>(fails, 2);
        CHECK(space.vm->statistics().mapped_bytes == mapped - unmapped * 0x1000);
        space.kernel.run_queue();
        CHECK(space.disagreement() == "");
    }
}

TEST_CASE("why a VM is lost is kept until it is rebuilt") {
    ScriptedSpace space(KernelBehaviour::kRefuses);
    set_up(space);
    CHECK_FALSE(space.vm->lost_because().has_value());
    space.kernel.lose();
    REQUIRE(space.vm->check() == Status::kVmUnusable);
    REQUIRE(space.vm->lost_because().has_value());
    CHECK(space.vm->lost_because()->how == VmLoss::How::kKernelLost);
    CHECK(space.vm->lost_because()->status == Status::kVmUnusable);
    CHECK(space.vm->lost_because()->error == 0);
    ScriptedKernel::Script no_other;
    no_other.renew = Status::kOutOfTableMemory;
    space.kernel.follow(no_other);
    CHECK_FALSE(space.vm->rebuild().has_value());
    CHECK(space.vm->lost_because()->how == VmLoss::How::kKernelLost);
    space.kernel.follow({});
    REQUIRE(space.vm->rebuild().has_value());
    CHECK_FALSE(space.vm->lost_because().has_value());

    for (const bool alone : {true, false}) {
        CAPTURE(alone);
        // The second operation fails, and so does its undoing.
        ScriptedKernel::Script all_fail;
        all_fail.fail_at = 1;
        all_fail.fail_count = ScriptedKernel::kNever;
        space.kernel.follow(all_fail);
        Transaction transaction = space.transaction({unmap_request(range_at(kPlanned + 0x5000, 0x3000))});
        if (!alone) {
            REQUIRE(transaction.add(unmap_request(range_at(kByKernel + 0x5000, 0x3000))) == Status::kOk);
        }
        const auto done = space.vm->commit(transaction);
        REQUIRE_FALSE(done.has_value());
        CHECK_FALSE(done.error().undone);
        REQUIRE(space.vm->lost_because().has_value());
        CHECK(space.vm->lost_because()->how == VmLoss::How::kNotUndone);
        CHECK(space.vm->lost_because()->status == Status::kBackendFailed);
        CHECK(space.vm->lost_because()->error == EIO);
        space.kernel.follow({});
        REQUIRE(space.vm->rebuild().has_value());
    }

    space.kernel.lose();
    CHECK_FALSE(space.vm->bind(map_request(range_at(3 * kGiB, kMiB), space.bo[0])).has_value());
    REQUIRE(space.vm->lost_because().has_value());
    CHECK(space.vm->lost_because()->how == VmLoss::How::kKernelLost);
    CHECK(space.vm->lost_because()->error == EINVAL);
}

}  // namespace
}  // namespace granule::test
