// Transactions as lists: what is joined, what is not, and which of those that were added a request came from.
#include "src/transaction.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "tests/src/requests.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test {
namespace {

constexpr BoId kBo{1};

BindRequest tile(std::uint64_t number) {
    return map_request(range_at(kGiB + number * 64 * kKiB, 64 * kKiB), kBo, number * 64 * kKiB);
}

std::vector<std::size_t> firsts(const Transaction& transaction) {
    std::vector<std::size_t> all;
    for (std::size_t i = 0; i < transaction.size(); ++i) {
        all.push_back(transaction.first_added(i));
    }
    return all;
}

TEST_CASE("a request knows which of those that were added was its first") {
    Transaction transaction;
    CHECK(transaction.first_added(0) == BindError::kAll);
    for (const BindRequest& request :
         {tile(0), tile(1), unmap_request(range_at(0, kKiB * 4)), tile(7), tile(8), tile(9), tile(8),
          unmap_request(range_at(kMiB, kMiB)), unmap_request(range_at(0, 0))}) {
        REQUIRE(transaction.add(request) == Status::kOk);
    }
    CHECK(firsts(transaction) == std::vector<std::size_t>{0, 2, 3, 6, 7, 8});
    CHECK(transaction.added() == 9);
    CHECK(transaction.first_added(transaction.size()) == BindError::kAll);
    CHECK(transaction.first_added(BindError::kAll) == BindError::kAll);
    transaction.clear();
    CHECK(transaction.first_added(0) == BindError::kAll);
    REQUIRE(transaction.add(tile(1)) == Status::kOk);
    CHECK(firsts(transaction) == std::vector<std::size_t>{0});
}

TEST_CASE("nothing is joined across the end of a group, and everything within one") {
    Transaction transaction;
    transaction.separate();
    REQUIRE(transaction.add(tile(0)) == Status::kOk);
    REQUIRE(transaction.add(tile(1)) == Status::kOk);
    transaction.separate();
    REQUIRE(transaction.add(tile(2)) == Status::kOk);
    REQUIRE(transaction.add(tile(3)) == Status::kOk);
    CHECK(firsts(transaction) == std::vector<std::size_t>{0, 2});
    CHECK(transaction.requests()[0].va == tile(0).va.hull(tile(1).va));
    CHECK(transaction.requests()[1].va == tile(2).va.hull(tile(3).va));
    transaction.separate();
    transaction.clear();  // and with it the groups
    REQUIRE(transaction.add(tile(2)) == Status::kOk);
    REQUIRE(transaction.add(tile(3)) == Status::kOk);
    CHECK(transaction.size() == 1);
}

TEST_CASE("whichever allocation of an add fails, it says so and has changed nothing") {
    for (std::uint64_t k = 0;; ++k) {
        CAPTURE(k);
        REQUIRE(k < 100);
        TestMemory memory;
        Transaction transaction(memory.memory());
        memory.refuse_after(k);
        std::size_t added = 0;
        bool refused = false;
        while (added < 40) {
            if (const Status status = transaction.add(tile(2 * added)); status != Status::kOk) {
                CHECK(status == Status::kOutOfHostMemory);
                CHECK(transaction.added() == added);
                CHECK(transaction.size() == added);
                CHECK(transaction.first_added(added) == BindError::kAll);
                refused = true;
                continue;  // it was the one that is refused
            }
            REQUIRE(transaction.first_added(added) == added);
            REQUIRE(transaction.requests()[added].va == tile(2 * added).va);
            ++added;
        }
        if (!refused) {
            break;
        }
    }
}

}  // namespace
}  // namespace granule::test
