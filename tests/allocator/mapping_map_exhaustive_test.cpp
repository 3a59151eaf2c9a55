// Every script of up to four binds and unbinds on a few pages, against an array of pages.
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "allocator/mapping_map.hpp"
#include "tests/allocator/node_paths.hpp"

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

namespace {

constexpr std::size_t kScript = 4;

struct Op {
    std::size_t start = 0;
    std::size_t end = 0;
    bool map = false;
};

// Which bind a page shows, and which page of its BO. Serials are unique, so they tell mappings apart.
struct Page {
    std::uint32_t serial = 0;  // 0: nothing
    std::uint64_t offset = 0;
};

// One script, carried out on both.
template <std::size_t kPages>
class World {
public:
    World(Va base, NodePath path) : base_(base) { map_.use_path(path); }

    void run(const Op& op) {
        const VaRange range = {base_ + op.start * kPageBytes, base_ + op.end * kPageBytes};
        ++serial_;
        if (op.map && !map_.hold(1, op.end - op.start)) {
            FAIL("no memory for one mapping");
        }
        if (op.map) {
            // An offset of its own for each bind, so that a wrong one cannot be right by chance.
            map_.replace({range, {BoId{1}, BoOffset{first_offset() * kPageBytes}, {}, BindSerial{serial_}}});
        } else {
            map_.erase(range);
        }
        map_.settle();
        for (std::size_t page = op.start; page < op.end; ++page) {
            oracle_[page] = op.map ? Page{serial_, first_offset() + (page - op.start)} : Page{};
        }
    }

    // The same mappings in the same order, the same answer to each look-up.
    [[nodiscard]] bool agrees() const {
        std::array<Mapping, kPages> expected{};
        std::size_t count = 0;
        for (std::size_t page = 0; page < kPages; ++page) {
            const Page& shown = oracle_[page];
            if (shown.serial == 0) {
                continue;
            }
            if (page > 0 && oracle_[page - 1].serial == shown.serial) {
                expected[count - 1].va.end = expected[count - 1].va.end + kPageBytes;
                continue;
            }
            const Va start = base_ + page * kPageBytes;
            expected[count++] = {{start, start + kPageBytes},
                                 {BoId{1}, BoOffset{shown.offset * kPageBytes}, {}, BindSerial{shown.serial}}};
        }
        std::size_t matched = 0;
        bool same = true;
        map_.for_each_overlap({base_, base_ + kPages * kPageBytes}, [&](const Mapping& mapping) {
            same = same && matched < count && expected[matched] == mapping;
            ++matched;
        });
        if (!same || matched != count || map_.size() != matched || !map_.validate()) {
            return false;
        }
        for (std::size_t page = 0; page < kPages; ++page) {
            const Va va = base_ + page * kPageBytes;
            std::optional<Mapping> at;
            std::optional<Mapping> from;
            std::optional<Mapping> before;
            for (std::size_t each = 0; each < count; ++each) {
                const Mapping& mapping = expected[each];
                if (mapping.va.contains(va)) {
                    at = mapping;
                }
                if (!from && mapping.va.end > va) {
                    from = mapping;
                }
                if (mapping.va.start < va) {
                    before = mapping;
                }
            }
            if (map_.find(va) != at || map_.first_from(va) != from || map_.last_before(va) != before) {
                return false;
            }
        }
        return true;
    }

private:
    [[nodiscard]] std::uint64_t first_offset() const { return std::uint64_t{serial_} * 100; }

    Va base_;
    MappingMap map_;
    std::array<Page, kPages> oracle_{};
    std::uint32_t serial_ = 0;
};

std::vector<Op> every_op(std::size_t pages) {
    std::vector<Op> ops;
    for (std::size_t start = 0; start < pages; ++start) {
        for (std::size_t end = start + 1; end <= pages; ++end) {
            ops.push_back({start, end, true});
            ops.push_back({start, end, false});
        }
    }
    return ops;
}

// How many scripts there were.
template <std::size_t kPages>
std::size_t run_every_script(Va base, NodePath path) {
    const std::vector<Op> ops = every_op(kPages);
    std::size_t scripts = 0;
    std::array<std::size_t, kScript> script{};
    for (;;) {
        // The last operation of the script changes fastest. A shorter script is checked once: as the start of the first
        // script that continues it.
        World<kPages> world(base, path);
        for (std::size_t at = 0; at < kScript; ++at) {
            world.run(ops[script[at]]);
            bool first_of_its_prefix = true;
            for (std::size_t later = at + 1; later < kScript; ++later) {
                first_of_its_prefix = first_of_its_prefix && script[later] == 0;
            }
            if (first_of_its_prefix && !world.agrees()) {
                for (std::size_t done = 0; done <= at; ++done) {
                    const Op& op = ops[script[done]];
                    MESSAGE((op.map ? "map [" : "unmap [") << op.start << ", " << op.end << ')');
                }
                FAIL("the map differs from the array of pages after this script");
            }
        }
        ++scripts;
        std::size_t at = kScript;
        while (at > 0 && ++script[at - 1] == ops.size()) {
            script[--at] = 0;
        }
        if (at == 0) {
            return scripts;
        }
    }
}

}  // namespace

TEST_CASE("every script of four operations leaves what an array of pages would hold, from VA 0 on") {
    constexpr std::size_t kOps = std::size_t{2} * 15;  // map and unmap of each range of five pages
    CHECK(run_every_script<5>(Va{0}, granule::widest_node_path()) == kOps * kOps * kOps * kOps);
}

TEST_CASE("every script of four operations leaves what an array of pages would hold, up to the end of the space") {
    constexpr std::size_t kOps = std::size_t{2} * 10;
    const Va base{kMaxVaEnd - 4 * kPageBytes};
    for (const NodePath path : granule::test::node_paths()) {
        CHECK(run_every_script<4>(base, path) == kOps * kOps * kOps * kOps);
    }
}
