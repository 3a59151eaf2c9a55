#include "tests/bench/harness/heap_count.hpp"

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace granule::bench {
namespace {

std::atomic<std::size_t> bytes_out{0};

void* take(std::size_t bytes, std::size_t alignment) {
    void* const block = alignment <= alignof(std::max_align_t)
                            ? std::malloc(bytes)
                            : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (block == nullptr) {
        throw std::bad_alloc();
    }
    bytes_out.fetch_add(malloc_usable_size(block), std::memory_order_relaxed);
    return block;
}

void give_back(void* block) noexcept {
    if (block != nullptr) {
        bytes_out.fetch_sub(malloc_usable_size(block), std::memory_order_relaxed);
        std::free(block);
    }
}

}  // namespace

std::size_t heap_bytes() noexcept {
    return bytes_out.load(std::memory_order_relaxed);
}

}  // namespace granule::bench

void* operator new(std::size_t bytes) {
    return granule::bench::take(bytes, 1);
}
void* operator new[](std::size_t bytes) {
    return granule::bench::take(bytes, 1);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return granule::bench::take(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
    return granule::bench::take(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* block) noexcept {
    granule::bench::give_back(block);
}
void operator delete[](void* block) noexcept {
    granule::bench::give_back(block);
}
void operator delete(void* block, std::size_t /*bytes*/) noexcept {
    granule::bench::give_back(block);
}
void operator delete[](void* block, std::size_t /*bytes*/) noexcept {
    granule::bench::give_back(block);
}
void operator delete(void* block, std::align_val_t /*alignment*/) noexcept {
    granule::bench::give_back(block);
}
void operator delete[](void* block, std::align_val_t /*alignment*/) noexcept {
    granule::bench::give_back(block);
}
void operator delete(void* block, std::size_t /*bytes*/, std::align_val_t /*alignment*/) noexcept {
    granule::bench::give_back(block);
}
void operator delete[](void* block, std::size_t /*bytes*/, std::align_val_t /*alignment*/) noexcept {
    granule::bench::give_back(block);
}
