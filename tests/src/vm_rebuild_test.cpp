// A VM that is lost comes back as our state has it: after an undo that failed, as it was before the call; after a queued
// bind that failed later, as it was meant to be (P3). And what a kernel has begun of a plan is undone.
#include "tests/src/scripted_fixture.hpp"

namespace granule::test {
namespace {

using Script = ScriptedKernel::Script;

Script fails_at(std::uint64_t operation, std::uint64_t count, bool in_part) {
    Script script;
    script.fail_at = operation;
    script.fail_count = count;
    script.in_part = in_part;
    return script;
}

// Rebuilds, and checks that everything is as `before` says, in a new address space.
void rebuild(ScriptedSpace& space, ScriptedSpace::State before) {
    const std::uint32_t id = space.vm->kernel_id();
    space.kernel.follow({});
    const Result<RebuildReport, BindError> done = space.vm->rebuild();
    REQUIRE(done.has_value());
    CHECK(done->mappings == before.mappings.size());
    CHECK(done->bytes == space.vm->statistics().mapped_bytes);
    CHECK(done->kernel_id == id + 1);
    CHECK(space.vm->kernel_id() == id + 1);
    before.usable = true;
    REQUIRE((space.state() == before));
    REQUIRE_FALSE(space.kernel.detached());
    REQUIRE(space.disagreement() == "");
}

TEST_CASE("P3: whichever operation fails, before it began or in its midst, tables and state are what they were") {
    for (const KernelBehaviour behaviour :
         {KernelBehaviour::kSplits, KernelBehaviour::kOopses, KernelBehaviour::kRealigns}) {
        for (const bool in_part : {false, true}) {
            for (const Scenario& scenario : kScenarios) {
                CAPTURE(std::string(to_string(behaviour)));
                CAPTURE(std::string(scenario.name));
                CAPTURE(in_part);
                ScriptedSpace space(behaviour);
                set_up(space);
                const Transaction transaction = space.transaction(scenario.requests(space.bo));
                const ScriptedSpace::State before = space.state();
                bool failed = true;
                for (std::uint64_t k = 0; failed; ++k) {
                    CAPTURE(k);
                    REQUIRE(k < 64);
                    space.kernel.follow(fails_at(k, 1, in_part));
                    const Result<BindReport, BindError> done = space.vm->commit(transaction);
                    failed = space.kernel.failures() != 0;
                    REQUIRE(done.has_value() != failed);
                    if (failed) {
                        CHECK(done.error().status == Status::kBackendFailed);
                        CHECK(done.error().error == EIO);
                        CHECK(done.error().undone);
                        REQUIRE((space.state() == before));
                    }
                    REQUIRE(space.disagreement() == "");
                }
            }
        }
    }
}

TEST_CASE("an operation that failed before anything of its plan was done needs no undoing") {
    ScriptedSpace space(KernelBehaviour::kRefuses);
    set_up(space);
    space.kernel.follow(fails_at(0, ScriptedKernel::kNever, false));
    const auto done = space.vm->unmap(range_at(kPlanned, 2 * kMiB), UnmapPolicy::kReject);
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().undone);
    CHECK(space.vm->usable());
    CHECK(space.kernel.failures() == 1);  // nothing was tried behind it
}

TEST_CASE("a first operation that failed in its midst is undone, and where that fails, it is said") {
    ScriptedSpace space(KernelBehaviour::kRefuses);
    set_up(space);
    const ScriptedSpace::State before = space.state();
    // Over the last two windows of the mapping and a hole: one operation, two thirds of which are done.
    const BindRequest over = map_request(range_at(kPlanned + 10 * kMiB, 5 * kMiB), space.bo[3]);
    space.kernel.follow(fails_at(0, 1, true));
    const auto undone = space.vm->bind(over);
    REQUIRE_FALSE(undone.has_value());
    CHECK(undone.error().op == 0);
    CHECK(undone.error().undone);
    CHECK((space.state() == before));
    CHECK(space.disagreement() == "");

    space.kernel.follow(fails_at(0, ScriptedKernel::kNever, true));
    const auto lost = space.vm->bind(over);
    REQUIRE_FALSE(lost.has_value());
    CHECK_FALSE(lost.error().undone);
    CHECK_FALSE(space.vm->usable());
    CHECK(space.kernel.detached());
    rebuild(space, before);
}

TEST_CASE("P3: after an undo that failed, a rebuild brings everything back as it was before the call") {
    for (const KernelBehaviour behaviour :
         {KernelBehaviour::kSplits, KernelBehaviour::kOopses, KernelBehaviour::kRealigns}) {
        for (const Scenario& scenario : kScenarios) {
            CAPTURE(std::string(to_string(behaviour)));
            CAPTURE(std::string(scenario.name));
            ScriptedSpace space(behaviour);
            set_up(space);
            const Transaction transaction = space.transaction(scenario.requests(space.bo));
            const ScriptedSpace::State before = space.state();
            bool failed = true;
            for (std::uint64_t k = 0; failed; ++k) {
                CAPTURE(k);
                REQUIRE(k < 64);
                space.kernel.follow(fails_at(k, ScriptedKernel::kNever, true));
                const Result<BindReport, BindError> done = space.vm->commit(transaction);
                failed = space.kernel.failures() != 0;
                REQUIRE(done.has_value() != failed);
                if (failed && !space.vm->usable()) {
                    CHECK_FALSE(done.error().undone);
                    rebuild(space, before);
                }
            }
            CHECK(space.disagreement() == "");
        }
    }
}

TEST_CASE("P3: after a queued bind that failed, a rebuild brings everything to what was meant") {
    for (const Scenario& scenario : kScenarios) {
        CAPTURE(std::string(scenario.name));
        bool failed = true;
        for (std::uint64_t k = 0; failed; ++k) {
            CAPTURE(k);
            REQUIRE(k < 64);
            ScriptedSpace space(KernelBehaviour::kRealigns);
            set_up(space);
            const SyncobjPoint signal{1, 1};
            REQUIRE(space.vm->submit(space.transaction(scenario.requests(space.bo)), {}, {&signal, 1}).has_value());
            const Transaction behind = space.transaction({map_request(range_at(3 * kGiB, 4 * kMiB), space.bo[2])});
            REQUIRE(space.vm->submit(behind, {}, {}).has_value());
            const ScriptedSpace::State meant = space.state();
            space.kernel.follow(fails_at(k, 1, true));
            space.kernel.run_queue();
            failed = space.kernel.failures() != 0;
            CHECK(space.kernel.signalled().size() == 1);  // it looks like success
            REQUIRE(space.vm->check() == (failed ? Status::kVmUnusable : Status::kOk));
            if (failed) {
                rebuild(space, meant);
                // It is a VM like any other.
                REQUIRE(space.vm->unmap(range_at(3 * kGiB, kMiB), UnmapPolicy::kSplit).has_value());
            }
            CHECK(space.disagreement() == "");
        }
    }
}

TEST_CASE("a rebuild that fails leaves the VM as lost as it was, and can be repeated, wherever it fails") {
    ScriptedSpace space(KernelBehaviour::kRealigns);
    set_up(space);
    // Leaves and pages in turn, and more mappings than are bound at once.
    for (std::uint64_t i = 0; i < 100; ++i) {
        const VaRange va = range_at(2 * kGiB + i * 3 * kMiB + kMiB, 2 * kMiB + kMiB / 2);
        REQUIRE(space.vm->bind(map_request(va, space.bo[i % 4], i * 4 * kKiB)).has_value());
    }
    const ScriptedSpace::State before = space.state();
    space.kernel.lose();
    REQUIRE(space.vm->check() == Status::kVmUnusable);
    ScriptedSpace::State lost = before;
    lost.usable = false;
    REQUIRE((space.state() == lost));

    Script no_vm;
    no_vm.renew = Status::kOutOfTableMemory;
    Script no_memory;
    no_memory.hold = Status::kOutOfHostMemory;
    for (const Script& script : {no_vm, no_memory}) {
        space.kernel.follow(script);
        const auto failed = space.vm->rebuild();
        REQUIRE_FALSE(failed.has_value());
        CHECK(failed.error().status == (script.renew != Status::kOk ? script.renew : script.hold));
        CHECK(space.kernel.detached());
        CHECK((space.state() == lost));
    }
    bool failed = true;
    for (std::uint64_t k = 0; failed; ++k) {
        CAPTURE(k);
        REQUIRE(k < 1000);
        space.kernel.follow(fails_at(k, 1, true));
        const auto done = space.vm->rebuild();
        failed = space.kernel.failures() != 0;
        REQUIRE(done.has_value() != failed);
        if (failed) {
            CHECK(done.error().status == Status::kBackendFailed);
            CHECK(done.error().error == EIO);
            CHECK_FALSE(done.error().plan.request.empty());
            CHECK(space.kernel.detached());
            REQUIRE((space.state() == lost));
        }
    }
    CHECK(space.kernel.largest_array() > 1);
    CHECK((space.state() == before));
    CHECK(space.disagreement() == "");
}

TEST_CASE("a rebuild needs no memory of ours") {
    ScriptedSpace space(KernelBehaviour::kRefuses);
    set_up(space);
    const ScriptedSpace::State before = space.state();
    space.kernel.lose();
    REQUIRE(space.vm->check() == Status::kVmUnusable);
    space.memory.refuse_everything();
    const std::uint64_t refusals = space.memory.refusals();
    rebuild(space, before);
    CHECK(space.memory.refusals() == refusals);
}

TEST_CASE("a rebuild keeps the journal, the reserved VA and who may have it when") {
    ScriptedSpace space(KernelBehaviour::kRefuses);
    set_up(space);
    REQUIRE(space.vm->unmap(range_at(kPlanned, 2 * kMiB), UnmapPolicy::kReject).has_value());
    const AddressReport there = space.vm->address(Va{kPlanned});
    Result<Owned<Timeline>, Status> timeline = space.timelines.create();
    REQUIRE(timeline.has_value());
    const FencePoint fence = (*timeline)->at(1);
    REQUIRE(space.vm->release_va(range_at(kGiB, kMiB), {&fence, 1}).has_value());
    space.kernel.lose();
    REQUIRE(space.vm->check() == Status::kVmUnusable);
    rebuild(space, space.state());
    const AddressReport after = space.vm->address(Va{kPlanned});
    CHECK_FALSE(after.mapping.has_value());
    REQUIRE(after.removed.has_value());
    CHECK(after.removed->what == there.removed->what);
    CHECK(after.removed->time_ns == there.removed->time_ns);
    CHECK_FALSE(space.vm->reserve_va_at(range_at(kGiB, kMiB)).has_value());  // P5: its fence has not signalled
    (*timeline)->signal(1);
    CHECK(space.vm->reserve_va_at(range_at(kGiB, kMiB)).has_value());
}

TEST_CASE("a VM that is not lost is not rebuilt, and an empty one that is lost comes back empty") {
    ScriptedSpace space(KernelBehaviour::kRefuses);
    const std::uint32_t id = space.vm->kernel_id();
    const auto refused = space.vm->rebuild();
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().status == Status::kBadArgument);
    CHECK(space.vm->kernel_id() == id);
    CHECK(space.vm->usable());
    space.kernel.lose();
    REQUIRE(space.vm->check() == Status::kVmUnusable);
    rebuild(space, space.state());
}

}  // namespace
}  // namespace granule::test
