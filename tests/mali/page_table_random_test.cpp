// Long random lives of page tables against the oracle, in windows around the addresses where tables begin and end.
// Half of the operations are meant to succeed; the others hit whatever is there. Now and then a transaction: hold what
// most_tables_for says, refuse every further reservation, and nothing may run out. Now and then a batch of scattered pages,
// or a list of segments, of which the oracle makes single maps, one after the other.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <random>
#include <string>
#include <utility>
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

using test::difference;
using test::LeafOracle;
using test::make_page_table;
using test::same_answer;
using test::TableArena;
using test::walk_agrees;

class Life {
public:
    Life(const PageTableConfig& config, TableArena& arena, std::uint64_t seed)
        : config_(config), arena_(arena), table_(make_page_table(arena, config)), oracle_(config), random_(seed) {
        const std::uint64_t space = std::uint64_t{1} << config.va_bits;
        windows_ = {0, kBlock2MBytes, kBlock1GBytes, 3 * kBlock1GBytes + 7 * kBlock2MBytes, space / 2, space};
    }

    // "" as long as everything agrees.
    [[nodiscard]] std::string step() {
        const bool transaction = chance(8);
        const bool map = chance(2);
        const LeafRun run = map || chance(2) || oracle_.leaves().empty() ? any_run() : mapped_run();
        if (transaction && map) {
            // Runs past the end of the space are for map to refuse; what they need is not a question.
            const bool inside = run.start.raw() + run.count * bytes_of(run.size) <= kMaxVaEnd;
            if (inside && !table_.hold(PageTable::most_tables_for(run))) {
                return "the arena is too small";
            }
            arena_.refuse_all_reserves(inside);
        }
        if (chance(2)) {
            table_.prefetch(run.start);
        }
        std::string wrong = map ? do_map(run) : do_unmap(run);
        if (wrong.empty() && !transaction && chance(4)) {
            wrong = do_replace();
        }
        if (wrong.empty() && !transaction && chance(16)) {
            wrong = chance(2) ? map_batch() : (chance(3) ? map_list() : unmap_batch());
        }
        arena_.refuse_all_reserves(false);
        if (chance(64)) {
            const std::uint64_t window = windows_[below(windows_.size())];
            table_.prune({run.start, Va{std::max(window, run.start.raw())}});
        }
        if (transaction) {
            table_.settle();
        }
        const Va probe = run.start + below(run.count * bytes_of(run.size) + kBlock2MBytes);
        if (wrong.empty() && (!walk_agrees(table_, oracle_, run.start) || !walk_agrees(table_, oracle_, probe))) {
            wrong = "walk";
        }
        return wrong;
    }

    [[nodiscard]] std::string compare() const { return difference(table_, oracle_, arena_); }

    [[nodiscard]] std::size_t done() const { return done_; }
    [[nodiscard]] std::size_t replaced() const { return replaced_; }

private:
    [[nodiscard]] std::uint64_t below(std::uint64_t bound) { return bound == 0 ? 0 : random_() % bound; }
    [[nodiscard]] bool chance(std::uint64_t one_in) { return below(one_in) == 0; }

    [[nodiscard]] LeafRun any_run() {
        const std::uint64_t kind = below(16);
        const LeafSize size = kind < 9 ? LeafSize::k4K : (kind < 14 ? LeafSize::k2M : LeafSize::k1G);
        const std::uint64_t bytes = bytes_of(size);
        const std::uint64_t window = windows_[below(windows_.size())];
        const std::uint64_t near = size == LeafSize::k4K ? 8 + below(600) : 4;
        const std::uint64_t back = below(near) * bytes;
        const std::uint64_t start = align_down(window, bytes) - (back <= align_down(window, bytes) ? back : 0);
        const std::uint64_t count = size == LeafSize::k4K && chance(4) ? 1 + below(700) : 1 + below(4);
        return {Va{start}, size, count};
    }

    // A run that begins at a leaf that is mapped, and is as long as the leaves of its size go, or shorter.
    [[nodiscard]] LeafRun mapped_run() {
        auto leaf = oracle_.leaves().lower_bound(any_run().start);
        if (leaf == oracle_.leaves().end()) {
            leaf = oracle_.leaves().begin();
        }
        LeafRun run{leaf->first, leaf->second.size, 0};
        const std::uint64_t most = 1 + below(chance(2) ? 4 : 600);
        while (leaf != oracle_.leaves().end() && run.count < most && leaf->first == run.range().end &&
               leaf->second.size == run.size) {
            ++run.count;
            ++leaf;
        }
        return run;
    }

