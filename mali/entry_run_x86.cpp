// The paths of x86-64. Each function names the instructions that it may use.
#include "mali/entry_run_paths.hpp"

#if defined(GRANULE_ENTRY_RUN_X86)

#include <bit>
#include <cstddef>
#include <cstdint>

#include "mali/entry_run.hpp"
#include "mali/x86_intrinsics.hpp"

namespace granule::mali::detail {

namespace {

// ---- SSE2: two entries ----

void store2(std::uint64_t* at, __m128i lanes) noexcept {
    *reinterpret_cast<volatile __m128i*>(at) = lanes;
}

void fill_sse2(std::uint64_t* first, std::size_t count, std::uint64_t descriptor, std::uint64_t step) noexcept {
    const std::size_t head = entries_to_boundary(first, 2);
    fill_scalar(first, head, descriptor, step);
    first += head;
    count -= head;
    descriptor += head * step;

    const auto signed_step = static_cast<long long>(step);
    __m128i low = _mm_add_epi64(_mm_set1_epi64x(static_cast<long long>(descriptor)), _mm_set_epi64x(signed_step, 0));
    __m128i high = _mm_add_epi64(low, _mm_set1_epi64x(2 * signed_step));
    const __m128i next = _mm_set1_epi64x(4 * signed_step);
    for (const std::uint64_t* end = first + (count & ~std::size_t{3}); first != end; first += 4) {
        store2(first, low);
        store2(first + 2, high);
        low = _mm_add_epi64(low, next);
        high = _mm_add_epi64(high, next);
    }
    if ((count & 2) != 0) {
        store2(first, low);
        low = high;
        first += 2;
    }
    fill_scalar(first, count & 1, static_cast<std::uint64_t>(_mm_cvtsi128_si64(low)), step);
}

void clear_sse2(std::uint64_t* first, std::size_t count) noexcept {
    const std::size_t head = entries_to_boundary(first, 2);
    fill_scalar(first, head, 0, 0);
    first += head;
    count -= head;
    const __m128i zeros = _mm_setzero_si128();
    for (const std::uint64_t* end = first + (count & ~std::size_t{1}); first != end; first += 2) {
        store2(first, zeros);
    }
    fill_scalar(first, count & 1, 0, 0);
}

void stream_zeros_sse2(std::uint64_t* first, std::size_t count) noexcept {
    const __m128i zeros = _mm_setzero_si128();
    for (const std::uint64_t* end = first + count; first != end; first += 2) {
        _mm_stream_si128(reinterpret_cast<__m128i*>(first), zeros);
    }
}

[[nodiscard]] __m128i unlike2(const std::uint64_t* at, __m128i value) noexcept {
    return _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)), value);
}

std::size_t first_unlike_sse2(const std::uint64_t* first, std::size_t count, std::uint64_t mask,
                              std::uint64_t value) noexcept {
    constexpr int kAllZero = 0xffff;
    const __m128i masks = _mm_set1_epi64x(static_cast<long long>(mask));
    const __m128i values = _mm_set1_epi64x(static_cast<long long>(value));
    std::size_t i = 0;
    for (const std::size_t end = count & ~std::size_t{7}; i != end; i += 8) {
        const __m128i low = _mm_or_si128(unlike2(first + i, values), unlike2(first + i + 2, values));
        const __m128i high = _mm_or_si128(unlike2(first + i + 4, values), unlike2(first + i + 6, values));
        const __m128i unlike = _mm_and_si128(_mm_or_si128(low, high), masks);
        if (_mm_movemask_epi8(_mm_cmpeq_epi32(unlike, _mm_setzero_si128())) != kAllZero) {
            break;
        }
    }
    return first_unlike_scalar(first, i, count, mask, value);
}

// ---- AVX2: four entries ----

[[gnu::target("avx2")]] void store4(std::uint64_t* at, __m256i lanes) noexcept {
    *reinterpret_cast<volatile __m256i*>(at) = lanes;
}

