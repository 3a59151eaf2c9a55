// Why a call of the library failed.
//
// One small value, filled where the failure happened and passed up unchanged: `status` says what kind, the rest says
// what exactly. On failure nothing has changed unless `undone` is false, which only a kernel (or the soft device that
// plays one) can cause.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "allocator/plan.hpp"
#include "allocator/va_heap.hpp"
#include "mali/export.hpp"

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
};

[[nodiscard]] GRANULE_API const char* to_string(Status status) noexcept;

// Why there is no device, no thread, no dma-buf.
struct OsError {
    Status status = Status::kOsFailed;
    const char* call = "";  // which one failed: a call of the OS, or an ioctl
    int error = 0;          // errno
};

// How much of `text` fits into `most` bytes without cutting a UTF-8 character. What is not UTF-8 is cut anywhere.
[[nodiscard]] std::size_t utf8_prefix(std::string_view text, std::size_t most) noexcept;

// A label as it fits into fixed places: the first bytes of it, cut at a UTF-8 boundary.
class GRANULE_API ShortLabel {
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
    Status status = Status::kBadArgument;
    std::size_t request = 0;  // which of Transaction::requests(), where neighbours are one
    PlanError plan{};         // kGranuleCut, kOutOfRange, kBadArgument: the range, the granule, the mapping
    ShortLabel label{};       // kGranuleCut: of the BO behind the granule
    int error = 0;            // kBackendFailed: errno
    std::size_t op = 0;       // kBackendFailed: which operation of the plan
    bool undone = true;       // false: what had been done could not be undone, and the VM is unusable
};

}  // namespace granule
