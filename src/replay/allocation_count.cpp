#include "src/replay/allocation_count.hpp"

#include <utility>

namespace granule::replay {
namespace {

thread_local std::uint64_t allocations = 0;

class Counter final : public Injection {
public:
    int at(Site site) noexcept override {
        allocations += site == Site::kOperation ? 0 : 1;
        return 0;
    }
};

}  // namespace

NodeMemory counting_node_memory() noexcept {
    return {[](void* /*context*/, std::size_t bytes, std::size_t alignment) noexcept -> void* {
                ++allocations;
                const NodeMemory memory = NodeMemory::process();
                return memory.allocate(memory.context, bytes, alignment);
            },
            [](void* /*context*/, void* block, std::size_t bytes, std::size_t alignment) noexcept {
                const NodeMemory memory = NodeMemory::process();
                memory.release(memory.context, block, bytes, alignment);
            },
            nullptr};
}

Injection& counting_injection() noexcept {
    static Counter counter;
    return counter;
}

std::uint64_t take_allocations_of_this_thread() noexcept {
    return std::exchange(allocations, 0);
}

}  // namespace granule::replay
