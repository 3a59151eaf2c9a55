// A driver's life (driver_life.hpp) with every call of it failing once with every error that it can fail with; every array
// of binds failing at every one of its operations; every allocation refused once; the device gone from any call on. On
// each kernel. At the end nothing is left of any of it.
#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tests/drm/driver_life.hpp"

namespace granule::test::life {
namespace {

struct Setup {
    KernelBehaviour behaviour = KernelBehaviour::kSplits;
    FakeMemory memory = FakeMemory::kHuge;
    bool splits = false;  // kOopses: and splits
};
constexpr std::array kSetups{
    Setup{KernelBehaviour::kSplits, FakeMemory::kHuge, true},
    Setup{KernelBehaviour::kRefuses, FakeMemory::kHuge, false},
    Setup{KernelBehaviour::kRefuses, FakeMemory::kLucky, false},
    Setup{KernelBehaviour::kOopses, FakeMemory::kHuge, false},
    Setup{KernelBehaviour::kOopses, FakeMemory::kHuge, true},
    Setup{KernelBehaviour::kOopses, FakeMemory::kSmall, false},
    Setup{KernelBehaviour::kRealigns, FakeMemory::kHuge, false},
    Setup{KernelBehaviour::kRealigns, FakeMemory::kLucky, false},
};

// One life with one plan of failures, and what has to be so after it.
struct Run {
    explicit Run(const Setup& setup)
        : drm([&] {
              FakeKernel kernel = fake_panthor(setup.behaviour, setup.memory);
              kernel.splits = setup.splits;
              return kernel;
          }()),
          calls(drm, DrmDriver::kPanthor) {}

    // "" or what went wrong.
    std::string live(std::size_t watched, bool device_goes = false) {
        drm.record_calls(12);
        std::string problem;
        {
            Life life(drm, calls, memory, watched);
            life.live(device_goes);
            failed_steps = life.failed_steps();
            rebuilds = life.rebuilds();
            steps = life.steps();
            problem = life.problem();
        }
        if (problem.empty() && (!drm.quiet() || drm.census() != FakeDrmCensus{})) {
            const FakeKernelLog log = drm.log();
            problem = log.oopsed() ? log.oops : (log.warnings.empty() ? "something is left" : log.warnings.front());
        }
        if (problem.empty() && (!memory.blocks().empty() || memory.misuses() != 0)) {
            problem = "host memory is left";
        }
        if (!problem.empty()) {
            for (const std::string& call : drm.recorded()) {
                problem += "\n    " + call;
            }
        }
        return problem;
    }

    FakeDrm drm;
    FailingDrmCalls calls;
    TestMemory memory;
    std::uint64_t failed_steps = 0;
    std::uint64_t rebuilds = 0;
    std::vector<StepStart> steps;
};

// What the kernel had to take back itself because a call that gives back was not made.
FakeDrmCensus may_be_forgotten(DrmCallKind kind, const FakeDrmCensus& forgotten) {
    FakeDrmCensus most;
    most.handles = kind == DrmCallKind::kCloseHandle ? 1 : 0;
    most.syncobjs = kind == DrmCallKind::kSyncobjDestroy ? 1 : 0;
    most.vms = kind == DrmCallKind::kVmDestroy ? 1 : 0;
    most.mapped_bytes = kind == DrmCallKind::kVmDestroy ? forgotten.mapped_bytes : 0;
    return most;
}

template <class Body>
void on_each_kernel(Body&& body) {
    for (const Setup& setup : kSetups) {
        CAPTURE(std::string(to_string(setup.behaviour)));
        CAPTURE(static_cast<int>(setup.memory));
        CAPTURE(setup.splits);
        body(setup);
    }
}

// A life in which nothing fails: what it asks for, and when.
struct Script {
    explicit Script(const Setup& setup) {
        Run run(setup);
        run.calls.record_kinds();
        REQUIRE(run.live(kNoStep) == "");
        REQUIRE(run.failed_steps == 0);
        REQUIRE(run.drm.forgotten() == FakeDrmCensus{});
        const std::span<const DrmCallKind> recorded = run.calls.recorded_kinds();
        REQUIRE(recorded.size() < FailingDrmCalls::kMostRecorded);
        kinds.assign(recorded.begin(), recorded.end());
        steps = run.steps;
        binds = run.calls.calls(DrmCallKind::kVmBind);
        allocations = run.memory.requests();
    }
    // The step that the `number`-th of something is in; some are between steps, and fail none.
    [[nodiscard]] std::size_t step_of(std::uint64_t number, std::uint64_t StepStart::*of) const {
        std::size_t step = kNoStep;
        for (std::size_t i = 0; i < steps.size() && steps[i].*of <= number; ++i) {
            step = i;
        }
        return step;
    }

