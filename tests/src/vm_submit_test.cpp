// What is submitted: our state follows at once, the kernel later; and what is not queued has changed nothing (P3, P4).
#include <algorithm>

#include "tests/src/scripted_fixture.hpp"

namespace granule::test {
namespace {

constexpr std::array kWaits = {SyncobjPoint{7, 3}, SyncobjPoint{8, 0}};
constexpr std::array kSignals = {SyncobjPoint{9, 5}};

TEST_CASE("what was submitted is our state at once and the kernel's when its turn comes, for all rules of cutting") {
    for (const KernelBehaviour behaviour :
         {KernelBehaviour::kSplits, KernelBehaviour::kOopses, KernelBehaviour::kRealigns}) {
        for (const Scenario& scenario : kScenarios) {
            CAPTURE(std::string(to_string(behaviour)));
            CAPTURE(std::string(scenario.name));
            ScriptedSpace space(behaviour);
            set_up(space);
            const MappingList before = space.kernel.model().vmas();
            const Transaction transaction = space.transaction(scenario.requests(space.bo));
            MappingList meant = space.mapped();

            const Result<BindReport, BindError> done = space.vm->submit(transaction, kWaits, kSignals);
            REQUIRE(done.has_value());
            REQUIRE(space.kernel.queue().size() == 1);
            const ScriptedKernel::Submission& queued = space.kernel.queue().front();
            CHECK(queued.plans.size() == transaction.size());
            CHECK(std::equal(queued.waits.begin(), queued.waits.end(), kWaits.begin(), kWaits.end()));
            CHECK(std::equal(queued.signals.begin(), queued.signals.end(), kSignals.begin(), kSignals.end()));
            CHECK(space.kernel.model().vmas().all() == before.all());
            CHECK(done->unmapped_bytes + done->touched.size() > 0);

            for (const BindRequest& request : transaction.requests()) {
                if (request.policy != UnmapPolicy::kEnlarge) {
                    meant.cut(request.va);
                    if (request.kind == BindRequest::Kind::kMap) {
                        meant.add({request.va, request.shows});
                    }
                } else {
                    meant.cut({request.va.start.align_down(kBlock2MBytes), request.va.end.align_up(kBlock2MBytes)});
                }
            }
            const VaRange all = space.vm->config().space;
            CHECK(space.mapped().translation(all) == meant.translation(all));
            space.kernel.run_queue();
            CHECK(space.disagreement() == "");
            CHECK(space.kernel.signalled().size() == 1);
            CHECK(space.vm->check() == Status::kOk);
        }
    }
}

TEST_CASE("what has nothing to do is submitted all the same: somebody waits for what it signals") {
    ScriptedSpace space(KernelBehaviour::kRefuses);
    REQUIRE(space.vm->submit(Transaction(), kWaits, kSignals).has_value());
    REQUIRE(space.vm->submit(space.transaction({unmap_request(range_at(kGiB, kMiB))}), kWaits, kSignals).has_value());
    space.kernel.run_queue();
    CHECK(space.kernel.signalled().size() == 2);
}

TEST_CASE("submitted and committed binds are planned one after the other, in the order of the calls") {
    ScriptedSpace space(KernelBehaviour::kRefuses);
    const VaRange two = range_at(2 * kMiB, 2 * kMiB);
    REQUIRE(space.vm->submit(space.transaction({map_request(two, space.bo[0])}), {}, {}).has_value());
    // Cuts the leaf that will be there.
    const auto cut = space.vm->submit(space.transaction({unmap_request(range_at(3 * kMiB, kMiB))}), {}, {});
    REQUIRE(cut.has_value());
    CHECK(cut->granules == 1);
    CHECK(cut->residual_bytes == kMiB);
    space.kernel.run_queue();
    CHECK(space.disagreement() == "");
    const auto last = space.vm->unmap(range_at(2 * kMiB, kMiB), UnmapPolicy::kReject);
    REQUIRE(last.has_value());
    CHECK(space.disagreement() == "");
    CHECK(space.vm->statistics().mapped_bytes == 0);
}

TEST_CASE("a report counts the leaves that the kernel was left to cut") {
    ScriptedSpace space(KernelBehaviour::kRealigns);
    set_up(space);
    const auto one = space.vm->unmap(range_at(kByKernel + kMiB, 2 * kMiB), UnmapPolicy::kSplit);
    REQUIRE(one.has_value());
    CHECK(one->kernel_cuts == 2);
    CHECK(one->granules == 0);
    CHECK(one->exposed_bytes == 0);
    CHECK(one->operations == 1);
    CHECK(space.disagreement() == "");
}

TEST_CASE("a BO whose last page a submitted bind unmaps is gone for us at once") {
    ScriptedSpace space(KernelBehaviour::kRefuses);
    const BoId bo = space.new_bo();
    REQUIRE(space.vm->bind(map_request(range_at(2 * kMiB, 4 * kMiB), bo)).has_value());
    space.bos.release(*space.bos.find(bo), 1);
    REQUIRE(space.bos.find(bo) != nullptr);
    REQUIRE(space.vm->submit(space.transaction({unmap_request(range_at(2 * kMiB, 4 * kMiB))}), {}, {}).has_value());
    CHECK(space.bos.find(bo) == nullptr);
    CHECK(space.vm->address(Va{3 * kMiB}).removed->what.shows.bo == bo);
}

TEST_CASE("P3: what the kernel does not queue has changed nothing, and the VM stays usable") {
    for (const Scenario& scenario : kScenarios) {
        CAPTURE(std::string(scenario.name));
        ScriptedSpace space(KernelBehaviour::kRealigns);
        set_up(space);
        const ScriptedSpace::State before = space.state();
        const Transaction transaction = space.transaction(scenario.requests(space.bo));
        ScriptedKernel::Script refuses;
        refuses.submit = Status::kOutOfTableMemory;
        ScriptedKernel::Script short_of_memory;
        short_of_memory.hold = Status::kOutOfTableMemory;
        for (const ScriptedKernel::Script& script : {refuses, short_of_memory}) {
            space.kernel.follow(script);
            const auto done = space.vm->submit(transaction, kWaits, kSignals);
            REQUIRE_FALSE(done.has_value());
            CHECK(done.error().status == Status::kOutOfTableMemory);
            CHECK(done.error().undone);
            CHECK((space.state() == before));
            CHECK(space.kernel.queue().empty());
            CHECK(space.disagreement() == "");
        }
        // A granule that a later request of the transaction must not cut: nothing is queued either.
        space.kernel.follow({});
        std::vector<BindRequest> requests = scenario.requests(space.bo);
        requests.push_back(map_request(range_at(2 * kGiB, 2 * kMiB), space.bo[0]));
        requests.push_back(unmap_request(range_at(2 * kGiB, kMiB), UnmapPolicy::kReject));
        const auto refused = space.vm->submit(space.transaction(requests), kWaits, kSignals);
        REQUIRE_FALSE(refused.has_value());
        CHECK(refused.error().status == Status::kGranuleCut);
        CHECK(refused.error().request + 1 == space.transaction(requests).size());
        CHECK((space.state() == before));
        CHECK(space.kernel.queue().empty());
    }
}

TEST_CASE("P3: whichever allocation of a submit fails, it says so and has changed and queued nothing") {
    for (const Scenario& scenario : kScenarios) {
        CAPTURE(std::string(scenario.name));
        ScriptedSpace space(KernelBehaviour::kRealigns);
        set_up(space);
        const Transaction transaction = space.transaction(scenario.requests(space.bo));
        bool only_unmaps = true;
        for (const BindRequest& request : transaction.requests()) {
            only_unmaps = only_unmaps && request.kind == BindRequest::Kind::kUnmap;
        }
        const ScriptedSpace::State before = space.state();
        for (std::uint64_t k = 0;; ++k) {
            CAPTURE(k);
            REQUIRE(k < 1000);
            const std::uint64_t refusals = space.memory.refusals();
            space.memory.refuse_after(k);
            const auto done = space.vm->submit(transaction, kWaits, kSignals);
            const bool refused = space.memory.refusals() != refusals;
            space.memory.refuse_nothing();
            if (done) {
                CHECK((!refused || only_unmaps));
                break;
            }
            CHECK(refused);
            CHECK(done.error().status == Status::kOutOfHostMemory);
            CHECK((space.state() == before));
            CHECK(space.kernel.queue().empty());
        }
        space.kernel.run_queue();
        CHECK(space.disagreement() == "");
    }
}

TEST_CASE("P4: without any memory an unmap is submitted, and a transaction of unmaps one by one, waits first") {
    ScriptedSpace space(KernelBehaviour::kRealigns);
    set_up(space);
    const Transaction one = space.transaction({unmap_request(range_at(kPlanned + 0x1000, 0x1000))});
    const Transaction many = space.transaction({unmap_request(range_at(kPlanned + 2 * kMiB + 0x3000, 0x1000)),
                                                unmap_request(range_at(kByKernel + 0x3000, 0x1000)),
                                                unmap_request(range_at(kWindows + 0x3000, 0x1000))});
    space.memory.refuse_everything();
    const std::uint64_t refusals = space.memory.refusals();
    REQUIRE(space.vm->submit(one, kWaits, kSignals).has_value());
    CHECK(space.memory.refusals() == refusals);
    const auto done = space.vm->submit(many, kWaits, kSignals);
    REQUIRE(done.has_value());
    CHECK(done->granules == 2);
    CHECK(done->kernel_cuts == 1);
    REQUIRE(space.kernel.queue().size() == 4);
    const std::vector<ScriptedKernel::Submission>& queue = space.kernel.queue();
    CHECK(queue[1].waits.size() == kWaits.size());
    CHECK(queue[1].signals.empty());
    CHECK((queue[2].waits.empty() && queue[2].signals.empty()));
    CHECK(queue[3].waits.empty());
    CHECK(queue[3].signals.size() == kSignals.size());
    space.memory.refuse_nothing();
    space.kernel.run_queue();
    CHECK(space.disagreement() == "");
}

TEST_CASE("P4: unmaps that the backend has no memory to queue at once are queued one by one; maps are refused") {
    ScriptedSpace space(KernelBehaviour::kRealigns);
    set_up(space);
    const BindRequest first = unmap_request(range_at(kPlanned + 0x1000, 0x1000));
    const BindRequest second = unmap_request(range_at(kWindows + 0x3000, 0x1000));
    ScriptedKernel::Script little_room;
    little_room.queue_room = 1;
    space.kernel.follow(little_room);
    const ScriptedSpace::State before = space.state();
    const auto refused = space.vm->submit(
        space.transaction({first, map_request(range_at(2 * kGiB, kMiB), space.bo[0])}), kWaits, kSignals);
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().status == Status::kOutOfHostMemory);
    CHECK((space.state() == before));
    CHECK(space.kernel.queue().empty());
    REQUIRE(space.vm->submit(space.transaction({first, second}), kWaits, kSignals).has_value());
    const std::vector<ScriptedKernel::Submission>& queue = space.kernel.queue();
    REQUIRE(queue.size() == 2);
    CHECK(queue[0].waits.size() == kWaits.size());
    CHECK(queue[0].signals.empty());
    CHECK(queue[1].waits.empty());
    CHECK(queue[1].signals.size() == kSignals.size());
    little_room.queue_room = 0;
    space.kernel.follow(little_room);
    CHECK(space.vm->submit(Transaction(), {}, kSignals).has_value());
    CHECK(space.kernel.queue().size() == 3);
    space.kernel.run_queue();
    CHECK(space.disagreement() == "");
}

TEST_CASE("check: a VM that the kernel lost is found, takes no more binds, and the GPU gets nothing through it") {
    ScriptedSpace space(KernelBehaviour::kRealigns);
    set_up(space);
    CHECK(space.vm->check() == Status::kOk);
    ScriptedKernel::Script asking_fails;
    asking_fails.check = Status::kOsFailed;
    space.kernel.follow(asking_fails);
    space.kernel.lose();
    CHECK(space.vm->check() == Status::kOsFailed);
    CHECK(space.vm->usable());
    space.kernel.follow({});
    CHECK(space.vm->check() == Status::kVmUnusable);
    CHECK_FALSE(space.vm->usable());
    CHECK(space.kernel.detached());
    CHECK(space.vm->check() == Status::kVmUnusable);
    const Transaction unmap = space.transaction({unmap_request(range_at(kPlanned, 2 * kMiB))});
    CHECK(space.vm->submit(unmap, {}, {}).error().status == Status::kVmUnusable);
    CHECK(space.vm->submit(Transaction(), {}, kSignals).error().status == Status::kVmUnusable);
    CHECK(space.vm->commit(unmap).error().status == Status::kVmUnusable);
}

TEST_CASE("a bind that finds the VM lost says so, has changed nothing here, and leaves it lost") {
    for (const bool later : {false, true}) {
        for (const std::size_t requests : {std::size_t{1}, std::size_t{2}}) {
            ScriptedSpace space(KernelBehaviour::kRealigns);
            set_up(space);
            ScriptedSpace::State before = space.state();
            Transaction transaction;
            for (std::uint64_t i = 0; i < requests; ++i) {
                REQUIRE(transaction.add(map_request(range_at(2 * kGiB + i * 64 * kMiB, kMiB), space.bo[0])) ==
                        Status::kOk);
            }
            space.kernel.lose();
            const auto done = later ? space.vm->submit(transaction, {}, kSignals) : space.vm->commit(transaction);
            REQUIRE_FALSE(done.has_value());
            CHECK(done.error().status == Status::kVmUnusable);
            CHECK(done.error().undone);
            CHECK_FALSE(space.vm->usable());
            CHECK(space.kernel.detached());
            before.usable = false;
            CHECK((space.state() == before));
        }
    }
}

}  // namespace
}  // namespace granule::test
