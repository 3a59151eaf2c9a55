// A kernel's release, and what is known of its driver by it: what it does where an operation would cut a leaf.
//
//     panthor   6.10 .. 6.12.55   oopses on an unmap that leaves mappings on both sides (measured: 6.12.43)
//               6.12.56 .. 6.12.x splits (measured: 6.12.57, 6.12.107)
//               6.13 .. 6.17.5    refuses, and oopses as above (measured: 6.16.12)
//               6.17.6 .. 6.19    refuses (measured: 6.17.13, 6.18.15)
//               7.2, 7.3          realigns (measured: 7.2.12, 7.2.13, 7.3.4)
//     panfrost  all               every unmap is a whole BO: nothing is ever cut
//
// Sources of the edges: panthor came with 6.10. "drm/panthor: Fix kernel panic on partial unmap of a GPU VA region"
// (4eabd0d8791e) is in 6.18-rc3, 6.17.6 and 6.12.56. "iommu/io-pgtable-arm: Remove split on unmap behavior"
// (33729a5fc0ca) is in 6.13. "drm/panthor: Support partial unmaps of huge pages" (8e7460eac786) is in 7.0; its message
// says that it may go again, so that what comes after the last measured series is not known.
//
// Not known: releases outside the table, release candidates (6.18-rc2 has the panic, and calls itself 6.18), and what
// cannot be read. They get kOopses, whose sequences are safe on every kernel.
//
// Pure; any thread.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string_view>

#include "allocator/plan.hpp"

namespace granule {

enum class DrmDriver : std::uint8_t { kPanthor, kPanfrost };
[[nodiscard]] const char* to_string(DrmDriver driver) noexcept;

struct KernelRelease {
    unsigned major = 0;
    unsigned minor = 0;
    unsigned patch = 0;
    bool candidate = false;  // an -rc of it

    constexpr auto operator<=>(const KernelRelease&) const noexcept = default;
};

// "6.12.107+deb13-arm64", "7.0-rc3", "6.18". nullopt: it does not begin with two numbers.
[[nodiscard]] std::optional<KernelRelease> parse_release(std::string_view text) noexcept;

// The table above.
struct ExpectedBehaviour {
    KernelBehaviour behaviour = KernelBehaviour::kOopses;
    bool certain = false;  // false: not in the table
};
[[nodiscard]] ExpectedBehaviour expected_behaviour(DrmDriver driver, std::optional<KernelRelease> release) noexcept;

}  // namespace granule
