// Values of the C interface and of the classes behind it: the same numbers, checked where that is promised.
//
// Enums of callers may be any number: they are looked at as numbers (`number_of`), and become enums only once they are
// known to be in range.
#pragma once

#include <granule/granule.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "allocator/fence_point.hpp"
#include "allocator/leaf_layout.hpp"
#include "allocator/mapping.hpp"
#include "allocator/plan.hpp"
#include "allocator/va_request.hpp"
#include "mali/address.hpp"
#include "src/status.hpp"

namespace granule::c_api {

// The number that stands there, whether or not the enum has it: to load a value that an enum does not have is undefined.
template <class Enum>
[[nodiscard]] std::uint32_t number_of(const Enum& value) noexcept {
    static_assert(std::is_enum_v<Enum> && sizeof(Enum) == sizeof(std::uint32_t));
    std::uint32_t number = 0;
    std::memcpy(&number, &value, sizeof(number));
    return number;
}

template <class Flag, class... Flags>
[[nodiscard]] constexpr std::uint32_t all_of(Flag flag, Flags... flags) noexcept {
    return (static_cast<std::uint32_t>(flag) | ... | static_cast<std::uint32_t>(flags));
}

static_assert(GRANULE_STATUS_OK == static_cast<int>(Status::kOk));
static_assert(GRANULE_STATUS_BAD_ARGUMENT == static_cast<int>(Status::kBadArgument));
static_assert(GRANULE_STATUS_OUT_OF_RANGE == static_cast<int>(Status::kOutOfRange));
static_assert(GRANULE_STATUS_GRANULE_CUT == static_cast<int>(Status::kGranuleCut));
static_assert(GRANULE_STATUS_OUT_OF_VA == static_cast<int>(Status::kOutOfVa));
static_assert(GRANULE_STATUS_VA_OCCUPIED == static_cast<int>(Status::kVaOccupied));
static_assert(GRANULE_STATUS_OUT_OF_HOST_MEMORY == static_cast<int>(Status::kOutOfHostMemory));
static_assert(GRANULE_STATUS_OUT_OF_TABLE_MEMORY == static_cast<int>(Status::kOutOfTableMemory));
static_assert(GRANULE_STATUS_OUT_OF_DEVICE_MEMORY == static_cast<int>(Status::kOutOfDeviceMemory));
static_assert(GRANULE_STATUS_UNKNOWN_BO == static_cast<int>(Status::kUnknownBo));
static_assert(GRANULE_STATUS_BACKEND_FAILED == static_cast<int>(Status::kBackendFailed));
static_assert(GRANULE_STATUS_VM_UNUSABLE == static_cast<int>(Status::kVmUnusable));
static_assert(GRANULE_STATUS_KERNEL_OOPS == static_cast<int>(Status::kKernelOops));
static_assert(GRANULE_STATUS_CANCELLED == static_cast<int>(Status::kCancelled));
static_assert(GRANULE_STATUS_OS_FAILED == static_cast<int>(Status::kOsFailed));
static_assert(GRANULE_STATUS_NOT_SUPPORTED == static_cast<int>(Status::kNotSupported));
static_assert(GRANULE_STATUS_TIMED_OUT == static_cast<int>(Status::kTimedOut));
static_assert(GRANULE_STATUS_OVER_BUDGET == static_cast<int>(Status::kOverBudget));
inline constexpr std::uint32_t kStatuses = GRANULE_STATUS_OVER_BUDGET + 1;
[[nodiscard]] constexpr granule_status to_c(Status status) noexcept {
    return static_cast<granule_status>(status);
}

static_assert(GRANULE_CUT_REJECT == static_cast<int>(UnmapPolicy::kReject));
static_assert(GRANULE_CUT_SPLIT == static_cast<int>(UnmapPolicy::kSplit));
static_assert(GRANULE_CUT_ENLARGE == static_cast<int>(UnmapPolicy::kEnlarge));
static_assert(GRANULE_LEAVES_LARGEST == static_cast<int>(LeafPolicy::kLargest));
static_assert(GRANULE_LEAVES_PAGES == static_cast<int>(LeafPolicy::kPage));
static_assert(GRANULE_PLAN_REQUESTED == static_cast<int>(PlanOp::Purpose::kRequested));
static_assert(GRANULE_PLAN_GRANULE == static_cast<int>(PlanOp::Purpose::kGranule));
static_assert(GRANULE_PLAN_RESIDUAL == static_cast<int>(PlanOp::Purpose::kResidual));
static_assert(GRANULE_PLAN_ISOLATE == static_cast<int>(PlanOp::Purpose::kIsolate));
static_assert(GRANULE_MAX_FENCES == kMaxFencePoints);

// FIND_OUT comes before the four that there are.
static_assert(GRANULE_KERNEL_SPLITS == static_cast<int>(KernelBehaviour::kSplits) + 1);
static_assert(GRANULE_KERNEL_REFUSES == static_cast<int>(KernelBehaviour::kRefuses) + 1);
static_assert(GRANULE_KERNEL_OOPSES == static_cast<int>(KernelBehaviour::kOopses) + 1);
static_assert(GRANULE_KERNEL_REALIGNS == static_cast<int>(KernelBehaviour::kRealigns) + 1);
[[nodiscard]] constexpr std::uint32_t to_c(KernelBehaviour behaviour) noexcept {
    return static_cast<std::uint32_t>(behaviour) + 1;
}

// In C the main zone is 0, the default.
[[nodiscard]] constexpr bool is_zone(std::uint32_t zone) noexcept {
    return zone <= GRANULE_ZONE_REPLAY;
}
[[nodiscard]] constexpr VaZone to_zone(std::uint32_t zone) noexcept {
    return zone == GRANULE_ZONE_LOW ? VaZone::kLow : zone == GRANULE_ZONE_REPLAY ? VaZone::kReplay : VaZone::kMain;
}
[[nodiscard]] constexpr std::uint32_t to_c(VaZone zone) noexcept {
    return zone == VaZone::kLow ? GRANULE_ZONE_LOW : zone == VaZone::kReplay ? GRANULE_ZONE_REPLAY : GRANULE_ZONE_MAIN;
}

inline constexpr std::uint32_t kAllMapFlags = all_of(GRANULE_MAP_READ_ONLY, GRANULE_MAP_NO_EXEC, GRANULE_MAP_UNCACHED);
[[nodiscard]] constexpr MapFlags to_map_flags(std::uint32_t flags) noexcept {
    return {(flags & GRANULE_MAP_READ_ONLY) != 0, (flags & GRANULE_MAP_NO_EXEC) != 0,
            (flags & GRANULE_MAP_UNCACHED) != 0};
}
[[nodiscard]] constexpr std::uint32_t to_c(const MapFlags& flags) noexcept {
    return (flags.readonly ? std::uint32_t{GRANULE_MAP_READ_ONLY} : 0U) |
           (flags.noexec ? std::uint32_t{GRANULE_MAP_NO_EXEC} : 0U) |
           (flags.uncached ? std::uint32_t{GRANULE_MAP_UNCACHED} : 0U);
}

[[nodiscard]] constexpr granule_range to_c(const VaRange& range) noexcept {
    return {range.start.raw(), range.end.raw()};
}

// GRANULE_WAIT_FOREVER, and what is as good as that, is the longest time that there is.
[[nodiscard]] constexpr std::chrono::nanoseconds to_timeout(std::uint64_t nanoseconds) noexcept {
    constexpr auto kForEver = static_cast<std::uint64_t>(std::chrono::nanoseconds::max().count());
    return std::chrono::nanoseconds{static_cast<std::int64_t>(std::min(nanoseconds, kForEver))};
}

// As much of `text` as fits with its zero byte, cut between UTF-8 characters.
inline void copy_text(std::span<char> to, std::string_view text) noexcept {
    const std::size_t size = utf8_prefix(text, to.size() - 1);
    std::copy_n(text.begin(), size, to.begin());
    std::fill(to.begin() + static_cast<std::ptrdiff_t>(size), to.end(), '\0');
}
static_assert(ShortLabel::kBytes < GRANULE_SHORT_LABEL_BYTES);

// What stands in such a place, also where its last byte is not zero.
[[nodiscard]] inline std::string_view text_in(std::span<const char> place) noexcept {
    return {place.data(), static_cast<std::size_t>(std::find(place.begin(), place.end(), '\0') - place.begin())};
}

// nullptr: none.
[[nodiscard]] inline std::string_view view_of(const char* text) noexcept {
    return text == nullptr ? std::string_view{} : std::string_view{text};
}

}  // namespace granule::c_api
