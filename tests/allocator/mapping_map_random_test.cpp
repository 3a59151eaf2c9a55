// Long random histories against a std::map of mappings, in trees large enough that every level splits and merges.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include "allocator/mapping_map.hpp"
#include "tests/allocator/node_paths.hpp"
#include "tests/support/test_memory.hpp"

using granule::BindSerial;
using granule::BoId;
using granule::BoOffset;
using granule::kMaxVaEnd;
using granule::kPageBytes;
using granule::Mapping;
using granule::MappingMap;
using granule::NodePath;
using granule::Va;
using granule::VaRange;
using granule::test::TestMemory;

namespace {

constexpr std::uint64_t kPages = kMaxVaEnd / kPageBytes;

constexpr VaRange pages(std::uint64_t start, std::uint64_t count) {
    return {Va{start * kPageBytes}, Va{(start + count) * kPageBytes}};
}

// The naive map: mappings by start.
class Oracle {
public:
    void erase(VaRange range) {
        auto at = first_ending_above(range.start);
        while (at != mappings_.end() && at->second.va.start < range.end) {
            const Mapping whole = at->second;
            at = mappings_.erase(at);
            if (whole.va.start < range.start) {
                insert(whole.clipped({whole.va.start, range.start}));
            }
            if (range.end < whole.va.end) {
                insert(whole.clipped({range.end, whole.va.end}));
            }
        }
    }
    void insert(const Mapping& mapping) { mappings_.emplace(mapping.va.start, mapping); }

    [[nodiscard]] std::optional<Mapping> first_from(Va va) const {
        const auto at = const_cast<Oracle*>(this)->first_ending_above(va);
        return at == mappings_.end() ? std::nullopt : std::optional{at->second};
    }
    [[nodiscard]] std::optional<Mapping> last_before(Va va) const {
        const auto at = mappings_.lower_bound(va);
        return at == mappings_.begin() ? std::nullopt : std::optional{std::prev(at)->second};
    }
    [[nodiscard]] const std::map<Va, Mapping>& mappings() const { return mappings_; }

private:
    std::map<Va, Mapping>::iterator first_ending_above(Va va) {
        const auto above = mappings_.upper_bound(va);
        if (above != mappings_.begin() && va < std::prev(above)->second.va.end) {
            return std::prev(above);
        }
        return above;
    }

    std::map<Va, Mapping> mappings_;
};

// A map and its oracle, which do the same.
class Pair {
public:
    explicit Pair(std::uint64_t seed, NodePath path = granule::widest_node_path()) : random_(seed) {
        map_.use_path(path);
    }

    [[nodiscard]] std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

    void bind(VaRange range) {
        const auto number = static_cast<std::uint32_t>(++serial_);
        const std::uint32_t bo = number % 16;  // now and then none: sparse
        const Mapping mapping = {range,
                                 {BoId{bo},
                                  BoOffset{bo == 0 ? 0 : below(kPages) * kPageBytes},
                                  {bo == 1, bo == 2, bo == 3},
                                  BindSerial{number}}};
        if (!map_.hold(1, range.size() / kPageBytes)) {
            FAIL("no memory for a mapping");
        }
        map_.prefetch_way(range.start);
        map_.prefetch(range.start);
        map_.replace(mapping);
        map_.settle();
        oracle_.erase(range);
        oracle_.insert(mapping);
    }

    void unbind(VaRange range) {
        map_.erase(range);
        map_.settle();
        oracle_.erase(range);
    }

    // Look-ups at one place.
    void compare_at(Va va) const {
        const std::optional<Mapping> from = oracle_.first_from(va);
        const std::optional<Mapping> found = map_.find(va);
        const bool contained = from && from->va.contains(va);
        if (found.has_value() != contained || (contained && *found != *from) || map_.first_from(va) != from ||
            map_.last_before(va) != oracle_.last_before(va)) {
            CAPTURE(va.raw());
            FAIL("a look-up differs from the oracle's");
        }
    }

    void compare_all() const {
        auto expected = oracle_.mappings().begin();
        bool same = map_.size() == oracle_.mappings().size();
        map_.for_each_overlap(pages(0, kPages), [&](const Mapping& mapping) {
            same = same && expected != oracle_.mappings().end() && mapping == expected->second;
            ++expected;
            return same;
        });
        REQUIRE(same);
        REQUIRE(expected == oracle_.mappings().end());
        REQUIRE(map_.validate());
    }

