// An open device file of a DRM driver, and the calls to make on it.
//
// Thread-safety: the calls: any thread. Moving: none.
#pragma once

#include <cstdint>
#include <utility>

#include "src/drm/drm_calls.hpp"

namespace granule {

class DrmFile {
public:
    // Takes `fd`: closes it at the end.
    DrmFile(DrmCalls& calls, int fd) noexcept : calls_(&calls), fd_(fd) {}
    DrmFile(DrmFile&& other) noexcept : calls_(other.calls_), fd_(std::exchange(other.fd_, -1)) {}
    DrmFile& operator=(DrmFile&& other) noexcept {
        std::swap(calls_, other.calls_);
        std::swap(fd_, other.fd_);
        return *this;
    }
    DrmFile(const DrmFile&) = delete;
    DrmFile& operator=(const DrmFile&) = delete;
    ~DrmFile() {
        if (fd_ >= 0) {
            calls_->close(fd_);
        }
    }

    [[nodiscard]] int fd() const noexcept { return fd_; }
    [[nodiscard]] DrmCalls& calls() const noexcept { return *calls_; }
    // 0 or an errno.
    template <class Argument>
    [[nodiscard]] int ioctl(unsigned long request, Argument& argument) const noexcept {
        return calls_->ioctl(fd_, request, &argument);
    }
    template <class Argument>
    [[nodiscard]] int ioctl_once(unsigned long request, Argument& argument) const noexcept {
        return calls_->ioctl_once(fd_, request, &argument);
    }

private:
    DrmCalls* calls_;
    int fd_;
};

}  // namespace granule
