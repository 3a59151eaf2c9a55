#include "src/transaction.hpp"

namespace granule {
namespace {

// What a plan would refuse is not joined with anything: it must be refused as it was asked.
bool well_formed(const BindRequest& request) noexcept {
    return request.va.start < request.va.end && request.va.end.raw() <= kMaxVaEnd &&
           request.va.is_aligned(kPageBytes) && request.shows.offset.is_aligned(kPageBytes) &&
           request.shows.offset.raw() <= kMaxVaEnd;
}

bool goes_on(const BindRequest& last, const BindRequest& next) noexcept {
    if (!well_formed(last) || !well_formed(next) || last.kind != next.kind || last.va.end != next.va.start ||
        last.policy != next.policy || last.leaves != next.leaves) {
        return false;
    }
    return last.kind == BindRequest::Kind::kUnmap || next.shows == last.shows.advanced(last.va.size());
}

}  // namespace

Status Transaction::add(const BindRequest& request, std::size_t number) noexcept {
    if (requests_.size() > separated_at_ && goes_on(requests_.back(), request)) {
        requests_.back().va.end = request.va.end;
    } else {
        if (!firsts_.push(number)) {
            return Status::kOutOfHostMemory;
        }
        if (!requests_.push(request)) {
            firsts_.truncate(requests_.size());
            return Status::kOutOfHostMemory;
        }
    }
    ++added_;
    return Status::kOk;
}

}  // namespace granule
