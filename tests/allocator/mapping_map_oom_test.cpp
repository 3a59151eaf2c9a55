// Every request for memory fails once: the hold that made it reports it, and nothing has changed.
#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "allocator/mapping_map.hpp"
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

constexpr VaRange kEverything = {Va{0}, Va{kMaxVaEnd}};

struct Snapshot {
    std::vector<Mapping> mappings;
    std::uint64_t credit = 0;
    std::uint64_t held = 0;
    std::uint64_t aside = 0;
    bool operator==(const Snapshot&) const = default;
};

Snapshot snapshot(const MappingMap& map) {
    Snapshot taken{{}, map.credit(), map.held_credit(), map.bytes_set_aside()};
    map.for_each_overlap(kEverything, [&](const Mapping& mapping) { taken.mappings.push_back(mapping); });
    return taken;
}

// Binds ever larger ranges, each over the middle of the last one. Returns how many holds failed.
unsigned run(TestMemory& memory, NodePath path) {
    unsigned failed = 0;
    {
        MappingMap map(memory.memory());
        map.use_path(path);
        for (std::uint64_t step = 0; step < 40; ++step) {
            const std::uint64_t count = 64 + step * step * 128;
            const Va start{(std::uint64_t{1} << 40) + step * kPageBytes};
            const Mapping wanted = {{start, start + count * kPageBytes},
                                    {BoId{1}, BoOffset{0}, {}, BindSerial{static_cast<std::uint32_t>(step)}}};
            const Snapshot before = snapshot(map);
            if (!map.hold(1, count)) {
                ++failed;
                if (snapshot(map) != before || !map.validate()) {
                    FAIL("a failed hold changed the map");
                }
                continue;
            }
            map.replace(wanted);
            map.settle();
            for (std::uint64_t hole = 1; hole < 64; hole += 2) {
                map.erase({start + hole * kPageBytes, start + (hole + 1) * kPageBytes});
            }
            map.settle();
            if (!map.validate()) {
                FAIL("an invariant is broken");
            }
        }
    }
    if (!memory.blocks().empty() || memory.misuses() != 0) {
        FAIL("the map did not give its memory back");
    }
    return failed;
}

}  // namespace

TEST_CASE("P3, P4: whichever request for memory fails, hold reports it, nothing changed, and erase goes on") {
    NodePath path = NodePath::kPlain;
    SUBCASE("on the plain path") {}
    SUBCASE("on the widest path") {
        path = granule::widest_node_path();
    }
    std::uint64_t granted = 0;
    for (;; ++granted) {
        CAPTURE(granted);
        TestMemory memory;
        memory.refuse_after(granted);
        const unsigned failed = run(memory, path);
        if (memory.refusals() == 0) {
            CHECK(failed == 0);
            break;
        }
        REQUIRE(failed == 1);
    }
    CHECK(granted > 5);
}
