// The paths of entry_run.hpp, by architecture: entry_run_x86.cpp, entry_run_neon.cpp. Private to these files.
//
// Why a vector store is as good as a store of each of its entries. Readers (load_entry, the GPU's walker) read 8
// aligned bytes at once; what they must not see is a part of an entry. Each path stores a vector at multiples of its
// size only, so that none crosses a cache line and every entry is an aligned 8-byte part of one:
//
//     AArch64   An access to a 128-bit SIMD register that is aligned to 64 bits is a pair of single-copy atomic 64-bit
//               accesses, and so is each register of a pair (Arm Architecture Reference Manual DDI 0487, B2.2.1). That
//               is all that is asked for.
//     x86-64    Aligned 8 bytes are atomic; aligned 16 bytes are where the CPU has AVX (Intel SDM volume 3, "Guaranteed
//               Atomic Operations"; AMD APM volume 2, "Access Atomicity"). A wider vector "may be implemented using
//               multiple memory accesses", and no manual says how wide these are. No CPU makes them narrower than 8
//               bytes: the path from the registers to the first cache is at least that wide in every CPU that has
//               vectors, 16 bytes since the first with AVX (what was seen of them: rigtorp.se/isatomic). So kAvx2 and
//               kAvx512 rest on what CPUs do, kSse2 on CPUs with AVX and kScalar on what is written.
//
// Vectors are stored through volatile pointers or by instructions that have no other form: one instruction each, which
// the compiler neither splits nor makes a memset of, whose parts are anybody's guess (`rep stos` counts bytes).
//
// Order. The stores of a run are plain stores of the architecture (those of stream_zeros alone may be streaming ones, which
// stream_fence orders): publish_entry's release and the barriers of TableMemory::make_visible order them as they order
// single ones. The compiler keeps volatile stores before an atomic release store that follows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "mali/entry_run.hpp"

#if defined(__SANITIZE_THREAD__)
#define GRANULE_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GRANULE_THREAD_SANITIZER 1
#endif
#endif

#if defined(GRANULE_THREAD_SANITIZER)
#elif defined(__x86_64__) && defined(__SSE2__)
#define GRANULE_ENTRY_RUN_X86 1
#elif defined(__aarch64__) && defined(__ARM_NEON)
#define GRANULE_ENTRY_RUN_NEON 1
#endif

namespace granule::mali::detail {

extern const EntryRunPath kScalarPath;
extern const EntryRunPath kSse2Path;
extern const EntryRunPath kAvx2Path;
extern const EntryRunPath kAvx512Path;
extern const EntryRunPath kNeonPath;

// Entries from `first` up to the next multiple of a vector of `lanes` entries, a power of two: 0 to lanes - 1.
[[nodiscard]] inline std::size_t entries_to_boundary(const std::uint64_t* first, std::size_t lanes) noexcept {
    return (0 - reinterpret_cast<std::uintptr_t>(first) / sizeof(std::uint64_t)) & (lanes - 1);
}

// Heads and tails.
inline void fill_scalar(std::uint64_t* first, std::size_t count, std::uint64_t descriptor,
                        std::uint64_t step) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
        store_entry(first[i], descriptor);
        descriptor += step;
    }
}
[[nodiscard]] inline std::size_t first_unlike_scalar(const std::uint64_t* first, std::size_t from, std::size_t count,
                                                     std::uint64_t mask, std::uint64_t value) noexcept {
    while (from < count && (first[from] & mask) == value) {
        ++from;
    }
    return from;
}

}  // namespace granule::mali::detail
