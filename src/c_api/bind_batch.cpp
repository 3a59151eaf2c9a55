#include "src/c_api/bind_batch.hpp"

#include <algorithm>

#include "src/c_api/timeline_handle.hpp"

namespace granule::c_api {

BindBatch::~BindBatch() {
    for (const std::span<const granule_sync> points : {waits(), signals()}) {
        for (const granule_sync& point : points) {
            point.timeline->release();
        }
    }
}

bool BindBatch::add(const BindOp& op, std::uint32_t number) noexcept {
    if (groups_.empty() || ends_with_signals_ || !op.waits.empty()) {
        const Group begun{requests_.size(), waits_.size(), signals_.size()};
        if (!groups_.push(begun)) {
            return false;
        }
        requests_.separate();
    }
    ends_with_signals_ = !op.signals.empty();
    count_ = number + 1;
    if (!op.sync_only) {
        if (requests_.add(op.request, number) != Status::kOk) {
            return false;
        }
        groups_.back().requests_end = requests_.size();
    }
    if (op.releases_va && !releases_.push({op.request.va, groups_.size() - 1, number})) {
        return false;
    }
    bool room = true;
    for (const granule_sync& point : op.waits) {
        room = room && wait_for(point);
    }
    for (const granule_sync& point : op.signals) {
        room = room && signal(point);
    }
    return room;
}

// Point 0 of a timeline is reached before it is made; and a kernel takes it for something else, a binary syncobj.
bool BindBatch::push(Array<granule_sync>& points, const granule_sync& point) noexcept {
    if (point.point == 0) {
        return true;
    }
    if (!points.push(point)) {
        return false;
    }
    point.timeline->retain();
    return true;
}

bool BindBatch::wait_for(const granule_sync& point) noexcept {
    const bool room = push(waits_, point);
    groups_.back().waits_end = waits_.size();
    return room;
}

bool BindBatch::signal(const granule_sync& point) noexcept {
    const bool room = push(signals_, point);
    groups_.back().signals_end = signals_.size();
    return room;
}

std::uint32_t BindBatch::released_twice() noexcept {
    if (releases_.empty()) {
        return GRANULE_NO_OP;
    }
    const std::span<Release> all{&releases_[0], releases_.size()};
    std::sort(all.begin(), all.end(), [](const Release& a, const Release& b) {
        return a.range.start != b.range.start ? a.range.start < b.range.start : a.op < b.op;
    });
    const auto first = std::adjacent_find(
        all.begin(), all.end(), [](const Release& a, const Release& b) { return a.range.start == b.range.start; });
    const std::uint32_t again = first == all.end() ? GRANULE_NO_OP : (first + 1)->op;
    std::sort(all.begin(), all.end(), [](const Release& a, const Release& b) { return a.op < b.op; });
    return again;
}

BindBatch::Blame BindBatch::blame(const BindError& error) const noexcept {
    if (error.request == BindError::kAll || error.group >= groups_.size()) {
        return {};
    }
    const std::size_t before = error.group == 0 ? 0 : groups_[error.group - 1].requests_end;
    const std::size_t request = before + error.request;
    if (request >= requests_.size()) {
        return {};
    }
    const bool last = request + 1 == requests_.size();
    return {static_cast<std::uint32_t>(requests_.first_added(request)),
            last ? count_ : static_cast<std::uint32_t>(requests_.first_added(request + 1))};
}

}  // namespace granule::c_api
