#include "allocator/mapping_map.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <ostream>
#include <utility>
#include <vector>

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

namespace granule {

static std::ostream& operator<<(std::ostream& out, const Mapping& mapping) {
    return out << '[' << mapping.va.start.raw() / kPageBytes << ", " << mapping.va.end.raw() / kPageBytes << ") BO "
               << static_cast<std::uint32_t>(mapping.shows.bo) << " page " << mapping.shows.offset.raw() / kPageBytes
               << " of bind " << static_cast<std::uint32_t>(mapping.shows.serial);
}

}  // namespace granule

namespace {

constexpr std::uint64_t kPages = kMaxVaEnd / kPageBytes;

constexpr VaRange pages(std::uint64_t start, std::uint64_t end) {
    return {Va{start * kPageBytes}, Va{end * kPageBytes}};
}

// Pages [start, end) of the VA show BO `bo` from its page `offset` on.
constexpr Mapping mapping(std::uint64_t start, std::uint64_t end, std::uint32_t bo, std::uint64_t offset,
                          std::uint32_t serial = 0) {
    return {pages(start, end), {BoId{bo}, BoOffset{offset * kPageBytes}, {}, BindSerial{serial}}};
}

constexpr Mapping sparse(std::uint64_t start, std::uint64_t end) {
    return {pages(start, end), {}};
}

// What a bind does: replaces what is there.
void bind(MappingMap& map, const Mapping& wanted) {
    REQUIRE(map.hold(1, wanted.va.size() / kPageBytes));
    map.replace(wanted);
    map.settle();
}

std::vector<Mapping> all(const MappingMap& map, VaRange range = pages(0, kPages)) {
    std::vector<Mapping> found;
    map.for_each_overlap(range, [&](const Mapping& one) { found.push_back(one); });
    return found;
}

using Mappings = std::vector<Mapping>;

}  // namespace

// The relations of a request to what is there, as drm_gpuvm's "Split and Merge" lists them (Linux
// drivers/gpu/drm/drm_gpuvm.c), each with the offsets that must be left. A map is `replace`, an unmap `erase`.
//
//   old  |--------|        pages [10, 20), BO 1 from page 100
//   req    |---|           BO 2 from page 0
TEST_CASE("a request cuts or removes what it overlaps, and what is left keeps its backing") {
    struct Case {
        const char* picture;
        std::uint64_t start;
        std::uint64_t end;
        Mappings left;  // of the old mapping
    };
    const Mapping old = mapping(10, 20, 1, 100, 5);
    const std::vector<Case> cases = {
        {"01 equal", 10, 20, {}},
        {"02 same start, ends inside", 10, 15, {mapping(15, 20, 1, 105, 5)}},
        {"03 same start, ends beyond", 10, 25, {}},
        {"04 starts inside, same end", 15, 20, {mapping(10, 15, 1, 100, 5)}},
        {"05 inside", 13, 17, {mapping(10, 13, 1, 100, 5), mapping(17, 20, 1, 107, 5)}},
        {"06 starts inside, ends beyond", 15, 25, {mapping(10, 15, 1, 100, 5)}},
        {"07 starts before, same end", 5, 20, {}},
        {"08 starts before, ends inside", 5, 15, {mapping(15, 20, 1, 105, 5)}},
        {"09 covers", 5, 25, {}},
        {"10 touches the start", 5, 10, {old}},
        {"11 touches the end", 20, 25, {old}},
        {"12 first page", 10, 11, {mapping(11, 20, 1, 101, 5)}},
        {"13 last page", 19, 20, {mapping(10, 19, 1, 100, 5)}},
    };
    NodePath path = NodePath::kPlain;
    SUBCASE("on the plain path") {}
    SUBCASE("by vectors") {
        path = NodePath::kVectors;
    }
    SUBCASE("on the widest path") {
        path = granule::widest_node_path();
    }
    for (const Case& each : cases) {
        CAPTURE(each.picture);
        MappingMap map;
        map.use_path(path);
        bind(map, old);
        map.erase(pages(each.start, each.end));
        CHECK(all(map) == each.left);
        CHECK(map.validate());
        map.settle();

        MappingMap again;
        again.use_path(path);
        bind(again, old);
        const Mapping wanted = mapping(each.start, each.end, 2, 0, 6);
        bind(again, wanted);
        Mappings expected;
        for (const Mapping& left : each.left) {
            if (left.va.start < wanted.va.start) {
                expected.push_back(left);
            }
        }
        expected.push_back(wanted);
        for (const Mapping& left : each.left) {
            if (left.va.start > wanted.va.start) {
                expected.push_back(left);
            }
        }
        CHECK(all(again) == expected);
        CHECK(again.validate());
    }
}

