#include "src/cli/replay_table.hpp"

#include <fmt/format.h>

#include <vector>

#include "src/cli/replay_trace.hpp"
#include "src/cli/text_table.hpp"
#include "src/cli/units.hpp"

namespace granule::cli {
namespace {

// "glmark2-g52-v26 on Mali-G52, Mesa 26.2.6".
std::string title_of(const TraceReport& report) {
    std::string title = printable(trace_name(report.path));
    if (report.gpu != nullptr) {
        title += fmt::format("  on {}, Mesa {}", report.gpu->name, printable(report.meta.mesa));
    }
    return title;
}

std::string mark_of(const TraceReport& report) {
    const char* const verdict = to_string(report.verdict);
    if (!report.error.empty() && report.error_line != 0) {
        return fmt::format("{} at line {}", verdict, report.error_line);
    }
    return verdict;
}

std::vector<std::string> cells_of(const TraceReport& report) {
    if (!report.started) {
        return {};
    }
    const replay::Counts& counts = report.result.counts;
    const auto pair = [](std::uint64_t a, std::uint64_t b) { return count_text(a) + "/" + count_text(b); };
    return {
        count_text(counts.calls),
        count_text(counts.binds),
        pair(counts.maps, counts.unmaps),
        count_text(counts.overmaps),
        count_text(counts.partial_unmaps),
        count_text(counts.granules_remapped),
        bytes_text(counts.residual_bytes),
        bytes_text(counts.exposed_bytes),
        bytes_text(counts.peak_mapped_bytes),
        pair(counts.leaves_2m, counts.leaves_4k),
        count_text(counts.tables_peak),
        // Without the oracle nothing was compared, which is not 0 mismatches.
        report.options.verify || counts.mismatches != 0 ? count_text(counts.mismatches) : "-",
        pair(counts.ns_per_bind_p50, counts.ns_per_bind_p999),
    };
}

// "panthor 1.4 of Linux 6.18.15-arm64, which refuses"
std::string kernel_of(const KernelFacts& facts) {
    // panfrost's maps and unmaps whole BOs: it never has to cut.
    const std::string cuts =
        facts.driver == DrmDriver::kPanthor ? fmt::format(", which {}", to_string(facts.behaviour)) : "";
    return fmt::format("{} {}.{} of Linux {}{}", to_string(facts.driver), facts.version.major, facts.version.minor,
                       printable(facts.release_text.view()), cuts);
}

}  // namespace

std::string replay_table(std::span<const TraceReport> reports) {
    TextTable table({
        {"", "calls"},
        {"", "binds"},
        {"maps/", "unmaps"},
        {"over-", "maps"},
        {"", "cuts"},
        {"granules", "remapped"},
        {"", "residual"},
        {"", "exposed"},
        {"peak", "mapped"},
        {"2M/4K", "leaves"},
        {"", "tables"},
        {"mis-", "match"},
        {"ns/bind", "p50/p99.9"},
    });
    for (const TraceReport& report : reports) {
        table.add_row(title_of(report), mark_of(report), cells_of(report));
    }
    return table.text();
}

std::string replay_legend() {
    return "binds        transactions, each all or nothing; maps/unmaps: what they asked for\n"
           "overmaps     maps that replaced something; cuts: maps and unmaps that left a part of an older mapping\n"
           "granules     leaves that a cut would have split: unmapped whole instead, the rest mapped again: the "
           "residual\n"
           "exposed      of the residual, what was without translation until it was mapped again, while the GPU may "
           "run\n"
           "peak mapped  the most that was mapped at once, in all VMs; 2M/4K leaves: then; tables: the most page "
           "tables\n"
           "mismatch     translations that are not what the oracle says; - without --verify\n"
           "ns/bind      half of the binds took no longer than p50, all but one in a thousand no longer than p99.9\n";
}

std::string kernel_table(std::span<const TraceReport> reports) {
    TextTable table({
        {"ioctls", "driver"},
        {"ioctls", "library"},
        {"operations", "driver"},
        {"operations", "library"},
        {"of these", "residual"},
        {"", "isolating"},
        {"", "in pieces"},
        {"BOs", "moved"},
    });
    bool any = false;
    for (const TraceReport& report : reports) {
        if (!report.started || !report.kernel_facts) {
            continue;
        }
        any = true;
        const replay::Counts& counts = report.result.counts;
        std::vector<std::string> cells;
        for (const std::uint64_t count :
             {counts.driver_ioctls, counts.ioctls, counts.driver_operations, counts.kernel_operations,
              counts.residual_operations, counts.isolating_operations, counts.piece_operations, counts.moved_bos}) {
            cells.push_back(count_text(count));
        }
        table.add_row(fmt::format("{}  on {}", printable(trace_name(report.path)), kernel_of(*report.kernel_facts)), "",
                      std::move(cells));
    }
    return any ? table.text() : "";
}

std::string kernel_legend() {
    return "ioctls       VM_BIND, as the program's driver made them in the trace, and as the library made them here\n"
           "operations   in their arrays; at most so many of the library's would a kernel that cuts leaves have spared "
           "it:\n"
           "residual       a leaf unmapped whole, and the rest of it mapped again\n"
           "isolating      a leaf mapped over itself, for kernels that would oops\n"
           "in pieces      sparse maps for drivers without them, pages where the kernel would make a block\n"
           "BOs moved    panfrost: put at another address than in the trace; its kernel chooses, and maps by itself\n";
}

}  // namespace granule::cli
