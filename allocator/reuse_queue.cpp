#include "allocator/reuse_queue.hpp"

namespace granule {

Result<void, VaError> ReuseQueue::retire(VaRange range, std::span<const FencePoint> points) noexcept {
    return retire(range, VaHandle::kNone, points);
}

Result<void, VaError> ReuseQueue::retire(VaRange range, VaHandle handle, std::span<const FencePoint> points) noexcept {
    const VaOwned owned = space_->owned(range, handle);
    if (!owned) {
        return fail(VaHeap::not_allocated(*space_, range));
    }
    FenceWait<VaWait> wait;
    if (!wait.merge(points)) {
        return fail(
            VaError{.code = VaError::Code::kBadRequest, .why = "points of more timelines than a range can wait for"});
    }
    if (wait.count == 0) {
        space_->release(owned);
        return {};
    }
    queue_.push(space_->retire(owned, wait));
    ++ranges_;
    return {};
}

std::optional<RetiredRange> ReuseQueue::waiting_at(Va va) const noexcept {
    const std::optional<VaPiece> piece = space_->piece_at(va.raw() >> kPageBits);
    if (!piece || piece->state != VaBlock::State::kRetired) {
        return std::nullopt;
    }
    const FenceWait<VaWait>& wait = piece->wait->wait;
    RetiredRange waiting{.range = piece->range()};
    for (std::size_t i = wait.current; i < wait.count; ++i) {
        waiting.points[waiting.count] = wait.points[i];
        ++waiting.count;
    }
    return waiting;
}

bool ReuseQueue::validate() const noexcept {
    std::uint64_t ranges = 0;
    const bool in_order = queue_.validate([&](const VaWait& wait) noexcept {
        ++ranges;
        const std::optional<VaPiece> piece = space_->piece_at(wait.page);
        return piece && piece->wait == &wait;
    });
    return in_order && ranges == ranges_;
}

}  // namespace granule