TEST_CASE("a request over several mappings cuts the outer two and removes the others") {
    MappingMap map;
    bind(map, mapping(10, 20, 1, 0, 1));
    bind(map, mapping(20, 30, 2, 50, 2));
    bind(map, sparse(32, 40));
    bind(map, mapping(40, 60, 3, 7, 3));
    map.erase(pages(15, 45));
    CHECK(all(map) == Mappings{mapping(10, 15, 1, 0, 1), mapping(45, 60, 3, 12, 3)});
    CHECK(map.validate());
    CHECK(map.size() == 2);
    CHECK(map.mapped_bytes() == 20 * kPageBytes);
}

TEST_CASE("a replacement may take more than the new mapping covers, as where whole granules go") {
    for (const NodePath path : granule::test::node_paths()) {
        MappingMap map;
        map.use_path(path);
        bind(map, mapping(10, 20, 1, 0, 1));
        bind(map, mapping(20, 30, 2, 50, 2));
        REQUIRE(map.hold(1, 4));
        map.replace(pages(15, 28), mapping(18, 22, 3, 7, 3));
        map.settle();
        CHECK(all(map) == Mappings{mapping(10, 15, 1, 0, 1), mapping(18, 22, 3, 7, 3), mapping(28, 30, 2, 58, 2)});
        CHECK(map.validate());
        CHECK(map.mapped_bytes() == 11 * kPageBytes);
    }
}

TEST_CASE("neighbours stay two mappings, even where one continues the other") {
    MappingMap map;
    bind(map, mapping(10, 20, 1, 0, 1));
    bind(map, mapping(20, 30, 1, 10, 1));
    CHECK(map.size() == 2);
    CHECK(all(map) == Mappings{mapping(10, 20, 1, 0, 1), mapping(20, 30, 1, 10, 1)});
}

TEST_CASE("flags and the lack of a BO are inherited by what is left") {
    MappingMap map;
    Mapping flagged = mapping(0, 10, 4, 3, 9);
    flagged.shows.flags = {true, false, true};
    bind(map, flagged);
    bind(map, sparse(10, 20));
    map.erase(pages(5, 6));
    map.erase(pages(15, 16));
    CHECK(all(map) ==
          Mappings{flagged.clipped(pages(0, 5)), flagged.clipped(pages(6, 10)), sparse(10, 15), sparse(16, 20)});
}

TEST_CASE("the first and the last page of the space are pages like any other") {
    MappingMap map;
    bind(map, mapping(0, 4, 1, 0));
    bind(map, mapping(kPages - 4, kPages, 2, 0));
    CHECK(map.find(Va{0}) == mapping(0, 4, 1, 0));
    CHECK(map.find(Va{kMaxVaEnd - 1}) == mapping(kPages - 4, kPages, 2, 0));
    CHECK(map.first_from(Va{kMaxVaEnd - 1}) == mapping(kPages - 4, kPages, 2, 0));
    CHECK(map.last_before(Va{kMaxVaEnd}) == mapping(kPages - 4, kPages, 2, 0));
    CHECK(map.last_before(Va{1}) == mapping(0, 4, 1, 0));
    CHECK_FALSE(map.last_before(Va{0}));
    for (const Va beyond : {Va{kMaxVaEnd}, Va{kMaxVaEnd + 1}, Va{UINT64_MAX}}) {
        CHECK_FALSE(map.find(beyond));
        CHECK_FALSE(map.first_from(beyond));
        CHECK(map.last_before(beyond) == mapping(kPages - 4, kPages, 2, 0));
    }
    map.erase(pages(0, 1));
    map.erase(pages(kPages - 1, kPages));
    CHECK(all(map) == Mappings{mapping(1, 4, 1, 1), mapping(kPages - 4, kPages - 1, 2, 0)});
    map.erase(pages(0, kPages));
    CHECK(map.empty());
    CHECK(map.validate());
}

