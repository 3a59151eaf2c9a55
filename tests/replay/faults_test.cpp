// P3, P4 on the calls of real programs: every call to the kernel fails with everything it can fail with, at every step, and
// nothing has changed. On a model of the drivers; on real ones: ../kernel/cases/faults_on_traces.cpp.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "src/replay/replay.hpp"
#include "src/trace/reader.hpp"
#include "tests/support/failing_drm_calls.hpp"
#include "tests/support/fake_drm.hpp"
#include "tests/support/fake_drm_replay.hpp"
#include "tests/support/faulty_replay.hpp"
#include "tests/support/sanitized.hpp"

namespace granule::replay {
namespace {

using granule::test::FailingDrmCalls;
using granule::test::FakeDrm;
using granule::test::FakeDrmCensus;
using granule::test::FakeGpuVm;
using granule::test::FaultyReplay;

// All that the model has, but for syncobjs: no kernel tells how many a file has, and the failures have to come where they
// are meant to without that.
FaultyReplay::KernelState state_of(const FakeDrm& drm, const std::set<std::pair<int, std::uint32_t>>& vms) {
    const FakeDrmCensus census = drm.census();
    FaultyReplay::KernelState state;
    state.mapped =
        fmt::format("{} VMs, {} bytes mapped, {} VMs lost\n", census.vms, census.mapped_bytes, drm.vms_lost());
    for (const auto& [fd, vm] : vms) {
        Hash hash;
        for (const FakeGpuVm::Leaf& leaf : drm.leaves(fd, vm)) {
            hash.add(leaf.va);
            hash.add(leaf.page.object);
            hash.add(leaf.page.offset);
        }
        state.mapped += fmt::format("VM {}: {:x}\n", vm, hash.value());
    }
    state.held = fmt::format("{} fds, {} handles, {} objects", census.fds, census.handles, census.objects);
    return state;
}

struct Prefix {
    std::string name;
    std::uint64_t skip = 0;   // calls that nothing is done to
    std::uint64_t calls = 0;  // that follow, under failures
    bool queue = true;
};

// Counts of failures, or what was wrong.
struct Outcome {
    std::string wrong;
    std::uint64_t failures = 0;
    std::uint64_t undone = 0;
};

Outcome play_under_failures(const Prefix& prefix, FakeDrm& drm) {
    auto reader = trace::Reader::open(std::string(GRANULE_TRACES_DIR) + "/" + prefix.name + ".jsonl.xz");
    REQUIRE(reader.has_value());
    FailingDrmCalls calls(drm, drm.kernel().driver);
    Options options = granule::test::replay_on(drm);
    options.calls = &calls;
    options.queue = prefix.queue;
    std::set<std::pair<int, std::uint32_t>> vms;
    options.look_every = 1;
    options.look_at_vm = [&](const VmLook& look, const Report& report) {
        if (look.ends) {
            granule::test::compare_tables(drm, look, report);
            vms.erase({look.fd, look.kernel_id});
        } else {
            vms.insert({look.fd, look.kernel_id});
        }
    };
    auto replay = Replay::create(options, reader->meta());
    REQUIRE(replay.has_value());
    FaultyReplay faulty(calls, *replay, prefix.queue, [&] { return state_of(drm, vms); });
    Outcome outcome;
    trace::Call call;
    for (std::uint64_t played = 0; played < prefix.skip + prefix.calls && outcome.wrong.empty(); ++played) {
        const auto more = reader->next(call);
        REQUIRE(more.has_value());
        if (!*more) {
            break;
        }
        if (played < prefix.skip) {
            CHECK(replay->play(call).has_value());
        } else {
            outcome.wrong = faulty.play(call);
        }
    }
    const ReplayResult result = replay->finish();
    if (outcome.wrong.empty() && !result.findings.empty()) {
        outcome.wrong = result.findings.front().what;
    }
    CHECK(result.counts.allocations_in_unmap == 0);
    outcome.failures = faulty.failures();
    outcome.undone = faulty.undone();
    return outcome;
}

}  // namespace

TEST_CASE("P3, P4: whatever fails at whichever call of panthor's traces, nothing has changed, and it succeeds next") {
    const std::uint64_t part = granule::test::kSanitized ? 3 : 1;
    for (const KernelBehaviour kernel :
         {KernelBehaviour::kSplits, KernelBehaviour::kRefuses, KernelBehaviour::kOopses, KernelBehaviour::kRealigns}) {
        for (const Prefix& prefix :
             {Prefix{"sparse-vtex-g610-v26-k12", 0, 90 / part}, Prefix{"sparse-arena-g610-v26-k19", 50, 40 / part},
              Prefix{"sparse-vtex-g610-v26-k12", 330, 12, false},
              Prefix{"multiclient-g610-v26-clients", 0, 2000 / part}}) {
            CAPTURE(prefix.name);
            CAPTURE(prefix.skip);
            CAPTURE(to_string(kernel));
            FakeDrm drm(granule::test::fake_panthor(kernel));
            const Outcome outcome = play_under_failures(prefix, drm);
            CHECK(outcome.wrong == "");
            CHECK(outcome.failures > 10);
            if (!prefix.queue) {
                CHECK(outcome.undone > 10);
            }
            CHECK(drm.quiet());
            CHECK(drm.census() == FakeDrmCensus{});
            CHECK(drm.forgotten() == FakeDrmCensus{});
        }
    }
}

TEST_CASE("P3, P4: the same of panfrost's trace") {
    FakeDrm drm(granule::test::fake_panfrost());
    const Outcome outcome = play_under_failures({"glmark2-g52-v26", 0, 300}, drm);
    CHECK(outcome.wrong == "");
    CHECK(outcome.failures > 10);
    CHECK(drm.quiet());
    CHECK(drm.census() == FakeDrmCensus{});
    CHECK(drm.forgotten() == FakeDrmCensus{});
}

}  // namespace granule::replay
