#include "src/status.hpp"

#include <algorithm>

namespace granule {

const char* to_string(Status status) noexcept {
    switch (status) {
        case Status::kOk:
            return "ok";
        case Status::kBadArgument:
            return "bad argument";
        case Status::kOutOfRange:
            return "out of range";
        case Status::kGranuleCut:
            return "a granule would be cut";
        case Status::kOutOfVa:
            return "out of VA space";
        case Status::kVaOccupied:
            return "the VA range is taken";
        case Status::kOutOfHostMemory:
            return "out of host memory";
        case Status::kOutOfTableMemory:
            return "out of memory for page tables";
        case Status::kOutOfDeviceMemory:
            return "out of device memory";
        case Status::kUnknownBo:
            return "no such BO";
        case Status::kBackendFailed:
            return "the kernel refused an operation";
        case Status::kVmUnusable:
            return "the VM is unusable";
        case Status::kKernelOops:
            return "kernel oops";
        case Status::kCancelled:
            return "cancelled";
        case Status::kOsFailed:
            return "the operating system failed a call";
        case Status::kNotSupported:
            return "not supported by this device or kernel";
        case Status::kTimedOut:
            return "timed out";
        case Status::kOverBudget:
            return "over the memory limit";
    }
    return "?";
}

Status status_of(VaError::Code code) noexcept {
    switch (code) {
        case VaError::Code::kBadRequest:
        case VaError::Code::kNotAllocated:
            return Status::kBadArgument;
        case VaError::Code::kOutOfVa:
            return Status::kOutOfVa;
        case VaError::Code::kOutOfMemory:
            return Status::kOutOfHostMemory;
        case VaError::Code::kOccupied:
            return Status::kVaOccupied;
    }
    return Status::kBadArgument;
}

bool is_shortage(Status status) noexcept {
    return status == Status::kOutOfDeviceMemory || status == Status::kOverBudget || status == Status::kOutOfVa ||
           status == Status::kOutOfTableMemory;
}

OsError os_error(Status status) noexcept {
    return {status, "", 0};
}

OsError os_error(const VaError& error) noexcept {
    return os_error(status_of(error.code));
}

OsError os_error(const BindError& error) noexcept {
    return {error.status, "", error.error};
}

std::size_t utf8_prefix(std::string_view text, std::size_t most) noexcept {
    if (text.size() <= most) {
        return text.size();
    }
    // The first byte that is left out begins a character, unless it is 10xxxxxx: a further byte, of which one has
    // three.
    constexpr std::size_t kFurtherBytes = 3;
    for (std::size_t back = 0; back <= std::min(kFurtherBytes, most); ++back) {
        if ((static_cast<unsigned char>(text[most - back]) & 0xc0U) != 0x80U) {
            return most - back;
        }
    }
    return most;
}

ShortLabel::ShortLabel(std::string_view text) noexcept {
    const std::size_t size = utf8_prefix(text, kBytes);
    std::copy_n(text.begin(), size, text_.begin());
    size_ = static_cast<std::uint8_t>(size);
}

}  // namespace granule
