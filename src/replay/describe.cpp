#include <fmt/core.h>

#include <cstring>

#include "src/replay/stop.hpp"
#include "src/replay/traced.hpp"

namespace granule::replay {

std::string describe(const VaRange& range) {
    return fmt::format("[{:#x}, {:#x})", range.start.raw(), range.end.raw());
}

std::string describe_bytes(std::uint64_t bytes) {
    if (bytes >= kBlock1GBytes && bytes % (kBlock1GBytes / 4) == 0) {
        return fmt::format("{:g} GiB", static_cast<double>(bytes) / static_cast<double>(kBlock1GBytes));
    }
    if (bytes >= (std::uint64_t{1} << 20) && bytes % (std::uint64_t{1} << 18) == 0) {
        return fmt::format("{:g} MiB", static_cast<double>(bytes) / (1 << 20));
    }
    return fmt::format("{:g} KiB", static_cast<double>(bytes) / 1024);
}

std::string describe(const TracedBo& bo) {
    return fmt::format("BO {} of file {}{} ({}, {}, {} at line {})", bo.handle, bo.file,
                       bo.process == 0 ? std::string() : fmt::format(" of process {}", bo.process),
                       describe_bytes(bo.bytes),
                       bo.label.empty() ? std::string("no label") : fmt::format("\"{}\"", bo.label),
                       bo.imported ? "imported" : "made", bo.made);
}

std::string describe(const BindError& error) {
    const PlanError& plan = error.plan;
    switch (error.status) {
        case Status::kGranuleCut: {
            const Mapping& mapping = plan.mapping;
            const std::string whose =
                mapping.shows.sparse()
                    ? std::string("a sparse mapping")
                    : fmt::format("BO {}{}", static_cast<std::uint32_t>(mapping.shows.bo),
                                  error.label.view().empty() ? "" : fmt::format(" \"{}\"", error.label.view()));
            return fmt::format(
                "{} would cut the {} leaf {} of {}, mapped at {}: the policy is reject; "
                "with split the rest of the leaf is mapped again, with enlarge it goes too",
                describe(plan.request), describe_bytes(bytes_of(plan.leaf)), describe(plan.granule), whose,
                describe(mapping.va));
        }
        case Status::kOutOfRange:
            return fmt::format("{} is outside the address space, or reaches behind the end of its BO",
                               describe(plan.request));
        case Status::kBadArgument:
            return fmt::format("{}: {}", describe(plan.request), to_string(plan.code));
        case Status::kBackendFailed:
        case Status::kKernelOops:
            return fmt::format("{}: operation {} of request {} ({}): {}{}", to_string(error.status), error.op,
                               error.request, describe(plan.request), std::strerror(error.error),
                               error.undone ? "; nothing has changed" : "; what was done could not be undone");
        default:
            return to_string(error.status);
    }
}

}  // namespace granule::replay
