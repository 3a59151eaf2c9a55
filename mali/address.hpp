// Addresses, leaf sizes and ranges: the value types that every layer speaks.
//
// - Va is a GPU virtual address, Pa a physical one. They do not convert into each other or into integers by accident.
// - A Va may also be the end of the largest space, 2^48: ends are exclusive.
// - Ranges are half-open [start, end). An empty range has start == end.
// - Arithmetic that could leave 64 bits is checked (`checked_add`); the plain operators are for operands that were
//   validated before, and assert it in debug builds.
//
// Thread-safety: values. No allocation, no failure but the ones in the return types.
#pragma once

#include <bit>
#include <cassert>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace granule {

inline constexpr std::uint64_t kPageBytes = std::uint64_t{1} << 12;
inline constexpr std::uint64_t kBlock2MBytes = std::uint64_t{1} << 21;
inline constexpr std::uint64_t kBlock1GBytes = std::uint64_t{1} << 30;
inline constexpr unsigned kMaxVaBits = 48;
inline constexpr std::uint64_t kMaxVaEnd = std::uint64_t{1} << kMaxVaBits;

[[nodiscard]] constexpr std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) noexcept {
    if (a > UINT64_MAX - b) {
        return std::nullopt;
    }
    return a + b;
}

// `alignment` is a power of two.
[[nodiscard]] constexpr std::uint64_t align_down(std::uint64_t value, std::uint64_t alignment) noexcept {
    assert(std::has_single_bit(alignment));
    return value & ~(alignment - 1);
}

// Wraps to 0 where the next multiple is 2^64: callers stay below 2^48.
[[nodiscard]] constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) noexcept {
    return align_down(value + (alignment - 1), alignment);
}

[[nodiscard]] constexpr bool is_aligned(std::uint64_t value, std::uint64_t alignment) noexcept {
    assert(std::has_single_bit(alignment));
    return (value & (alignment - 1)) == 0;
}

// An address of one kind: ordered, and moved by byte counts only. `Kind` keeps the kinds apart.
template <class Kind>
class Address {
public:
    constexpr Address() noexcept = default;
    constexpr explicit Address(std::uint64_t raw) noexcept : raw_(raw) {}

    [[nodiscard]] constexpr std::uint64_t raw() const noexcept { return raw_; }
    [[nodiscard]] constexpr bool is_aligned(std::uint64_t alignment) const noexcept {
        return granule::is_aligned(raw_, alignment);
    }
    [[nodiscard]] constexpr Address align_down(std::uint64_t alignment) const noexcept {
        return Address{granule::align_down(raw_, alignment)};
    }
    [[nodiscard]] constexpr Address align_up(std::uint64_t alignment) const noexcept {
        return Address{granule::align_up(raw_, alignment)};
    }

    constexpr auto operator<=>(const Address&) const noexcept = default;

    [[nodiscard]] friend constexpr Address operator+(Address a, std::uint64_t bytes) noexcept {
        assert(a.raw_ <= UINT64_MAX - bytes);
        return Address{a.raw_ + bytes};
    }
    [[nodiscard]] friend constexpr Address operator-(Address a, std::uint64_t bytes) noexcept {
        assert(a.raw_ >= bytes);
        return Address{a.raw_ - bytes};
    }
    // The distance in bytes; `a` is not below `b`.
    [[nodiscard]] friend constexpr std::uint64_t operator-(Address a, Address b) noexcept {
        assert(a.raw_ >= b.raw_);
        return a.raw_ - b.raw_;
    }

private:
    std::uint64_t raw_ = 0;
};

using Va = Address<struct VaKind>;
using Pa = Address<struct PaKind>;

// The size of a leaf: the least that can be unmapped where it was mapped.
enum class LeafSize : std::uint8_t { k4K = 0, k2M = 1, k1G = 2 };

[[nodiscard]] constexpr std::uint64_t bytes_of(LeafSize size) noexcept {
    return kPageBytes << (9U * static_cast<unsigned>(size));
}

// A set of leaf sizes, as the page-size bitmaps of kernels and of DRM_PANTHOR_DEV_QUERY_MMU_INFO: bit n stands for 2^n
// bytes.
using LeafSizes = std::uint64_t;
inline constexpr LeafSizes kLeaves4K = kPageBytes;
inline constexpr LeafSizes kLeaves4K2M = kPageBytes | kBlock2MBytes;
inline constexpr LeafSizes kLeaves4K2M1G = kPageBytes | kBlock2MBytes | kBlock1GBytes;

struct VaRange {
    Va start;
    Va end;  // exclusive

    // nullopt where start + size leaves [0, 2^48].
    [[nodiscard]] static constexpr std::optional<VaRange> from_size(Va start, std::uint64_t size) noexcept {
        if (start.raw() > kMaxVaEnd || size > kMaxVaEnd - start.raw()) {
            return std::nullopt;
        }
        return VaRange{start, start + size};
    }

    [[nodiscard]] constexpr std::uint64_t size() const noexcept { return end - start; }
    [[nodiscard]] constexpr bool empty() const noexcept { return start == end; }
    [[nodiscard]] constexpr bool contains(Va va) const noexcept { return start <= va && va < end; }
    [[nodiscard]] constexpr bool contains(const VaRange& other) const noexcept {
        return start <= other.start && other.end <= end;
    }
    [[nodiscard]] constexpr bool overlaps(const VaRange& other) const noexcept {
        return start < other.end && other.start < end;
    }
    // Empty (at the later start) where the two do not overlap.
    [[nodiscard]] constexpr VaRange intersection(const VaRange& other) const noexcept {
        const Va from = start < other.start ? other.start : start;
        const Va to = end < other.end ? end : other.end;
        return from < to ? VaRange{from, to} : VaRange{from, from};
    }
    // The least range that contains both; an empty one adds nothing.
    [[nodiscard]] constexpr VaRange hull(const VaRange& other) const noexcept {
        if (empty() || other.empty()) {
            return empty() ? other : *this;
        }
        return {start < other.start ? start : other.start, end < other.end ? other.end : end};
    }
    [[nodiscard]] constexpr bool is_aligned(std::uint64_t alignment) const noexcept {
        return start.is_aligned(alignment) && end.is_aligned(alignment);
    }

    constexpr bool operator==(const VaRange&) const noexcept = default;
};

// A run of `count` leaves of one size that starts at `start`.
struct LeafRun {
    Va start;
    LeafSize size = LeafSize::k4K;
    std::uint64_t count = 0;

    [[nodiscard]] constexpr VaRange range() const noexcept { return {start, start + count * bytes_of(size)}; }
    constexpr bool operator==(const LeafRun&) const noexcept = default;
};

}  // namespace granule
