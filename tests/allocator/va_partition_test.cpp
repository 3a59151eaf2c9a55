// The blocks of a heap by themselves: numbers, what carving leaves, and when the exact index is asked.
#include "allocator/va_partition.hpp"

#include <doctest/doctest.h>

#include <cstdint>

#include "tests/allocator/va_heap_fixture.hpp"

using namespace granule;
using namespace granule::test;

namespace {

constexpr std::uint64_t kWindow = 512;  // pages of 2 MiB

struct Fixture {
    FailingMemory source;
    VaPartition partition{source.memory(), true};
    VaPartition::Zone& zone = partition.zone(VaZone::kMain);

    Fixture() { REQUIRE(partition.open(VaZone::kMain, range(0, 40 * kWindow * kPage))); }

    VaBlock& carve(std::uint64_t first, std::uint64_t end) {
        REQUIRE(partition.set_aside(2));
        return partition.carve(*partition.block_at(first), first, end, 0);
    }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "a block is found by its number, and by a number of old it is seen to be unused") {
    VaBlock& block = carve(3, 9);
    const std::uint32_t number = block.number();
    CHECK(partition.find_block(number) == &block);
    CHECK(partition.find_block(0) == nullptr);
    CHECK(partition.find_block(UINT32_MAX) == nullptr);
    partition.release(block);
    REQUIRE(partition.find_block(number) != nullptr);
    CHECK(partition.find_block(number)->state() == VaBlock::State::kUnused);
    CHECK(partition.blocks() == 1);
    CHECK(partition.validate());
}

TEST_CASE_FIXTURE(Fixture, "a zone that does not exist takes no memory and has no place, and one takes little") {
    VaPartition::Zone& none = partition.zone(VaZone::kReplay);
    CHECK(none.bins == nullptr);
    CHECK(partition.find(none, {}).hole == nullptr);
    CHECK_FALSE(partition.find(none, {}).out_of_memory);
    CHECK(none.holes == nullptr);
    CHECK(partition.largest_hole(none) == 0);
    CHECK(partition.stats(VaZone::kReplay).free_bytes == 0);
    CHECK(zone.bins != nullptr);
    CHECK(partition.bytes_touched() < 4096);
    CHECK(partition.validate());
}

TEST_CASE_FIXTURE(Fixture, "without memory for its roots the exact index is not asked, and nothing changes") {
    const Shape all{.pages = 40 * kWindow};
    (void)carve(0, 1);
    source.fail_from = source.requests;
    CHECK(partition.find(zone, all).out_of_memory);
    CHECK(zone.holes == nullptr);
    CHECK(partition.validate());
    source.fail_from = UINT64_MAX;
    CHECK(partition.find(zone, all).hole == nullptr);
    CHECK_FALSE(partition.find(zone, all).out_of_memory);
    CHECK(zone.holes != nullptr);
    CHECK(partition.validate());
}

TEST_CASE_FIXTURE(Fixture, "a block of slots is outside of the counters until it is released") {
    VaBlock& block = carve(0, kWindow);
    CHECK(zone.counters.allocations == 1);
    partition.become_slots(block, 7);
    CHECK(block.run() == 7);
    CHECK(zone.counters.allocations == 0);
    CHECK(zone.counters.used_bytes == 0);
    CHECK(zone.slots_bytes == kWindow * kPage);
    CHECK(zone.free_bytes() == 39 * kWindow * kPage);
    CHECK(partition.validate());
    partition.release(block);
    CHECK(zone.free_bytes() == 40 * kWindow * kPage);
    CHECK(partition.validate());
}

TEST_CASE_FIXTURE(Fixture,
                  "a hole that the bins do not try is found by the exact index, which takes memory only then") {
    // Of the free 2 MiB windows, all others than every eighth, one begins at a multiple of 16 MiB.
    for (std::uint64_t window = 0; window < 40; ++window) {
        if (window % 2 != 0 || (window % 8 == 0 && window != 16)) {
            (void)carve(window * kWindow, (window + 1) * kWindow);
        }
    }
    const Shape shape{.pages = kWindow, .alignment_bits = 12};
    CHECK(zone.bins->find(shape).hole == nullptr);
    CHECK(zone.holes == nullptr);
    const std::uint64_t before = partition.bytes_touched();
    const VaPartition::Place place = partition.find(zone, shape);
    REQUIRE(place.hole != nullptr);
    CHECK(place.first == 16 * kWindow);
    CHECK(partition.bytes_touched() > before);
    CHECK(partition.validate());
    // A hole that the index knows goes, and one that it does not know comes.
    VaBlock& taken = partition.carve(*place.hole, place.first, place.first + kWindow, 0);
    CHECK(partition.find(zone, shape).hole == nullptr);
    CHECK_FALSE(partition.find(zone, shape).out_of_memory);
    CHECK(partition.largest_hole(zone) == kWindow);
    const std::uint64_t requests = source.requests;
    partition.release(taken);
    CHECK(source.requests == requests);
    CHECK(partition.find(zone, shape).first == 16 * kWindow);
    CHECK(partition.validate());
}