[[gnu::target("avx2")]] void fill_avx2(std::uint64_t* first, std::size_t count, std::uint64_t descriptor,
                                       std::uint64_t step) noexcept {
    const std::size_t head = entries_to_boundary(first, 4);
    fill_scalar(first, head, descriptor, step);
    first += head;
    count -= head;
    descriptor += head * step;

    const __m256i steps = _mm256_set1_epi64x(static_cast<long long>(step));
    __m256i low = _mm256_add_epi64(_mm256_set1_epi64x(static_cast<long long>(descriptor)),
                                   _mm256_mul_epu32(steps, _mm256_set_epi64x(3, 2, 1, 0)));
    __m256i high = _mm256_add_epi64(low, _mm256_slli_epi64(steps, 2));
    const __m256i next = _mm256_slli_epi64(steps, 3);
    for (const std::uint64_t* end = first + (count & ~std::size_t{7}); first != end; first += 8) {
        store4(first, low);
        store4(first + 4, high);
        low = _mm256_add_epi64(low, next);
        high = _mm256_add_epi64(high, next);
    }
    if ((count & 4) != 0) {
        store4(first, low);
        low = high;
        first += 4;
    }
    fill_scalar(first, count & 3, static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm256_castsi256_si128(low))), step);
}

[[gnu::target("avx2")]] void clear_avx2(std::uint64_t* first, std::size_t count) noexcept {
    const std::size_t head = entries_to_boundary(first, 4);
    fill_scalar(first, head, 0, 0);
    first += head;
    count -= head;
    const __m256i zeros = _mm256_setzero_si256();
    for (const std::uint64_t* end = first + (count & ~std::size_t{3}); first != end; first += 4) {
        store4(first, zeros);
    }
    fill_scalar(first, count & 3, 0, 0);
}

[[gnu::target("avx2")]] void stream_zeros_avx2(std::uint64_t* first, std::size_t count) noexcept {
    const __m256i zeros = _mm256_setzero_si256();
    for (const std::uint64_t* end = first + count; first != end; first += 4) {
        _mm256_stream_si256(reinterpret_cast<__m256i*>(first), zeros);
    }
}

[[gnu::target("avx2")]] __m256i unlike4(const std::uint64_t* at, __m256i value) noexcept {
    return _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)), value);
}

[[gnu::target("avx2")]] std::size_t first_unlike_avx2(const std::uint64_t* first, std::size_t count, std::uint64_t mask,
                                                      std::uint64_t value) noexcept {
    const __m256i masks = _mm256_set1_epi64x(static_cast<long long>(mask));
    const __m256i values = _mm256_set1_epi64x(static_cast<long long>(value));
    std::size_t i = 0;
    for (const std::size_t end = count & ~std::size_t{15}; i != end; i += 16) {
        const __m256i low = _mm256_or_si256(unlike4(first + i, values), unlike4(first + i + 4, values));
        const __m256i high = _mm256_or_si256(unlike4(first + i + 8, values), unlike4(first + i + 12, values));
        if (_mm256_testz_si256(_mm256_or_si256(low, high), masks) == 0) {
            break;
        }
    }
    for (; count - i >= 4; i += 4) {
        if (_mm256_testz_si256(unlike4(first + i, values), masks) == 0) {
            break;
        }
    }
    return first_unlike_scalar(first, i, count, mask, value);
}

// ---- AVX-512: eight entries ----

[[gnu::target("avx512f")]] void store8(std::uint64_t* at, __m512i lanes) noexcept {
    *reinterpret_cast<volatile __m512i*>(at) = lanes;
}

// Both ends of a run are vectors of which not all is written.
[[nodiscard]] __mmask8 lanes_from(std::size_t first) noexcept {
    return static_cast<__mmask8>(0xffU << first);
}
[[nodiscard]] __mmask8 lanes_below(std::size_t end) noexcept {
    return static_cast<__mmask8>((1U << end) - 1);
}

