#include "allocator/reuse_queue.hpp"

namespace granule {

Result<void, VaError> ReuseQueue::retire(VaRange range, std::span<const FencePoint> points) noexcept {
    VaBlock* block = partition_->allocated(range);
    if (block == nullptr) {
        return fail(VaHeap::not_allocated(*partition_, range));
    }
    FenceWait<VaBlock> wait;
    if (!wait.merge(points)) {
        return fail(
            VaError{.code = VaError::Code::kBadRequest, .why = "points of more timelines than a range can wait for"});
    }
    if (wait.count == 0) {
        partition_->release(*block);
        return {};
    }
    partition_->retire(*block, wait);
    queue_.push(*block);
    ++ranges_;
    return {};
}

std::optional<RetiredRange> ReuseQueue::waiting_at(Va va) const noexcept {
    const VaBlock* block = partition_->block_at(va.raw() >> kPageBits);
    if (block == nullptr || block->state != VaBlock::State::kRetired) {
        return std::nullopt;
    }
    RetiredRange waiting{.range = block->range()};
    for (std::size_t i = block->wait.current; i < block->wait.count; ++i) {
        waiting.points[waiting.count] = block->wait.points[i];
        ++waiting.count;
    }
    return waiting;
}

bool ReuseQueue::validate() const noexcept {
    std::uint64_t ranges = 0;
    const bool in_order = queue_.validate([&](const VaBlock& block) noexcept {
        ++ranges;
        return block.state == VaBlock::State::kRetired;
    });
    return in_order && ranges == ranges_;
}

}  // namespace granule
