// Where the nodes of the allocator's own structures live: a pair of functions and their context.
//
// The structures ask for few and large blocks (node_pool.hpp cuts them), so that the functions are off every hot path
// and may be anything: mimalloc (the default), an arena, or a test that lets the k-th request fail.
//
// Thread-safety: that of the functions. A structure calls them only from its own calls, on whichever thread those run.
#pragma once

#include <cstddef>

namespace granule {

struct NodeMemory {
    // `bytes` of memory aligned to `alignment` (a power of two), or null. The content is of no interest.
    void* (*allocate)(void* context, std::size_t bytes, std::size_t alignment) noexcept;
    // Takes back what `allocate` returned for the same `bytes` and `alignment`.
    void (*release)(void* context, void* block, std::size_t bytes, std::size_t alignment) noexcept;
    void* context;

    // mimalloc's process-wide heap. Not a `mi_heap_t` per structure: up to mimalloc 2 only the thread that created such
    // a heap may allocate from it, while a VM is used by any thread that holds its lock.
    [[nodiscard]] static NodeMemory process() noexcept;
};

}  // namespace granule
