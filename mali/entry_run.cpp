// Which path is taken, and the one that every CPU has.
#include "mali/entry_run.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "mali/entry_run_paths.hpp"

namespace granule::mali {

namespace detail {

namespace {

// The table of a path that is there, or nullptr.
[[nodiscard]] const EntryRunPath* find_path(VectorPath path) noexcept {
    switch (path) {
        case VectorPath::kScalar:
            return &kScalarPath;
#if defined(GRANULE_ENTRY_RUN_X86)
        case VectorPath::kSse2:
            return &kSse2Path;
        case VectorPath::kAvx2:
            __builtin_cpu_init();  // for callers that run before the constructors have
            return __builtin_cpu_supports("avx2") != 0 ? &kAvx2Path : nullptr;
        case VectorPath::kAvx512:
            __builtin_cpu_init();
            return __builtin_cpu_supports("avx512f") != 0 ? &kAvx512Path : nullptr;
#elif defined(GRANULE_ENTRY_RUN_NEON)
        case VectorPath::kNeon:
            return &kNeonPath;
#endif
        default:
            return nullptr;
    }
}

[[nodiscard]] const EntryRunPath& widest_path() noexcept {
    for (const VectorPath path : {VectorPath::kAvx512, VectorPath::kAvx2, VectorPath::kSse2, VectorPath::kNeon}) {
        if (const EntryRunPath* found = find_path(path)) {
            return *found;
        }
    }
    return kScalarPath;
}

// What stands in for a path until one is known: it takes the widest, unless somebody selects one meanwhile, and passes
// the run on.
const EntryRunPath& resolve() noexcept;
void fill_first(std::uint64_t* first, std::size_t count, std::uint64_t descriptor, std::uint64_t step) noexcept {
    resolve().fill(first, count, descriptor, step);
}
void clear_first(std::uint64_t* first, std::size_t count) noexcept {
    resolve().clear(first, count);
}
void stream_zeros_first(std::uint64_t* first, std::size_t count) noexcept {
    resolve().stream_zeros(first, count);
}
std::size_t first_unlike_first(const std::uint64_t* first, std::size_t count, std::uint64_t mask,
                               std::uint64_t value) noexcept {
    return resolve().first_unlike(first, count, mask, value);
}
constexpr EntryRunPath kUnresolved = {VectorPath::kScalar, fill_first, clear_first, stream_zeros_first,
                                      first_unlike_first};

const EntryRunPath& resolve() noexcept {
    const EntryRunPath* unresolved = &kUnresolved;
    entry_run_path.compare_exchange_strong(unresolved, &widest_path(), std::memory_order_relaxed);
    return selected_path();
}

void clear_each(std::uint64_t* first, std::size_t count) noexcept {
    fill_scalar(first, count, 0, 0);
}

std::size_t first_unlike_each(const std::uint64_t* first, std::size_t count, std::uint64_t mask,
                              std::uint64_t value) noexcept {
    return first_unlike_scalar(first, 0, count, mask, value);
}

}  // namespace

constinit const EntryRunPath kScalarPath = {VectorPath::kScalar, fill_scalar, clear_each, clear_each,
                                            first_unlike_each};

constinit std::atomic<const EntryRunPath*> entry_run_path{&kUnresolved};

}  // namespace detail

const char* to_string(VectorPath path) noexcept {
    switch (path) {
        case VectorPath::kScalar:
            return "scalar";
        case VectorPath::kSse2:
            return "sse2";
        case VectorPath::kAvx2:
            return "avx2";
        case VectorPath::kAvx512:
            return "avx512";
        case VectorPath::kNeon:
            return "neon";
    }
    return "unknown";
}

bool has_vector_path(VectorPath path) noexcept {
    return detail::find_path(path) != nullptr;
}

bool select_vector_path(VectorPath path) noexcept {
    const detail::EntryRunPath* found = detail::find_path(path);
    if (found == nullptr) {
        return false;
    }
    detail::entry_run_path.store(found, std::memory_order_relaxed);
    return true;
}

VectorPath vector_path() noexcept {
    return detail::resolve().path;
}

}  // namespace granule::mali
