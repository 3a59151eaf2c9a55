// What was there: a bounded history of removed mappings, so that every fault has a name (P6).
//
// A ring: the newest `capacity` removals, oldest overwritten. All memory is taken at creation, because removals happen
// on the path that must not fail (P4).
//
// Complexity: record O(1); last_at O(capacity), for when something has gone wrong.
// Thread-safety: none; the VM's lock covers it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "allocator/mapping.hpp"
#include "src/array.hpp"
#include "src/status.hpp"

namespace granule {

// CLOCK_MONOTONIC.
[[nodiscard]] std::uint64_t monotonic_ns() noexcept;

struct Removal {
    enum class By : std::uint8_t { kUnmap, kMap };
    Mapping what;      // the part that went
    ShortLabel label;  // of its BO, as it was then
    BindSerial by{};   // the bind that removed it
    By how = By::kUnmap;
    std::uint64_t time_ns = 0;  // CLOCK_MONOTONIC
};

class Journal {
public:
    // `valid()` is false where there was no memory.
    Journal(std::size_t capacity, NodeMemory memory) noexcept;

    [[nodiscard]] bool valid() const noexcept { return capacity_ == 0 || ring_.capacity() != 0; }
    void record(const Removal& removal) noexcept;
    // The newest removal that had `va`.
    [[nodiscard]] std::optional<Removal> last_at(Va va) const noexcept;

    // Nothing was forgotten yet.
    [[nodiscard]] bool complete() const noexcept { return recorded_ == ring_.size(); }
    // Removals that were recorded, and how many of them are still known.
    [[nodiscard]] std::uint64_t recorded() const noexcept { return recorded_; }
    [[nodiscard]] std::size_t known() const noexcept { return ring_.size(); }

private:
    Array<Removal> ring_;
    std::size_t capacity_;
    std::uint64_t recorded_ = 0;
};

}  // namespace granule
