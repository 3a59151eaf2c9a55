// P3 and P4 on a real kernel, at the calls of real programs: every call to the kernel fails once with each errno that it can
// fail with, at every step, and nothing has changed.
//
//     faults_on_traces [--skip N] [--calls N] [--no-queue] TRACE...
//
// The first N calls of a trace are played; at each of the next, whatever it asks of the kernel fails first
// (tests/support/faulty_replay.hpp; failures are put between the library and the kernel, and what a bind did before it
// failed is really done). After each failure the library's view is what it was, and so is what the kernel shows: its
// mappings (gpuvas of debugfs), the file's GEM handles, the GEM objects that live. Then the call succeeds; when a VM
// ends, the kernel's tables are what the oracle says; and in the end nothing is left over.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "src/drm/drm_device.hpp"
#include "src/replay/replay.hpp"
#include "src/trace/reader.hpp"
#include "tests/kernel/cases/kernel_look.hpp"
#include "tests/kernel/cases/raw_panthor.hpp"
#include "tests/kernel/cases/test_run.hpp"
#include "tests/kernel/inside/gem_counter.hpp"
#include "tests/kernel/inside/gem_debugfs.hpp"
#include "tests/kernel/inside/gem_handles.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/test_report.hpp"
#include "tests/support/failing_drm_calls.hpp"
#include "tests/support/faulty_replay.hpp"

namespace granule::kernel_test {
namespace {

constexpr std::uint32_t kMostHandles = 256;

struct Settings {
    std::uint64_t skip = 0;
    std::uint64_t calls = 200;
    bool queue = true;
    std::vector<std::string> traces;
};

// The kernel's mappings, those that go on in each other as one: what was undone may be there in other pieces.
std::string mappings_text() {
    std::string text;
    for (const GpuVaSpace& space : read_gpuvas().value_or(std::vector<GpuVaSpace>{})) {
        text += space.name + "\n";
        std::optional<GpuVa> run;
        const auto add_run = [&] {
            if (run) {
                text += fmt::format("  {:#x}+{:#x}: object {:#x} + {:#x}\n", run->range.start.raw(), run->range.size(),
                                    run->object, run->offset);
            }
        };
        for (const GpuVa& va : space.vas) {
            if (run && run->range.end == va.range.start && run->object == va.object &&
                run->offset + run->range.size() == va.offset) {
                run->range.end = va.range.end;
                continue;
            }
            add_run();
            run = va;
        }
        add_run();
    }
    return text;
}

class Faults {
public:
    Faults(const KernelFacts& facts, Settings settings)
        : facts_(facts), settings_(std::move(settings)), calls_(system_drm_calls(), facts.driver) {}

    // What is wrong, or nothing.
    std::string run(const std::string& path) {
        auto reader = trace::Reader::open(path);
        if (!reader) {
            return reader.error().message();
        }
        KernelLook tables(facts_);
        std::set<int> files;
        replay::Options options;
        options.device = kRenderNode;
        options.calls = &calls_;
        options.queue = settings_.queue;
        options.verify = true;
        options.look_every = 1;
        options.look_at_vm = [&](const replay::VmLook& look, const replay::Report& report) {
            files.insert(look.fd);
            if (look.ends) {
                tables(look, report);
                files.erase(look.fd);
            }
        };
        auto replay = replay::Replay::create(options, reader->meta());
        if (!replay) {
            return replay.error().what;
        }
        test::FaultyReplay faulty(calls_, *replay, settings_.queue, [&] { return kernel_state(files); });
        std::string wrong;
        trace::Call call;
        for (std::uint64_t played = 0; played < settings_.skip + settings_.calls && wrong.empty(); ++played) {
            const auto more = reader->next(call);
            if (!more) {
                return more.error().message();
            }
            if (!*more) {
                break;
            }
            if (played >= settings_.skip) {
                wrong = faulty.play(call);
            } else if (const auto done = replay->play(call); !done) {
                wrong = done.error().what;
            }
        }
        const replay::ReplayResult result = replay->finish();
        if (wrong.empty() && !result.findings.empty()) {
            wrong = result.findings.front().what;
        }
        if (wrong.empty() && result.counts.allocations_in_unmap != 0) {
            wrong = "an unmap has allocated memory (P4)";
        }
        failures_ = faulty.failures();
        undone_ = faulty.undone();
        return wrong;
    }

