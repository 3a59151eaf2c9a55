// What AVX-512 does in a leaf of the mapping tree. Each function names the instructions that it may use.
#include <cstddef>
#include <cstdint>

#include "allocator/mapping_node.hpp"
#include "allocator/sorted_pages.hpp"
#include "mali/x86_intrinsics.hpp"

namespace granule {

#if defined(__x86_64__)

namespace {

constexpr std::size_t kWords = 16;   // of four bytes, in a vector
constexpr std::size_t kHalves = 32;  // of two

// A bit for each entry from `at` on.
constexpr std::uint64_t entries_from(unsigned at) noexcept {
    return ~std::uint64_t{0} << at;
}

[[gnu::target("avx512f,avx512bw")]] __mmask16 words_below(const std::int32_t* words, __m512i limits) noexcept {
    return _mm512_cmplt_epi32_mask(_mm512_loadu_si512(words), limits);
}

// Sixteen words from entry `at` of an array on; those of `entries` are the ones `by` bytes behind their place.
[[gnu::target("avx512f,avx512bw")]] __m512i moved_words(const std::byte* array, std::size_t at, std::uint64_t entries,
                                                        std::ptrdiff_t by) noexcept {
    const std::byte* words = array + at * sizeof(std::uint32_t);
    return _mm512_mask_loadu_epi32(_mm512_loadu_si512(words), static_cast<__mmask16>(entries >> at), words + by);
}

[[gnu::target("avx512f,avx512bw")]] __m512i moved_halves(const std::byte* array, std::size_t at, std::uint64_t entries,
                                                         std::ptrdiff_t by) noexcept {
    const std::byte* halves = array + at * sizeof(std::uint16_t);
    return _mm512_mask_loadu_epi16(_mm512_loadu_si512(halves), static_cast<__mmask32>(entries >> at), halves + by);
}

[[gnu::target("avx512f,avx512bw")]] __m512i blanked(__m512i words, std::size_t at, std::uint64_t entries) noexcept {
    return _mm512_mask_set1_epi32(words, static_cast<__mmask16>(entries >> at), kNoUpper);
}

[[gnu::target("avx512f,avx512bw")]] void store(std::byte* array, unsigned vector, __m512i lanes) noexcept {
    _mm512_storeu_si512(array + vector * sizeof(lanes), lanes);
}

}  // namespace

bool has_node_path(NodePath path) noexcept {
    return path != NodePath::kAvx512 ||
           (__builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
            __builtin_cpu_supports("popcnt") != 0);
}

[[gnu::target("avx512f,avx512bw,popcnt")]] unsigned MappingLeaf::count_uppers_below_avx512(
    std::int32_t limit) const noexcept {
    const __m512i limits = _mm512_set1_epi32(limit);
    const std::int32_t* from = starts.data();
    const __mmask32 low = _mm512_kunpackw(words_below(from + kWords, limits), words_below(from, limits));
    const __mmask32 high =
        _mm512_kunpackw(words_below(from + 3 * kWords, limits), words_below(from + 2 * kWords, limits));
    return static_cast<unsigned>(__builtin_popcountll(_mm512_kunpackd(high, low)));
}

// Everything is loaded before anything is stored, so that either direction will do. What a vector takes from behind its array
// is the leaf's all the same, and is nobody's entry; what would be before the first array is not among what is loaded.
[[gnu::target("avx512f,avx512bw")]] void MappingLeaf::move_rest_avx512(unsigned from, unsigned to) noexcept {
    const std::uint64_t moved = entries_from(to);
    const unsigned left = to + (count - from);
    const std::uint64_t unused = entries_from(left);
    const std::ptrdiff_t by = static_cast<std::ptrdiff_t>(from) - static_cast<std::ptrdiff_t>(to);
    const std::ptrdiff_t words = by * static_cast<std::ptrdiff_t>(sizeof(std::uint32_t));
    const std::ptrdiff_t halves = by * static_cast<std::ptrdiff_t>(sizeof(std::uint16_t));
    auto* const leaf = reinterpret_cast<std::byte*>(this);
    std::byte* const at_seats = leaf + offsetof(MappingLeaf, seats);
    std::byte* const at_starts = leaf + offsetof(MappingLeaf, starts);
    std::byte* const at_lengths = leaf + offsetof(MappingLeaf, lengths);

    const __m512i seats0 = moved_halves(at_seats, 0, moved, halves);
    const __m512i seats1 = moved_halves(at_seats, kHalves, moved, halves);
    const __m512i starts0 = moved_words(at_starts, 0, moved, words);
    const __m512i starts1 = moved_words(at_starts, kWords, moved, words);
    const __m512i starts2 = moved_words(at_starts, 2 * kWords, moved, words);
    const __m512i starts3 = moved_words(at_starts, 3 * kWords, moved, words);
    const __m512i lengths0 = moved_words(at_lengths, 0, moved, words);
    const __m512i lengths1 = moved_words(at_lengths, kWords, moved, words);
    const __m512i lengths2 = moved_words(at_lengths, 2 * kWords, moved, words);
    const __m512i lengths3 = moved_words(at_lengths, 3 * kWords, moved, words);
    store(at_seats, 0, seats0);
    store(at_seats, 1, seats1);
    store(at_starts, 0, blanked(starts0, 0, unused));
    store(at_starts, 1, blanked(starts1, kWords, unused));
    store(at_starts, 2, blanked(starts2, 2 * kWords, unused));
    store(at_starts, 3, blanked(starts3, 3 * kWords, unused));
    store(at_lengths, 0, lengths0);
    store(at_lengths, 1, lengths1);
    store(at_lengths, 2, lengths2);
    store(at_lengths, 3, lengths3);
    count = static_cast<std::uint16_t>(left);
}

#else

bool has_node_path(NodePath path) noexcept {
    return path != NodePath::kAvx512;
}

unsigned MappingLeaf::count_uppers_below_avx512(std::int32_t limit) const noexcept {
    return count_below<kLanes>(starts.data(), limit);
}

void MappingLeaf::move_rest_avx512(unsigned from, unsigned to) noexcept {
    move_rest<NodePath::kVectors>(from, to);
}

#endif

}  // namespace granule
