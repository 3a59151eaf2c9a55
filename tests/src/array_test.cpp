#include "src/array.hpp"

#include <doctest/doctest.h>

#include <numeric>

#include "src/owned.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test {
namespace {

TEST_CASE("an array grows as it is pushed to, also by its own elements, and gives everything back") {
    TestMemory memory;
    {
        Array<std::uint64_t> array(memory.memory());
        CHECK(array.empty());
        REQUIRE(array.push(1));
        for (std::uint64_t i = 1; i < 1000; ++i) {
            REQUIRE(array.push(array[i - 1]));
            array.back() += 1;
        }
        for (std::uint64_t i = 0; i < 1000; ++i) {
            REQUIRE(array[i] == i + 1);
        }
        CHECK(std::accumulate(array.begin(), array.end(), std::uint64_t{0}) == 500'500);
        Array<std::uint64_t> moved = std::move(array);
        CHECK(moved.size() == 1000);
        moved.truncate(3);
        CHECK(moved.view().size() == 3);
        moved.clear();
        CHECK(moved.capacity() >= 1000);
        Array<std::uint64_t> other(memory.memory());
        REQUIRE(other.push(7));
        moved = std::move(other);
        CHECK(moved[0] == 7);
    }
    CHECK(memory.blocks().empty());
    CHECK(memory.misuses() == 0);
}

TEST_CASE("an array that gets no memory has not changed") {
    TestMemory memory;
    Array<int> array(memory.memory());
    REQUIRE(array.push(1));
    while (array.size() < array.capacity()) {
        REQUIRE(array.push(2));
    }
    memory.refuse_everything();
    const std::size_t size = array.size();
    CHECK_FALSE(array.push(3));
    CHECK_FALSE(array.reserve(size + 1));
    CHECK(array.reserve(size));
    CHECK(array.size() == size);
    CHECK(array[0] == 1);
    CHECK(array.back() == 2);
}

struct Base {
    explicit Base(int& ends) : ends_(ends) {}
    Base(const Base&) = delete;
    Base& operator=(const Base&) = delete;
    virtual ~Base() { ++ends_; }
    int& ends_;
};
struct Derived final : Base {
    using Base::Base;
    ~Derived() override { ends_ += 10; }
    int more = 5;
};

TEST_CASE("an owned object ends with its owner, once, through its base too; without memory there is none") {
    TestMemory memory;
    int ends = 0;
    {
        Owned<Derived> derived = make_owned<Derived>(memory.memory(), ends);
        REQUIRE(derived);
        CHECK(derived->more == 5);
        Owned<Base> base = std::move(derived);
        CHECK_FALSE(derived);  // NOLINT(bugprone-use-after-move): empty is what it is then
        Owned<Base> other = std::move(base);
        CHECK(other.get() != nullptr);
        CHECK(ends == 0);
        other = {};
        CHECK(memory.misuses() == 0);
    }
    CHECK(ends == 11);
    CHECK(memory.blocks().empty());
    memory.refuse_everything();
    CHECK_FALSE(make_owned<Derived>(memory.memory(), ends));
}

}  // namespace
}  // namespace granule::test
