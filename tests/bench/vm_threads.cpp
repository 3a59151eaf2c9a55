// Threads that bind: what two VMs of one device cost each other, and what threads on one VM do.
//
//     bench_vm_threads [SECONDS of each case, default 0.5] [--json]
//
//   own VM, own BOs        each thread binds tiles of 64 KiB in a VM of its own, and shows BOs of its own
//   own VM, shared BOs     ... and all show the same BOs, whose counts of references they share
//   one VM                 all bind in the same VM: one lock
//
// A round measures one thread alone and then all of them, so that both have the same machine; the best of the rounds is
// printed, because what disturbs a round makes it worse and nothing makes it better. `scale` is the binds of all threads
// together a second, divided by those of one thread alone. `CPU scale` is that of binds a second of CPU time, times the
// threads: it says the same where nobody waits for a lock, and does not depend on what else runs on the machine.
// Latencies are of single calls, of the round that is printed. Threads beyond the machine's cores wait for a core: their
// p99.9 is the scheduler's, and only `scale` says something.
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "src/soft_device.hpp"

namespace {

using granule::BindRequest;
using granule::BoId;
using granule::BoOffset;
using granule::Owned;
using granule::SoftDevice;
using granule::Va;
using granule::Vm;

constexpr std::uint64_t kTileBytes = std::uint64_t{64} << 10;
constexpr std::uint64_t kTiles = 16384;  // of each VM
constexpr std::uint64_t kHeapBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kTilesPerHeap = kHeapBytes / kTileBytes;
constexpr std::uint64_t kHeaps = kTiles / kTilesPerHeap;
constexpr Va kFirst{std::uint64_t{1} << 34};
constexpr int kRounds = 5;

[[noreturn]] void give_up(const char* what) {
    static_cast<void>(std::fprintf(stderr, "vm_threads: %s failed\n", what));
    std::exit(1);
}

template <class T, class E>
T must(granule::Result<T, E> result, const char* what) {
    if (!result) {
        give_up(what);
    }
    return std::move(*result);
}

// Nanoseconds of calls, in buckets of 1/8 octave: counting them touches 2 KiB.
class Histogram {
public:
    void add(std::uint64_t ns) noexcept { ++counts_[bucket(ns)]; }
    void add(const Histogram& other) noexcept {
        for (std::size_t i = 0; i < counts_.size(); ++i) {
            counts_[i] += other.counts_[i];
        }
    }
    // The upper edge of the bucket that the quantile is in.
    [[nodiscard]] std::uint64_t quantile(double q) const noexcept {
        std::uint64_t all = 0;
        for (const std::uint64_t count : counts_) {
            all += count;
        }
        auto left = static_cast<std::uint64_t>(q * static_cast<double>(all));
        for (std::size_t i = 0; i < counts_.size(); ++i) {
            if (counts_[i] > left) {
                return upper(i);
            }
            left -= counts_[i];
        }
        return 0;
    }

private:
    static constexpr std::size_t kSteps = 8;
    static std::size_t bucket(std::uint64_t ns) noexcept {
        if (ns < kSteps) {
            return static_cast<std::size_t>(ns);
        }
        const auto octave = static_cast<unsigned>(std::bit_width(ns)) - 1;
        return std::min<std::size_t>((octave - 2) * kSteps + ((ns >> (octave - 3)) & (kSteps - 1)), 255);
    }
    static std::uint64_t upper(std::size_t index) noexcept {
        if (index < kSteps) {
            return index;
        }
        const auto octave = static_cast<unsigned>(index / kSteps) + 2;
        return ((std::uint64_t{kSteps} + index % kSteps + 1) << (octave - 3)) - 1;
    }
    std::array<std::uint64_t, 256> counts_{};
};

enum class Sharing : std::uint8_t { kNothing, kBos, kVm };

struct Measured {
    double binds_per_second = 0;
    double cpu_ns = 0;  // a bind
    Histogram latency;
};

double cpu_seconds() {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

class Bench {
public:
    Bench(Sharing sharing, unsigned threads) : sharing_(sharing) {
        granule::SoftDeviceConfig config;
        config.gpu = granule::mali::find_gpu_model("G610");
        device_ = must(SoftDevice::create(config), "SoftDevice::create");
        const unsigned vms = sharing == Sharing::kVm ? 1 : threads;
        const unsigned sets = sharing == Sharing::kNothing ? threads : 1;
        for (unsigned i = 0; i < sets * kHeaps; ++i) {
            heaps_.push_back(must(device_->create_bo(kHeapBytes), "create_bo"));
        }
        for (unsigned i = 0; i < vms; ++i) {
            vms_.push_back(must(device_->create_vm({}), "create_vm"));
            for (std::uint64_t tile = 0; tile < kTiles; ++tile) {
                bind(*vms_.back(), request(i, tile, tile));
            }
        }
    }
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;
    ~Bench() {
        vms_.clear();
        for (const BoId heap : heaps_) {
            device_->bos().release(*device_->bos().find(heap), 1);
        }
    }

    Measured run(unsigned threads, double seconds) {
        std::atomic<unsigned> ready{0};
        std::atomic<bool> go{false};
        std::atomic<bool> stop{false};
        std::vector<std::uint64_t> binds(threads * kLine);
        std::vector<double> cpu(threads);
        std::vector<Histogram> latencies(threads);
        std::vector<std::thread> running;
        for (unsigned i = 0; i < threads; ++i) {
            running.emplace_back([&, i] {
                pin(i);
                Vm& vm = *vms_[i % vms_.size()];
                Histogram latency;
                std::mt19937_64 random(i + 1);
                std::vector<BindRequest> requests;
                for (std::size_t k = 0; k < 8192; ++k) {
                    requests.push_back(request(i, random() % kTiles, random() % kTiles));
                }
                std::uint64_t count = 0;
                ready.fetch_add(1);
                while (!go.load(std::memory_order_acquire)) {
                }
                const double cpu_before = cpu_seconds();
                while (!stop.load(std::memory_order_relaxed)) {
                    const BindRequest& one = requests[count++ % requests.size()];
                    if (count % kSampled == 0) {
                        const auto start = std::chrono::steady_clock::now();
                        bind(vm, one);
                        const auto took = std::chrono::steady_clock::now() - start;
                        latency.add(static_cast<std::uint64_t>(std::chrono::nanoseconds(took).count()));
                    } else {
                        bind(vm, one);
                    }
                }
                cpu[i] = cpu_seconds() - cpu_before;
                binds[i * kLine] = count;
                latencies[i] = latency;
            });
        }
        while (ready.load() != threads) {
            std::this_thread::yield();
        }
        const auto start = std::chrono::steady_clock::now();
        go.store(true, std::memory_order_release);
        std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
        stop.store(true, std::memory_order_relaxed);
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        for (std::thread& thread : running) {
            thread.join();
        }
        Measured measured;
        double all_binds = 0;
        for (unsigned i = 0; i < threads; ++i) {
            all_binds += static_cast<double>(binds[i * kLine]);
            measured.cpu_ns += 1e9 * cpu[i];
            measured.latency.add(latencies[i]);
        }
        measured.binds_per_second = all_binds / took.count();
        measured.cpu_ns /= all_binds;
        return measured;
    }

private:
    static constexpr std::size_t kLine = 16;      // words: no two threads write to one cache line
    static constexpr std::uint64_t kSampled = 8;  // the clock is read around every eighth

    static void pin(unsigned thread) {
        const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(thread % cores, &set);
        static_cast<void>(::pthread_setaffinity_np(::pthread_self(), sizeof(set), &set));
    }
    static void bind(Vm& vm, const BindRequest& request) {
        if (!vm.bind(request)) {
            give_up("bind");
        }
    }
    [[nodiscard]] BindRequest request(unsigned thread, std::uint64_t at, std::uint64_t shows) const {
        const std::uint64_t set = sharing_ == Sharing::kNothing ? thread : 0;
        BindRequest request;
        request.kind = BindRequest::Kind::kMap;
        request.va = {kFirst + at * kTileBytes, kFirst + (at + 1) * kTileBytes};
        request.shows.bo = heaps_[set * kHeaps + shows / kTilesPerHeap];
        request.shows.offset = BoOffset{shows % kTilesPerHeap * kTileBytes};
        request.policy = granule::UnmapPolicy::kSplit;
        request.leaves = granule::LeafPolicy::kPage;
        return request;
    }

    const Sharing sharing_;
    Owned<SoftDevice> device_;
    std::vector<BoId> heaps_;
    std::vector<Owned<Vm>> vms_;
};

struct Case {
    const char* name;
    Sharing sharing;
    unsigned threads;
};

void run_case(const Case& one, double seconds, bool json, bool last) {
    Bench bench(one.sharing, one.threads);
    double best_scale = 0;
    double cpu_scale = 0;
    Measured best;
    Measured alone_of_best;
    for (int round = 0; round < kRounds; ++round) {
        const Measured alone = bench.run(1, seconds / kRounds);
        Measured all = bench.run(one.threads, seconds / kRounds);
        cpu_scale = std::max(cpu_scale, one.threads * alone.cpu_ns / all.cpu_ns);
        const double scale = all.binds_per_second / alone.binds_per_second;
        if (scale > best_scale) {
            best_scale = scale;
            best = all;
            alone_of_best = alone;
        }
    }
    const auto p = [&](double q) { return static_cast<unsigned long long>(best.latency.quantile(q)); };
    const char* const format =
        json ? "  {\"case\": \"%s\", \"threads\": %u, \"binds_per_second_alone\": %.0f, \"binds_per_second\": %.0f, "
               "\"scale\": %.3f, \"cpu_scale\": %.3f, \"p50_ns\": %llu, \"p99_ns\": %llu, \"p999_ns\": %llu}"
             : "%-20s %7u %12.0f %12.0f %7.2f %9.2f %8llu %8llu %8llu";
    std::printf(format, one.name, one.threads, alone_of_best.binds_per_second, best.binds_per_second, best_scale,
                cpu_scale, p(0.5), p(0.99), p(0.999));
    std::printf("%s\n", json && !last ? "," : "");
}

}  // namespace

int main(int argc, char** argv) {
    double seconds = 0.5;
    bool json = false;
    for (const char* const argument : std::span<char*>(argv, static_cast<std::size_t>(argc)).subspan(1)) {
        if (std::strcmp(argument, "--json") == 0) {
            json = true;
        } else {
            seconds = std::strtod(argument, nullptr);
        }
    }
    if (seconds <= 0) {
        give_up("a number of seconds above 0 expected: reading the arguments");
    }
    constexpr std::array kCases{
        Case{"own VM, own BOs", Sharing::kNothing, 2},
        Case{"own VM, shared BOs", Sharing::kBos, 2},
        Case{"one VM", Sharing::kVm, 2},
        Case{"one VM", Sharing::kVm, 4},
        Case{"one VM", Sharing::kVm, 8},
    };
    if (json) {
        std::printf("[\n");
    } else {
        std::printf("%-20s %7s %12s %12s %7s %9s %8s %8s %8s\n", "", "threads", "alone /s", "binds /s", "scale",
                    "CPU scale", "p50 ns", "p99 ns", "p99.9 ns");
    }
    for (std::size_t i = 0; i < kCases.size(); ++i) {
        run_case(kCases[i], seconds, json, i + 1 == kCases.size());
    }
    if (json) {
        std::printf("]\n");
    }
    return 0;
}
