#include "allocator/node_memory.hpp"

#include <mimalloc.h>

#include <cstdlib>

#include "mali/address.hpp"

// A sanitizer sees what goes through the C library's allocator. What mimalloc hands from one thread to another looks
// like a race to it, and what is used after its end like any memory.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GRANULE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define GRANULE_SANITIZED 1
#endif
#endif
#ifndef GRANULE_SANITIZED
#define GRANULE_SANITIZED 0
#endif

namespace granule {

NodeMemory NodeMemory::process() noexcept {
#if GRANULE_SANITIZED
    return {
        [](void*, std::size_t bytes, std::size_t alignment) noexcept {
            return std::aligned_alloc(alignment, align_up(bytes, alignment));
        },
        [](void*, void* block, std::size_t, std::size_t) noexcept { std::free(block); },
        nullptr,
    };
#else
    return {
        [](void*, std::size_t bytes, std::size_t alignment) noexcept { return mi_malloc_aligned(bytes, alignment); },
        [](void*, void* block, std::size_t, std::size_t) noexcept { mi_free(block); },
        nullptr,
    };
#endif
}

}  // namespace granule
