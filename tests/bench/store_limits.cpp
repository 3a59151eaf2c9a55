#include "tests/bench/store_limits.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

// GCC 12 takes its own "undefined" vectors for uninitialised variables.
#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace granule::bench {
namespace {

constexpr std::size_t kTableBytes = 4096;
constexpr std::size_t kTableEntries = kTableBytes / sizeof(std::uint64_t);
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kMinRounds = 3;
// Hot passes of one measurement store so much, that the clock's own resolution is lost in it.
constexpr std::size_t kHotBytes = std::size_t{1} << 20;

// ---- ways to store; all but memset could store another value each time ----

void store_memset(std::uint64_t* first, std::size_t count, std::uint64_t value) noexcept {
    std::memset(first, static_cast<int>(value & 0xff), count * sizeof *first);
}

// Volatile: each store is an instruction, and none becomes a memset.
void store_8(std::uint64_t* first, std::size_t count, std::uint64_t value) noexcept {
    volatile std::uint64_t* at = first;
    for (std::size_t i = 0; i < count; i += 4) {
        at[i] = value;
        at[i + 1] = value;
        at[i + 2] = value;
        at[i + 3] = value;
    }
}

#if defined(__x86_64__)

void store_16(std::uint64_t* first, std::size_t count, std::uint64_t value) noexcept {
    const __m128i lanes = _mm_set1_epi64x(static_cast<long long>(value));
    volatile __m128i* at = reinterpret_cast<__m128i*>(first);
    for (std::size_t i = 0; i < count / 2; i += 2) {
        at[i] = lanes;
        at[i + 1] = lanes;
    }
}

void store_16_streaming(std::uint64_t* first, std::size_t count, std::uint64_t value) noexcept {
    const __m128i lanes = _mm_set1_epi64x(static_cast<long long>(value));
    auto* at = reinterpret_cast<__m128i*>(first);
    for (std::size_t i = 0; i < count / 2; i += 2) {
        _mm_stream_si128(at + i, lanes);
        _mm_stream_si128(at + i + 1, lanes);
    }
    _mm_sfence();
}

[[gnu::target("avx2")]] void store_32(std::uint64_t* first, std::size_t count, std::uint64_t value) noexcept {
    const __m256i lanes = _mm256_set1_epi64x(static_cast<long long>(value));
    volatile __m256i* at = reinterpret_cast<__m256i*>(first);
    for (std::size_t i = 0; i < count / 4; i += 2) {
        at[i] = lanes;
        at[i + 1] = lanes;
    }
}

[[gnu::target("avx2")]] void store_32_streaming(std::uint64_t* first, std::size_t count, std::uint64_t value) noexcept {
    const __m256i lanes = _mm256_set1_epi64x(static_cast<long long>(value));
    auto* at = reinterpret_cast<__m256i*>(first);
    for (std::size_t i = 0; i < count / 4; i += 2) {
        _mm256_stream_si256(at + i, lanes);
        _mm256_stream_si256(at + i + 1, lanes);
    }
    _mm_sfence();
}

[[gnu::target("avx512f")]] void store_64(std::uint64_t* first, std::size_t count, std::uint64_t value) noexcept {
    const __m512i lanes = _mm512_set1_epi64(static_cast<long long>(value));
    volatile __m512i* at = reinterpret_cast<__m512i*>(first);
    for (std::size_t i = 0; i < count / 8; i += 2) {
        at[i] = lanes;
        at[i + 1] = lanes;
    }
}

[[gnu::target("avx512f")]] void store_64_streaming(std::uint64_t* first, std::size_t count,
                                                   std::uint64_t value) noexcept {
    const __m512i lanes = _mm512_set1_epi64(static_cast<long long>(value));
    auto* at = reinterpret_cast<__m512i*>(first);
    for (std::size_t i = 0; i < count / 8; i += 2) {
        _mm512_stream_si512(at + i, lanes);
        _mm512_stream_si512(at + i + 1, lanes);
    }
    _mm_sfence();
}

constexpr std::size_t kLineBytes = 64;

void evict_line(const std::byte* line) noexcept {
    _mm_clflush(line);
}
void finish_evicting() noexcept {
    _mm_mfence();
}

#elif defined(__aarch64__)

void store_16(std::uint64_t* first, std::size_t count, std::uint64_t value) noexcept {
    const uint64x2_t lanes = vdupq_n_u64(value);
    volatile uint64x2_t* at = reinterpret_cast<uint64x2_t*>(first);
    for (std::size_t i = 0; i < count / 2; i += 2) {
        at[i] = lanes;
        at[i + 1] = lanes;
    }
}

void store_32(std::uint64_t* first, std::size_t count, std::uint64_t value) noexcept {
    const uint64x2_t lanes = vdupq_n_u64(value);
    for (std::size_t i = 0; i < count; i += 4) {
        asm volatile("stp %q0, %q0, [%1]" : : "w"(lanes), "r"(first + i) : "memory");
    }
}

// STNP is a hint that the line will not be used soon, with the order of a plain store: nothing to fence.
void store_32_streaming(std::uint64_t* first, std::size_t count, std::uint64_t value) noexcept {
    const uint64x2_t lanes = vdupq_n_u64(value);
    for (std::size_t i = 0; i < count; i += 4) {
        asm volatile("stnp %q0, %q0, [%1]" : : "w"(lanes), "r"(first + i) : "memory");
    }
}

// The least that an AArch64 has. A step too small costs time, one too large would leave lines in the cache.
constexpr std::size_t kLineBytes = 16;

void evict_line(const std::byte* line) noexcept {
    asm volatile("dc civac, %0" : : "r"(line) : "memory");  // Linux lets programs do it (SCTLR_EL1.UCI)
}
void finish_evicting() noexcept {
    asm volatile("dsb sy" : : : "memory");
}

#else

constexpr std::size_t kLineBytes = 64;

// No instruction for programs: `cold` is hot there.
void evict_line(const std::byte* /*line*/) noexcept {}
void finish_evicting() noexcept {}

#endif

// ---- measuring ----

class Buffer {
public:
    explicit Buffer(std::size_t bytes) : bytes_(bytes), mapped_bytes_(bytes + kHugePage) {
        mapped_ = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped_ == MAP_FAILED) {
            throw std::bad_alloc();
        }
        const std::size_t past = reinterpret_cast<std::uintptr_t>(mapped_) % kHugePage;
        first_ = static_cast<std::byte*>(mapped_) + (past == 0 ? 0 : kHugePage - past);
        static_cast<void>(madvise(first_, bytes_, MADV_HUGEPAGE));  // where there are none, it is done without
        std::memset(first_, 1, bytes_);
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    Buffer(Buffer&&) = delete;
    Buffer& operator=(Buffer&&) = delete;
    ~Buffer() { munmap(mapped_, mapped_bytes_); }

