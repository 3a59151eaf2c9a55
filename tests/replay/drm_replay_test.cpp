// Replays on a model of the DRM drivers: what is counted, what is looked at, and what stops them. The shipped traces are
// in drm_traces_test.cpp.
#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/replay/replay.hpp"
#include "src/trace/reader.hpp"
#include "tests/support/failing_drm_calls.hpp"
#include "tests/support/fake_drm.hpp"
#include "tests/support/fake_drm_replay.hpp"
#include "tests/support/replay_script.hpp"

namespace granule::replay {
namespace {

using granule::test::compare_tables;
using granule::test::DrmCallKind;
using granule::test::fake_panfrost;
using granule::test::fake_panthor;
using granule::test::FakeDrm;
using granule::test::replay_on;

constexpr std::uint64_t kBlock = std::uint64_t{2} << 20;

}  // namespace

namespace test {
namespace {

const std::string kThreeBlocks = kMeta + kOpen + bo_create(3, 3 * kBlock) + vm_bind(map_op(kBlock, 3 * kBlock, 3));
const std::string kTwoBlocks = kMeta + kOpen + bo_create(3, 2 * kBlock) + vm_bind(map_op(kBlock, 2 * kBlock, 3));

}  // namespace

TEST_CASE("a cut is the kernel's where it cuts, and counted where it is ours") {
    const std::string text = kThreeBlocks + vm_bind(unmap_op(2 * kBlock + 4096, 4096)) +
                             vm_bind(unmap_op(kBlock, 3 * kBlock)) + gem_close(3) + vm_destroy() + close_fd();
    struct Expected {
        KernelBehaviour kernel;
        std::uint64_t operations;
        std::uint64_t residual;
        std::uint64_t isolating;
    };
    for (const Expected& expected :
         {Expected{KernelBehaviour::kSplits, 3, 0, 0}, Expected{KernelBehaviour::kRefuses, 5, 2, 0},
          Expected{KernelBehaviour::kOopses, 6, 2, 1}, Expected{KernelBehaviour::kRealigns, 3, 0, 0}}) {
        CAPTURE(to_string(expected.kernel));
        FakeDrm drm(fake_panthor(expected.kernel));
        Played played = play(text, replay_on(drm));
        CHECK(played.stop == "");
        const Counts counts = played.replay.finish().counts;
        CHECK(drm.quiet());
        CHECK(counts.driver_ioctls == 3);
        CHECK(counts.driver_operations == 3);
        CHECK(counts.ioctls == 3);
        CHECK(counts.kernel_operations == expected.operations);
        CHECK(counts.residual_operations == expected.residual);
        CHECK(counts.isolating_operations == expected.isolating);
        CHECK(counts.kernel_operations == counts.driver_operations + expected.residual + expected.isolating);
    }
}

TEST_CASE("neighbours that the driver binds one by one are one operation for the kernel") {
    std::string ops = map_op(kBlock, kBlock, 3);
    for (std::uint64_t i = 1; i < 8; ++i) {
        ops += "," + map_op(kBlock + i * kBlock, kBlock, 3, i * kBlock);
    }
    const std::string text =
        kMeta + kOpen + bo_create(3, 8 * kBlock) + vm_bind(ops) + vm_bind(unmap_op(kBlock, 8 * kBlock));
    FakeDrm drm(fake_panthor(KernelBehaviour::kRefuses));
    Played played = play(text, replay_on(drm));
    CHECK(played.stop == "");
    const Counts counts = played.replay.finish().counts;
    CHECK(counts.driver_operations == 9);
    CHECK(counts.kernel_operations == 2);
    CHECK(counts.ioctls == 2);
}

TEST_CASE("--kernel overrides what was found out") {
    FakeDrm drm(fake_panthor(KernelBehaviour::kSplits));
    Options options = replay_on(drm);
    Played found = play(kTwoBlocks, options);
    CHECK(found.replay.kernel() == KernelBehaviour::kSplits);
    options.kernel = KernelBehaviour::kOopses;
    Played overridden = play(kTwoBlocks, options);
    CHECK(overridden.replay.kernel() == KernelBehaviour::kOopses);
}

TEST_CASE("a trace of the other driver's kind is told what would be right") {
    const std::string panfrost_open = line(R"("drm.open","drv":"panfrost","ver":"1.2")");
    FakeDrm panthor(fake_panthor(KernelBehaviour::kSplits));
    CHECK(play(kMeta + panfrost_open, replay_on(panthor)).stop ==
          "2: the trace is of panfrost, but /dev/dri/renderD128 is panthor's");
    FakeDrm panfrost(fake_panfrost());
    CHECK(play(kMeta + kOpen, replay_on(panfrost)).stop ==
          "2: the trace is of panthor, but /dev/dri/renderD128 is panfrost's");
}

TEST_CASE("a device that is not there is told") {
    FakeDrm drm(fake_panthor(KernelBehaviour::kSplits));
    Options options = replay_on(drm);
    options.device = "/dev/dri/renderD200";
    const auto replay = Replay::create(options, {});
    REQUIRE_FALSE(replay.has_value());
    CHECK(replay.error().kind == Stop::Kind::kBadTrace);
    CHECK(replay.error().what == "/dev/dri/renderD200: open: No such file or directory");
    CHECK(replay.error().would_be_right.find("granule devices") != std::string::npos);
}

TEST_CASE("where the memory ends, the replay says how much was needed") {
    FakeDrm drm(fake_panthor(KernelBehaviour::kRefuses));  // with which nothing is tried out first
    granule::test::FailingDrmCalls calls(drm, DrmDriver::kPanthor);
    calls.fail_kind(DrmCallKind::kBoCreate, 1, ENOMEM);
    Options options = replay_on(drm);
    options.calls = &calls;
    CHECK(play(kMeta + kOpen + bo_create(3, 2 * kBlock) + bo_create(4, kBlock), options).stop ==
          "5: no memory for a BO of 2 MiB: with it, the trace needs 6 MiB here");
}

TEST_CASE("P3: a queued bind that the kernel fails later is found out, though its fence signals") {
    FakeDrm drm(fake_panthor(KernelBehaviour::kSplits));
    Played played = play(kTwoBlocks, replay_on(drm));
    REQUIRE(played.stop == "");
    drm.fail_next_job(ENOMEM);
    auto reader = trace::Reader::from_bytes("", std::as_bytes(std::span{kMeta}));
    trace::Call call;
    call.line = 6;
    call.file = 1;
    trace::panthor::VmBind bind;
    bind.vm = trace::VmId{1};
    bind.async = true;
    bind.ops.emplace_back();
    bind.ops.back().kind = trace::panthor::BindKind::kUnmap;
    bind.ops.back().va = {Va{kBlock}, Va{2 * kBlock}};
    call.what = bind;
    const auto done = played.replay.play(call);
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().error.status == Status::kVmUnusable);
}

TEST_CASE("VMs are shown to whoever can see more of them, at intervals and before they end") {
    FakeDrm drm(fake_panthor(KernelBehaviour::kRefuses));
    Options options = replay_on(drm);
    struct Seen {
        std::uint64_t line;
        bool ends;
        std::uint64_t pages;
    };
    std::vector<Seen> seen;
    options.look_every = 2;
    options.look_at_vm = [&](const VmLook& look, const Report& report) {
        CHECK(look.kernel_id == look.vm.kernel_id());
        seen.push_back({look.line, look.ends, look.oracle.mapped_pages()});
        compare_tables(drm, look, report);
        if (look.ends) {
            report("a difference");
        }
    };
    Played played = play(kTwoBlocks + gem_close(3) + vm_destroy() + close_fd(), options);
    const ReplayResult result = played.replay.finish();
    REQUIRE(seen.size() == 3);
    CHECK((seen[0].line == 3 && !seen[0].ends && seen[0].pages == 0));
    CHECK((seen[1].line == 5 && !seen[1].ends && seen[1].pages == 1024));
    CHECK((seen[2].line == 7 && seen[2].ends && seen[2].pages == 1024));
    REQUIRE(result.findings.size() == 1);
    CHECK(result.findings[0].what == "a difference");
    CHECK_FALSE(result.good());
}

}  // namespace test
}  // namespace granule::replay
