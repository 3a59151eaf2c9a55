#include "mali/soft_tlb.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "mali/address.hpp"

namespace granule::mali {

namespace {

constexpr std::array kLeafSizes{LeafSize::k4K, LeafSize::k2M, LeafSize::k1G};

// Address spaces begin in different sets: what VMs have in common is that their VAs are alike.
constexpr std::uint64_t kSetsBetweenSpaces = 37;

}  // namespace

SoftTlb::SoftTlb(std::span<TlbEntry> entries) noexcept : entries_(entries), sets_(entries.size() / kWays) {}

std::span<TlbEntry> SoftTlb::set_of(unsigned as, std::uint64_t leaf_number) const noexcept {
    const std::uint64_t set = (leaf_number + as * kSetsBetweenSpaces) % sets_;
    return entries_.subspan(static_cast<std::size_t>(set) * kWays, kWays);
}

const TlbEntry* SoftTlb::find(unsigned as, Va va) const noexcept {
    if (sets_ == 0) {
        return nullptr;
    }
    for (const LeafSize size : kLeafSizes) {
        const Va start = va.align_down(bytes_of(size));
        for (const TlbEntry& entry : set_of(as, start.raw() / bytes_of(size))) {
            if (entry.valid && entry.start == start && entry.size == size && entry.as == as) {
                return &entry;
            }
        }
    }
    return nullptr;
}

bool SoftTlb::insert(const TlbEntry& entry) noexcept {
    if (sets_ == 0) {
        return false;
    }
    const std::span<TlbEntry> set = set_of(entry.as, entry.start.raw() / bytes_of(entry.size));
    const auto empty = std::find_if(set.begin(), set.end(), [](const TlbEntry& candidate) { return !candidate.valid; });
    if (empty != set.end()) {
        *empty = entry;
        return false;
    }
    set[next_victim_] = entry;
    next_victim_ = (next_victim_ + 1) % kWays;
    return true;
}

std::uint64_t SoftTlb::invalidate(unsigned as, VaRange range) noexcept {
    if (sets_ == 0 || range.empty()) {
        return 0;
    }
    std::uint64_t forgotten = 0;
    for (const LeafSize size : kLeafSizes) {
        const std::uint64_t first = range.start.raw() / bytes_of(size);
        const std::uint64_t last = (range.end.raw() - 1) / bytes_of(size);
        // More leaves than sets come around to the sets that were looked at.
        const std::uint64_t sets = std::min<std::uint64_t>(last - first + 1, sets_);
        for (std::uint64_t i = 0; i < sets; ++i) {
            for (TlbEntry& entry : set_of(as, first + i)) {
                if (entry.valid && entry.as == as && entry.range().overlaps(range)) {
                    entry.valid = false;
                    ++forgotten;
                }
            }
        }
    }
    return forgotten;
}

}  // namespace granule::mali
