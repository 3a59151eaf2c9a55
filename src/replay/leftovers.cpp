#include "src/replay/leftovers.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "src/replay/stop.hpp"

namespace granule::replay {
namespace {

const char* when(End end) noexcept {
    switch (end) {
        case End::kVmDestroyed:
            return "when its VM is destroyed";
        case End::kFileClosed:
            return "when its file is closed";
        case End::kTraceEnded:
            return "when the trace ends (the program was killed, or still runs)";
    }
    return "?";
}

const TracedBo* find(const std::vector<TracedBo>& bos, const TracedVm& vm, BoId id) {
    if (id == kNoBo) {
        return nullptr;
    }
    // From the newest on: ids are used again.
    const auto found = std::find_if(bos.rbegin(), bos.rend(), [&](const TracedBo& bo) {
        return bo.id == id && bo.process == vm.process && bo.file == vm.file;
    });
    return found == bos.rend() ? nullptr : &*found;
}

// Two mappings of the same bytes of a BO, back to back.
bool is_other_half(const Mapping& gone, const Mapping& mapping) noexcept {
    return gone.shows.offset == mapping.shows.offset && gone.va.size() == mapping.va.size() &&
           (gone.va.end == mapping.va.start || gone.va.start == mapping.va.end);
}

// Two neighbouring parts of what one bind mapped.
bool is_same_mapping(const Mapping& gone, const Mapping& mapping) noexcept {
    const Mapping& lower = gone.va.start < mapping.va.start ? gone : mapping;
    const Mapping& upper = gone.va.start < mapping.va.start ? mapping : gone;
    return lower.shows.serial == upper.shows.serial && lower.va.end == upper.va.start &&
           lower.shows.offset + lower.va.size() == upper.shows.offset;
}

// The driver's descriptor ring: one BO mapped twice, back to back, so that an access behind its end wraps around.
std::string ring_sentence(const TracedVm& vm, const Mapping& gone, const Mapping& mapping, BindSerial by,
                          const TracedBo& bo) {
    const std::uint64_t made = vm.line_of(mapping.shows.serial);
    const std::uint64_t made_there = vm.line_of(gone.shows.serial);
    const std::string makers = made == made_there ? fmt::format("Line {} mapped the BO twice", made)
                                                  : fmt::format("Lines {} and {} mapped the BO twice",
                                                                std::min(made, made_there), std::max(made, made_there));
    std::string sentence =
        fmt::format("{}, back to back, at {} and {}; ", makers, describe(gone.va), describe(mapping.va));
    sentence += fmt::format("line {} unmapped only {}, and line {} closed the handle. ", vm.line_of(by),
                            describe(gone.va), bo.closed);
    sentence += "The other half stays mapped and keeps the BO's memory, while its addresses go back to the driver's ";
    sentence += "heap: what is put there next lands on a live mapping. ";
    const VaRange both{std::min(gone.va.start, mapping.va.start), std::max(gone.va.end, mapping.va.end)};
    sentence += fmt::format("The unmap should cover {}", describe(both));
    return sentence;
}

// The parts of `range` that are in `mapped` (ascending), neighbours joined.
std::vector<VaRange> parts_in(const std::vector<VaRange>& mapped, const VaRange& range) {
    std::vector<VaRange> parts;
    auto next = std::partition_point(mapped.begin(), mapped.end(),
                                     [&](const VaRange& before) { return before.end <= range.start; });
    for (; next != mapped.end() && next->start < range.end; ++next) {
        const VaRange part = next->intersection(range);
        if (!parts.empty() && parts.back().end == part.start) {
            parts.back().end = part.end;
        } else {
            parts.push_back(part);
        }
    }
    return parts;
}

// What of a range is still mapped, for the end of a sentence; empty where all of it is.
std::string what_is_left(const std::vector<VaRange>& parts, const VaRange& range) {
    constexpr std::size_t kNamed = 3;
    if (parts.empty()) {
        return ", but in parts: nothing of it is mapped any more";
    }
    if (parts.front() == range) {
        return "";
    }
    std::string text = "; still mapped of it: " + describe(parts.front());
    for (std::size_t i = 1; i < std::min(parts.size(), kNamed); ++i) {
        text += ", " + describe(parts[i]);
    }
    return parts.size() <= kNamed ? text : text + fmt::format(" and {} more parts", parts.size() - kNamed);
}

// Why a mapping whose BO was closed is still there, where the calls tell.
std::string how_it_came(const TracedVm& vm, const Mapping& mapping, const TracedBo& bo) {
    const std::uint64_t made = vm.line_of(mapping.shows.serial);
    for (const Va beside : {Va{mapping.va.start.raw() - (mapping.va.start.raw() != 0 ? 1 : 0)}, mapping.va.end}) {
        const std::optional<Removal> removed = vm.vm().address(beside).removed;
        // Unmapped beside it while it was there.
        if (!removed || removed->how != Removal::By::kUnmap || removed->by < mapping.shows.serial ||
            removed->what.shows.bo != mapping.shows.bo || mapping.shows.sparse()) {
            continue;
        }
        if (is_other_half(removed->what, mapping)) {
            return ring_sentence(vm, removed->what, mapping, removed->by, bo);
        }
        if (is_same_mapping(removed->what, mapping)) {
            return fmt::format(
                "Line {} mapped it, line {} unmapped only a part of it, {}, and line {} closed the handle", made,
                vm.line_of(removed->by), describe(removed->what.va), bo.closed);
        }
    }
    return fmt::format("Line {} mapped it and line {} closed the handle without an unmap between them", made,
                       bo.closed);
}

Leftover leftover(Leftover::Kind kind, const TracedVm& vm, std::uint64_t line, const VaRange& va) {
    Leftover result;
    result.kind = kind;
    result.line = line;
    result.process = vm.process;
    result.file = vm.file;
    result.bytes = va.size();
    result.va = va;
    return result;
}

}  // namespace

const char* to_string(Leftover::Kind kind) noexcept {
    switch (kind) {
        case Leftover::Kind::kBo:
            return "BO never closed";
        case Leftover::Kind::kVm:
            return "VM never destroyed";
        case Leftover::Kind::kMapping:
            return "never unmapped";
        case Leftover::Kind::kVaRange:
            return "VA never given back";
        case Leftover::Kind::kStillMapped:
            return "given back while still mapped";
        case Leftover::Kind::kMappedOver:
            return "mapped over what was given back";
    }
    return "?";
}

void add_vm_leftovers(std::vector<Leftover>& out, const TracedVm& vm, const std::vector<TracedBo>& bos, End end,
                      std::uint64_t line) {
    std::vector<Mapping> mappings;
    vm.vm().for_each_mapping(vm.vm().config().space, [&](const Mapping& mapping) { mappings.push_back(mapping); });
    std::vector<VaRange> all;
    std::vector<VaRange> still;  // of these, what a kStillMapped speaks of
    for (const Mapping& mapping : mappings) {
        const TracedBo* const bo = find(bos, vm, mapping.shows.bo);
        const std::uint64_t made = vm.line_of(mapping.shows.serial);
        const bool closed = bo != nullptr && bo->closed != 0;
        all.push_back(mapping.va);
        if (closed) {
            still.push_back(mapping.va);
        }
        Leftover result =
            leftover(closed ? Leftover::Kind::kStillMapped : Leftover::Kind::kMapping, vm, made, mapping.va);
        result.label = bo == nullptr ? "" : bo->label;
        const std::string what = bo == nullptr
                                     ? std::string("nothing (sparse)")
                                     : fmt::format("{} from {:#x} on", describe(*bo), mapping.shows.offset.raw());
        result.sentence = fmt::format("VA {} still shows {} {}. ", describe(mapping.va), what, when(end));
        result.sentence += closed ? how_it_came(vm, mapping, *bo) + "." : fmt::format("Line {} mapped it.", made);
        out.push_back(std::move(result));
    }
    for (const auto& [start, reserved] : vm.reserved) {
        const VaRange range{start, reserved.end};
        // One that was given back while mapped is not also one that was never given back.
        if (const std::vector<VaRange> parts = parts_in(still, range); !parts.empty() && parts.front() == range) {
            continue;
        }
        Leftover result = leftover(Leftover::Kind::kVaRange, vm, reserved.line, range);
        result.sentence =
            fmt::format("VA {} is in use since line {} and was never unmapped whole{}; VM {} ended at line {}.",
                        describe(range), reserved.line, what_is_left(parts_in(all, range), range), vm.id, line);
        out.push_back(std::move(result));
    }
}

void add_vm(std::vector<Leftover>& out, const TracedVm& vm, End end) {
    Leftover result = leftover(Leftover::Kind::kVm, vm, vm.made, {});
    result.bytes = vm.vm().statistics().mapped_bytes;
    const std::uint64_t mappings = vm.vm().statistics().mappings;
    result.sentence = fmt::format("VM {} of file {}{}, made at line {}, is still there {}, with {} mapping{}.", vm.id,
                                  vm.file, vm.process == 0 ? std::string() : fmt::format(" of process {}", vm.process),
                                  vm.made, when(end), mappings, mappings == 1 ? "" : "s");
    out.push_back(std::move(result));
}

void add_bo(std::vector<Leftover>& out, const TracedBo& bo, End end) {
    Leftover result;
    result.kind = Leftover::Kind::kBo;
    result.line = bo.made;
    result.process = bo.process;
    result.file = bo.file;
    result.bytes = bo.bytes;
    result.va = bo.va;
    result.label = bo.label;
    result.sentence = fmt::format("{} is still open {}.", describe(bo), when(end));
    out.push_back(std::move(result));
}

void add_mapped_over(std::vector<Leftover>& out, const TracedVm& vm, const Mapping& under, const TracedBo& bo,
                     const VaRange& range, std::uint64_t line) {
    Leftover result = leftover(Leftover::Kind::kMappedOver, vm, line, range.intersection(under.va));
    result.label = bo.label;
    result.sentence =
        fmt::format("Line {} maps {} over VA {}, which still showed {}, closed at line {}. {}.", line, describe(range),
                    describe(under.va), describe(bo), bo.closed, how_it_came(vm, under, bo));
    out.push_back(std::move(result));
}

}  // namespace granule::replay
