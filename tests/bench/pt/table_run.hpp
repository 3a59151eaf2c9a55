// One page table through all the tests of a round; see page_table_section.cpp for the rounds.
//
//     64M, 1G     4 KiB pages, contiguous: map (fresh: tables come from the pool), translate at random, unmap, map again
//                 (warm: the tables are there, empty), unmap by whole regions
//     64G         2 MiB blocks: map, translate, unmap
//     scattered   65 536 single pages at random in 16 GiB, one by one and as a batch
//     SG-64K      256 MiB in runs of 64 KiB at random physical addresses
//     64K pairs   map and unmap 64 KiB at random in 1 GiB
//
// Every translation is checked: by its sum where it is timed, one by one where it is not.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/bench/harness/collected.hpp"
#include "tests/bench/harness/random.hpp"
#include "tests/bench/harness/records.hpp"
#include "tests/bench/harness/statistics.hpp"
#include "tests/bench/harness/stopwatch.hpp"
#include "tests/bench/harness/table_pool.hpp"

namespace granule::bench {

inline constexpr std::uint64_t kSmall = 4096;
inline constexpr std::uint64_t kLarge = std::uint64_t{2} << 20;
inline constexpr std::uint64_t kFirstVa = std::uint64_t{1} << 32;
inline constexpr std::uint64_t kFirstPa = std::uint64_t{1} << 33;

// Distinct random pages over 16 GiB at random physical pages, and the 2 MiB regions that they are in.
struct ScatteredPages {
    static constexpr std::uint32_t kCount = 65'536;

    std::vector<std::uint64_t> va;
    std::vector<std::uint64_t> pa;
    std::vector<std::uint64_t> regions;
    std::uint64_t pa_sum = 0;

    ScatteredPages() {
        Random random(9);
        std::vector<std::uint32_t> pages(std::size_t{4} << 20);
        for (std::uint32_t i = 0; i < pages.size(); ++i) {
            pages[i] = i;
        }
        for (std::uint32_t i = 0; i < kCount; ++i) {
            std::swap(pages[i], pages[i + random.below(static_cast<std::uint32_t>(pages.size()) - i)]);
            va.push_back((std::uint64_t{64} << 32) + pages[i] * kSmall);
            pa.push_back(random.below(1U << 26) * kSmall);
            pa_sum += pa.back();
            regions.push_back(va.back() / kLarge * kLarge);
        }
        std::sort(regions.begin(), regions.end());
        regions.erase(std::unique(regions.begin(), regions.end()), regions.end());
    }
};

template <class Table>
class TableRun {
public:
    TableRun(TablePool& pool, const ScatteredPages& scattered) : pool_(pool), table_(pool), scattered_(scattered) {}

    void round(std::uint64_t seed, bool instructions) {
        queries_ = Random(seed);
        instructions_ = instructions;
        contiguous("64M", std::uint64_t{64} << 20);
        contiguous("1G", std::uint64_t{1} << 30);
        blocks();
        scattered();
        runs_of_64k();
        pairs_of_64k();
    }

    void forget_rounds() {
        for (auto& [test, ns] : ns_) {
            ns.clear();
        }
    }
    // By the test that is nothing but a loop of the processor, where nothing is done in it.
    [[nodiscard]] double moved() const { return drift(ns_.at("64K pairs")); }

    void report(Records& records) const {
        if (Table::kRole == Role::kNull) {
            records.check_drift("all", moved());
        }
        for (const std::string& test : order_) {
            records.put(test, Table::kRole, Table::name, "ns", median(ns_.at(test)));
        }
        if (Table::kRole != Role::kNull) {
            records.put("tables for 1G of 4K pages", Table::kRole, Table::name, "bytes",
                        static_cast<double>(table_bytes_));
        }
    }

private:
    template <class Work>
    void time(const std::string& test, std::uint64_t count, Work&& work) {
        if (instructions_) {
            collect(test, Table::name, "op", count, work);
            return;
        }
        const double ns = time_ns(work) / static_cast<double>(count);
        const auto [at, fresh] = ns_.try_emplace(test);
        if (fresh) {
            order_.push_back(test);
        }
        at->second.push_back(ns);
    }
    static void require(bool done, const char* what) {
        if (!done) {
            wrong(Table::name, what);
        }
    }
    void map(std::uint64_t va, std::uint64_t pa, std::uint64_t page_size, std::uint64_t count) {
        require(table_.map(va, pa, page_size, count), "a map failed");
    }
    void unmap(std::uint64_t va, std::uint64_t page_size, std::uint64_t count) {
        require(table_.unmap(va, page_size, count), "an unmap failed");
    }
    void unmap_free(std::uint64_t va, std::uint64_t length) {
        require(table_.unmap_free(va, length), "an unmap of whole regions failed");
    }
    void expect(std::uint64_t va, std::uint64_t pa) const {
        if (Table::kRole != Role::kNull) {
            require(table_.iova_to_phys(va) == pa, "a translation is wrong");
        }
    }

    void walk(const std::string& test, const std::vector<std::uint64_t>& addresses, std::uint64_t expected) {
        std::uint64_t sum = 0;
        time(test, addresses.size(), [&] {
            for (const std::uint64_t va : addresses) {
                sum += table_.iova_to_phys(va);
            }
        });
        asm volatile("" : : "r"(sum));
        require(Table::kRole == Role::kNull || sum == expected, "the sum of translations is wrong");
    }
    void random_walk(const std::string& test, std::uint64_t length) {
        std::vector<std::uint64_t> addresses(1U << 16);
        std::uint64_t expected = 0;
        for (std::uint64_t& va : addresses) {
            va = kFirstVa + queries_.next() % length;
            expected += va - kFirstVa + kFirstPa;
        }
        walk(test, addresses, expected);
    }

