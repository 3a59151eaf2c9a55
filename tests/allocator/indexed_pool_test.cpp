// Items that were set aside: their numbers, what they keep, and no memory for them.
#include "allocator/indexed_pool.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "tests/allocator/va_heap_fixture.hpp"

using namespace granule;
using namespace granule::test;

namespace {

struct alignas(32) Item {
    explicit Item(std::uint32_t n) noexcept : number(n) {}
    [[nodiscard]] static Item*& unused_link(Item& item) noexcept { return item.link; }

    Item* link = nullptr;
    std::uint32_t number;
    std::uint32_t kept = 0;
};

}  // namespace

TEST_CASE("items are numbered from 1 on, are where their numbers say, and stay there") {
    IndexedPool<Item> pool(NodeMemory::process());
    CHECK_FALSE(pool.find(1) != nullptr);
    std::vector<Item*> items;
    for (std::uint32_t number = 1; number <= 5000; ++number) {
        REQUIRE(pool.reserve(number));
        Item& item = pool.take();
        items.push_back(&item);
        if (item.number != number || &pool.at(number) != &item || pool.find(number) != &item ||
            reinterpret_cast<std::uintptr_t>(&item) % alignof(Item) != 0) {
            FAIL("item " << number);
        }
    }
    for (std::uint32_t number = 1; number <= 5000; ++number) {
        if (items[number - 1] != &pool.at(number)) {
            FAIL("item " << number << " moved");
        }
    }
    CHECK(pool.find(0) == nullptr);
    CHECK(pool.find(5001) == nullptr);
    CHECK(pool.find(UINT32_MAX) == nullptr);
    CHECK(pool.in_use() == 5000);
    CHECK(pool.bytes_touched() == 5000 * sizeof(Item));
    CHECK(pool.bytes_reserved() >= pool.bytes_touched());
}

TEST_CASE("an item that was given back is taken next, with its number and what was in it") {
    IndexedPool<Item> pool(NodeMemory::process());
    REQUIRE(pool.reserve(3));
    Item& first = pool.take();
    Item& second = pool.take();
    first.kept = 11;
    second.kept = 22;
    pool.give_back(first);
    pool.give_back(second);
    CHECK(pool.in_use() == 0);
    CHECK(&pool.take() == &second);
    CHECK(second.number == 2);
    CHECK(second.kept == 22);
    CHECK(&pool.take() == &first);
    CHECK(first.kept == 11);
    CHECK(pool.take().number == 3);
}

TEST_CASE("a reserve without memory changes nothing; take within what was reserved and give_back ask for none") {
    FailingMemory source;
    {
        IndexedPool<Item> pool(source.memory());
        source.fail_from = 2;
        CHECK(pool.reserve(1));
        const std::uint64_t capacity = pool.capacity();
        CHECK(pool.reserve(capacity + 1));
        const std::uint64_t more = pool.capacity();
        CHECK(more > capacity);
        CHECK_FALSE(pool.reserve(more + 1));
        CHECK(pool.capacity() == more);
        const std::uint64_t requests = source.requests;
        for (int round = 0; round < 2; ++round) {
            std::vector<Item*> items;
            for (std::uint64_t i = 0; i < more; ++i) {
                items.push_back(&pool.take());
            }
            for (Item* item : items) {
                pool.give_back(*item);
            }
        }
        CHECK(source.requests == requests);
        // There is an end to numbers.
        CHECK_FALSE(pool.reserve(std::uint64_t{1} << 40));
    }
    CHECK(source.outstanding == 0);
}
