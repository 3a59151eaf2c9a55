// Section pt-growth: what a page table costs with N pages of 4 KiB in it, from contiguous addresses.
//
//     contiguous   all N in one call: mapped where there are no tables (fresh), unmapped, mapped again (warm)
//     pages        of the N, a random half (16 384 at most) one by one in random order: unmapped, and mapped again
//     walk         random addresses of the N
//
// Calls on few pages are shorter than the clock can see: single calls are taken by the cycle counter, and many of them.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "tests/bench/harness/random.hpp"
#include "tests/bench/harness/rounds.hpp"
#include "tests/bench/harness/sections.hpp"
#include "tests/bench/harness/statistics.hpp"
#include "tests/bench/harness/stopwatch.hpp"
#include "tests/bench/harness/table_pool.hpp"
// After the pool, whose name it uses.
#include "tests/bench/peers/candidate_pt.hpp"
#include "tests/bench/pt/loop_table.hpp"

namespace granule::bench {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kFirstVa = std::uint64_t{1} << 32;
constexpr std::uint64_t kFirstPa = std::uint64_t{1} << 33;
// What TablePool has pages for, with the levels above.
constexpr std::uint32_t kMostPages = 10'000'000;

template <class Table>
class GrowthRun {
public:
    explicit GrowthRun(std::uint32_t n) : n_(n), order_(n) { std::iota(order_.begin(), order_.end(), 0U); }

    void round() {
        contiguous();
        map_all();
        single_pages();
        walk();
        require(table_.unmap_free(kFirstVa, regions_end() - kFirstVa), "an unmap of whole regions failed");
        require(Table::kRole == Role::kNull || table_.iova_to_phys(kFirstVa) == 0, "something is still mapped");
    }
    void forget_rounds() {
        for (std::vector<double>* const all :
             {&fresh_ns_, &warm_ns_, &unmap_ns_, &page_map_ns_, &page_unmap_ns_, &walk_ns_}) {
            all->clear();
        }
    }
    [[nodiscard]] double moved() const { return drift(walk_ns_); }

    void report(Records& records) const {
        const auto put = [&](const char* test, const char* metric, double value) {
            records.put(std::string(test) + " N=" + std::to_string(n_), Table::kRole, Table::name, metric, value);
        };
        put("contiguous", "map_fresh_ns", median(fresh_ns_));
        put("contiguous", "map_warm_ns", median(warm_ns_));
        put("contiguous", "unmap_ns", median(unmap_ns_));
        put("contiguous", "bytes_per_page", bytes_per_page_);
        put("pages", "map_ns", median(page_map_ns_));
        put("pages", "unmap_ns", median(page_unmap_ns_));
        put("pages", "bytes_per_page", bytes_per_page_);
        put("walk", "walk_ns", median(walk_ns_));
        put("walk", "bytes_per_page", bytes_per_page_);
        if (Table::kRole == Role::kNull) {
            records.check_drift("N=" + std::to_string(n_), moved());
        }
    }

private:
    static void require(bool done, const char* what) {
        if (!done) {
            wrong(Table::name, what);
        }
    }
    [[nodiscard]] std::uint64_t regions_end() const {
        constexpr std::uint64_t kRegion = std::uint64_t{2} << 20;
        return (kFirstVa + n_ * kPage + kRegion - 1) / kRegion * kRegion;
    }
    void map_all() { require(table_.map(kFirstVa, kFirstPa, kPage, n_), "a map failed"); }
    void unmap_all() { require(table_.unmap(kFirstVa, kPage, n_), "an unmap failed"); }