    std::vector<DrmCallKind> kinds;
    std::vector<StepStart> steps;
    std::uint64_t binds = 0;
    std::uint64_t allocations = 0;
};

// Calls `body(call, operation, step)` for the operations of each VM_BIND of a life, until it says that there is none.
template <class Body>
void for_each_bind_operation(const Script& script, Body&& body) {
    for (std::uint64_t call = 0; call < script.binds; ++call) {
        const std::size_t step = script.step_of(call, &StepStart::binds);
        for (std::size_t operation = 0; body(call, operation, step); ++operation) {
        }
    }
}

TEST_CASE("P3 P4: every call of a driver's life fails once with every error: nothing changed, and nothing is left") {
    on_each_kernel([](const Setup& setup) {
        const Script script(setup);
        std::uint64_t failed_steps = 0;
        for (std::size_t call = 0; call < script.kinds.size(); ++call) {
            const DrmCallKind kind = script.kinds[call];
            for (const int error : possible_errors(kind)) {
                if (kind == DrmCallKind::kReadText && error == EACCES) {
                    continue;  // says that the parameter is there, and no more: see KernelFacts::huge_pages
                }
                CAPTURE(call);
                CAPTURE(std::string(to_string(kind)));
                CAPTURE(error);
                Run run(setup);
                run.calls.fail_at(call, error);
                REQUIRE(run.live(script.step_of(call, &StepStart::calls)) == "");
                REQUIRE(run.rebuilds == 0);
                const FakeDrmCensus forgotten = run.drm.forgotten();
                REQUIRE((forgotten == FakeDrmCensus{} || forgotten == may_be_forgotten(kind, forgotten)));
                failed_steps += run.failed_steps;
            }
        }
        CHECK(failed_steps > script.kinds.size());
    });
}

TEST_CASE("P3: every array of binds fails at each of its operations, and is undone; an interrupted one goes on") {
    on_each_kernel([](const Setup& setup) {
        const Script script(setup);
        std::uint64_t undone = 0;
        for (const int error : {ENOMEM, EINVAL, EINTR}) {
            for_each_bind_operation(script, [&](std::uint64_t call, std::size_t operation, std::size_t step) {
                CAPTURE(error);
                CAPTURE(call);
                CAPTURE(operation);
                Run run(setup);
                run.calls.fail_bind_at(call, operation, error);
                REQUIRE(run.live(step) == "");
                REQUIRE(run.rebuilds == 0);
                REQUIRE(run.drm.forgotten() == FakeDrmCensus{});
                REQUIRE((error != EINTR || run.failed_steps == 0));
                undone += run.failed_steps;
                return run.calls.failures() != 0;
            });
        }
        CHECK(undone > 60);
    });
}

TEST_CASE("P3: what cannot be undone is said: the VM is lost, shows nothing, and after a rebuild what it showed") {
    on_each_kernel([](const Setup& setup) {
        const Script script(setup);
        std::uint64_t rebuilds = 0;
        for_each_bind_operation(script, [&](std::uint64_t call, std::size_t operation, std::size_t step) {
            if (step == 0) {
                return false;  // a probe's: a kernel that refuses is an answer
            }
            CAPTURE(call);
            CAPTURE(operation);
            Run run(setup);
            run.calls.fail_binds_from(call, operation, EINVAL);
            REQUIRE(run.live(step) == "");
            REQUIRE(run.drm.forgotten() == FakeDrmCensus{});
            rebuilds += run.rebuilds;
            return run.calls.failures() != 0;
        });
        CHECK(rebuilds > 20);
    });
}

TEST_CASE("P3 P4: every allocation of a driver's life is refused once: nothing changed, and nothing is left") {
    on_each_kernel([](const Setup& setup) {
        const Script script(setup);
        for (std::uint64_t granted = 0; granted < script.allocations; ++granted) {
            CAPTURE(granted);
            Run run(setup);
            run.memory.refuse_after(granted);
            REQUIRE(run.live(script.step_of(granted, &StepStart::allocations)) == "");
            REQUIRE(run.rebuilds == 0);
            REQUIRE(run.memory.refusals() == 1);
            REQUIRE(run.drm.forgotten() == FakeDrmCensus{});
        }
        CHECK(script.allocations > 20);
    });
}

TEST_CASE("P4: the device is gone from any call on: everything ends all the same") {
    on_each_kernel([](const Setup& setup) {
        const Script script(setup);
        for (std::size_t call = 0; call < script.kinds.size(); ++call) {
            CAPTURE(call);
            Run run(setup);
            run.calls.fail_device(call);
            REQUIRE(run.live(kNoStep, true) == "");
        }
    });
}

}  // namespace
}  // namespace granule::test::life