    [[nodiscard]] const MappingMap& map() const { return map_; }

private:
    std::mt19937_64 random_;
    MappingMap map_;
    Oracle oracle_;
    std::uint64_t serial_ = 0;
};

// A path for each seed, so that each seed's is always the same, and one of three seeds in a row has each.
NodePath path_of(std::uint64_t seed) {
    const std::vector<NodePath> paths = granule::test::node_paths();
    return paths[seed % paths.size()];
}

// `steps` binds and unbinds of up to `most` pages anywhere in `space` pages.
void churn(Pair& pair, std::uint64_t steps, std::uint64_t space, std::uint64_t most, std::uint64_t unbinds_in_8,
           std::uint64_t validate_every) {
    for (std::uint64_t step = 0; step < steps; ++step) {
        const std::uint64_t count = 1 + pair.below(most);
        const VaRange range = pages(pair.below(space - count), count);
        if (pair.below(8) < unbinds_in_8) {
            pair.unbind(range);
        } else {
            pair.bind(range);
        }
        pair.compare_at(range.start);
        pair.compare_at(range.end);
        pair.compare_at(Va{range.start.raw() + pair.below(range.size())});
        if (step % validate_every == 0 && !pair.map().validate()) {
            CAPTURE(step);
            FAIL("an invariant is broken");
        }
    }
}

}  // namespace

TEST_CASE("random binds and unbinds agree with the oracle while a small tree grows and shrinks") {
    for (const std::uint64_t seed : {1U, 2U, 3U, 4U, 5U, 6U}) {
        CAPTURE(seed);
        Pair pair(seed, path_of(seed));
        for (int round = 0; round < 3; ++round) {
            churn(pair, 1500, 4096, 4, 0, 1);
            pair.compare_all();
            churn(pair, 300, 4096, 64, 4, 1);
            churn(pair, 600, 4096, 8, 7, 1);
            pair.compare_all();
            churn(pair, 40, 4096, 2000, 7, 1);
            pair.compare_all();
        }
    }
}

TEST_CASE("random binds and unbinds agree with the oracle while a tree of two inner levels grows and shrinks") {
    for (const std::uint64_t seed : {11U, 12U, 13U}) {
        CAPTURE(seed);
        Pair pair(seed, path_of(seed));
        for (int round = 0; round < 2; ++round) {
            churn(pair, 16000, 20000, 2, 0, 200);
            pair.compare_all();
            REQUIRE(pair.map().bytes_in_nodes() > 150 * sizeof(granule::MappingTree::Leaf));  // one level holds 60
            churn(pair, 3000, 20000, 24, 7, 20);
            pair.compare_all();
            churn(pair, 20, 20000, 9000, 7, 1);
            pair.compare_all();
        }
    }
}

TEST_CASE("random binds and unbinds agree with the oracle in a tree of a hundred thousand mappings") {
    constexpr std::uint64_t kSpace = 450000;
    const std::uint64_t seed = 20261122;
    CAPTURE(seed);
    Pair pair(seed);
    while (pair.map().size() < 110000) {
        churn(pair, 20000, kSpace, 5, 1, 20000);
    }
    churn(pair, 40000, kSpace, 5, 2, 20000);
    pair.compare_all();
    REQUIRE(pair.map().size() > 100000);
    // What the header promises of random traffic.
    CHECK(pair.map().bytes_in_nodes() <= 32 * pair.map().size());

    // Wide unbinds remove many leaves at once.
    for (std::uint64_t wide = 2000; wide < kSpace; wide *= 4) {
        pair.unbind(pages(pair.below(kSpace - wide), wide));
        pair.compare_all();
        pair.bind(pages(pair.below(kSpace - wide), wide / 2));
    }
    churn(pair, 20000, kSpace, 40, 8, 2000);
    pair.compare_all();
    pair.unbind(pages(0, kPages));
    pair.compare_all();
    CHECK(pair.map().bytes_in_nodes() == pair.map().bytes_in_hints());
    CHECK(pair.map().credit() == 0);
}

// At the end of the space, densely; and all over it, in leaves that span more than 2^32 pages.
TEST_CASE("random binds and unbinds agree with the oracle all over the space and up to its end") {
    struct Place {
        std::uint64_t slots;
        std::uint64_t slot_pages;
        std::uint64_t longest;
    };
    for (const NodePath path : granule::test::node_paths()) {
        for (const Place& place : {Place{2048, 3, 8}, Place{512, kPages / 512, 1}, Place{2048, kPages / 2048, 512}}) {
            CAPTURE(static_cast<int>(path));
            CAPTURE(place.slot_pages);
            Pair pair(place.slots + place.longest, path);
            const std::uint64_t base = kPages - place.slots * place.slot_pages;
            for (std::uint64_t step = 0; step < 6000; ++step) {
                const std::uint64_t slot = step % 16 == 0 ? place.slots - 1 : pair.below(place.slots);
                const std::uint64_t start = base + slot * place.slot_pages;
                if (pair.below(64) == 0) {
                    const std::uint64_t slots = pair.below(std::min<std::uint64_t>(place.slots - slot, 64));
                    pair.unbind(pages(start, slots * place.slot_pages + 1));
                } else {
                    pair.bind(pages(start, 1 + pair.below(std::min(kPages - start, place.longest))));
                }
                pair.compare_at(Va{start * kPageBytes});
                pair.compare_at(Va{kMaxVaEnd - 1});
                pair.compare_at(Va{kMaxVaEnd - (1 + pair.below(64)) * kPageBytes});
                if (step % 500 == 0) {
                    pair.compare_all();
                }
            }
            pair.compare_all();
            CHECK(pair.map().size() > 200);
            CHECK(pair.map().bytes_in_hints() != 0);
        }
    }
}

