#include "allocator/node_pool.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "tests/support/test_memory.hpp"

using granule::NodeMemory;
using granule::NodePool;
using granule::test::TestMemory;

namespace {

constexpr std::size_t kNodeBytes = 192;
constexpr std::size_t kAlignment = 64;

bool is_aligned(const void* node) {
    return reinterpret_cast<std::uintptr_t>(node) % kAlignment == 0;
}

// Bytes of all blocks that nobody has written since they were allocated.
std::size_t untouched_bytes(const TestMemory& memory) {
    std::size_t bytes = 0;
    for (const auto& [block, size] : memory.blocks()) {
        const auto* first = static_cast<const unsigned char*>(block);
        bytes += static_cast<std::size_t>(std::count(first, first + size, TestMemory::kPattern));
    }
    return bytes;
}

}  // namespace

TEST_CASE("P4: a pool gives out as many nodes as were reserved, without asking for memory") {
    TestMemory memory;
    NodePool pool(memory.memory(), kNodeBytes, kAlignment);
    for (const std::uint64_t nodes : {1U, 2U, 170U, 171U, 1000U, 5000U}) {
        REQUIRE(pool.reserve(nodes));
        REQUIRE(pool.capacity() >= nodes);
    }
    memory.refuse_everything();
    std::set<std::uintptr_t> taken;
    for (std::uint64_t node = 0; node < 5000; ++node) {
        void* fresh = pool.take();
        REQUIRE(is_aligned(fresh));
        // Written in full, so that a sanitizer sees a node that reaches beyond its slab.
        std::fill_n(static_cast<unsigned char*>(fresh), kNodeBytes, static_cast<unsigned char>(node));
        taken.insert(reinterpret_cast<std::uintptr_t>(fresh));
    }
    CHECK(taken.size() == 5000);
    CHECK(memory.refusals() == 0);
    CHECK(pool.in_use() == 5000);
    CHECK(pool.bytes_in_use() == 5000 * kNodeBytes);
    CHECK(pool.bytes_reserved() == memory.bytes());
    std::uintptr_t before = 0;
    for (const std::uintptr_t node : taken) {
        REQUIRE(node - before >= kNodeBytes);
        before = node;
    }
}

TEST_CASE("a node that was given back is the next to be taken") {
    TestMemory memory;
    NodePool pool(memory.memory(), kNodeBytes, kAlignment);
    REQUIRE(pool.reserve(4));
    void* first = pool.take();
    void* second = pool.take();
    pool.give_back(first);
    pool.give_back(second);
    CHECK(pool.in_use() == 0);
    CHECK(pool.take() == second);
    CHECK(pool.take() == first);
}

TEST_CASE("a node that was given back keeps what is in it, but for a pointer's bytes") {
    TestMemory memory;
    NodePool pool(memory.memory(), kNodeBytes, kAlignment);
    REQUIRE(pool.reserve(4));
    auto* first = static_cast<unsigned char*>(pool.take());
    auto* second = static_cast<unsigned char*>(pool.take());
    std::fill_n(first, kNodeBytes, static_cast<unsigned char>(1));
    std::fill_n(second, kNodeBytes, static_cast<unsigned char>(2));
    pool.give_back(first);
    pool.give_back(second);
    CHECK(std::count(first + sizeof(void*), first + kNodeBytes, 1) == kNodeBytes - sizeof(void*));
    CHECK(std::count(second + sizeof(void*), second + kNodeBytes, 2) == kNodeBytes - sizeof(void*));
}

