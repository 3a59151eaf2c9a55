// The shipped traces on a model of the DRM drivers: the same end as on the soft device, under every kernel behaviour, and
// never more than the program's own driver asked of its kernel.
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "src/replay/replay.hpp"
#include "src/trace/reader.hpp"
#include "tests/support/fake_drm.hpp"
#include "tests/support/fake_drm_replay.hpp"
#include "tests/support/sanitized.hpp"

namespace granule::replay {
namespace {

using granule::test::compare_tables;
using granule::test::DrmCallKind;
using granule::test::fake_panfrost;
using granule::test::fake_panthor;
using granule::test::FakeDrm;
using granule::test::FakeDrmCensus;
using granule::test::replay_on;

constexpr std::array kKernels{KernelBehaviour::kSplits, KernelBehaviour::kRefuses, KernelBehaviour::kOopses,
                              KernelBehaviour::kRealigns};

struct Outcome {
    ReplayResult result;
    std::string stop;
    std::uint64_t tried_ioctls =
        0;  // VM_BINDs and their operations before the first call: what the kernel does was tried
    std::uint64_t tried_operations = 0;
};

// The first `calls` calls of a shipped trace.
Outcome replay_trace(const std::string& name, const Options& options, std::uint64_t calls,
                     const FakeDrm* drm = nullptr) {
    auto reader = trace::Reader::open(std::string(GRANULE_TRACES_DIR) + "/" + name + ".jsonl.xz");
    REQUIRE(reader.has_value());
    auto replay = Replay::create(options, reader->meta());
    REQUIRE(replay.has_value());
    Outcome outcome;
    if (drm != nullptr) {
        outcome.tried_ioctls = drm->count(DrmCallKind::kVmBind);
        outcome.tried_operations = drm->bind_operations();
    }
    for (trace::Call call; replay->counts().calls < calls;) {
        const auto more = reader->next(call);
        REQUIRE(more.has_value());
        if (!*more) {
            break;
        }
        if (const auto done = replay->play(call); !done.has_value()) {
            outcome.stop = done.error().what;
            break;
        }
    }
    outcome.result = replay->finish();
    return outcome;
}

void check_good(const Outcome& outcome, const FakeDrm& drm) {
    CHECK(outcome.stop == "");
    CHECK(outcome.result.good());
    if (!outcome.result.findings.empty()) {
        FAIL(outcome.result.findings.front().what);
    }
    CHECK(drm.quiet());
    // Nothing is left in the kernel, and nothing had to be taken from a file that was closed.
    CHECK(drm.census() == FakeDrmCensus{});
    CHECK(drm.forgotten() == FakeDrmCensus{});
}

}  // namespace

TEST_CASE("P1, P2: panthor's traces end as on the soft device, under every kernel, with never more asked of it") {
    struct Trace {
        const char* name;
        std::uint64_t calls;
    };
    const std::uint64_t all = granule::test::kSanitized ? 3000 : UINT64_MAX;
    for (const Trace& trace : {Trace{"sparse-vtex-g610-v26-k12", all}, Trace{"sparse-arena-g610-v26-k19", all},
                               Trace{"multiclient-g610-v26-clients", all == UINT64_MAX ? all : 20000}}) {
        const Outcome soft = replay_trace(trace.name, {}, trace.calls);
        CHECK(soft.stop == "");
        for (const KernelBehaviour kernel : kKernels) {
            CAPTURE(trace.name);
            CAPTURE(to_string(kernel));
            FakeDrm drm(fake_panthor(kernel));
            Options options = replay_on(drm);
            options.look_at_vm = [&](const VmLook& look, const Report& report) { compare_tables(drm, look, report); };
            options.look_every = 2000;
            const Outcome outcome = replay_trace(trace.name, options, trace.calls, &drm);
            check_good(outcome, drm);
            const Counts& counts = outcome.result.counts;
            CHECK(counts.end_mappings == soft.result.counts.end_mappings);
            CHECK(counts.pages_verified > 0);
            CHECK(counts.peak_mapped_bytes == soft.result.counts.peak_mapped_bytes);

            CHECK(counts.driver_ioctls == soft.result.counts.driver_ioctls);
            CHECK(counts.ioctls == drm.count(DrmCallKind::kVmBind) - outcome.tried_ioctls);
            CHECK(counts.kernel_operations == drm.bind_operations() - outcome.tried_operations);
            CHECK(counts.ioctls <= counts.driver_ioctls);
            const std::uint64_t spared =
                counts.residual_operations + counts.isolating_operations + counts.piece_operations;
            CHECK(counts.kernel_operations <= counts.driver_operations + spared);
            if (kernel == KernelBehaviour::kSplits) {
                CHECK(counts.residual_operations == 0);
            }
            if (kernel != KernelBehaviour::kOopses) {
                CHECK(counts.isolating_operations == 0);
            }
            if (drm.kernel().map_sparse || counts.sparse_maps == 0) {
                CHECK(counts.piece_operations == 0);
            }
        }
    }
}

TEST_CASE("panfrost's trace: the kernel chooses the addresses, and the replay says how many differ") {
    FakeDrm drm(fake_panfrost());
    const Outcome outcome =
        replay_trace("glmark2-g52-v26", replay_on(drm), granule::test::kSanitized ? 30000 : UINT64_MAX);
    check_good(outcome, drm);
    CHECK(outcome.result.counts.bos > 50);
    CHECK(outcome.result.counts.maps > 50);
    CHECK(outcome.result.counts.moved_bos > 0);
    CHECK(outcome.result.counts.moved_bos <= outcome.result.counts.maps);
    CHECK(outcome.result.counts.driver_ioctls == 0);
    CHECK(outcome.result.counts.ioctls == 0);
}

}  // namespace granule::replay
