// Flies over a sparse texture of 16384 x 16384 texels with room for a few hundred of its 21845 tiles.
//
//     virtual-texture [--policy largest|page | --compare] [--kernel splits|refuses|oopses|realigns] [--frames N]
//                     [--budget TILES] [--size WxH] [--out DIR] [--device PATH]
//
// What it shows: sparse binding as drivers do it, every frame, on a queue, between the fences of a GPU that is drawing; and what
// the choice of leaves costs: `largest` has few leaves and cuts them, `page` has many and cuts none. Every pixel of every
// frame is compared with a reference that knows nothing of memory. With `--device` a real panthor gets the same
// binds, without a GPU that draws.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "rendering/picture.hpp"
#include "virtual-texture/fly_through.hpp"
#include "virtual-texture/options.hpp"
#include "virtual-texture/report.hpp"

namespace {

using streaming::Options;
using streaming::Report;

constexpr int kExitUsage = 2;
constexpr int kExitInterrupted = 130;  // as shells say it

std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free);

// The frame that is under way is finished, and so are its files. A second signal ends the program at once.
void stop_on_signals() {
    struct sigaction action {};
    action.sa_handler = [](int) { stop = true; };
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    for (const int signal : {SIGINT, SIGTERM}) {
        sigaction(signal, &action, nullptr);
    }
}

int fly(const Options& options) {
    std::filesystem::create_directories(options.out);
    std::vector<granule_leaf_policy> policies{options.leaves};
    if (options.compare) {
        policies = {GRANULE_LEAVES_LARGEST, GRANULE_LEAVES_PAGES};
    }
    std::vector<Report> reports;
    reports.reserve(policies.size());
    for (const granule_leaf_policy leaves : policies) {
        if (!stop) {
            Options one = options;
            one.leaves = leaves;
            reports.push_back(streaming::fly_through(one, stop));
        }
    }
    streaming::print(reports);
    fmt::print("\npictures: {}/frame-*.png, {}/residency-*.png\n", options.out, options.out);
    if (stop) {
        fmt::print("interrupted; what is above is until then\n");
        return kExitInterrupted;
    }
    if (!std::ranges::all_of(reports, &Report::good)) {
        fmt::print(stderr, "virtual-texture: pixels are wrong, or the MMU gave stale answers: see above\n");
        return 1;
    }
    if (reports.size() == 2 && reports.front().checksum != reports.back().checksum) {
        fmt::print(stderr, "virtual-texture: the two policies do not give the same pictures\n");
        return 1;
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) try {
    Options options;
    std::string size = "640x360";
    CLI::App app{"Flies over a sparse texture with a fixed budget of resident tiles."};
    auto* const policy = app.add_option("--policy", options.leaves, "which leaves the texture is made of");
    policy->transform(CLI::CheckedTransformer(std::map<std::string, granule_leaf_policy>{
        {"largest", GRANULE_LEAVES_LARGEST}, {"page", GRANULE_LEAVES_PAGES}}));
    app.add_flag("--compare", options.compare, "both policies, side by side")->excludes(policy);
    auto* const kernel = app.add_option("--kernel", options.kernel, "which kernel the soft device plays");
    kernel->transform(CLI::CheckedTransformer(
        std::map<std::string, granule_kernel_behaviour>{{"splits", GRANULE_KERNEL_SPLITS},
                                                        {"refuses", GRANULE_KERNEL_REFUSES},
                                                        {"oopses", GRANULE_KERNEL_OOPSES},
                                                        {"realigns", GRANULE_KERNEL_REALIGNS}}));
    app.add_option("--frames", options.frames, "how many")->check(CLI::Range(1, 100000))->capture_default_str();
    app.add_option("--budget", options.budget, "tiles of 64 KiB that may be bound at once, without the mip tail")
        ->check(CLI::Range(64, 16384))
        ->capture_default_str();
    app.add_option("--size", size, "of the pictures, in pixels: WIDTHxHEIGHT")->capture_default_str();
    app.add_option("--out", options.out, "directory for the pictures")->capture_default_str();
    app.add_option("--device", options.device, "a render node: binds on a real panthor, no pixels")->excludes(kernel);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kExitUsage;
    }
    const std::optional<rendering::Size> pixels = rendering::parse_size(size);
    if (!pixels) {
        fmt::print(stderr, "virtual-texture: --size {}: WIDTHxHEIGHT is wanted, 16 to 4096 each\n", size);
        return kExitUsage;
    }
    options.width = pixels->width;
    options.height = pixels->height;
    stop_on_signals();
    return fly(options);
} catch (const std::exception& failure) {
    static_cast<void>(std::fprintf(stderr, "virtual-texture: %s\n", failure.what()));
    return 1;
}