    [[nodiscard]] std::string do_map(const LeafRun& run) {
        const std::uint64_t bytes = bytes_of(run.size);
        const std::uint64_t pa_space = std::uint64_t{1} << config_.pa_bits;
        const Pa pa{below(pa_space / bytes) * bytes};
        const LeafAttributes attributes{!chance(8), !chance(3), chance(2), chance(4),
                                        static_cast<MemoryType>(below(3))};
        const auto answer = oracle_.map(run, pa, attributes);
        done_ += answer ? 0U : 1U;
        return same_answer(table_.map(run, pa, attributes), answer) ? "" : "answer of map";
    }

    [[nodiscard]] std::string do_unmap(const LeafRun& run) {
        const auto answer = oracle_.unmap(run);
        done_ += answer ? 0U : 1U;
        return same_answer(table_.unmap(run), answer) ? "" : "answer of unmap";
    }

    // Pages over pages and holes, in a table that is there more often than not.
    [[nodiscard]] std::string do_replace() {
        const Va start = (chance(4) || oracle_.leaves().empty() ? any_run() : mapped_run()).start;
        const LeafRun run{start, LeafSize::k4K, 1 + below(chance(4) ? 70 : 8)};
        const Pa pa{below((std::uint64_t{1} << config_.pa_bits) / kPageBytes) * kPageBytes};
        const LeafAttributes attributes{!chance(8), !chance(3), chance(2), false, MemoryType::kCached};
        const std::uint64_t in_part = start.raw() / kPageBytes % 64;
        const bool in_space = run.range().end.raw() <= std::uint64_t{1} << config_.va_bits;
        const bool is_for_it = config_.fast_paths && arena_.window().exists() && in_part + run.count <= 64 &&
                               in_space && table_.walk(start).level == kLastLevel &&
                               pa.raw() + run.count * kPageBytes <= std::uint64_t{1} << config_.pa_bits &&
                               (attributes.read || attributes.write);
        if (table_.replace_pages(run, pa, attributes) != is_for_it) {
            return "answer of replace_pages";
        }
        if (is_for_it) {
            for (std::uint64_t i = 0; i < run.count; ++i) {
                static_cast<void>(oracle_.unmap({start + i * kPageBytes, LeafSize::k4K, 1}));
            }
            if (oracle_.map(run, pa, attributes)) {
                return "replace_pages over what is no page";
            }
            ++replaced_;
        }
        return "";
    }