TEST_CASE("mappings in order, from either side, fill leaves well and agree with the oracle") {
    constexpr std::uint64_t kCount = 20000;
    bool ascending = true;
    SUBCASE("ascending") {}
    SUBCASE("descending") {
        ascending = false;
    }
    Pair pair(1);
    for (std::uint64_t number = 0; number < kCount; ++number) {
        pair.bind(pages((ascending ? number : kCount - 1 - number) * 3, 2));
    }
    pair.compare_all();
    CHECK(pair.map().bytes_in_nodes() <= 32 * kCount);
}

// P4 at its worst: everything that one mapping can ever become is set aside by the hold of that one mapping.
TEST_CASE("P4: every second page of one large mapping is unmapped while no more memory is to be had") {
    constexpr std::uint64_t kMapped = 300001;
    TestMemory memory;
    {
        MappingMap map(memory.memory());
        REQUIRE(map.hold(1, kMapped));
        map.insert({pages(7, kMapped), {BoId{1}, BoOffset{0}, {}, BindSerial{1}}});
        map.settle();
        memory.refuse_everything();

        std::vector<std::uint64_t> holes(kMapped / 2);
        for (std::uint64_t hole = 0; hole < holes.size(); ++hole) {
            holes[hole] = 2 * hole + 1;
        }
        SUBCASE("ascending") {}
        SUBCASE("descending") {
            std::reverse(holes.begin(), holes.end());
        }
        SUBCASE("in random order") {
            std::shuffle(holes.begin(), holes.end(), std::mt19937_64(3));
        }
        for (const std::uint64_t hole : holes) {
            map.erase(pages(7 + hole, 1));
            map.settle();
        }
        REQUIRE(map.validate());
        REQUIRE(map.size() == (kMapped + 1) / 2);
        REQUIRE(map.credit() == map.size());
        std::uint64_t page = 0;
        map.for_each_overlap(pages(0, kPages), [&](const Mapping& mapping) {
            const Mapping expected = {pages(7 + page, 1), {BoId{1}, BoOffset{page * kPageBytes}, {}, BindSerial{1}}};
            page += 2;
            return mapping == expected;
        });
        REQUIRE(page == kMapped + 1);
        CHECK(memory.refusals() == 0);
        map.erase(pages(0, kPages));
        CHECK(map.empty());
        CHECK(map.validate());
    }
    CHECK(memory.blocks().empty());
    CHECK(memory.misuses() == 0);
}

// The bound on nodes is proven for trees whose nodes are at their minimum. Neighbours merge long before all of them are:
// here is a tree of leaves that are as empty as they get together.
TEST_CASE(
    "P4: a tree of emptied leaves needs more than half of the nodes that were set aside, and never more than all") {
    constexpr std::uint64_t kCount = 100000;
    TestMemory memory;
    MappingMap map(memory.memory());
    REQUIRE(map.hold(kCount, kCount));
    for (std::uint64_t number = 0; number < kCount; ++number) {
        map.insert({pages(2 * number, 1), {BoId{1}, BoOffset{0}, {}, BindSerial{1}}});
    }
    memory.refuse_everything();
    std::uint64_t kept = 0;
    for (std::uint64_t number = 0; number < kCount; ++number) {
        // Leaves hold 60 after an ascending fill.
        if (number % 60 < 12) {
            map.erase(pages(2 * number, 1));
        } else {
            ++kept;
        }
    }
    REQUIRE(map.validate());
    REQUIRE(map.size() == kept);
    const granule::MappingTree::NodeCounts most = granule::MappingTree::most_nodes_for(kept);
    const std::uint64_t most_bytes =
        most.leaves * sizeof(granule::MappingLeaf) + most.inners * sizeof(granule::MappingInner);
    const std::uint64_t bytes = map.bytes_in_nodes() - map.bytes_in_hints();
    CHECK(bytes <= most_bytes);
    CHECK(bytes * 2 >= most_bytes);
    // And back up to all that is held.
    for (std::uint64_t number = 0; number < kCount; ++number) {
        if (number % 60 < 12) {
            map.insert({pages(2 * number, 1), {BoId{1}, BoOffset{0}, {}, BindSerial{1}}});
        }
    }
    CHECK(map.validate());
    CHECK(memory.refusals() == 0);
}
