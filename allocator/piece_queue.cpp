#include "allocator/piece_queue.hpp"

#include <algorithm>
#include <new>

namespace granule {

PieceQueue::PieceQueue(SlabSpace& space, NodeMemory memory) noexcept
    : space_(space), groups_(memory, sizeof(Group), alignof(Group)) {}

bool PieceQueue::hold() noexcept {
    return groups_.reserve(groups_.in_use() + space_.statistics().pieces + 1);
}

Result<void, PieceQueueError> PieceQueue::retire(PieceId id, std::span<const FencePoint> points) noexcept {
    const std::uint32_t piece = space_.owned(id);
    if (piece == SlabSpace::kNone) {
        return fail(PieceQueueError::kNotOwned);
    }
    FenceWait<Group> wait;
    if (!wait.merge(points)) {
        return fail(PieceQueueError::kTooManyPoints);
    }
    if (wait.count == 0) {
        space_.end_ownership(piece);
        space_.become_free(piece);
        return {};
    }
    space_.retire(piece);
    if (newest_ != nullptr && newest_->wait.count == wait.count && newest_->wait.points == wait.points) {
        space_.next_waiting(piece) = newest_->first;
        newest_->first = piece;
        return {};
    }
    space_.next_waiting(piece) = SlabSpace::kNone;
    newest_ = ::new (groups_.take()) Group{wait, piece};
    queue_.push(*newest_);
    return {};
}

std::uint64_t PieceQueue::release(Group& group) noexcept {
    std::uint64_t freed = 0;
    for (std::uint32_t piece = group.first; piece != SlabSpace::kNone; ++freed) {
        const std::uint32_t next = space_.next_waiting(piece);
        space_.release_retired(piece);
        piece = next;
    }
    if (newest_ == &group) {
        newest_ = nullptr;
    }
    groups_.give_back(&group);
    return freed;
}

bool PieceQueue::validate() const noexcept {
    std::uint64_t groups = 0;
    std::uint64_t pieces = 0;
    const bool in_order = queue_.validate([&](const Group& group) noexcept {
        ++groups;
        const std::uint64_t most = space_.statistics().retired;
        for (std::uint32_t piece = group.first; piece != SlabSpace::kNone; ++pieces) {
            if (pieces >= most || space_.pieces_[piece].state() != SlabSpace::State::kRetired) {
                return false;
            }
            piece = space_.pieces_[piece].right;
        }
        return true;
    });
    return in_order && groups == groups_.in_use() && pieces == space_.statistics().retired;
}

}  // namespace granule