    void contiguous() {
        const std::uint64_t nothing = ticks_of_nothing();
        const std::uint64_t calls = std::clamp<std::uint64_t>((std::uint64_t{1} << 19) / n_, 1, 256);
        std::uint64_t fresh = 0;
        std::uint64_t unmap = 0;
        std::uint64_t warm = 0;
        for (std::uint64_t i = 0; i < calls; ++i) {
            const std::size_t before = pool_.used_bytes();
            fresh += time_once(nothing, [&] { map_all(); });
            bytes_per_page_ = static_cast<double>(pool_.used_bytes() - before) / n_;
            unmap += time_once(nothing, [&] { unmap_all(); });
            warm += time_once(nothing, [&] { map_all(); });
            require(table_.unmap_free(kFirstVa, regions_end() - kFirstVa), "an unmap of whole regions failed");
        }
        const double per_page = 1 / (ticks_per_ns() * static_cast<double>(calls) * n_);
        fresh_ns_.push_back(static_cast<double>(fresh) * per_page);
        unmap_ns_.push_back(static_cast<double>(unmap) * per_page);
        warm_ns_.push_back(static_cast<double>(warm) * per_page);
    }

    void single_pages() {
        const std::uint32_t count = std::min(n_ / 2, 16'384U);
        for (std::uint32_t i = 0; i < count; ++i) {
            std::swap(order_[i], order_[i + random_.below(n_ - i)]);
        }
        page_unmap_ns_.push_back(time_ns([&] {
                                     for (std::uint32_t i = 0; i < count; ++i) {
                                         require(table_.unmap(kFirstVa + order_[i] * kPage, kPage, 1),
                                                 "an unmap failed");
                                     }
                                 }) /
                                 count);
        page_map_ns_.push_back(time_ns([&] {
                                   for (std::uint32_t i = 0; i < count; ++i) {
                                       const std::uint64_t at = order_[i] * kPage;
                                       require(table_.map(kFirstVa + at, kFirstPa + at, kPage, 1), "a map failed");
                                   }
                               }) /
                               count);
    }

    void walk() {
        std::vector<std::uint64_t> addresses(1U << 14);
        std::uint64_t expected = 0;
        for (std::uint64_t& va : addresses) {
            va = kFirstVa + random_.below(n_) * kPage;
            expected += va - kFirstVa + kFirstPa;
        }
        std::uint64_t sum = 0;
        walk_ns_.push_back(time_ns([&] {
                               for (const std::uint64_t va : addresses) {
                                   sum += table_.iova_to_phys(va);
                               }
                           }) /
                           static_cast<double>(addresses.size()));
        asm volatile("" : : "r"(sum));
        require(Table::kRole == Role::kNull || sum == expected, "the sum of translations is wrong");
    }

    std::uint32_t n_;
    std::vector<std::uint32_t> order_;
    TablePool pool_;
    Table table_{pool_};
    Random random_{3};
    double bytes_per_page_ = 0;
    std::vector<double> fresh_ns_;
    std::vector<double> warm_ns_;
    std::vector<double> unmap_ns_;
    std::vector<double> page_map_ns_;
    std::vector<double> page_unmap_ns_;
    std::vector<double> walk_ns_;
};

}  // namespace

void run_table_growth_section(const Options& options, Records& records) {
    for (const std::uint32_t n : options.n) {
        if (n > kMostPages) {
            static_cast<void>(std::fprintf(stderr, "pt-growth: %u pages are more than the pool has tables for\n", n));
            continue;
        }
        static_cast<void>(std::fprintf(stderr, "pt-growth: N=%u\n", n));
        auto runs =
            std::make_tuple(std::make_unique<GrowthRun<NullTable>>(n), std::make_unique<GrowthRun<LoopTable>>(n),
                            std::make_unique<GrowthRun<Ours<CandidatePt>>>(n));
        const auto each = [&](auto&& step) {
            for_each_subject(runs, [&]<class Table>(GrowthRun<Table>& run) {
                if (options.wants(Table::name) || Table::kRole == Role::kNull) {
                    step(run);
                }
            });
        };
        take_rounds(
            options, options.seconds, [&](int) { each([](auto& run) { run.round(); }); },
            [&] { return std::get<0>(runs)->moved(); }, [&] { each([](auto& run) { run.forget_rounds(); }); });
        each([&](auto& run) { run.report(records); });
    }
}

}  // namespace granule::bench