    // Pages near one window, some of them twice, some where something is.
    [[nodiscard]] std::vector<Va> any_pages() {
        const std::uint64_t window = windows_[below(windows_.size())];
        std::vector<Va> pages(1 + below(80));
        for (Va& va : pages) {
            const std::uint64_t back = (1 + below(chance(8) ? 700'000 : 3000)) * kPageBytes;
            va = Va{window >= back ? window - back : back};
        }
        return pages;
    }

    [[nodiscard]] std::string map_batch() {
        std::vector<PageMapping> pages;
        for (const Va va : any_pages()) {
            // Mostly what is not mapped yet: else few batches would be done.
            if (chance(200) ||
                (oracle_.find(va) == oracle_.leaves().end() &&
                 std::none_of(pages.begin(), pages.end(), [va](const PageMapping& page) { return page.va == va; }))) {
                pages.push_back({va, Pa{below(1U << 28U) * kPageBytes}});
            }
        }
        const LeafAttributes attributes{true, chance(2), chance(2), false, MemoryType::kCached};
        LeafOracle after = oracle_;
        LeafOracle::Answer answer;
        for (std::size_t i = 0; i < pages.size() && !answer; ++i) {
            answer = after.map({pages[i].va, LeafSize::k4K, 1}, pages[i].pa, attributes);
        }
        if (!answer) {
            oracle_ = std::move(after);
            ++done_;
        }
        return same_answer(table_.map_pages(pages, attributes), answer) ? "" : "answer of map_pages";
    }

    [[nodiscard]] std::string unmap_batch() {
        std::vector<Va> pages;
        for (const Va va : any_pages()) {
            const auto leaf = oracle_.find(va);
            const bool page = leaf != oracle_.leaves().end() && leaf->second.size == LeafSize::k4K;
            if (chance(200) || (page && std::find(pages.begin(), pages.end(), va) == pages.end())) {
                pages.push_back(va);
            }
        }
        LeafOracle after = oracle_;
        LeafOracle::Answer answer;
        for (std::size_t i = 0; i < pages.size() && !answer; ++i) {
            answer = after.unmap({pages[i], LeafSize::k4K, 1});
        }
        if (!answer) {
            oracle_ = std::move(after);
            ++done_;
        }
        return same_answer(table_.unmap_pages(pages), answer) ? "" : "answer of unmap_pages";
    }

    [[nodiscard]] std::string map_list() {
        const LeafRun whole = any_run();
        const std::uint64_t bytes = bytes_of(whole.size);
        std::vector<PaSegment> segments;
        for (std::uint64_t left = whole.count; left != 0;) {
            const std::uint64_t count = 1 + below(left);
            segments.push_back({Pa{below((std::uint64_t{1} << 36) / bytes) * bytes}, count * bytes});
            left -= count;
        }
        LeafOracle after = oracle_;
        // What is in the way comes after what is wrong with the list: here, where it leaves the space.
        LeafOracle empty(config_);
        LeafOracle::Answer answer;
        for (LeafOracle* oracle : {&empty, &after}) {
            Va at = whole.start;
            for (std::size_t i = 0; i < segments.size() && !answer; ++i) {
                answer = oracle->map({at, whole.size, segments[i].bytes / bytes}, segments[i].pa, {});
                at = at + segments[i].bytes;
            }
        }
        if (!answer) {
            oracle_ = std::move(after);
            ++done_;
        }
        return same_answer(table_.map_segments(whole.start, whole.size, segments, {}), answer)
                   ? ""
                   : "answer of map_segments";
    }

    PageTableConfig config_;
    TableArena& arena_;
    PageTable table_;
    LeafOracle oracle_;
    std::mt19937_64 random_;
    std::vector<std::uint64_t> windows_;
    std::size_t done_ = 0;
    std::size_t replaced_ = 0;
};

TEST_CASE("random lives do what the oracle does, in both formats, with every leaf size and width of the space") {
    constexpr int kSteps = 4000;
    using Contents = TableArena::Contents;
    std::array<TableArena, 3> arenas{TableArena(8192, Pa{0x8000'6000}, Contents::kZeros),
                                     TableArena(8192, Pa{0x8000'6000}, Contents::kStale),
                                     TableArena(8192, Pa{0x8000'6000}, Contents::kWindow)};
    std::uint64_t seed = 20'260'101;
    std::size_t replaced = 0;
    for (const Format format : {Format::kMaliLpae, Format::kAarch64_4k}) {
        for (const LeafSizes sizes : {kLeaves4K, kLeaves4K2M, kLeaves4K2M1G}) {
            for (const unsigned va_bits : {33U, 39U, 40U, 48U}) {
                ++seed;
                TableArena& arena = arenas[seed % arenas.size()];
                // One life in four without them.
                PageTableConfig config{format, va_bits, 40, sizes, va_bits % 2 == 0, seed % 4 != 0};
                config.kept_tables = std::array<std::uint64_t, 3>{0, 3, UINT64_MAX}[seed / 3 % 3];
                CAPTURE(static_cast<int>(format));
                CAPTURE(sizes);
                CAPTURE(va_bits);
                CAPTURE(seed);
                {
                    Life life(config, arena, seed);
                    for (int step = 0; step < kSteps; ++step) {
                        if (const std::string wrong = life.step(); !wrong.empty()) {
                            FAIL(wrong, " at step ", step);
                        }
                        if (step % 1000 == 999) {
                            if (const std::string wrong = life.compare(); !wrong.empty()) {
                                FAIL(wrong, " after step ", step);
                            }
                        }
                    }
                    CHECK(life.done() > kSteps / 8);
                    replaced += life.replaced();
                }
                CHECK(arena.in_use() == 0);
                CHECK(arena.reserved() == 0);
                CHECK(arena.broken().empty());
            }
        }
    }
    CHECK(replaced > kSteps);
}

}  // namespace
}  // namespace granule::mali
