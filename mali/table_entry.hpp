// How one entry of a live table is read and written: as 64 bits at once, because the GPU's walker and walks on other
// threads read it meanwhile.
//
// - `load_entry` is for readers beside the writer: acquire, so that a table that it finds is seen complete.
// - `store_entry` is for leaves and for empty entries; `publish_entry` makes a finished table reachable: release.
// - The one writer reads its own entries plainly: nobody else stores to them.
//
// The device's side of the ordering is TableMemory::make_visible.
#pragma once

#include <atomic>
#include <cstdint>

namespace granule::mali {

static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free, "a torn entry would be a wrong translation");

[[nodiscard]] inline std::uint64_t load_entry(const std::uint64_t& entry) noexcept {
    // atomic_ref of a const object is not in C++20; nothing is written through it.
    return std::atomic_ref<std::uint64_t>(const_cast<std::uint64_t&>(entry)).load(std::memory_order_acquire);
}

inline void store_entry(std::uint64_t& entry, std::uint64_t descriptor) noexcept {
    std::atomic_ref<std::uint64_t>(entry).store(descriptor, std::memory_order_relaxed);
}

inline void publish_entry(std::uint64_t& entry, std::uint64_t descriptor) noexcept {
    std::atomic_ref<std::uint64_t>(entry).store(descriptor, std::memory_order_release);
}

}  // namespace granule::mali
