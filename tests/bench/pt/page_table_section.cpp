// Section pt: page tables, beside a plain loop, and beside what the machine can store.
#include <cstdio>
#include <memory>
#include <tuple>

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
    const double begin = seconds();
    // Most rounds take the time of three table cells of the other sections.
    for (int round = 0; round < options.rounds && (round < 3 || seconds() - begin < 6 * options.seconds); ++round) {
        static_cast<void>(std::fprintf(stderr, "pt: round %d\n", round + 1));
        each([&](auto& run) { run.round(3 + static_cast<std::uint64_t>(round), false); });
        stores.round();
    }
    each([&](auto& run) { run.report(records); });
    stores.report(records);
}

}  // namespace granule::bench
