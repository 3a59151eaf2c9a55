// A NodeMemory that counts the bytes it has out. Thread-safety: any thread.
#pragma once

#include <atomic>
#include <cstddef>

#include "allocator/node_memory.hpp"

namespace granule::bench {

class CountedMemory {
public:
    // Good as long as this is.
    [[nodiscard]] NodeMemory nodes() noexcept { return {&allocate, &release, this}; }
    [[nodiscard]] std::size_t bytes() const noexcept { return bytes_.load(std::memory_order_relaxed); }

private:
    static void* allocate(void* context, std::size_t bytes, std::size_t alignment) noexcept {
        auto& self = *static_cast<CountedMemory*>(context);
        void* const block = self.process_.allocate(self.process_.context, bytes, alignment);
        if (block != nullptr) {
            self.bytes_.fetch_add(bytes, std::memory_order_relaxed);
        }
        return block;
    }
    static void release(void* context, void* block, std::size_t bytes, std::size_t alignment) noexcept {
        auto& self = *static_cast<CountedMemory*>(context);
        self.bytes_.fetch_sub(bytes, std::memory_order_relaxed);
        self.process_.release(self.process_.context, block, bytes, alignment);
    }

    NodeMemory process_ = NodeMemory::process();
    std::atomic<std::size_t> bytes_{0};
};

}  // namespace granule::bench