    [[nodiscard]] std::uint64_t failures() const noexcept { return failures_; }
    [[nodiscard]] std::uint64_t undone() const noexcept { return undone_; }

private:
    [[nodiscard]] test::FaultyReplay::KernelState kernel_state(const std::set<int>& files) const {
        test::FaultyReplay::KernelState state{mappings_text(), fmt::format("{} GEM objects live\n", gems_.live())};
        const Driver driver = facts_.driver == DrmDriver::kPanthor ? Driver::kPanthor : Driver::kPanfrost;
        for (const int fd : files) {
            state.held += "handles:";
            for (const std::uint32_t handle : open_gem_handles(fd, driver, kMostHandles)) {
                state.held += fmt::format(" {}", handle);
            }
            state.held += "\n";
        }
        return state;
    }

    const KernelFacts facts_;
    const Settings settings_;
    const GemCounter gems_;
    test::FailingDrmCalls calls_;
    std::uint64_t failures_ = 0;
    std::uint64_t undone_ = 0;
};

std::string name_of(const std::string& path) {
    const std::string file = path.substr(path.rfind('/') + 1);
    return file.substr(0, file.find('.'));
}

int run_all(const Settings& settings) {
    TestRun run;
    KernelFacts facts;
    {
        DrmDeviceConfig config;
        config.probe = false;
        const Result<Owned<DrmDevice>, OsError> device = DrmDevice::open(kRenderNode, config);
        if (!device) {
            run.check("the device opens", false, to_string(device.error().status));
            return run.exit_code();
        }
        facts = (*device)->facts();
    }
    const GemCounter gems;
    for (const std::string& path : settings.traces) {
        const std::string name = name_of(path);
        const std::int64_t live = gems.live();
        Faults faults(facts, settings);
        run.test(name + ": whatever fails, nothing has changed, and it succeeds next",
                 [&] { return faults.run(path); });
        run.check(name + ": something failed", faults.failures() > 10);
        if (facts.driver == DrmDriver::kPanthor) {
            run.check(name + ": debugfs shows what is mapped", read_gpuvas().has_value());
        }
        if (!settings.queue) {
            run.check(name + ": binds were undone", faults.undone() > 10);
        }
        run.check(name + ": nothing is left over in the kernel", gems.wait_for_live(live),
                  fmt::format("{} GEM objects more than before", gems.live() - live));
        report_row("Failures under the library, at every step of a trace", {{"trace", name},
                                                                            {"from call", settings.skip},
                                                                            {"calls", settings.calls},
                                                                            {"calls that failed", faults.failures()},
                                                                            {"binds undone", faults.undone()}});
    }
    return run.exit_code();
}

}  // namespace
}  // namespace granule::kernel_test

int main(int argc, char** argv) try {
    using namespace granule::kernel_test;
    Settings settings;
    CLI::App app("traces on a real driver, every call to which fails before it succeeds");
    app.add_option("--skip", settings.skip, "calls of each trace that are played well");
    app.add_option("--calls", settings.calls, "calls that fail after those");
    app.add_flag("!--no-queue", settings.queue, "asynchronous binds are synchronous, so that they fail in the middle");
    app.add_option("TRACE", settings.traces, "what to replay")->required();
    CLI11_PARSE(app, argc, argv);
    return run_all(settings);
} catch (const std::exception& error) {
    static_cast<void>(std::fputs(error.what(), stderr));
    return 1;
}
