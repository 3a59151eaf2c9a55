// Section pt: page tables, beside a plain loop, and beside what the machine can store.
#include <cstdio>
#include <memory>
#include <tuple>

#include "tests/bench/harness/rounds.hpp"
#include "tests/bench/harness/sections.hpp"
#include "tests/bench/harness/table_pool.hpp"
// After the pool, whose name it uses.
#include "tests/bench/peers/candidate_pt.hpp"
#include "tests/bench/pt/loop_table.hpp"
#include "tests/bench/pt/store_run.hpp"
#include "tests/bench/pt/table_run.hpp"

namespace granule::bench {

void run_page_table_section(const Options& options, Records& records) {
    TablePool pool;
    const ScatteredPages scattered;
    auto runs = std::make_tuple(std::make_unique<TableRun<NullTable>>(pool, scattered),
                                std::make_unique<TableRun<LoopTable>>(pool, scattered),
                                std::make_unique<TableRun<Ours<CandidatePt>>>(pool, scattered));
    const auto each = [&](auto&& step) {
        for_each_subject(runs, [&]<class Table>(TableRun<Table>& run) {
            if (options.wants(Table::name) || Table::kRole == Role::kNull) {
                step(run);
            }
        });
    };
    if (options.instructions) {
        each([&](auto& run) { run.round(3, true); });
        return;
    }
    StoreRun stores;
    // Most rounds take the time of six table cells of the other sections.
    take_rounds(
        options, 6 * options.seconds,
        [&](int round) {
            static_cast<void>(std::fprintf(stderr, "pt: round %d\n", round + 1));
            each([&](auto& run) { run.round(3 + static_cast<std::uint64_t>(round), false); });
            stores.round();
        },
        [&] { return std::get<0>(runs)->moved(); },
        [&] {
            each([](auto& run) { run.forget_rounds(); });
            stores.forget_rounds();
        });
    each([&](auto& run) { run.report(records); });
    stores.report(records);
}

}  // namespace granule::bench
