// What P4 is measured with: allocations are counted, on the thread that makes them.
#include "src/replay/allocation_count.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <thread>

namespace granule::replay::test {
namespace {

void allocate_one() {
    const NodeMemory memory = counting_node_memory();
    void* const block = memory.allocate(memory.context, 64, 16);
    REQUIRE(block != nullptr);
    memory.release(memory.context, block, 64, 16);
}

}  // namespace

TEST_CASE("P4: allocations are counted since the thread asked last, and none of another thread") {
    static_cast<void>(take_allocations_of_this_thread());
    allocate_one();
    std::uint64_t there_first = 0;
    std::uint64_t there_second = 0;
    std::thread([&] {
        allocate_one();
        allocate_one();
        there_first = take_allocations_of_this_thread();
        there_second = take_allocations_of_this_thread();
    }).join();
    CHECK(there_first == 2);
    CHECK(there_second == 0);
    CHECK(take_allocations_of_this_thread() == 1);
}

TEST_CASE("P4: page-table pages and device memory count as allocations, operations do not") {
    static_cast<void>(take_allocations_of_this_thread());
    CHECK(counting_injection().at(Injection::Site::kOperation) == 0);
    CHECK(take_allocations_of_this_thread() == 0);
    CHECK(counting_injection().at(Injection::Site::kTableMemory) == 0);
    CHECK(take_allocations_of_this_thread() == 1);
}

}  // namespace granule::replay::test