TEST_CASE("where one mapping of many is left, at the end of the space, binds go on there as ever") {
    constexpr std::uint64_t kMany = 100;
    constexpr unsigned kBinds = 1000;  // the hints follow spans, and this one is the least that there is
    MappingMap map;
    for (std::uint64_t page = kPages - kMany; page < kPages; ++page) {
        bind(map, sparse(page, page + 1));
    }
    map.erase(pages(0, kPages - 1));
    REQUIRE(map.size() == 1);
    REQUIRE(map.bytes_in_hints() != 0);
    for (unsigned serial = 1; serial <= kBinds; ++serial) {
        const Mapping wanted = mapping(kPages - 1, kPages, 1, 0, serial);
        bind(map, wanted);
        REQUIRE(map.find(wanted.va.start) == wanted);
    }
    CHECK(map.size() == 1);
    CHECK(map.validate());
}

TEST_CASE("look-ups take any byte, and answer with whole mappings") {
    MappingMap map;
    const Mapping low = mapping(10, 12, 1, 0);
    const Mapping high = mapping(14, 16, 2, 0);
    bind(map, low);
    bind(map, high);
    const auto byte = [](std::uint64_t page, std::uint64_t offset) { return Va{page * kPageBytes + offset}; };

    CHECK(map.find(byte(11, kPageBytes - 1)) == low);
    CHECK_FALSE(map.find(byte(12, 0)));
    CHECK_FALSE(map.find(byte(9, kPageBytes - 1)));

    CHECK(map.first_from(byte(0, 0)) == low);
    CHECK(map.first_from(byte(11, kPageBytes - 1)) == low);
    CHECK(map.first_from(byte(12, 0)) == high);
    CHECK_FALSE(map.first_from(byte(16, 0)));

    CHECK_FALSE(map.last_before(byte(10, 0)));
    CHECK(map.last_before(byte(10, 1)) == low);
    CHECK(map.last_before(byte(14, 0)) == low);
    CHECK(map.last_before(byte(14, 1)) == high);

    CHECK(all(map, {byte(11, 5), byte(11, 6)}) == Mappings{low});
    CHECK(all(map, {byte(12, 0), byte(14, 0)}).empty());
    CHECK(all(map, {byte(12, 0), byte(14, 1)}) == Mappings{high});
    CHECK(all(map, {byte(11, 5), byte(11, 5)}).empty());
}

TEST_CASE("a visitor that returns false ends the walk") {
    MappingMap map;
    for (std::uint64_t at = 0; at < 300; ++at) {
        bind(map, mapping(at * 2, at * 2 + 1, 1, at));
    }
    unsigned seen = 0;
    map.for_each_overlap(pages(0, kPages), [&](const Mapping&) { return ++seen < 200; });
    CHECK(seen == 200);
}

TEST_CASE("an empty map answers every question") {
    MappingMap map;
    CHECK(map.empty());
    CHECK_FALSE(map.find(Va{0}));
    CHECK_FALSE(map.first_from(Va{0}));
    CHECK_FALSE(map.last_before(Va{kMaxVaEnd}));
    CHECK(all(map).empty());
    map.erase(pages(0, kPages));
    map.settle();
    CHECK(map.validate());
    CHECK(map.mapped_bytes() == 0);
    CHECK(map.bytes_in_nodes() == 0);
}

TEST_CASE("P4: what an erase frees is held until settle, so that a roll-back inserts without a new hold") {
    TestMemory memory;
    MappingMap map(memory.memory());
    const Mapping old = mapping(100, 111, 1, 0, 1);
    bind(map, old);
    CHECK(map.credit() == 6);
    CHECK(map.held_credit() == 0);
    memory.refuse_everything();

    map.erase(pages(103, 106));
    CHECK(map.credit() == 2 + 3);
    CHECK(map.held_credit() == 1);
    map.erase(old.va);
    CHECK(map.held_credit() == 6);
    map.insert(old);
    CHECK(all(map) == Mappings{old});
    CHECK(map.credit() == 6);
    CHECK(map.held_credit() == 0);
    CHECK(memory.refusals() == 0);
}

