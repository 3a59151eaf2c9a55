// Runs of entries of one table, written, cleared and examined a vector at a time: what is left of mapping and unmapping
// once the tables are found.
//
//     fill_entries(at, 5, d, s)     [ d | d + s | d + 2s | d + 3s | d + 4s ]
//     clear_entries(at, 5)          [ 0 |   0   |   0    |   0    |   0    ]
//     stream_zeros(at, 8)           the same, past the caches
//     first_not_zero(at, 5)         index of the first entry that is not 0, or 5
//     first_unlike(at, 5, m, v)     index of the first entry with (entry & m) != v, or 5
//
// Which instructions: those of a VectorPath, by default the widest that the CPU has, found out at the first long run.
// All paths do the same; a program or a test may select another one at any time. Runs below kInlineEntries are loops in
// place; a longer one costs one indirect call.
//
// Who may look meanwhile: other threads (load_entry) and the GPU's walker. Each entry is seen as it was or as it is,
// never half: entry_run_paths.hpp says why that holds of vectors. Nothing is said of the order in which the entries of
// one run are seen; all of them are seen before what publish_entry and TableMemory::make_visible do after it. The
// examining functions are for the one writer: they read plainly. `stream_zeros` is the exception: it is for tables that
// nobody can reach, and only what stream_fence stands before is seen after it.
//
// Entries are aligned to 8 bytes and belong to one table or many: a run is memory, not levels. O(count); no allocation,
// no failure. Every function may be called from any thread, and two runs at once if they have no entry in common.
//
// There is kScalar only, atomic stores, under the thread sanitizer, which takes vector stores for data races, and where
// the compiler may not use vector registers (-mgeneral-regs-only, -mno-sse). Firmware that is compiled without such a
// flag, but must leave them alone at times, selects kScalar before its first run.
#pragma once

#include <array>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "mali/table_entry.hpp"

namespace granule::mali {

enum class VectorPath : std::uint8_t {
    kScalar,  // an entry at a time: every CPU
    kSse2,    // two: every x86-64
    kAvx2,    // four
    kAvx512,  // eight; AVX-512F alone
    kNeon,    // two: every AArch64
};
inline constexpr std::array kVectorPaths = {VectorPath::kScalar, VectorPath::kSse2, VectorPath::kAvx2,
                                            VectorPath::kAvx512, VectorPath::kNeon};

[[nodiscard]] const char* to_string(VectorPath path) noexcept;

// Whether this build and this CPU have it.
[[nodiscard]] bool has_vector_path(VectorPath path) noexcept;

// For the whole process, from the next run on. False, and nothing changed, where it is not there. Thread-safe.
[[nodiscard]] bool select_vector_path(VectorPath path) noexcept;

// The one in use.
[[nodiscard]] VectorPath vector_path() noexcept;

// The steps of leaves are their sizes; every path multiplies by 32 bits.
inline constexpr std::uint64_t kMaxEntryStep = UINT32_MAX;

// A vector is of no use below this.
inline constexpr std::size_t kInlineEntries = 8;

namespace detail {

// One path. `count` is at least kInlineEntries.
struct EntryRunPath {
    VectorPath path;
    void (*fill)(std::uint64_t* first, std::size_t count, std::uint64_t descriptor, std::uint64_t step) noexcept;
    void (*clear)(std::uint64_t* first, std::size_t count) noexcept;
    void (*stream_zeros)(std::uint64_t* first, std::size_t count) noexcept;
    std::size_t (*first_unlike)(const std::uint64_t* first, std::size_t count, std::uint64_t mask,
                                std::uint64_t value) noexcept;
};

// What it points to is constant, so that relaxed is enough.
extern std::atomic<const EntryRunPath*> entry_run_path;

[[nodiscard]] inline const EntryRunPath& selected_path() noexcept {
    return *entry_run_path.load(std::memory_order_relaxed);
}

}  // namespace detail

// Entry i becomes descriptor + i * step, modulo 2^64. `step` is at most kMaxEntryStep.
[[gnu::always_inline]] inline void fill_entries(std::uint64_t* first, std::size_t count, std::uint64_t descriptor,
                                                std::uint64_t step) noexcept {
    assert(step <= kMaxEntryStep);
    if (count >= kInlineEntries) {
        detail::selected_path().fill(first, count, descriptor, step);
        return;
    }
    for (std::size_t i = 0; i < count; ++i) {
        store_entry(first[i], descriptor);
        descriptor += step;
    }
}

[[gnu::always_inline]] inline void clear_entries(std::uint64_t* first, std::size_t count) noexcept {
    if (count >= kInlineEntries) {
        detail::selected_path().clear(first, count);
        return;
    }
    for (std::size_t i = 0; i < count; ++i) {
        store_entry(first[i], 0);
    }
}

// Clears a run that nobody can reach and that is not read soon, past the caches where the path knows how: so memory is not
// read in order to be overwritten. The zeros are ordered before nothing that other CPUs and the GPU see until `stream_fence`.
// Streamed are runs of whole cache lines only; others are cleared as ever.
inline void stream_zeros(std::uint64_t* first, std::size_t count) noexcept {
    constexpr std::size_t kLineBytes = 64;
    if (reinterpret_cast<std::uintptr_t>(first) % kLineBytes == 0 && count % (kLineBytes / sizeof(*first)) == 0) {
        detail::selected_path().stream_zeros(first, count);
    } else {
        clear_entries(first, count);
    }
}

// The zeros of every run that this thread has streamed are ordered before what follows.
inline void stream_fence() noexcept {
#if defined(__x86_64__) && defined(__SSE2__)
    __builtin_ia32_sfence();
#endif
}

// `value` has no bits outside the mask. With kTypeMask and the type of a leaf of the level it finds the first entry
// that is empty or a table.
[[nodiscard]] inline std::size_t first_unlike(const std::uint64_t* first, std::size_t count, std::uint64_t mask,
                                              std::uint64_t value) noexcept {
    assert((value & ~mask) == 0);
    if (count >= kInlineEntries) {
        return detail::selected_path().first_unlike(first, count, mask, value);
    }
    std::size_t i = 0;
    while (i < count && (first[i] & mask) == value) {
        ++i;
    }
    return i;
}

[[nodiscard]] inline std::size_t first_not_zero(const std::uint64_t* first, std::size_t count) noexcept {
    return first_unlike(first, count, ~std::uint64_t{0}, 0);
}

}  // namespace granule::mali
