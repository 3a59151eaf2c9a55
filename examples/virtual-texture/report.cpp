#include "virtual-texture/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <numeric>
#include <string>

#include "virtual-texture/options.hpp"

namespace streaming {
namespace {

std::string grouped(std::uint64_t value) {
    std::string digits = std::to_string(value);
    for (std::size_t i = digits.size(); i > 3; i -= 3) {
        digits.insert(i - 3, ",");
    }
    return digits;
}

std::string mebibytes(std::uint64_t bytes) {
    return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

std::string milliseconds(Nanoseconds time) {
    return fmt::format("{:.1f} ms", static_cast<double>(time) / 1e6);
}

std::string median(std::vector<Nanoseconds> times) {
    if (times.empty()) {
        return "-";
    }
    const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
    std::ranges::nth_element(times, middle);
    return grouped(*middle);
}

Nanoseconds total(const std::vector<Nanoseconds>& times) {
    return std::accumulate(times.begin(), times.end(), Nanoseconds{0});
}

struct Line {
    const char* name;
    std::function<std::string(const Report&)> value;
    bool needs_pixels = false;
};

const std::vector<Line>& lines() {
    static const std::vector<Line> kLines{
        {"frames", [](const Report& r) { return grouped(r.frames); }},
        {"tiles bound / unbound",
         [](const Report& r) { return grouped(r.tiles_bound) + " / " + grouped(r.tiles_unbound); }},
        {"operations, in transactions",
         [](const Report& r) { return grouped(r.operations) + " in " + grouped(r.submit_times.size()); }},
        {"mappings that appeared / went",
         [](const Report& r) { return grouped(r.mappings_appeared) + " / " + grouped(r.mappings_gone); }},
        {"partial unmaps: granules remapped",
         [](const Report& r) { return grouped(r.at_end.granules_remapped - r.at_start.granules_remapped); }},
        {"  residual", [](const Report& r) { return mebibytes(r.at_end.residual_bytes - r.at_start.residual_bytes); }},
        {"  exposed", [](const Report& r) { return mebibytes(r.at_end.exposed_bytes - r.at_start.exposed_bytes); }},
        {"2 MiB leaves, first / last frame",
         [](const Report& r) { return grouped(r.at_start.blocks_2m) + " / " + grouped(r.at_end.blocks_2m); }},
        {"page tables, first / last frame",
         [](const Report& r) { return mebibytes(r.at_start.table_bytes) + " / " + mebibytes(r.at_end.table_bytes); }},
        {"ns in a frame's binds, median", [](const Report& r) { return median(r.bind_times); }, true},
        {"  in all", [](const Report& r) { return milliseconds(total(r.bind_times)); }, true},
        {"ns to queue them, median", [](const Report& r) { return median(r.submit_times); }},
        {"GPU waited for binds", [](const Report& r) { return milliseconds(r.gpu.waiting_for_binds); }, true},
        {"GPU drew", [](const Report& r) { return milliseconds(r.gpu.drawing); }, true},
        {"GPU accesses / stale", [](const Report& r) { return grouped(r.gpu_accesses) + " / " + grouped(r.gpu_stale); },
         true},
        {"pixels compared / wrong",
         [](const Report& r) { return grouped(r.comparison.pixels) + " / " + grouped(r.comparison.wrong); }, true},
        {"  at a coarser level than wanted",
         [](const Report& r) {
             return fmt::format("{:.1f} %", 100.0 * static_cast<double>(r.comparison.fell_back) /
                                                static_cast<double>(std::max<std::uint64_t>(r.comparison.textured, 1)));
         },
         true},
        {"checksum of all frames", [](const Report& r) { return fmt::format("{:016x}", r.checksum); }, true},
        {"elapsed", [](const Report& r) { return milliseconds(r.elapsed); }},
    };
    return kLines;
}

}  // namespace

void print(std::span<const Report> reports) {
    fmt::print("{:<36}", "leaf policy");
    for (const Report& report : reports) {
        fmt::print("{:>24}", name_of(report.leaves));
    }
    fmt::print("\n");
    for (const Line& line : lines()) {
        if (line.needs_pixels && !reports.front().has_pixels) {
            continue;
        }
        fmt::print("{:<36}", line.name);
        for (const Report& report : reports) {
            fmt::print("{:>24}", line.value(report));
        }
        fmt::print("\n");
    }
}

}  // namespace streaming
