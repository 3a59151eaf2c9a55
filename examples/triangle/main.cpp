// Draws a scene on a software Mali whose every access goes through granule's page tables, and writes it as a PNG.
//
//     triangle [--out DIR] [--size WxH] [--check] [--forget NAME]
//
// What it shows: a driver's way from nothing to a picture. A device, a VM, a pool for what is small, a BO of whole 2 MiB
// for each surface; a job list in GPU memory; a GPU in a thread of its own that is told where it begins, and a fence that
// says when it is done. `--forget NAME` unmaps a surface before the job: what the GPU's fault looks like then.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <granule/granule.hpp>
#include <optional>
#include <string>
#include <thread>

#include "rendering/granule_call.hpp"
#include "rendering/picture.hpp"
#include "triangle/frame.hpp"
#include "triangle/gpu.hpp"
#include "triangle/plain_space.hpp"
#include "triangle/vm_space.hpp"

namespace {

using rendering::checked;

constexpr int kExitUsage = 2;

struct Options {
    std::string out = ".";
    std::string size = "800x600";
    std::string forget;
    bool check = false;
    int width = 0;
    int height = 0;
};

// What a submitted job list came to.
struct Outcome {
    triangle::GpuCounters counters;
    std::exception_ptr failure;
};

// Rings the GPU's doorbell, and waits for its fence.
triangle::GpuCounters submit_and_wait(triangle::VmSpace& space, triangle::GpuVa jobs) {
    granule::Timeline done = checked(space.device().create_timeline(), "a timeline");
    Outcome outcome;
    std::thread gpu([&] {
        try {
            outcome.counters = triangle::run_jobs(space.memory(), jobs);
        } catch (...) {
            outcome.failure = std::current_exception();
        }
        static_cast<void>(done.signal(1));
    });
    const auto waited = done.wait(1);
    gpu.join();
    checked(waited, "the frame's fence");
    if (outcome.failure) {
        std::rethrow_exception(outcome.failure);
    }
    return outcome.counters;
}

int draw(const Options& options) {
    triangle::VmSpace space;
    const triangle::Frame frame = triangle::make_frame(space, options.width, options.height);
    if (!options.forget.empty() && !space.unmap(options.forget)) {
        fmt::print(stderr, "triangle: --forget {}: there is no such surface; there are {}\n", options.forget,
                   fmt::join(space.surfaces(), ", "));
        return kExitUsage;
    }
    triangle::GpuCounters counters;
    try {
        counters = submit_and_wait(space, frame.jobs);
    } catch (const rendering::AccessFault& fault) {
        fmt::print(stderr, "triangle: the GPU faulted\n{}\n", fault.what());
        return 1;
    }
    const rendering::Picture picture = frame.picture();
    space.print_use();
    fmt::print(
        "GPU   {} jobs, {} vertices, {} triangles in {} list entries, {} pixels shaded, {} cache lines fetched\n",
        counters.jobs, counters.vertices, counters.triangles, counters.list_entries, counters.shaded_pixels,
        counters.cache_fetches);
    if (options.check) {
        triangle::PlainSpace plain;
        const triangle::Frame same = triangle::make_frame(plain, options.width, options.height);
        static_cast<void>(triangle::run_jobs(plain.memory(), same.jobs));
        if (same.picture().pixels != picture.pixels) {
            fmt::print(stderr, "triangle: the picture is not the one that plain memory gives\n");
            return 1;
        }
        fmt::print("check the same picture, bit for bit, as from plain memory\n");
    }
    std::filesystem::create_directories(options.out);
    const std::string path = options.out + "/triangle.png";
    rendering::write_png(picture, path);
    fmt::print("\n{}: {} x {}, checksum {:016x}\n", path, picture.width, picture.height, rendering::checksum(picture));
    return 0;
}

}  // namespace

int main(int argc, char** argv) try {
    Options options;
    CLI::App app{"Draws a scene on a software Mali, through granule's page tables."};
    app.add_option("--out", options.out, "directory for triangle.png")->capture_default_str();
    app.add_option("--size", options.size, "of the picture, in pixels: WIDTHxHEIGHT")->capture_default_str();
    app.add_flag("--check", options.check, "compare with the same rasteriser over plain memory");
    app.add_option("--forget", options.forget, "unmap the surface of this name before the GPU starts");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kExitUsage;
    }
    const std::optional<rendering::Size> size = rendering::parse_size(options.size);
    if (!size) {
        fmt::print(stderr, "triangle: --size {}: WIDTHxHEIGHT is wanted, 16 to 4096 each\n", options.size);
        return kExitUsage;
    }
    options.width = size->width;
    options.height = size->height;
    return draw(options);
} catch (const std::exception& failure) {
    static_cast<void>(std::fprintf(stderr, "triangle: %s\n", failure.what()));
    return 1;
}
