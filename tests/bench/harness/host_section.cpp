// Section host: what the machine and its allocators allow. Stores of page-table entries by every way that the CPU has, loads
// that wait for each other, and nodes and pages from granule's pool, mimalloc and the C library.
#include <dlfcn.h>
#include <mimalloc.h>

#include <cstdio>
#include <memory>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "allocator/node_pool.hpp"
#include "tests/bench/harness/random.hpp"
#include "tests/bench/harness/sections.hpp"
#include "tests/bench/harness/statistics.hpp"
#include "tests/bench/harness/stopwatch.hpp"
#include "tests/bench/store_limits.hpp"

namespace granule::bench {
namespace {

class Pool {
public:
    static constexpr const char* name = "granule's pool";
    static constexpr Role kRole = Role::kOurs;

    Pool(std::size_t bytes, std::size_t alignment, std::size_t count) : pool_(NodeMemory::process(), bytes, alignment) {
        if (!pool_.reserve(count)) {
            wrong(name, "no memory");
        }
    }
    [[nodiscard]] void* take() { return pool_.take(); }
    void give(void* node) { pool_.give_back(node); }

private:
    NodePool pool_;
};

class Mimalloc {
public:
    static constexpr const char* name = "mimalloc";
    static constexpr Role kRole = Role::kPeer;

    Mimalloc(std::size_t bytes, std::size_t alignment, std::size_t /*count*/) : bytes_(bytes), alignment_(alignment) {}
    [[nodiscard]] void* take() const { return mi_malloc_aligned(bytes_, alignment_); }
    static void give(void* node) { mi_free(node); }

private:
    std::size_t bytes_;
    std::size_t alignment_;
};

// By way of the library's handle: where a program links libmimalloc, `malloc` itself is mimalloc's.
class Glibc {
public:
    static constexpr const char* name = "glibc";
    static constexpr Role kRole = Role::kPeer;

    Glibc(std::size_t bytes, std::size_t alignment, std::size_t /*count*/) : bytes_(bytes), alignment_(alignment) {
        void* const library = dlopen("libc.so.6", RTLD_NOW);
        if (library == nullptr) {
            wrong(name, "no libc.so.6");
        }
        take_ = reinterpret_cast<Take*>(dlsym(library, "aligned_alloc"));
        give_ = reinterpret_cast<Give*>(dlsym(library, "free"));
    }
    [[nodiscard]] void* take() const { return take_(alignment_, bytes_); }
    void give(void* node) const { give_(node); }

private:
    using Take = void*(std::size_t, std::size_t);
    using Give = void(void*);

    std::size_t bytes_;
    std::size_t alignment_;
    Take* take_ = nullptr;
    Give* give_ = nullptr;
};

// `count` nodes are out; a random one goes and a new one comes, whose first line is written.
template <class Source>
class NodeRun {
public:
    NodeRun(std::size_t bytes, std::size_t alignment, std::size_t count)
        : source_(bytes, alignment, count), nodes_(count) {
        for (void*& node : nodes_) {
            node = source_.take();
            touch(node);
        }
    }
    NodeRun(const NodeRun&) = delete;
    NodeRun& operator=(const NodeRun&) = delete;
    ~NodeRun() {
        for (void* const node : nodes_) {
            source_.give(node);
        }
    }
    void round() {
        constexpr int kPairs = 20'000;
        ns_.push_back(time_ns([&] {
                          for (int i = 0; i < kPairs; ++i) {
                              void*& node = nodes_[random_.below(static_cast<std::uint32_t>(nodes_.size()))];
                              source_.give(node);
                              node = source_.take();
                              touch(node);
                          }
                      }) /
                      kPairs);
    }
    void report(Records& records, const std::string& test) const {
        records.put(test, Source::kRole, Source::name, "ns", median(ns_));
    }

private:
    static void touch(void* node) { *static_cast<volatile std::uint64_t*>(node) = 1; }

    Source source_;
    std::vector<void*> nodes_;
    Random random_{17};
    std::vector<double> ns_;
};

void nodes(const Options& options, Records& records, const char* what, std::size_t bytes, std::size_t alignment,
           std::size_t count) {
    auto runs = std::make_tuple(std::make_unique<NodeRun<Pool>>(bytes, alignment, count),
                                std::make_unique<NodeRun<Mimalloc>>(bytes, alignment, count),
                                std::make_unique<NodeRun<Glibc>>(bytes, alignment, count));
    for (int round = 0; round < options.rounds; ++round) {
        for_each_subject(runs, [](auto& run) { run.round(); });
    }
    for_each_subject(runs, [&](auto& run) { run.report(records, what); });
}

// Nanoseconds of a load whose address the load before it gave: `bytes` of cache lines, in one ring in random order.
[[nodiscard]] double dependent_load_ns(std::size_t bytes, double limit_s) {
    constexpr std::size_t kWords = 64 / sizeof(std::uint64_t);
    constexpr std::uint32_t kLoads = 1U << 16;
    const auto lines = static_cast<std::uint32_t>(bytes / 64);
    std::vector<std::uint32_t> order(lines);
    std::iota(order.begin(), order.end(), 0U);
    Random random(29);
    for (std::uint32_t i = lines; i > 1; --i) {
        std::swap(order[i - 1], order[random.below(i)]);
    }
    std::vector<std::uint64_t> ring(std::size_t{lines} * kWords);
    for (std::uint32_t i = 0; i < lines; ++i) {
        ring[order[i] * kWords] = order[(i + 1) % lines] * kWords;
    }
    std::vector<double> ns;
    std::uint64_t at = 0;
    const double begin = seconds();
    while (ns.size() < 3 || (seconds() - begin < limit_s && ns.size() < 100)) {
        ns.push_back(time_ns([&] {
                         for (std::uint32_t i = 0; i < kLoads; ++i) {
                             at = ring[at];
                         }
                     }) /
                     kLoads);
    }
    asm volatile("" : : "r"(at));
    return median(ns);
}

}  // namespace

void run_host_section(const Options& options, Records& records) {
    static_cast<void>(std::fprintf(stderr, "host\n"));
    nodes(options, records, "64 B nodes, N=100000", 64, 64, 100'000);
    nodes(options, records, "4 KiB pages, N=10000", 4096, 4096, 10'000);
    constexpr std::size_t kKiB = 1024;
    for (const std::size_t kib : {32UL, 512UL, 16384UL, 262144UL}) {
        records.put("loads " + std::to_string(kib) + " KiB", Role::kLimit, "dependent loads", "ns",
                    dependent_load_ns(kib * kKiB, options.seconds / 4));
    }
    for (const StoreLimit& limit :
         measure_store_limits({128 * kKiB, 2048 * kKiB, 16384 * kKiB, 131072 * kKiB}, options.seconds / 2)) {
        const std::string test = "stores " + std::to_string(limit.bytes / kKiB) + " KiB";
        records.put(test, Role::kLimit, limit.way, "hot_ns", limit.hot_ns);
        records.put(test, Role::kLimit, limit.way, "cold_ns", limit.cold_ns);
        records.put(test, Role::kLimit, limit.way, "scattered_ns", limit.scattered_ns);
    }
}

}  // namespace granule::bench
