// Node memory for tests: counts what is out, refuses when told to, and fills blocks with a pattern.
//
// Thread-safety: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>

#include "allocator/node_memory.hpp"

namespace granule::test {

class TestMemory {
public:
    static constexpr unsigned char kPattern = 0xA5;
    // More than any test needs: what asks for more means to be refused.
    static constexpr std::size_t kMostBytes = std::size_t{1} << 30;

    TestMemory() = default;
    TestMemory(const TestMemory&) = delete;
    TestMemory& operator=(const TestMemory&) = delete;
    ~TestMemory() = default;

    [[nodiscard]] NodeMemory memory() noexcept { return {allocate, release, this}; }

    // From now on, the request after `granted` more is refused, and it alone.
    void refuse_after(std::uint64_t granted) noexcept {
        refuse_all_ = false;
        refused_at_ = requests_ + granted;
    }
    void refuse_everything() noexcept { refuse_all_ = true; }
    void refuse_nothing() noexcept {
        refuse_all_ = false;
        refused_at_ = UINT64_MAX;
    }

    [[nodiscard]] std::uint64_t requests() const noexcept { return requests_; }
    [[nodiscard]] std::uint64_t refusals() const noexcept { return refusals_; }
    [[nodiscard]] std::uint64_t misuses() const noexcept { return misuses_; }  // releases that match no block
    [[nodiscard]] const std::map<void*, std::size_t>& blocks() const noexcept { return blocks_; }
    [[nodiscard]] std::size_t bytes() const noexcept {
        std::size_t all = 0;
        for (const auto& [block, bytes] : blocks_) {
            all += bytes;
        }
        return all;
    }

private:
    static void* allocate(void* context, std::size_t bytes, std::size_t alignment) noexcept {
        auto& self = *static_cast<TestMemory*>(context);
        if (self.requests_++ == self.refused_at_ || self.refuse_all_ || bytes > kMostBytes) {
            ++self.refusals_;
            return nullptr;
        }
        void* block = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
        if (block != nullptr) {
            if (bytes <= kMostFilled) {
                std::memset(block, kPattern, bytes);
            }
            self.blocks_.emplace(block, bytes);
        }
        return block;
    }

    static void release(void* context, void* block, std::size_t bytes, std::size_t) noexcept {
        auto& self = *static_cast<TestMemory*>(context);
        const auto at = self.blocks_.find(block);
        if (at == self.blocks_.end() || at->second != bytes) {
            ++self.misuses_;
            return;
        }
        self.blocks_.erase(at);
        std::free(block);
    }

    // Filling what the structure leaves untouched costs real memory: large blocks are spared.
    static constexpr std::size_t kMostFilled = std::size_t{1} << 20;

    std::map<void*, std::size_t> blocks_;
    std::uint64_t requests_ = 0;
    std::uint64_t refused_at_ = UINT64_MAX;
    std::uint64_t refusals_ = 0;
    std::uint64_t misuses_ = 0;
    bool refuse_all_ = false;
};

}  // namespace granule::test
