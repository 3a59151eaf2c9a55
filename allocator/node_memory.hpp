// Where the nodes of the allocator's own structures live: a pair of functions and their context.
//
// The structures ask for few and large blocks (node_pool.hpp cuts them), so that the functions are off every hot path
// and may be anything: mimalloc and the kernel (the default), an arena, or a test that lets the k-th request fail.
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

    // From the kernel's huge pages, where it has some, comes what is behind the first kHugePage of a block of at least
    // kLargeBlock: a million mappings are in 15 to 25 of them, and no translation of one has to be looked up in memory.
    //
    //     block   | 4 KiB pages, each when it is written | 2 MiB page | 2 MiB page | ... | rest: 4 KiB pages |
    //             ^ aligned to kHugePage                 ^ each when a byte of it is written
    //
    // Structures write a block from its start on, so what was never written costs address space still, and what is written
    // takes at most twice its size (unless the system gives huge pages to everybody, asked or not). Large blocks go back to the kernel when they are released.
    static constexpr std::size_t kHugePage = std::size_t{2} << 20U;
    static constexpr std::size_t kLargeBlock = 2 * kHugePage;

    // Smaller blocks come from mimalloc's process-wide heap. Not a `mi_heap_t` per structure: up to mimalloc 2 only the
    // thread that created such a heap may allocate from it, while a VM is used by any thread that holds its lock.
    [[nodiscard]] static NodeMemory process() noexcept;
};

}  // namespace granule