    void contiguous(const std::string& size, std::uint64_t length) {
        const std::uint64_t count = length / kSmall;
        const std::size_t before = pool_.used_bytes();
        time("map " + size + " 4K fresh", count, [&] { map(kFirstVa, kFirstPa, kSmall, count); });
        expect(kFirstVa + length / 2 + 123, kFirstPa + length / 2 + 123);
        expect(kFirstVa + length, 0);
        if (length == std::uint64_t{1} << 30) {
            table_bytes_ = pool_.used_bytes() - before;
            random_walk("walk 1G 4K", length);
        }
        time("unmap " + size + " 4K", count, [&] { unmap(kFirstVa, kSmall, count); });
        expect(kFirstVa, 0);
        expect(kFirstVa + length - 1, 0);
        if (Table::keeps_tables) {
            time("map " + size + " 4K warm", count, [&] { map(kFirstVa, kFirstPa, kSmall, count); });
            expect(kFirstVa + length - 1, kFirstPa + length - 1);
            time("unmap " + size + " regions", count, [&] { unmap_free(kFirstVa, length); });
            expect(kFirstVa + length / 2, 0);
        }
    }

    void blocks() {
        constexpr std::uint64_t kBlocks = 32'768;
        time("map 64G 2M", kBlocks, [&] { map(kFirstVa, kFirstPa, kLarge, kBlocks); });
        random_walk("walk 64G 2M", kBlocks * kLarge);
        time("unmap 64G 2M", kBlocks, [&] { unmap(kFirstVa, kLarge, kBlocks); });
        expect(kFirstVa + kBlocks * kLarge - 1, 0);
    }

    void scattered() {
        constexpr std::uint32_t kCount = ScatteredPages::kCount;
        const auto map_all = [&] {
            for (std::uint32_t i = 0; i < kCount; ++i) {
                map(scattered_.va[i], scattered_.pa[i], kSmall, 1);
            }
        };
        const auto unmap_all = [&] {
            for (const std::uint64_t va : scattered_.va) {
                unmap(va, kSmall, 1);
            }
        };
        time("map scattered fresh", kCount, map_all);
        walk("walk scattered", scattered_.va, scattered_.pa_sum);
        time("unmap scattered", kCount, unmap_all);
        if (Table::keeps_tables) {
            time("map scattered warm", kCount, map_all);
            free_regions();
        }
        time("map scattered batch", kCount, [&] {
            if constexpr (requires { table_.map_batch(scattered_.va.data(), scattered_.pa.data(), kCount); }) {
                require(table_.map_batch(scattered_.va.data(), scattered_.pa.data(), kCount), "a batch failed");
            } else {
                map_all();
            }
        });
        for (std::uint32_t i = 0; i < kCount; i += 97) {
            expect(scattered_.va[i], scattered_.pa[i]);
        }
        time("unmap scattered batch", kCount, [&] {
            if constexpr (requires { table_.unmap_batch(scattered_.va.data(), kCount); }) {
                require(table_.unmap_batch(scattered_.va.data(), kCount), "a batch of unmaps failed");
            } else {
                unmap_all();
            }
        });
        expect(scattered_.va[7], 0);
        free_regions();
    }
    void free_regions() {
        if (Table::keeps_tables) {
            for (const std::uint64_t va : scattered_.regions) {
                unmap_free(va, kLarge);
            }
        }
    }

    void runs_of_64k() {
        constexpr std::uint64_t kRuns = 4096;
        const auto pa_of = [&](std::uint64_t run) { return scattered_.pa[run] & ~std::uint64_t{0xffff}; };
        const auto map_all = [&] {
            for (std::uint64_t run = 0; run < kRuns; ++run) {
                map(kFirstVa + (run << 16), pa_of(run), kSmall, 16);
            }
        };
        time("map SG-64K fresh", kRuns * 16, map_all);
        for (std::uint64_t run = 0; run < kRuns; run += 61) {
            expect(kFirstVa + (run << 16) + 0x5432, pa_of(run) + 0x5432);
        }
        time("unmap SG-64K", kRuns * 16, [&] {
            for (std::uint64_t run = 0; run < kRuns; ++run) {
                unmap(kFirstVa + (run << 16), kSmall, 16);
            }
        });
        if (Table::keeps_tables) {
            time("map SG-64K warm", kRuns * 16, map_all);
            unmap_free(kFirstVa, kRuns << 16);
        }
    }

    void pairs_of_64k() {
        constexpr std::uint64_t kPairs = 20'000;
        time("64K pairs", kPairs, [&] {
            Random random(5);
            for (std::uint64_t i = 0; i < kPairs; ++i) {
                const std::uint64_t va = kFirstVa + (std::uint64_t{random.below(16'384)} << 16);
                map(va, kFirstPa + (i << 16), kSmall, 16);
                unmap(va, kSmall, 16);
            }
        });
        expect(kFirstVa, 0);
        if (Table::keeps_tables) {
            unmap_free(kFirstVa, std::uint64_t{1} << 30);
        }
    }

    TablePool& pool_;
    Table table_;
    const ScatteredPages& scattered_;
    Random queries_{0};
    bool instructions_ = false;
    std::vector<std::string> order_;
    std::map<std::string, std::vector<double>> ns_;
    std::size_t table_bytes_ = 0;
};

}  // namespace granule::bench
