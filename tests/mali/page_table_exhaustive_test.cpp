// Every script of map and unmap over a few runs that meet each other in every way, against the oracle: after each
// operation the answer, the leaves, the counts and the tables are compared. A refused operation has changed nothing
// (that is compared too), so scripts are continued after accepted ones only.
//
//      0                                2M                               4M                          6M
//      |                                |                                |                           |
//  pages             ...............[X]|[X][X]..
//                                   [ X | X ]                            the two beside the boundary, as one run
//                                       [X X X X X X X X X X X X X X X X]|[X]      a whole table and one more
//  blocks [             X              ]
//                                       [             X                 ]
//         [             X              ]|[             X                 ]
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/page_table.hpp"
#include "mali/result.hpp"
#include "tests/support/leaf_oracle.hpp"
#include "tests/support/page_table_check.hpp"
#include "tests/support/page_table_fixture.hpp"
#include "tests/support/table_arena.hpp"

namespace granule::mali {
namespace {

using test::blocks;
using test::difference;
using test::giants;
using test::kData;
using test::kReadOnly;
using test::LeafOracle;
using test::make_page_table;
using test::pages;
using test::same_answer;
using test::TableArena;

struct Operation {
    bool map = false;
    LeafRun run;
};

class Explorer {
public:
    Explorer(const PageTableConfig& config, TableArena& arena, const std::vector<LeafRun>& runs)
        : config_(config), arena_(arena) {
        for (const LeafRun& run : runs) {
            operations_.push_back({true, run});
            operations_.push_back({false, run});
        }
    }

    // Every accepted script of up to `depth` operations, and every operation after each of them.
    void explore(std::size_t depth) {
        std::vector<Operation> script;
        extend(script, depth);
    }

    [[nodiscard]] std::size_t tried() const { return tried_; }

private:
    struct State {
        PageTable table;
        LeafOracle oracle;
    };

    // Each map of a script has addresses and attributes of its own, so that no leaf is taken for another.
    [[nodiscard]] bool apply(State& state, const Operation& operation, std::size_t step) {
        if (operation.map) {
            const Pa pa{operation.run.start.raw() + (step + 1) * 4 * kBlock1GBytes};
            const LeafAttributes& attributes = step % 2 == 0 ? kData : kReadOnly;
            const auto answer = state.oracle.map(operation.run, pa, attributes);
            return check(same_answer(state.table.map(operation.run, pa, attributes), answer), "answer of map") &&
                   !answer;
        }
        const auto answer = state.oracle.unmap(operation.run);
        return check(same_answer(state.table.unmap(operation.run), answer), "answer of unmap") && !answer;
    }

    [[nodiscard]] std::unique_ptr<State> replay(const std::vector<Operation>& script) {
        auto state = std::make_unique<State>(State{make_page_table(arena_, config_), LeafOracle(config_)});
        for (std::size_t step = 0; step < script.size(); ++step) {
            static_cast<void>(apply(*state, script[step], step));
        }
        return state;
    }

    void extend(std::vector<Operation>& script, std::size_t depth) {
        std::vector<Operation> accepted;
        std::unique_ptr<State> state;
        for (const Operation& operation : operations_) {
            if (!state) {
                state = replay(script);
            }
            ++tried_;
            script.push_back(operation);
            script_ = &script;
            const bool done = apply(*state, operation, script.size() - 1);
            compare(*state);
            script.pop_back();
            if (done) {
                accepted.push_back(operation);
                state.reset();
            }
        }
        state.reset();  // the arena is for one at a time
        if (depth <= 1) {
            return;
        }
        for (const Operation& operation : accepted) {
            script.push_back(operation);
            extend(script, depth - 1);
            script.pop_back();
        }
    }

    void compare(State& state) {
        const std::string held = difference(state.table, state.oracle, arena_);
        if (!check(held.empty(), held)) {
            return;
        }
        state.table.settle();
        check(state.table.held() == 0 && arena_.in_use() == state.table.table_count() &&
                  arena_.reserved() == state.table.credit(),
              "pages after settle");
    }

    bool check(bool right, const std::string& what) {
        if (!right) {
            std::string text;
            for (const Operation& operation : *script_) {
                text += (operation.map ? " map " : " unmap ") + std::to_string(operation.run.count) + " x " +
                        std::to_string(bytes_of(operation.run.size)) + " at " +
                        std::to_string(operation.run.start.raw()) + ";";
            }
            FAIL(what, " after", text);
        }
        return right;
    }

    PageTableConfig config_;
    TableArena& arena_;
    std::vector<Operation> operations_;
    const std::vector<Operation>* script_ = nullptr;
    std::size_t tried_ = 0;
};

TEST_CASE("every script of operations around a 2 MiB boundary does what the oracle does") {
    for (const PageTableConfig& config : {PageTableConfig{Format::kMaliLpae, 48, 40, kLeaves4K2M, false, true},
                                          PageTableConfig{Format::kMaliLpae, 48, 40, kLeaves4K2M, false, false},
                                          PageTableConfig{Format::kMaliLpae, 48, 40, kLeaves4K2M, true, true, 1},
                                          PageTableConfig{Format::kMaliLpae, 33, 40, kLeaves4K2M, true, true, 9},
                                          PageTableConfig{Format::kAarch64_4k, 39, 40, kLeaves4K2M, true, true},
                                          PageTableConfig{Format::kAarch64_4k, 39, 40, kLeaves4K2M, true, false}}) {
        // The format changes nothing here but the bits and the depth: the longer scripts for one of them.
        const bool longer = config.format == Format::kMaliLpae && config.fast_paths && config.kept_tables == 0;
        const std::size_t depth = longer ? 5 : 4;
        TableArena arena(24, Pa{0x8000'6000}, longer ? TableArena::Contents::kStale : TableArena::Contents::kWindow);
        Explorer explorer(config, arena,
                          {pages(0x1ff000, 1), pages(0x200000, 1), pages(0x1ff000, 2), pages(0x200000, 513),
                           blocks(0, 1), blocks(kBlock2MBytes, 1), blocks(0, 2)});
        explorer.explore(depth);
        CHECK(explorer.tried() > 1500);
        CHECK(arena.broken().empty());
    }
}

TEST_CASE("every script of operations around a 1 GiB boundary does what the oracle does") {
    for (const PageTableConfig& config : {PageTableConfig{Format::kMaliLpae, 40, 40, kLeaves4K2M1G, false, true},
                                          PageTableConfig{Format::kMaliLpae, 40, 40, kLeaves4K2M1G, false, false},
                                          PageTableConfig{Format::kMaliLpae, 40, 40, kLeaves4K2M1G, false, true, 9},
                                          PageTableConfig{Format::kAarch64_4k, 48, 40, kLeaves4K2M1G, true, true}}) {
        TableArena arena(2200, Pa{0x8000'6000},
                         config.coherent_walk ? TableArena::Contents::kStale : TableArena::Contents::kWindow);
        const std::uint64_t boundary = 512 * kBlock1GBytes;  // a boundary of level 0 as well
        Explorer explorer(
            config, arena,
            {pages(boundary - kPageBytes, 2), blocks(boundary - kBlock2MBytes, 1), blocks(boundary - kBlock2MBytes, 2),
             giants(boundary - kBlock1GBytes, 1), giants(boundary, 1), giants(boundary - kBlock1GBytes, 2)});
        explorer.explore(4);
        CHECK(explorer.tried() > 800);
        CHECK(arena.broken().empty());
    }
}

}  // namespace
}  // namespace granule::mali