[[gnu::target("avx512f")]] void fill_avx512(std::uint64_t* first, std::size_t count, std::uint64_t descriptor,
                                            std::uint64_t step) noexcept {
    const std::size_t head = entries_to_boundary(first, 8);
    const std::size_t before = (8 - head) % 8;  // of the first vector
    const __m512i steps = _mm512_set1_epi64(static_cast<long long>(step));
    const __m512i next = _mm512_slli_epi64(steps, 3);
    __m512i lanes = _mm512_add_epi64(_mm512_set1_epi64(static_cast<long long>(descriptor - before * step)),
                                     _mm512_mul_epu32(steps, _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0)));
    if (before != 0) {
        _mm512_mask_store_epi64(first - before, lanes_from(before), lanes);
        lanes = _mm512_add_epi64(lanes, next);
        first += head;
        count -= head;
    }
    for (const std::uint64_t* end = first + (count & ~std::size_t{7}); first != end; first += 8) {
        store8(first, lanes);
        lanes = _mm512_add_epi64(lanes, next);
    }
    if ((count & 7) != 0) {
        _mm512_mask_store_epi64(first, lanes_below(count & 7), lanes);
    }
}

[[gnu::target("avx512f")]] void clear_avx512(std::uint64_t* first, std::size_t count) noexcept {
    const __m512i zeros = _mm512_setzero_si512();
    if (const std::size_t head = entries_to_boundary(first, 8); head != 0) {
        _mm512_mask_store_epi64(first - (8 - head), lanes_from(8 - head), zeros);
        first += head;
        count -= head;
    }
    for (; count >= 8; count -= 8) {
        store8(first, zeros);
        first += 8;
    }
    if (count != 0) {
        _mm512_mask_store_epi64(first, lanes_below(count), zeros);
    }
}

[[gnu::target("avx512f")]] void stream_zeros_avx512(std::uint64_t* first, std::size_t count) noexcept {
    const __m512i zeros = _mm512_setzero_si512();
    for (const std::uint64_t* end = first + count; first != end; first += 8) {
        _mm512_stream_si512(reinterpret_cast<__m512i*>(first), zeros);
    }
}

[[gnu::target("avx512f")]] __m512i unlike8(const std::uint64_t* at, __m512i value) noexcept {
    return _mm512_xor_si512(_mm512_loadu_si512(at), value);
}

[[gnu::target("avx512f")]] std::size_t first_unlike_avx512(const std::uint64_t* first, std::size_t count,
                                                           std::uint64_t mask, std::uint64_t value) noexcept {
    const __m512i masks = _mm512_set1_epi64(static_cast<long long>(mask));
    const __m512i values = _mm512_set1_epi64(static_cast<long long>(value));
    std::size_t i = 0;
    for (const std::size_t end = count & ~std::size_t{31}; i != end; i += 32) {
        const __m512i low = _mm512_or_si512(unlike8(first + i, values), unlike8(first + i + 8, values));
        const __m512i high = _mm512_or_si512(unlike8(first + i + 16, values), unlike8(first + i + 24, values));
        if (_mm512_test_epi64_mask(_mm512_or_si512(low, high), masks) != 0) {
            break;
        }
    }
    for (; i < count; i += 8) {
        const __mmask8 there = count - i >= 8 ? lanes_from(0) : lanes_below(count - i);
        const __m512i lanes = _mm512_xor_si512(_mm512_maskz_loadu_epi64(there, first + i), values);
        if (const unsigned unlike = _mm512_mask_test_epi64_mask(there, lanes, masks); unlike != 0) {
            return i + static_cast<std::size_t>(std::countr_zero(unlike));
        }
    }
    return count;
}

}  // namespace

constinit const EntryRunPath kSse2Path = {VectorPath::kSse2, fill_sse2, clear_sse2, stream_zeros_sse2,
                                          first_unlike_sse2};
constinit const EntryRunPath kAvx2Path = {VectorPath::kAvx2, fill_avx2, clear_avx2, stream_zeros_avx2,
                                          first_unlike_avx2};
constinit const EntryRunPath kAvx512Path = {VectorPath::kAvx512, fill_avx512, clear_avx512, stream_zeros_avx512,
                                            first_unlike_avx512};

}  // namespace granule::mali::detail

#endif
