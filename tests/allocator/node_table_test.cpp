#include "allocator/node_table.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <set>
#include <vector>

#include "tests/support/test_memory.hpp"

using granule::NodeTable;
using granule::test::TestMemory;

namespace {

struct Node {
    std::uint32_t next = 0;
    std::uint32_t value = 42;
};

}  // namespace

TEST_CASE("numbers are dense, and nodes stay where they are while the table grows") {
    TestMemory memory;
    NodeTable<Node> table(memory.memory());
    std::vector<Node*> nodes;
    std::set<Node*> different;
    for (std::uint32_t i = 0; i < 5000; ++i) {
        REQUIRE(table.reserve(i + 1));
        REQUIRE(table.take() == i);
        nodes.push_back(&table[i]);
        different.insert(&table[i]);
        REQUIRE(table[i].value == 42);
        table[i].value = i;
    }
    CHECK(different.size() == nodes.size());
    for (std::uint32_t i = 0; i < nodes.size(); ++i) {
        REQUIRE(&table[i] == nodes[i]);
        REQUIRE(table[i].value == i);
    }
    CHECK(memory.blocks().size() == 5);  // 256 + 512 + ... + 4096
}

TEST_CASE("P4: within what was reserved, take and give_back need no memory; the last one given back comes first") {
    TestMemory memory;
    NodeTable<Node> table(memory.memory());
    REQUIRE(table.reserve(300));
    memory.refuse_everything();
    for (std::uint32_t i = 0; i < 300; ++i) {
        REQUIRE(table.take() == i);
    }
    table[7].value = 1000;
    table.give_back(7);
    table.give_back(299);
    CHECK(table.in_use() == 298);
    CHECK(table.take() == 299);
    CHECK(table.take() == 7);
    CHECK(table[7].value == 1000);
    CHECK(table.touched() == 300);
    CHECK(memory.refusals() == 0);
}

TEST_CASE("a reserve that fails has changed nothing but what it got on the way, and can be asked again") {
    TestMemory memory;
    NodeTable<Node> table(memory.memory());
    memory.refuse_after(1);
    CHECK_FALSE(table.reserve(10000));
    CHECK(table.in_use() == 0);
    memory.refuse_nothing();
    CHECK(table.reserve(10000));
    CHECK_FALSE(table.reserve(std::uint64_t{1} << 40));
}

TEST_CASE("all memory goes back with the table") {
    TestMemory memory;
    {
        NodeTable<Node> table(memory.memory());
        REQUIRE(table.reserve(3000));
    }
    CHECK(memory.blocks().empty());
    CHECK(memory.misuses() == 0);
}
