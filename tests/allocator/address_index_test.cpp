// Look-ups by address, against std::map; and memory that runs out.
#include "allocator/address_index.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "tests/allocator/va_heap_fixture.hpp"

using namespace granule;
using namespace granule::test;

namespace {

constexpr std::uint64_t kSpace = std::uint64_t{1} << kPageNumberBits;

// Blocks by start, as a map and in the index.
class Both {
public:
    explicit Both(NodeMemory memory = NodeMemory::process()) : pool_(memory), index_(memory, pool_) {}

    [[nodiscard]] AddressIndex& index() { return index_; }
    [[nodiscard]] const std::map<std::uint64_t, VaBlock*>& all() const { return all_; }
    [[nodiscard]] bool contains(std::uint64_t start) const { return all_.count(start) != 0; }

    // Beside the block below, if there is one. Without naming the block above: as the last one of a zone, where others
    // may follow.
    [[nodiscard]] bool insert(std::uint64_t start, bool name_above = true) {
        if (!set_aside(1)) {
            return false;
        }
        insert_set_aside(start, name_above);
        return true;
    }
    [[nodiscard]] bool set_aside(std::uint64_t blocks) {
        return pool_.reserve(pool_.in_use() + blocks) && index_.set_aside(blocks);
    }
    void insert_set_aside(std::uint64_t start, bool name_above = true) {
        VaBlock& block = pool_.take();
        block.set_first(start);
        const auto above = all_.upper_bound(start);
        if (above == all_.begin()) {
            index_.insert(block);
        } else {
            index_.insert_between(*std::prev(above)->second, block,
                                  name_above && above != all_.end() ? above->second : nullptr);
        }
        all_[start] = &block;
    }
    void erase(std::uint64_t start) {
        VaBlock* block = all_.at(start);
        index_.erase(*block);
        pool_.give_back(*block);
        all_.erase(start);
    }
    void replace(std::uint64_t start) {
        REQUIRE(pool_.reserve(pool_.in_use() + 1));
        VaBlock& now = pool_.take();
        now.set_first(start);
        AddressIndex::replace(*all_.at(start), now);
        pool_.give_back(*all_.at(start));
        all_[start] = &now;
    }
    [[nodiscard]] VaBlock* expected(std::uint64_t page) const {
        const auto above = all_.upper_bound(page);
        return above == all_.begin() ? nullptr : std::prev(above)->second;
    }
    [[nodiscard]] bool agrees_at(std::uint64_t page) const { return index_.find(page) == expected(page); }
    // At every start, beside it, and at the ends of the space.
    [[nodiscard]] bool agrees() const {
        bool right = agrees_at(0) && agrees_at(kSpace - 1);
        for (const auto& [start, block] : all_) {
            right = right && agrees_at(start) && agrees_at(start + 1) && (start == 0 || agrees_at(start - 1));
        }
        return right && index_.validate(all_.size());
    }

private:
    IndexedPool<VaBlock> pool_;
    AddressIndex index_;
    std::map<std::uint64_t, VaBlock*> all_;
};

}  // namespace

TEST_CASE("an empty index finds nothing, and the last block that goes leaves one") {
    Both both;
    CHECK(both.index().find(0) == nullptr);
    CHECK(both.index().validate(0));
    REQUIRE(both.insert(5));
    CHECK(both.agrees());
    CHECK(both.index().find(4) == nullptr);
    both.erase(5);
    CHECK(both.index().find(5) == nullptr);
    CHECK(both.index().validate(0));
    REQUIRE(both.insert(kSpace - 1));
    CHECK(both.agrees());
}

TEST_CASE("blocks that come in ascending, descending and mixed order are all found, and can go in any order") {
    for (const int order : {0, 1, 2}) {
        for (const int leaving : {0, 1, 2}) {
            CAPTURE(order);
            CAPTURE(leaving);
            std::mt19937_64 random(0x61646472);
            std::vector<std::uint64_t> starts(3000);
            for (std::size_t i = 0; i < starts.size(); ++i) {
                starts[i] = 7 * i;
            }
            const auto arrange = [&](int how) {
                std::sort(starts.begin(), starts.end());
                if (how == 1) {
                    std::reverse(starts.begin(), starts.end());
                } else if (how == 2) {
                    std::shuffle(starts.begin(), starts.end(), random);
                }
            };
            Both both;
            arrange(order);
            for (const std::uint64_t start : starts) {
                REQUIRE(both.insert(start));
            }
            CHECK(both.agrees());
            arrange(leaving);
            for (std::size_t i = 0; i < starts.size(); ++i) {
                both.erase(starts[i]);
                if (i % 500 == 0 && !both.agrees()) {
                    FAIL("after " << i << " blocks went");
                }
            }
            CHECK(both.index().validate(0));
        }
    }
}

