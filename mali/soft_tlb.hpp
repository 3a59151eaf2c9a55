// The TLB of the software MMU: it keeps what was walked until somebody tells it to forget.
//
// - Set-associative, four ways. A leaf is found under its address space and its number in its own size, so a look-up
//   tries each leaf size; leaves next to each other are in sets next to each other.
// - An entry leaves by invalidation or because its set is full, never because the tables changed.
//
// Complexity: look-up and insertion O(1). Invalidation O(leaves that fit the range, of each size; at most all entries).
// Memory: the caller's span; what does not fill a set is left alone. An empty span is a TLB that keeps nothing.
// Thread-safety: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "mali/address.hpp"
#include "mali/attributes.hpp"

namespace granule::mali {

struct TlbEntry {
    std::uint64_t descriptor = 0;  // the leaf, as it stood in the table
    Va start;
    LeafSize size = LeafSize::k4K;
    Format format = Format::kMaliLpae;
    std::uint8_t as = 0;
    bool valid = false;

    [[nodiscard]] constexpr VaRange range() const noexcept { return {start, start + bytes_of(size)}; }
    constexpr bool operator==(const TlbEntry&) const noexcept = default;
};

class SoftTlb {
public:
    explicit SoftTlb(std::span<TlbEntry> entries) noexcept;

    // The entry that translates `va`, or nullptr. Until the next call of a member that is not const.
    [[nodiscard]] const TlbEntry* find(unsigned as, Va va) const noexcept;

    // Whether an entry had to go for it. Precondition: nothing of it is found.
    bool insert(const TlbEntry& entry) noexcept;

    // Forgets every leaf that has a byte in `range`. How many there were.
    std::uint64_t invalidate(unsigned as, VaRange range) noexcept;

private:
    static constexpr std::size_t kWays = 4;

    [[nodiscard]] std::span<TlbEntry> set_of(unsigned as, std::uint64_t leaf_number) const noexcept;

    std::span<TlbEntry> entries_;
    std::size_t sets_ = 0;
    std::size_t next_victim_ = 0;  // way
};

}  // namespace granule::mali