TEST_CASE("P4: cutting any hole into a mapping never needs more credit than the mapping had") {
    for (std::uint64_t before = 0; before < 24; ++before) {
        for (std::uint64_t hole = 1; hole < 24; ++hole) {
            for (std::uint64_t after = 0; after < 24; ++after) {
                REQUIRE(MappingMap::credit_of(before) + MappingMap::credit_of(after) <=
                        MappingMap::credit_of(before + hole + after));
            }
        }
    }
}

TEST_CASE("hold covers the credit of any way to divide the pages, and no more") {
    for (std::uint64_t count = 1; count <= 6; ++count) {
        for (std::uint64_t total = count; total <= 20; ++total) {
            // The most that `count` mappings of `total` pages need: as many of an odd number of pages as there can be.
            const std::uint64_t odd = (total - count) % 2 == 0 ? count : count - 1;
            MappingMap map;
            REQUIRE(map.hold(count, total));
            REQUIRE(map.held_credit() == (total + odd) / 2);
        }
    }
}

TEST_CASE("hold refuses what no memory can back, and changes nothing") {
    TestMemory memory;
    MappingMap map(memory.memory());
    bind(map, mapping(0, 10, 1, 0));
    const std::uint64_t aside = map.bytes_set_aside();
    CHECK_FALSE(map.hold(1, UINT64_MAX));
    CHECK_FALSE(map.hold(UINT64_MAX, UINT64_MAX));
    CHECK_FALSE(map.hold(1, kPages));
    REQUIRE(map.hold(3, 5));
    CHECK_FALSE(map.hold(UINT64_MAX, UINT64_MAX - 2));
    CHECK(map.held_credit() == 4);
    CHECK(map.bytes_set_aside() == aside);
    CHECK(all(map) == Mappings{mapping(0, 10, 1, 0)});
    CHECK(map.validate());
}

TEST_CASE("a moved map takes everything along and leaves an empty one") {
    TestMemory memory;
    {
        MappingMap first(memory.memory());
        for (std::uint64_t at = 0; at < 5000; ++at) {
            bind(first, mapping(at * 3, at * 3 + 2, 1, at));
        }
        REQUIRE(first.hold(10, 20));
        const Mappings before = all(first);
        MappingMap second(std::move(first));
        CHECK(all(second) == before);
        CHECK(second.held_credit() == 15);
        CHECK(second.validate());
        MappingMap third(memory.memory());
        bind(third, mapping(1, 2, 9, 9));
        third = std::move(second);
        CHECK(all(third) == before);
        CHECK(third.held_credit() == 15);
        CHECK(third.validate());
        bind(third, mapping(0, 9000, 2, 0));
        CHECK(third.validate());
    }
    CHECK(memory.blocks().empty());
    CHECK(memory.misuses() == 0);
}

// Nothing can be seen of it: that it reads no memory but the map's is for the sanitizers to say.
TEST_CASE("what will be needed can be asked for anywhere, in a map of any size") {
    TestMemory memory;
    MappingMap map(memory.memory());
    const auto ask_everywhere = [&] {
        for (const Va va : {Va{0}, Va{123 * kPageBytes + 1}, Va{kMaxVaEnd - 1}, Va{kMaxVaEnd}, Va{UINT64_MAX}}) {
            map.prefetch_way(va);
            map.prefetch(va);
        }
    };
    ask_everywhere();
    constexpr std::uint64_t kMany = 40'000;  // more than are in the caches
    for (std::uint64_t at = 0; at < kMany; ++at) {
        bind(map, mapping(2 * at + 100, 2 * at + 101, 1, at));
        if (at % 1024 == 0) {
            ask_everywhere();
        }
    }
    ask_everywhere();
    CHECK(map.size() == kMany);
    CHECK(map.validate());
}
