// The short way of a bind: a map that covers no 2 MiB window whole and cuts no granule, as tiles of sparse textures and
// small buffers are, at a backend that can do it in one call (`maps_directly`).
//
//     long way    look up BO -> plan -> hold -> execute -> what was there -> erase, insert, ledger -> settle
//     short way   what is there -> show BO -> hold -> map_directly -> replace
//
// What is left out has nothing to do for such a map: its plan is the map alone, whatever is there; its leaves are 4 KiB
// pages where there are no blocks, so that the ledger stays as it is; and the backend fails before it begins, so that
// nothing is to be undone. The errors, the report, what an observer is told and the journal are the same; what is wrong
// with a request the long way says. VmConfig::direct_binds turns it off.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "src/vm.hpp"

namespace granule {

bool Vm::is_direct(const BindRequest& request) const noexcept {
    const VaRange& va = request.va;
    if (!traits_.maps_directly || request.kind != BindRequest::Kind::kMap || va.end <= va.start ||
        !config_.space.contains(va) || !va.is_aligned(kPageBytes) || !request.shows.offset.is_aligned(kPageBytes)) {
        return false;
    }
    // A block that overlaps such a range is cut by it.
    return va.end.align_down(kBlock2MBytes) < va.start.align_up(kBlock2MBytes) + kBlock2MBytes &&
           ledger_.leaf_at(va.start) == LeafSize::k4K && ledger_.leaf_at(va.end - kPageBytes) == LeafSize::k4K;
}

namespace {

// What goes where a map comes.
class Gone {
public:
    // A tile replaces one or two mappings as a rule.
    static constexpr std::size_t kMost = 4;

    [[nodiscard]] bool add(const Mapping& part) noexcept {
        if (count_ == kMost) {
            return false;
        }
        parts_[count_++] = part;
        bytes_ += part.va.size();
        return true;
    }
    [[nodiscard]] std::span<const Mapping> parts() const noexcept { return {parts_.data(), count_}; }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

private:
    std::array<Mapping, kMost> parts_;
    std::size_t count_ = 0;
    std::uint64_t bytes_ = 0;
};

}  // namespace

Result<BindReport, BindError> Vm::bind_directly(const BindGroup& group) noexcept {
    using Replaces = AddressSpaceBackend::Replaces;
    const BindRequest& request = group.requests.front();
    const std::uint64_t pages = request.va.size() / kPageBytes;
    const bool shows_bo = !request.shows.sparse();
    // In a large VM none of what is looked at below is in the caches: all of it comes at once.
    backend_->prepare(request.va.start);
    bos_.prepare(request.shows.bo);
    Gone gone;
    bool few = true;
    mappings_.for_each_overlap(request.va, [&](const Mapping& mapping) {
        few = gone.add(mapping.clipped(request.va));
        bos_.prepare(mapping.shows.bo);
        return few;
    });
    // Held from here on, before what is there goes: it may be the same BO.
    if (!few || (shows_bo && bos_.show(request.shows.bo, request.shows.offset, pages) != BoTable::Shown::kYes)) {
        return commit_planned(group, When::kNow);
    }
    const Replaces replaces = gone.bytes() == 0                   ? Replaces::kNothing
                              : gone.bytes() == request.va.size() ? Replaces::kPagesOnly
                                                                  : Replaces::kSomething;
    BackendFailure failure;
    if (!mappings_.hold(1, pages)) {
        failure.status = Status::kOutOfHostMemory;
    } else {
        const Result<void, BackendFailure> done = backend_->map_directly(
            {PlanOp::Kind::kMap, PlanOp::Purpose::kRequested, request.va, request.shows, request.leaves}, replaces);
        failure = done ? BackendFailure{Status::kOk, 0, 0, 0, false} : done.error();
    }
    if (failure.status != Status::kOk) {
        mappings_.settle();
        if (shows_bo) {
            bos_.hide(request.shows.bo, pages);
        }
        return fail(describe(failure, request));
    }

    const Mapping made = made_by(request);
    mappings_.replace(made.va, made);
    mappings_.settle();
    const std::uint64_t time_ns = gone.bytes() == 0 ? 0 : monotonic_ns();
    for (const Mapping& part : gone.parts()) {
        forget(part, Removal::By::kMap, time_ns);
    }
    tell_bound(made);
    peak_mapped_bytes_ = std::max(peak_mapped_bytes_, mappings_.mapped_bytes());
    Result<BindReport, BindError> result;
    result->serial = BindSerial{next_serial_};
    result->operations = 1;
    result->touched = request.va;
    result->unmapped_bytes = gone.bytes();
    ++next_serial_;
    ++binds_;
    return result;
}

}  // namespace granule
