#include "allocator/node_pool.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <new>
#include <utility>

namespace granule {

namespace {

// Slabs are at least so large: a page that is not touched costs nothing, a call for every node would.
constexpr std::size_t kLeastSlabBytes = std::size_t{32} << 10;
// More than any address space holds: larger requests are refused before their arithmetic can wrap.
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 48;

}  // namespace

// The head of a slab, in the room of its first node.
struct NodePool::Slab {
    Slab* newer;
    std::uint64_t nodes;  // without the head
    std::size_t bytes;
};

namespace {

// The link of nodes that are given back is bytes, so that an object around them stays one.
void* link_of(const void* node) noexcept {
    void* next = nullptr;
    std::memcpy(&next, node, sizeof(next));
    return next;
}

}  // namespace

NodePool::NodePool(NodeMemory memory, std::size_t node_bytes, std::size_t alignment) noexcept
    : memory_(memory), node_bytes_(node_bytes), alignment_(alignment) {
    assert(std::has_single_bit(alignment) && alignment >= alignof(Slab));
    assert(node_bytes % alignment == 0 && node_bytes >= sizeof(Slab));
}

NodePool::NodePool(NodePool&& other) noexcept
    : memory_(other.memory_), node_bytes_(other.node_bytes_), alignment_(other.alignment_) {
    take_over(other);
}

NodePool& NodePool::operator=(NodePool&& other) noexcept {
    if (this != &other) {
        release_slabs();
        memory_ = other.memory_;
        node_bytes_ = other.node_bytes_;
        alignment_ = other.alignment_;
        take_over(other);
    }
    return *this;
}

NodePool::~NodePool() {
    release_slabs();
}

void NodePool::take_over(NodePool& other) noexcept {
    oldest_ = std::exchange(other.oldest_, nullptr);
    newest_ = std::exchange(other.newest_, nullptr);
    fresh_ = std::exchange(other.fresh_, nullptr);
    fresh_cut_ = std::exchange(other.fresh_cut_, 0);
    free_ = std::exchange(other.free_, nullptr);
    in_use_ = std::exchange(other.in_use_, 0);
    capacity_ = std::exchange(other.capacity_, 0);
    bytes_reserved_ = std::exchange(other.bytes_reserved_, 0);
}

void NodePool::release_slabs() noexcept {
    while (oldest_ != nullptr) {
        Slab* slab = std::exchange(oldest_, oldest_->newer);
        memory_.release(memory_.context, slab, slab->bytes, alignment_);
    }
}

bool NodePool::reserve(std::uint64_t nodes) noexcept {
    if (nodes <= capacity_) {
        return true;
    }
    if (nodes >= kMostBytes / node_bytes_) {
        return false;
    }
    const std::uint64_t least = std::max<std::uint64_t>(kLeastSlabBytes / node_bytes_, 2) - 1;
    const std::uint64_t added = std::max({nodes - capacity_, capacity_ / 2, least});
    const std::size_t bytes = (added + 1) * node_bytes_;
    void* memory = memory_.allocate(memory_.context, bytes, alignment_);
    if (memory == nullptr) {
        return false;
    }
    Slab* slab = ::new (memory) Slab{nullptr, added, bytes};
    if (newest_ == nullptr) {
        oldest_ = slab;
        fresh_ = slab;
    } else {
        newest_->newer = slab;
    }
    newest_ = slab;
    capacity_ += added;
    bytes_reserved_ += bytes;
    return true;
}

void NodePool::reserve_no_more_than(std::uint64_t capacity) noexcept {
    if (capacity_ == capacity) {
        return;
    }
    assert(newest_->nodes == capacity_ - capacity && in_use_ <= capacity);
    Slab* const gone = newest_;
    newest_ = nullptr;
    for (Slab* slab = oldest_; slab != gone; slab = slab->newer) {
        newest_ = slab;
    }
    if (newest_ == nullptr) {
        oldest_ = nullptr;
        fresh_ = nullptr;
    } else {
        newest_->newer = nullptr;
    }
    capacity_ = capacity;
    bytes_reserved_ -= gone->bytes;
    memory_.release(memory_.context, gone, gone->bytes, alignment_);
}

void* NodePool::take() noexcept {
    assert(in_use_ < capacity_);
    ++in_use_;
    if (free_ != nullptr) {
        return std::exchange(free_, link_of(free_));
    }
    if (fresh_cut_ == fresh_->nodes) {
        fresh_ = fresh_->newer;
        fresh_cut_ = 0;
    }
    ++fresh_cut_;  // node 0 is the head
    return reinterpret_cast<std::byte*>(fresh_) + fresh_cut_ * node_bytes_;
}

void NodePool::give_back(void* node) noexcept {
    assert(in_use_ > 0);
    --in_use_;
    std::memcpy(node, &free_, sizeof(free_));
    free_ = node;
}

}  // namespace granule
