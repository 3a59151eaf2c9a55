// Why a call of the library failed.
//
// One small value, filled where the failure happened and passed up unchanged: `status` says what kind, the rest says
// what exactly. On failure nothing has changed unless `undone` is false, which only a kernel (or the soft device that
// plays one) can cause.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include "allocator/plan.hpp"
#include "allocator/va_heap.hpp"

namespace granule {

// The numbers are stable.
enum class Status : std::uint8_t {
    kOk = 0,
    kBadArgument = 1,        // an argument breaks a rule that its documentation states
    kOutOfRange = 2,         // outside the address space or the BO
    kGranuleCut = 3,         // policy reject: a granule would be cut
    kOutOfVa = 4,            // no hole of the VA space fits
    kVaOccupied = 5,         // the fixed address is taken
    kOutOfHostMemory = 6,    // no memory for granule's own structures
    kOutOfTableMemory = 7,   // no memory for page tables
    kOutOfDeviceMemory = 8,  // no memory for BOs
    kUnknownBo = 9,          // no such BO
    kBackendFailed = 10,     // the kernel refused an operation; `error` is its errno
    kVmUnusable = 11,        // the address space is lost: an undo failed, or something queued did later
    kKernelOops = 12,        // the kernel behind the device is gone
    kCancelled = 13,         // the queue was closed before the work was done
    kOsFailed = 14,          // a call of the operating system failed; `error` is its errno
    kNotSupported = 15,      // this device or this kernel cannot do it
    kTimedOut = 16,          // what had to happen first did not happen in time
    kOverBudget = 17,        // more memory for BOs than the limit that was set
};

[[nodiscard]] const char* to_string(Status status) noexcept;

[[nodiscard]] Status status_of(VaError::Code code) noexcept;

// Whether memory or VA that is given back may cure it.
[[nodiscard]] bool is_shortage(Status status) noexcept;

// Why there is no device, no thread, no dma-buf.
struct OsError {
    Status status = Status::kOsFailed;
    const char* call = "";  // which one failed: a call of the OS, or an ioctl
    int error = 0;          // errno
};

// How much of `text` fits into `most` bytes without cutting a UTF-8 character. What is not UTF-8 is cut anywhere.
[[nodiscard]] std::size_t utf8_prefix(std::string_view text, std::size_t most) noexcept;

// A label as it fits into fixed places: the first bytes of it, cut at a UTF-8 boundary.
class ShortLabel {
public:
    static constexpr std::size_t kBytes = 48;

    constexpr ShortLabel() noexcept = default;
    explicit ShortLabel(std::string_view text) noexcept;
    [[nodiscard]] std::string_view view() const noexcept { return {text_.data(), size_}; }

private:
    std::array<char, kBytes> text_{};
    std::uint8_t size_ = 0;
};

struct BindError {
    // No single one is to blame: there was no memory for all of them together, the kernel queued none of them, the VM was
    // lost before.
    static constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();

    Status status = Status::kBadArgument;
    std::size_t group = 0;    // of those that were submitted together; 0 where there is but one
    std::size_t request = 0;  // which of the group's, where neighbours are one (Transaction::first_added)
    PlanError plan{};         // kGranuleCut, kOutOfRange, kBadArgument: the range, the granule, the mapping
    ShortLabel label{};       // kGranuleCut: of the BO behind the granule
    int error = 0;            // kBackendFailed: errno
    std::size_t op = 0;       // kBackendFailed: which operation of the plan
    bool undone = true;       // false: what had been done could not be undone, and the VM is unusable
};

// The same, where no call of the OS is to blame, or none that is known by name.
[[nodiscard]] OsError os_error(Status status) noexcept;
[[nodiscard]] OsError os_error(const VaError& error) noexcept;
[[nodiscard]] OsError os_error(const BindError& error) noexcept;

}  // namespace granule
