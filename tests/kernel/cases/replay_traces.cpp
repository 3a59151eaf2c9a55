// Traces of real drivers replayed on a real one, whose own page tables are compared with the oracle on the way.
//
//     replay_traces [--calls N] [--every N] TRACE...
//
// For each trace: it plays without a mismatch between the library's view and the oracle after any call; every N calls,
// and when a VM ends, the kernel's tables show page for page what the oracle says, and no leaf is larger than the ledger
// says; what is mapped at the end is what the soft device ends with; the kernel was asked no more than the program's own
// driver asked, but for what its behaviour makes necessary; and nothing that was made is left over in the kernel.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "src/drm/drm_device.hpp"
#include "src/replay/replay.hpp"
#include "src/trace/reader.hpp"
#include "tests/kernel/cases/kernel_look.hpp"
#include "tests/kernel/cases/raw_panthor.hpp"
#include "tests/kernel/cases/test_run.hpp"
#include "tests/kernel/inside/gem_counter.hpp"
#include "tests/kernel/inside/test_report.hpp"

namespace granule::kernel_test {
namespace {

struct Settings {
    std::uint64_t calls = UINT64_MAX;
    std::uint64_t every = 5000;
    std::vector<std::string> traces;
};

struct Played {
    replay::ReplayResult result;
    std::string stop;
};

Played play(const std::string& path, const replay::Options& options, std::uint64_t calls) {
    auto reader = trace::Reader::open(path);
    if (!reader) {
        return {{}, reader.error().message()};
    }
    auto replay = replay::Replay::create(options, reader->meta());
    if (!replay) {
        return {{}, replay.error().what};
    }
    Played played;
    for (trace::Call call; replay->counts().calls < calls;) {
        const auto more = reader->next(call);
        if (!more) {
            return {{}, more.error().message()};
        }
        if (!*more) {
            break;
        }
        if (const auto done = replay->play(call); !done) {
            played.stop = fmt::format("line {}: {}", done.error().line, done.error().what);
            break;
        }
    }
    played.result = replay->finish();
    return played;
}

std::string name_of(const std::string& path) {
    const std::string file = path.substr(path.rfind('/') + 1);
    return file.substr(0, file.find('.'));
}

void replay_one(TestRun& run, const KernelFacts& facts, const GemCounter& gems, const std::string& path,
                const Settings& settings) {
    const std::string name = name_of(path);
    const std::int64_t live = gems.live();
    KernelLook look(facts);
    replay::Options options;
    options.device = kRenderNode;
    options.verify = true;
    options.look_every = settings.every;
    options.look_at_vm = [&look](const replay::VmLook& at, const replay::Report& report) { look(at, report); };
    const Played played = play(path, options, settings.calls);

    const replay::Counts& counts = played.result.counts;
    run.check(
        name + ": plays, and the kernel's tables are what the oracle says", played.stop.empty() && played.result.good(),
        !played.stop.empty() ? played.stop
        : played.result.findings.empty()
            ? "a promise is broken"
            : fmt::format("line {}: {}", played.result.findings.front().line, played.result.findings.front().what));
    run.check(name + ": tables were looked at", look.looks() != 0 && look.leaves() != 0);
    run.check(name + ": nothing is left over in the kernel", gems.wait_for_live(live),
              fmt::format("{} GEM objects more than before", gems.live() - live));
    if (facts.driver == DrmDriver::kPanthor) {
        const Played soft = play(path, {}, settings.calls);
        run.check(name + ": what is mapped at the end is what the soft device ends with",
                  soft.stop.empty() && soft.result.counts.end_mappings == counts.end_mappings, soft.stop);
        const std::uint64_t forced = counts.residual_operations + counts.isolating_operations + counts.piece_operations;
        run.check(name + ": no more ioctls than the driver's own", counts.ioctls <= counts.driver_ioctls,
                  fmt::format("{} instead of {}", counts.ioctls, counts.driver_ioctls));
        run.check(name + ": no more operations than the driver's own and what the kernel makes necessary",
                  counts.kernel_operations <= counts.driver_operations + forced,
                  fmt::format("{} instead of {} and {}", counts.kernel_operations, counts.driver_operations, forced));
    }
    report_row("Traces whose tables were compared", {{"trace", name},
                                                     {"calls", counts.calls},
                                                     {"binds", counts.binds},
                                                     {"tables read", look.looks()},
                                                     {"leaves compared", look.leaves()},
                                                     {"pages compared after calls", counts.pages_verified},
                                                     {"mismatches", counts.mismatches}});
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
        run.test(name_of(path), [&]() -> std::string {
            replay_one(run, facts, gems, path, settings);
            return {};
        });
    }
    return run.exit_code();
}

}  // namespace
}  // namespace granule::kernel_test

int main(int argc, char** argv) try {
    using namespace granule::kernel_test;
    Settings settings;
    CLI::App app("traces on a real driver, whose own page tables are compared with the oracle");
    app.add_option("--calls", settings.calls, "so many calls of each trace");
    app.add_option("--every", settings.every, "calls between two comparisons");
    app.add_option("TRACE", settings.traces, "what to replay")->required();
    CLI11_PARSE(app, argc, argv);
    return run_all(settings);
} catch (const std::exception& error) {
    static_cast<void>(std::fputs(error.what(), stderr));
    return 1;
}
