#include "src/bo_pool.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <limits>

#include "src/journal.hpp"

namespace granule {
namespace {

constexpr std::uint64_t kLeastSlabBytes = std::uint64_t{64} << 10;
constexpr std::uint64_t kMostSlabBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kMostAlignment = kBlock2MBytes;
// Large buffers: whole pages, or 2 MiB, of them are a slab for SlabSpace.
constexpr std::uint64_t kMostBytes = SlabSpace::kMostSlabBytes;
constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max();

bool is_valid(const BoPoolConfig& config) noexcept {
    const auto is_size = [&](std::uint64_t bytes, std::uint64_t most) noexcept {
        return std::has_single_bit(bytes) && bytes >= kLeastSlabBytes && bytes <= most;
    };
    return is_size(config.slab_bytes, kMostSlabBytes) && is_size(config.first_slab_bytes, config.slab_bytes) &&
           std::has_single_bit(config.alignment) && config.alignment >= kCacheLineBytes &&
           config.alignment <= kMostAlignment;
}

constexpr std::size_t index(SlabId slab) noexcept {
    return static_cast<std::size_t>(slab);
}

}  // namespace

Result<Owned<BoPool>, Status> BoPool::create(const BoPoolConfig& config, Owned<SlabSource> source,
                                             const TimelineTable& timelines, NodeMemory nodes) noexcept {
    if (!is_valid(config) || !source) {
        return fail(Status::kBadArgument);
    }
    Owned<BoPool> pool = make_owned<BoPool>(nodes, config, std::move(source), timelines, nodes);
    if (!pool) {
        return fail(Status::kOutOfHostMemory);
    }
    return pool;
}

Result<Owned<BoPool>, Status> BoPool::create(const BoPoolConfig& config, Device& device, Vm& vm,
                                             const VmSlabConfig& slabs) noexcept {
    if (!is_valid(config) || (slabs.kind.cpu_cached && !slabs.kind.cpu_visible)) {
        return fail(Status::kBadArgument);
    }
    Owned<SlabSource> source = make_owned<VmSlabSource>(device.nodes(), device, vm, slabs);
    if (!source) {
        return fail(Status::kOutOfHostMemory);
    }
    return create(config, std::move(source), device.timelines(), device.nodes());
}

BoPool::BoPool(const BoPoolConfig& config, Owned<SlabSource> source, const TimelineTable& timelines,
               NodeMemory nodes) noexcept
    : config_(config),
      timelines_(timelines),
      source_(std::move(source)),
      space_(nodes, config.alignment),
      queue_(space_, nodes),
      slabs_(nodes) {}

BoPool::~BoPool() {
    for (const Slab& slab : slabs_) {
        if (slab.memory.bo != kNoBo && source_->give_back(slab.memory) != Status::kOk) {
            source_->abandon(slab.memory);
        }
    }
}

Result<PoolBuffer, OsError> BoPool::allocate(std::uint64_t bytes, std::uint64_t alignment) noexcept {
    if (bytes == 0 || bytes > kMostBytes || !std::has_single_bit(alignment) || alignment > kMostAlignment) {
        return fail(os_error(Status::kBadArgument));
    }
    const std::lock_guard lock(mutex_);
    if (!queue_.hold()) {
        return fail(os_error(Status::kOutOfHostMemory));
    }
    if (std::max({bytes, alignment, config_.alignment}) > config_.slab_bytes / 2) {
        return allocate_own(bytes, alignment);
    }
    Result<SlabPiece, SlabError> piece = space_.allocate(bytes, alignment);
    if (!piece && piece.error() == SlabError::kNoRoom) {
        collect_waiting();
        piece = space_.allocate(bytes, alignment);
    }
    if (!piece && piece.error() == SlabError::kNoRoom) {
        const Result<SlabId, OsError> slab = add_slab(next_slab_bytes(bytes, alignment), slab_alignment());
        if (!slab) {
            return fail(slab.error());
        }
        piece = space_.allocate(bytes, alignment);  // what it needs was held
    }
    if (!piece) {
        return fail(os_error(Status::kOutOfHostMemory));
    }
    slabs_[index(piece->slab)].idle_since_ns = 0;
    return describe(*piece);
}

Result<PoolBuffer, OsError> BoPool::allocate_own(std::uint64_t bytes, std::uint64_t alignment) noexcept {
    const std::uint64_t whole = align_up(bytes, std::max(kPageBytes, config_.alignment));
    const Result<SlabId, OsError> slab = add_slab(whole, std::max({alignment, config_.alignment, kPageBytes}));
    if (!slab) {
        return fail(slab.error());
    }
    slabs_[index(*slab)].own = true;
    ++own_bos_;
    return describe(space_.take_whole(*slab, bytes));
}

// Every slab at a VA that the offsets in it can be aligned by.
std::uint64_t BoPool::slab_alignment() const noexcept {
    return std::min(config_.slab_bytes, kMostAlignment);
}

std::uint64_t BoPool::next_slab_bytes(std::uint64_t bytes, std::uint64_t alignment) const noexcept {
    const std::uint64_t doubling =
        std::clamp(std::bit_floor(reserved_bytes_), config_.first_slab_bytes, config_.slab_bytes);
    return std::max(doubling, std::bit_ceil(2 * std::max(bytes, alignment)));
}

// An idle slab, with what a first piece in it needs.
Result<SlabId, OsError> BoPool::add_slab(std::uint64_t bytes, std::uint64_t alignment) noexcept {
    // Numbers of slabs that are gone come again, so that one place more than there are slabs is enough.
    if (!space_.hold_slab() || (slabs_.size() == space_.statistics().slabs && !slabs_.push({}))) {
        return fail(os_error(Status::kOutOfHostMemory));
    }
    Result<SlabMemory, OsError> memory = source_->acquire(bytes, alignment);
    if (!memory && is_shortage(memory.error().status)) {
        collect_waiting();
        if (give_back_idle(0, [](const Slab&) noexcept { return true; }) != 0) {
            memory = source_->acquire(bytes, alignment);
        }
    }
    if (!memory) {
        return fail(memory.error());
    }
    const Result<SlabId, SlabError> slab = space_.add_slab(usable_bytes(*memory));
    assert(slab);
    slabs_[index(*slab)] = Slab{*memory, 0, false};
    reserved_bytes_ += memory->bytes();
    peak_reserved_bytes_ = std::max(peak_reserved_bytes_, reserved_bytes_);
    ++slabs_made_;
    return *slab;
}

// A source may give more than it was asked for, and what is no multiple.
std::uint64_t BoPool::usable_bytes(const SlabMemory& memory) const noexcept {
    return std::min(align_down(memory.bytes(), config_.alignment), SlabSpace::kMostSlabBytes);
}

PoolBuffer BoPool::describe(const SlabPiece& piece) const noexcept {
    const SlabMemory& slab = slabs_[index(piece.slab)].memory;
    PoolBuffer buffer;
    buffer.id = piece.id;
    buffer.bo = slab.bo;
    buffer.offset = BoOffset{piece.offset};
    buffer.va = slab.va.start + piece.offset;
    buffer.cpu = slab.cpu == nullptr ? nullptr : slab.cpu + piece.offset;
    buffer.bytes = piece.bytes;
    return buffer;
}

template <class Goes>
std::uint64_t BoPool::give_back_idle(std::uint64_t keep, Goes&& goes) noexcept {
    std::uint64_t kept = 0;
    std::uint64_t bytes = 0;
    space_.visit_idle([&](SlabId id) noexcept {
        Slab& slab = slabs_[index(id)];
        if (!slab.own && kept < keep) {
            ++kept;
            return;
        }
        if (!goes(slab)) {
            return;
        }
        const bool gone = source_->give_back(slab.memory) == Status::kOk;
        if (slab.own) {  // where it stays, it is a slab as any other
            slab.own = false;
            --own_bos_;
        }
        if (gone) {
            bytes += slab.memory.bytes();
            space_.remove_slab(id);
            slab = {};
        }
    });
    reserved_bytes_ -= bytes;
    return bytes;
}

// Room that fences were holding, for who looks for room: what was one buffer's own goes, slabs stay.
std::uint64_t BoPool::collect_waiting() noexcept {
    const std::uint64_t freed =
        queue_.collect([&](TimelineId timeline) noexcept { return timelines_.value(timeline); });
    if (freed != 0) {
        give_back_idle(kAll, [](const Slab&) noexcept { return true; });
    }
    return freed;
}

Status BoPool::free(PieceId buffer, std::span<const FencePoint> fences) noexcept {
    for (const FencePoint& fence : fences) {
        if (!timelines_.was_made(fence.timeline)) {
            return Status::kBadArgument;
        }
    }
    const std::lock_guard lock(mutex_);
    const std::optional<SlabPiece> piece = space_.find(buffer);
    if (!piece || !queue_.retire(buffer, fences)) {
        return Status::kBadArgument;
    }
    if (space_.is_idle(piece->slab)) {
        give_back_idle(config_.keep_idle_slabs, [](const Slab&) noexcept { return true; });
    }
    return Status::kOk;
}

std::optional<PoolBuffer> BoPool::find(PieceId buffer) const noexcept {
    const std::lock_guard lock(mutex_);
    const std::optional<SlabPiece> piece = space_.find(buffer);
    if (!piece) {
        return std::nullopt;
    }
    return describe(*piece);
}

std::uint64_t BoPool::collect() noexcept {
    const std::lock_guard lock(mutex_);
    const std::uint64_t freed = collect_waiting();
    give_back_idle(config_.keep_idle_slabs, [](const Slab&) noexcept { return true; });
    return freed;
}

std::uint64_t BoPool::trim(std::uint64_t idle_ns, std::uint64_t now_ns) noexcept {
    const std::uint64_t now = now_ns == 0 ? monotonic_ns() : now_ns;
    const std::lock_guard lock(mutex_);
    collect_waiting();
    return give_back_idle(0, [&](Slab& slab) noexcept {
        if (slab.idle_since_ns == 0) {
            slab.idle_since_ns = now;
        }
        return idle_ns == 0 || (now >= slab.idle_since_ns && now - slab.idle_since_ns >= idle_ns);
    });
}

BoPoolStatistics BoPool::statistics() const noexcept {
    const std::lock_guard lock(mutex_);
    const SlabStatistics& space = space_.statistics();
    BoPoolStatistics statistics;
    statistics.slabs = space.slabs - own_bos_;
    statistics.idle_slabs = space.idle_slabs;
    statistics.own_bos = own_bos_;
    statistics.reserved_bytes = reserved_bytes_;
    statistics.peak_reserved_bytes = peak_reserved_bytes_;
    statistics.buffers = space.pieces;
    statistics.live_bytes = space.asked_bytes;
    statistics.waste_bytes = space.piece_bytes - space.asked_bytes;
    statistics.waiting = space.retired;
    statistics.waiting_bytes = space.retired_bytes;
    statistics.free_bytes = space.free_bytes;
    statistics.largest_free = space_.largest_free();
    statistics.slabs_made = slabs_made_;
    statistics.node_bytes = space_.node_bytes() + queue_.node_bytes() + slabs_.capacity() * sizeof(Slab);
    return statistics;
}

bool BoPool::validate() const noexcept {
    const std::lock_guard lock(mutex_);
    std::uint64_t slabs = 0;
    std::uint64_t own = 0;
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < slabs_.size(); ++i) {
        const SlabMemory& memory = slabs_[i].memory;
        if (memory.bo == kNoBo) {
            continue;
        }
        if (space_.bytes_of(SlabId{static_cast<std::uint32_t>(i)}) != usable_bytes(memory)) {
            return false;
        }
        ++slabs;
        own += slabs_[i].own ? 1U : 0U;
        bytes += memory.bytes();
    }
    return slabs == space_.statistics().slabs && own == own_bos_ && bytes == reserved_bytes_ && space_.validate() &&
           queue_.validate();
}

}  // namespace granule