TEST_CASE("a reserve that is taken back gives its memory back, and the pool goes on as if it had not been") {
    TestMemory memory;
    {
        NodePool pool(memory.memory(), kNodeBytes, kAlignment);
        const auto reserve_and_take_back = [&] {
            const std::uint64_t capacity = pool.capacity();
            const std::uint64_t bytes = pool.bytes_reserved();
            const std::size_t blocks = memory.blocks().size();
            REQUIRE(pool.reserve(capacity + 1));
            REQUIRE(memory.blocks().size() == blocks + 1);
            pool.reserve_no_more_than(capacity);
            CHECK(pool.capacity() == capacity);
            CHECK(pool.bytes_reserved() == bytes);
            CHECK(memory.blocks().size() == blocks);
            pool.reserve_no_more_than(capacity);  // nothing to take back
            CHECK(memory.blocks().size() == blocks);
        };
        reserve_and_take_back();
        for (unsigned slab = 0; slab < 3; ++slab) {
            REQUIRE(pool.reserve(pool.capacity() + 1));
            while (pool.in_use() < pool.capacity()) {
                std::fill_n(static_cast<unsigned char*>(pool.take()), kNodeBytes, static_cast<unsigned char>(slab));
            }
            reserve_and_take_back();
        }
    }
    CHECK(memory.blocks().empty());
    CHECK(memory.misuses() == 0);
}

TEST_CASE("what is reserved and never taken is never written") {
    TestMemory memory;
    NodePool pool(memory.memory(), kNodeBytes, kAlignment);
    REQUIRE(pool.reserve(2000));
    static_cast<void>(pool.take());
    static_cast<void>(pool.take());
    CHECK(untouched_bytes(memory) >= memory.bytes() - kNodeBytes);  // the slab's head has a node's room
}

TEST_CASE("many small reserves make few slabs") {
    TestMemory memory;
    NodePool pool(memory.memory(), kNodeBytes, kAlignment);
    for (std::uint64_t nodes = 1; nodes <= 100000; ++nodes) {
        REQUIRE(pool.reserve(nodes));
    }
    CHECK(memory.requests() < 24);
    CHECK(pool.capacity() < 2 * 100000);
}

TEST_CASE("a reserve that fails changes nothing, and what is absurd is refused without asking") {
    TestMemory memory;
    NodePool pool(memory.memory(), kNodeBytes, kAlignment);
    REQUIRE(pool.reserve(10));
    const std::uint64_t capacity = pool.capacity();
    const std::uint64_t bytes = pool.bytes_reserved();
    memory.refuse_after(0);
    CHECK_FALSE(pool.reserve(capacity + 1));
    CHECK(memory.refusals() == 1);
    const std::uint64_t requests = memory.requests();
    for (const std::uint64_t nodes : {UINT64_MAX, UINT64_MAX / kNodeBytes, UINT64_MAX / kNodeBytes + 1}) {
        CHECK_FALSE(pool.reserve(nodes));
    }
    CHECK(memory.requests() == requests);
    CHECK(pool.capacity() == capacity);
    CHECK(pool.bytes_reserved() == bytes);
    CHECK(pool.reserve(capacity + 1));
}

TEST_CASE("a pool gives all its memory back at its end, and once, however it was moved") {
    TestMemory memory;
    {
        NodePool first(memory.memory(), kNodeBytes, kAlignment);
        REQUIRE(first.reserve(1000));
        void* node = first.take();
        NodePool second(std::move(first));
        CHECK(second.in_use() == 1);
        second.give_back(node);
        NodePool third(memory.memory(), kNodeBytes, kAlignment);
        REQUIRE(third.reserve(10));
        third = std::move(second);
        CHECK(third.capacity() >= 1000);
        CHECK(third.take() == node);
        CHECK(memory.blocks().size() == 1);
    }
    CHECK(memory.blocks().empty());
    CHECK(memory.misuses() == 0);
}

TEST_CASE("the process memory serves any alignment that nodes have") {
    const NodeMemory memory = NodeMemory::process();
    for (const std::size_t alignment : {std::size_t{16}, std::size_t{64}, std::size_t{4096}}) {
        void* block = memory.allocate(memory.context, 3 * alignment, alignment);
        REQUIRE(block != nullptr);
        CHECK(reinterpret_cast<std::uintptr_t>(block) % alignment == 0);
        memory.release(memory.context, block, 3 * alignment, alignment);
    }
}