    [[nodiscard]] std::uint64_t* table(std::size_t index) const noexcept {
        return reinterpret_cast<std::uint64_t*>(first_ + index * kTableBytes);
    }

    void evict() const noexcept {
        for (std::size_t at = 0; at < bytes_; at += kLineBytes) {
            evict_line(first_ + at);
        }
        finish_evicting();
    }

private:
    std::size_t bytes_;
    std::size_t mapped_bytes_;
    void* mapped_ = nullptr;
    std::byte* first_ = nullptr;
};

using Clock = std::chrono::steady_clock;

template <class Work>
[[nodiscard]] double nanoseconds(Work&& work) {
    const Clock::time_point begin = Clock::now();
    work();
    return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

[[nodiscard]] double median(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

struct Rounds {
    std::vector<double> hot;
    std::vector<double> cold;
    std::vector<double> scattered;
};

// One round of one way; ns per 8 bytes.
void measure(const StoreWay& way, const Buffer& buffer, const std::vector<std::size_t>& order, Rounds& rounds) {
    const std::size_t tables = order.size();
    const std::size_t entries = tables * kTableEntries;
    const std::size_t passes = std::max<std::size_t>(1, kHotBytes / (tables * kTableBytes));
    std::uint64_t value = 0;

    way.store(buffer.table(0), entries, ++value);
    rounds.hot.push_back(nanoseconds([&] {
                             for (std::size_t pass = 0; pass < passes; ++pass) {
                                 way.store(buffer.table(0), entries, ++value);
                             }
                         }) /
                         static_cast<double>(entries * passes));
    buffer.evict();
    rounds.cold.push_back(nanoseconds([&] { way.store(buffer.table(0), entries, ++value); }) /
                          static_cast<double>(entries));
    buffer.evict();
    rounds.scattered.push_back(nanoseconds([&] {
                                   for (const std::size_t table : order) {
                                       way.store(buffer.table(table), kTableEntries, value);
                                   }
                               }) /
                               static_cast<double>(entries));
}

}  // namespace

std::vector<StoreWay> store_ways() {
    std::vector<StoreWay> ways = {{"memset", store_memset}, {"8 bytes", store_8}};
#if defined(__x86_64__)
    const bool has_32 = __builtin_cpu_supports("avx2") != 0;
    const bool has_64 = __builtin_cpu_supports("avx512f") != 0;
    ways.push_back({"16 bytes", store_16});
    if (has_32) {
        ways.push_back({"32 bytes", store_32});
    }
    if (has_64) {
        ways.push_back({"64 bytes", store_64});
    }
    ways.push_back({"16 bytes streaming", store_16_streaming});
    if (has_32) {
        ways.push_back({"32 bytes streaming", store_32_streaming});
    }
    if (has_64) {
        ways.push_back({"64 bytes streaming", store_64_streaming});
    }
#elif defined(__aarch64__)
    ways.push_back({"16 bytes", store_16});
    ways.push_back({"32 bytes", store_32});
    ways.push_back({"32 bytes streaming", store_32_streaming});
#endif
    return ways;
}

std::vector<StoreLimit> measure_store_limits(const std::vector<std::size_t>& sizes, double seconds) {
    const std::vector<StoreWay> ways = store_ways();
    std::vector<StoreLimit> limits;
    for (const std::size_t bytes : sizes) {
        const Buffer buffer(bytes);
        std::vector<std::size_t> order(bytes / kTableBytes);
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::shuffle(order.begin(), order.end(), std::mt19937_64(bytes));

        std::vector<Rounds> rounds(ways.size());
        const Clock::time_point end =
            Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
        for (std::size_t round = 0; round < kMinRounds || Clock::now() < end; ++round) {
            for (std::size_t i = 0; i < ways.size(); ++i) {
                measure(ways[i], buffer, order, rounds[i]);
            }
        }
        for (std::size_t i = 0; i < ways.size(); ++i) {
            limits.push_back({ways[i].name, bytes, median(std::move(rounds[i].hot)), median(std::move(rounds[i].cold)),
                              median(std::move(rounds[i].scattered))});
        }
    }
    return limits;
}

StoreLimit best_store_limit(const std::vector<StoreLimit>& limits, std::size_t bytes) {
    StoreLimit best;
    const auto distance = [bytes](const StoreLimit& limit) {
        return limit.bytes > bytes ? limit.bytes - bytes : bytes - limit.bytes;
    };
    for (const StoreLimit& limit : limits) {
        if (best.way == nullptr || distance(limit) < distance(best)) {
            best = limit;
        } else if (limit.bytes == best.bytes) {
            best.hot_ns = std::min(best.hot_ns, limit.hot_ns);
            best.cold_ns = std::min(best.cold_ns, limit.cold_ns);
            best.scattered_ns = std::min(best.scattered_ns, limit.scattered_ns);
        }
    }
    return best;
}

}  // namespace granule::bench
