#include "allocator/node_memory.hpp"

#include <mimalloc.h>
#include <sys/mman.h>

#include <cstdint>
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

#if GRANULE_SANITIZED

NodeMemory NodeMemory::process() noexcept {
    return {
        [](void*, std::size_t bytes, std::size_t alignment) noexcept {
            return std::aligned_alloc(alignment, align_up(bytes, alignment));
        },
        [](void*, void* block, std::size_t, std::size_t) noexcept { std::free(block); },
        nullptr,
    };
}

#else

namespace {

constexpr std::size_t kHugePage = NodeMemory::kHugePage;
// More than any address space holds: larger requests are refused before their arithmetic can wrap.
constexpr std::size_t kMostBytes = std::size_t{1} << 48U;

constexpr bool is_large(std::size_t bytes, std::size_t alignment) noexcept {
    return bytes >= NodeMemory::kLargeBlock && alignment <= kHugePage;
}

void* map_pages(std::size_t bytes) noexcept {
    // Without a reservation in the kernel's books: a structure sets aside much more than it ever writes.
    void* const pages =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return pages == MAP_FAILED ? nullptr : pages;
}

std::uintptr_t behind_huge_page(const std::byte* address) noexcept {
    return reinterpret_cast<std::uintptr_t>(address) % kHugePage;
}

// In multiples of kHugePage, which is one of every smaller page too.
void* map_large(std::size_t bytes) noexcept {
    if (bytes > kMostBytes) {
        return nullptr;
    }
    const std::size_t size = align_up(bytes, kHugePage);
    auto* block = static_cast<std::byte*>(map_pages(size));
    if (block != nullptr && behind_huge_page(block) != 0) {
        // A kernel that does not align by itself: more than is needed, of which both ends go back.
        //
        //     pages   | head |          size          | tail |         head + tail = kHugePage
        //                    ^ aligned
        munmap(block, size);
        auto* const pages = static_cast<std::byte*>(map_pages(size + kHugePage));
        if (pages == nullptr) {
            return nullptr;
        }
        const std::size_t head = kHugePage - behind_huge_page(pages);
        block = pages + head;
        munmap(pages, head);
        if (head < kHugePage) {
            munmap(block + size, kHugePage - head);
        }
    }
    if (block != nullptr) {
        // A kernel that has no huge pages says so, and that is all.
        madvise(block + kHugePage, align_down(bytes, kHugePage) - kHugePage, MADV_HUGEPAGE);
    }
    return block;
}

}  // namespace

NodeMemory NodeMemory::process() noexcept {
    return {
        [](void*, std::size_t bytes, std::size_t alignment) noexcept {
            return is_large(bytes, alignment) ? map_large(bytes) : mi_malloc_aligned(bytes, alignment);
        },
        [](void*, void* block, std::size_t bytes, std::size_t alignment) noexcept {
            if (is_large(bytes, alignment)) {
                munmap(block, align_up(bytes, kHugePage));
            } else {
                mi_free(block);
            }
        },
        nullptr,
    };
}

#endif

}  // namespace granule
