#include "src/cli/replay_json.hpp"

#include <fmt/format.h>

#include <array>
#include <cstdint>

#include "src/cli/options.hpp"

namespace granule::cli {
namespace {

struct Number {
    const char* name;
    std::uint64_t replay::Counts::*member;
};

// All of Counts by their own names, but the hashes, which are no numbers to count with.
constexpr std::array kNumbers{
    Number{"calls", &replay::Counts::calls},
    Number{"binds", &replay::Counts::binds},
    Number{"maps", &replay::Counts::maps},
    Number{"sparse_maps", &replay::Counts::sparse_maps},
    Number{"unmaps", &replay::Counts::unmaps},
    Number{"overmaps", &replay::Counts::overmaps},
    Number{"partial_unmaps", &replay::Counts::partial_unmaps},
    Number{"granules_remapped", &replay::Counts::granules_remapped},
    Number{"granules_cut", &replay::Counts::granules_cut},
    Number{"operations", &replay::Counts::operations},
    Number{"residual_bytes", &replay::Counts::residual_bytes},
    Number{"exposed_bytes", &replay::Counts::exposed_bytes},
    Number{"enlarged_bytes", &replay::Counts::enlarged_bytes},
    Number{"bos", &replay::Counts::bos},
    Number{"vms", &replay::Counts::vms},
    Number{"peak_mapped_bytes", &replay::Counts::peak_mapped_bytes},
    Number{"leaves_2m", &replay::Counts::leaves_2m},
    Number{"leaves_4k", &replay::Counts::leaves_4k},
    Number{"tables_peak", &replay::Counts::tables_peak},
    Number{"peak_mappings", &replay::Counts::peak_mappings},
    Number{"pages_verified", &replay::Counts::pages_verified},
    Number{"mismatches", &replay::Counts::mismatches},
    Number{"faults", &replay::Counts::faults},
    Number{"stale_hits", &replay::Counts::stale_hits},
    Number{"allocations_in_unmap", &replay::Counts::allocations_in_unmap},
    Number{"ns_per_bind_p50", &replay::Counts::ns_per_bind_p50},
    Number{"ns_per_bind_p999", &replay::Counts::ns_per_bind_p999},
    Number{"driver_ioctls", &replay::Counts::driver_ioctls},
    Number{"driver_operations", &replay::Counts::driver_operations},
    Number{"ioctls", &replay::Counts::ioctls},
    Number{"kernel_operations", &replay::Counts::kernel_operations},
    Number{"residual_operations", &replay::Counts::residual_operations},
    Number{"isolating_operations", &replay::Counts::isolating_operations},
    Number{"piece_operations", &replay::Counts::piece_operations},
    Number{"moved_bos", &replay::Counts::moved_bos},
};
static_assert(sizeof(replay::Counts) == (kNumbers.size() + 2) * sizeof(std::uint64_t), "a count is missing here");

Json findings_json(const replay::ReplayResult& result) {
    Json findings = Json::array();
    for (const replay::Finding& finding : result.findings) {
        findings.push_back({{"line", finding.line}, {"what", finding.what}});
    }
    return findings;
}

Json leftovers_json(const replay::ReplayResult& result) {
    Json leftovers = Json::array();
    for (const replay::Leftover& leftover : result.leftovers) {
        leftovers.push_back({
            {"kind", replay::to_string(leftover.kind)},
            {"line", leftover.line},
            {"process", leftover.process},
            {"file", leftover.file},
            {"bytes", leftover.bytes},
            {"va", leftover.va.empty() ? Json() : range_json(leftover.va)},
            {"label", leftover.label},
            {"sentence", leftover.sentence},
        });
    }
    return leftovers;
}

Json error_json(const TraceReport& report) {
    if (report.error.empty()) {
        return {};
    }
    return {{"line", report.error_line}, {"message", report.error}};
}

Json device_json(const TraceReport& report) {
    if (!report.kernel_facts) {
        return {};
    }
    const KernelFacts& facts = *report.kernel_facts;
    return {
        {"path", report.options.device},
        {"driver", to_string(facts.driver)},
        {"driver_version", fmt::format("{}.{}.{}", facts.version.major, facts.version.minor, facts.version.patch)},
        {"release", facts.release_text.view()},
        {"kernel_from", to_string(facts.behaviour_from)},
    };
}

Json trace_json(const TraceReport& report) {
    Json json{
        {"trace", report.path},
        {"good", report.verdict == Verdict::kGood},
        {"verdict", to_string(report.verdict)},
        {"error", error_json(report)},
        {"gpu", report.gpu == nullptr ? Json() : Json(report.gpu->name)},
        {"mesa", report.meta.mesa},
        {"device", device_json(report)},
        {"kernel", to_string(report.kernel)},
        {"unmap_policy", to_string(report.options.policy)},
        {"leaves", to_string(report.options.leaves)},
        {"memory", to_string(report.options.memory)},
        {"verify", report.options.verify},
        {"whole", report.whole},
        {"killed", report.result.killed},
    };
    for (const Number& number : kNumbers) {
        json[number.name] = report.result.counts.*number.member;
    }
    json["end_state"] = hex(report.result.counts.end_state);
    json["end_mappings"] = hex(report.result.counts.end_mappings);
    json["findings"] = findings_json(report.result);
    json["leftovers"] = leftovers_json(report.result);
    return json;
}

}  // namespace

Json replay_json(std::span<const TraceReport> reports) {
    Json traces = Json::array();
    for (const TraceReport& report : reports) {
        traces.push_back(trace_json(report));
    }
    return {{"traces", std::move(traces)}};
}

}  // namespace granule::cli