TEST_CASE("random inserts, replacements and erases answer as std::map does") {
    constexpr std::uint64_t kSeed = 0x696e6465;
    INFO("seed " << kSeed);
    std::mt19937_64 random(kSeed);
    const auto below = [&](std::uint64_t bound) {
        return std::uniform_int_distribution<std::uint64_t>(0, bound - 1)(random);
    };
    for (const std::uint64_t spread : {std::uint64_t{4000}, std::uint64_t{1} << 20, kSpace}) {
        CAPTURE(spread);
        Both both;
        for (int step = 0; step < 40000; ++step) {
            // Waves, so that nodes split and join all the time.
            const bool filling = (step / 5000) % 2 == 0;
            const std::uint64_t page = below(spread);
            const std::uint64_t dice = below(10);
            if (dice < (filling ? 7U : 2U)) {
                if (!both.contains(page)) {
                    REQUIRE(both.insert(page));
                }
            } else if (const VaBlock* block = both.expected(page); block != nullptr) {
                if (dice == 9) {
                    both.replace(block->first());
                } else {
                    both.erase(block->first());
                }
            }
            if (!both.agrees_at(page) || !both.agrees_at(below(spread))) {
                FAIL("a look-up at step " << step);
            }
            if (step % 2500 == 0 && !both.agrees()) {
                FAIL("an invariant at step " << step);
            }
        }
        while (!both.all().empty()) {
            both.erase(
                std::next(both.all().begin(), static_cast<std::ptrdiff_t>(below(both.all().size() / 64 + 1)))->first);
        }
        CHECK(both.index().validate(0));
    }
}

TEST_CASE("the last block of a zone is found, also where the next zone's blocks begin a node at its start") {
    constexpr std::uint64_t kBlocks = 100;
    for (std::uint64_t start = 1; start < kBlocks; ++start) {
        CAPTURE(start);
        Both both;
        for (std::uint64_t each = 0; each < kBlocks; ++each) {
            REQUIRE(both.insert(each));
        }
        // It comes back with a number less than those of nodes, and with one greater than them.
        for (const std::uint64_t also : {std::uint64_t{0}, kBlocks - 1}) {
            both.erase(start);
            if (also != start) {
                both.erase(also);
            }
            REQUIRE(both.insert(start, false));
            REQUIRE(both.agrees());
            if (also != start) {
                REQUIRE(both.insert(also));
            }
        }
    }
}

TEST_CASE("many inserts are set aside in proportion to them, and it is enough") {
    FailingMemory source;
    Both both(source.memory());
    constexpr std::uint64_t kBlocks = 5000;
    constexpr std::uint64_t kMore = 100000;
    for (std::uint64_t start = 0; start < kBlocks; ++start) {
        REQUIRE(both.insert(start * 1000));
    }
    REQUIRE(both.set_aside(kMore));
    CHECK(both.index().bytes_reserved() < kMore * 200);
    source.fail_from = 0;
    // Everywhere in turn, so that all nodes split that can.
    std::uint64_t inserted = 0;
    for (std::uint64_t offset = 1; inserted < kMore; ++offset) {
        for (std::uint64_t i = 0; i < kBlocks && inserted < kMore; ++i, ++inserted) {
            both.insert_set_aside(i * 1000 + offset);
        }
    }
    CHECK(both.agrees());
}

TEST_CASE("a block that takes the start of another is found instead of it") {
    Both both;
    for (std::uint64_t start = 0; start < 200; ++start) {
        REQUIRE(both.insert(3 * start));
    }
    for (std::uint64_t start = 0; start < 200; start += 3) {
        both.replace(3 * start);
    }
    CHECK(both.agrees());
}

TEST_CASE("set_aside without memory changes nothing, and what goes needs none") {
    for (std::uint64_t fail_from = 0; fail_from < 12; ++fail_from) {
        CAPTURE(fail_from);
        FailingMemory source;
        {
            Both both(source.memory());
            source.fail_from = fail_from;
            std::uint64_t start = 0;
            while (start < 20000 && both.insert(start)) {
                ++start;
            }
            REQUIRE(both.agrees());
            source.fail_from = 0;
            const std::uint64_t requests = source.requests;
            while (start > 0) {
                both.erase(--start);
            }
            CHECK(source.requests == requests);
            CHECK(both.index().validate(0));
        }
        CHECK(source.outstanding == 0);
    }
}

TEST_CASE("validate sees a block that does not know its word") {
    Both both;
    REQUIRE(both.insert(0));
    REQUIRE(both.insert(9));
    REQUIRE(both.index().validate(2));
    CHECK_FALSE(both.index().validate(1));
    VaBlock& block = *both.all().at(9);
    block.set_first(10);
    CHECK_FALSE(both.index().validate(2));
    block.set_first(9);
    std::swap(block.entry, both.all().at(0)->entry);
    CHECK_FALSE(both.index().validate(2));
}
