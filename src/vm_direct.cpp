// The short way of requests that need no plan: maps that cover no 2 MiB window whole and unmaps, none of which cuts a
// granule, as the tiles of sparse textures and small buffers come and go, at a backend that can do them in one call
// (`changes_directly`). One of them, or as many as a transaction has, if all are of that kind.
//
//     long way    each: look up BO -> plan -> hold -> remember -> erase, insert, ledger;   all: hold -> execute -> forget
//     short way   all: show BOs, hold -> change_directly;                                  each: replace, forget
//
// What is left out has nothing to do for such requests: the plan of each is the request alone, whatever is there; its
// leaves are 4 KiB pages and none of those that it replaces is larger, so that the ledger stays as it is; and the backend
// fails before it begins, so that nothing is to be undone, and our state can follow when all of it is done. The errors, the
// report, what an observer is told and the journal are the same. What is wrong with a request the long way says.
// VmConfig::direct_binds turns the short one off.
//
// Memory: as much as the long way holds, at most; what that remembers is not needed. Unmaps need none (P4).

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "src/vm.hpp"

namespace granule {
namespace {

// In a large VM none of what a request looks at is in the caches: that of the next ones comes while one is done, and before
// that what leads there.
constexpr std::size_t kAhead = 4;
constexpr std::size_t kFarAhead = 8;
// And while they come, the clock is read: it costs as much as one of them, and waits for all loads before it.
constexpr std::uint64_t kLarge = 4096;

bool shows_bo(const BindRequest& request) noexcept {
    return request.kind == BindRequest::Kind::kMap && !request.shows.sparse();
}

}  // namespace

bool Vm::is_direct(const BindRequest& request) const noexcept {
    const VaRange& va = request.va;
    const bool unmaps = request.kind == BindRequest::Kind::kUnmap;
    if (va.end <= va.start || !config_.space.contains(va) || !va.is_aligned(kPageBytes) ||
        (!unmaps && !request.shows.offset.is_aligned(kPageBytes))) {
        return false;
    }
    // A block that overlaps a range without a whole window is cut by it. Where there are no blocks at all, only a map can
    // make one.
    const bool has_window = va.end.align_down(kBlock2MBytes) >= va.start.align_up(kBlock2MBytes) + kBlock2MBytes;
    if (ledger_.blocks_2m() == 0 && ledger_.blocks_1g() == 0) {
        return !has_window || unmaps || request.leaves == LeafPolicy::kPage;
    }
    return !has_window && ledger_.leaf_at(va.start) == LeafSize::k4K &&
           ledger_.leaf_at(va.end - kPageBytes) == LeafSize::k4K;
}

// The BOs are held for the pages that will show them before what is there goes: it may be the same BOs.
Vm::Direct Vm::hold_directly(std::span<const BindRequest> requests) noexcept {
    if (!traits_.changes_directly || requests.empty()) {
        return Direct::kNo;
    }
    if (requests.size() == 1) {
        const BindRequest& request = requests.front();
        backend_->prepare(request.va.start);
        mappings_.prefetch(request.va.start);
    }
    std::uint64_t maps = 0;
    std::uint64_t pages = 0;
    for (const BindRequest& request : requests) {
        if (!is_direct(request)) {
            return Direct::kNo;
        }
        if (request.kind == BindRequest::Kind::kMap) {
            bos_.prepare(request.shows.bo);
            ++maps;
            pages += request.va.size() / kPageBytes;
        }
    }
    for (std::size_t i = 0; i < requests.size(); ++i) {
        const BindRequest& request = requests[i];
        if (shows_bo(request) &&
            bos_.show(request.shows.bo, request.shows.offset, request.va.size() / kPageBytes) != BoTable::Shown::kYes) {
            give_back_shown(requests.first(i));
            return Direct::kNo;
        }
    }
    if (maps != 0 && !mappings_.hold(maps, pages)) {
        give_back_shown(requests);
        return Direct::kNoMemory;
    }
    return Direct::kHeld;
}

void Vm::give_back_shown(std::span<const BindRequest> requests) noexcept {
    for (const BindRequest& request : requests) {
        if (shows_bo(request)) {
            bos_.hide(request.shows.bo, request.va.size() / kPageBytes);
        }
    }
}

BindError Vm::direct_failure(const BackendFailure& failure, std::span<const BindRequest> requests) noexcept {
    const bool one_is_to_blame = requests.size() == 1 || failure.status == Status::kBackendFailed;
    return one_is_to_blame ? describe(failure, requests[failure.plan]) : error_of_all(failure.status);
}

Result<BindReport, BindError> Vm::commit_directly(std::span<const BindRequest> requests) noexcept {
    std::uint64_t time_ns = mappings_.size() >= kLarge ? monotonic_ns() : 0;
    const Result<DirectChange, BackendFailure> done = backend_->change_directly(requests);
    if (!done) {
        mappings_.settle();
        give_back_shown(requests);
        return fail(direct_failure(done.error(), requests));
    }
    Result<BindReport, BindError> result;
    BindReport& report = *result;
    report.serial = BindSerial{next_serial_};
    report.operations = done->operations;
    report.touched = done->touched;
    const auto ask_for_way = [&](std::size_t i) {
        if (i < requests.size()) {
            mappings_.prefetch_way(requests[i].va.start);
        }
    };
    const auto ask_for_leaf = [&](std::size_t i) {
        if (i < requests.size()) {
            mappings_.prefetch(requests[i].va.start);
        }
    };
    for (std::size_t i = 1; i < kFarAhead; ++i) {
        ask_for_way(i);
    }
    for (std::size_t i = 1; i < kAhead; ++i) {
        ask_for_leaf(i);
    }
    for (std::size_t i = 0; i < requests.size(); ++i) {
        ask_for_way(i + kFarAhead);
        ask_for_leaf(i + kAhead);
        follow_directly(requests[i], report, time_ns);
    }
    mappings_.settle();
    peak_mapped_bytes_ = std::max(peak_mapped_bytes_, mappings_.mapped_bytes());
    ++next_serial_;
    ++binds_;
    return result;
}

// `time_ns`: of the call, where something goes; 0 as long as the clock was not read.
void Vm::follow_directly(const BindRequest& request, BindReport& report, std::uint64_t& time_ns) noexcept {
    const bool maps = request.kind == BindRequest::Kind::kMap;
    const Removal::By how = maps ? Removal::By::kMap : Removal::By::kUnmap;
    auto goes = [&](const Mapping& mapping) {
        const Mapping part = mapping.clipped(request.va);
        if (time_ns == 0) {
            time_ns = monotonic_ns();
        }
        report.unmapped_bytes += part.va.size();
        forget(part, how, time_ns);
    };
    // A tile lies in one mapping as a rule, or is one, which is found where the last one beside it was.
    const std::optional<Mapping> first = mappings_.find(request.va.start);
    if (first && first->va.end >= request.va.end) {
        goes(*first);
    } else {
        mappings_.for_each_overlap(request.va, goes);
    }
    if (maps) {
        const Mapping made = made_by(request);
        mappings_.replace(made.va, made);
        tell_bound(made);
    } else {
        mappings_.erase(request.va);
    }
}

}  // namespace granule
