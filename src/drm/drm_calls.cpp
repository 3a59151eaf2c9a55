#include "src/drm/drm_calls.hpp"

#include <drm.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xf86drm.h>

#include <array>
#include <cerrno>
#include <climits>
#include <new>

#include "src/backend/cpu_view.hpp"

namespace granule {
namespace {

// System calls, and most of libdrm: -1, and errno says why. What fails without saying is out of memory.
int error_of(int result) noexcept {
    if (result >= 0) {
        return 0;
    }
    return errno != 0 ? errno : ENOMEM;
}

template <class Call>
auto retried(Call call) noexcept {
    auto result = call();
    while (result < 0 && errno == EINTR) {
        result = call();
    }
    return result;
}

class SystemDrmCalls final : public DrmCalls {
public:
    int open(const char* path, int& fd) noexcept override {
        const int opened = retried([&] { return ::open(path, O_RDWR | O_CLOEXEC); });
        if (opened >= 0) {
            fd = opened;
        }
        return error_of(opened);
    }

    int duplicate(int fd, int& copy) noexcept override {
        const int duplicated = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (duplicated >= 0) {
            copy = duplicated;
        }
        return error_of(duplicated);
    }

    // Linux has let go of the number even where close says EINTR.
    void close(int fd) noexcept override { static_cast<void>(::close(fd)); }

    int version(int fd, DrmVersion& version) noexcept override {
        errno = 0;
        drmVersion* const said = drmGetVersion(fd);
        if (said == nullptr) {
            return error_of(-1);
        }
        version = {said->version_major, said->version_minor, said->version_patchlevel, {}};
        if (said->name != nullptr && said->name_len > 0) {
            version.name = ShortLabel({said->name, static_cast<std::size_t>(said->name_len)});
        }
        drmFreeVersion(said);
        return 0;
    }

    int ioctl(int fd, unsigned long request, void* argument) noexcept override {
        return error_of(drmIoctl(fd, request, argument));
    }

    int ioctl_once(int fd, unsigned long request, void* argument) noexcept override {
        return error_of(::ioctl(fd, request, argument));
    }

    int map(int fd, std::uint64_t offset, std::size_t bytes, int protection, std::byte*& at) noexcept override {
        static_assert(sizeof(off_t) == sizeof(offset), "offsets of BOs are above 4 GiB: build with 64-bit off_t");
        void* const mapped = ::mmap(nullptr, bytes, protection, MAP_SHARED, fd, static_cast<off_t>(offset));
        if (mapped == MAP_FAILED) {
            return error_of(-1);
        }
        at = static_cast<std::byte*>(mapped);
        return 0;
    }

    int map_at(int fd, std::uint64_t offset, std::size_t bytes, int protection, std::byte* at) noexcept override {
        return view_file_at(at, bytes, protection, fd, offset);
    }
    void unmap(std::byte* at, std::size_t bytes) noexcept override { static_cast<void>(::munmap(at, bytes)); }

    int read_text(const char* path, std::span<char> into, std::size_t& bytes) noexcept override {
        const int fd = retried([&] { return ::open(path, O_RDONLY | O_CLOEXEC); });
        if (fd < 0) {
            return error_of(fd);
        }
        const ssize_t got = retried([&] { return ::read(fd, into.data(), into.size()); });
        const int error = got < 0 ? error_of(-1) : 0;
        static_cast<void>(::close(fd));
        if (error == 0) {
            bytes = static_cast<std::size_t>(got);
        }
        return error;
    }

    int close_handle(int fd, std::uint32_t handle) noexcept override {
        return error_of(drmCloseBufferHandle(fd, handle));
    }

    int export_handle(int fd, std::uint32_t handle, int& dma_buf) noexcept override {
        // Writable: without DRM_RDWR the dma-buf could not be mapped for writing.
        return error_of(drmPrimeHandleToFD(fd, handle, DRM_CLOEXEC | DRM_RDWR, &dma_buf));
    }

    int import_handle(int fd, int dma_buf, std::uint32_t& handle) noexcept override {
        return error_of(drmPrimeFDToHandle(fd, dma_buf, &handle));
    }

    int dma_buf_bytes(int dma_buf, std::uint64_t& bytes) noexcept override {
        const off_t end = ::lseek(dma_buf, 0, SEEK_END);
        if (end < 0) {
            return error_of(-1);
        }
        bytes = static_cast<std::uint64_t>(end);
        return 0;
    }

    int syncobj_create(int fd, bool signalled, std::uint32_t& handle) noexcept override {
        return error_of(drmSyncobjCreate(fd, signalled ? DRM_SYNCOBJ_CREATE_SIGNALED : 0, &handle));
    }

    int syncobj_destroy(int fd, std::uint32_t handle) noexcept override {
        return error_of(drmSyncobjDestroy(fd, handle));
    }

    int syncobj_export(int fd, std::uint32_t handle, int& syncobj_fd) noexcept override {
        return error_of(drmSyncobjHandleToFD(fd, handle, &syncobj_fd));
    }

    int syncobj_import(int fd, int syncobj_fd, std::uint32_t& handle) noexcept override {
        return error_of(drmSyncobjFDToHandle(fd, syncobj_fd, &handle));
    }

    int syncobj_wait(int fd, std::span<const std::uint32_t> handles, std::span<const std::uint64_t> points,
                     std::int64_t timeout_ns) noexcept override {
        if (handles.size() != points.size() || handles.size() > UINT_MAX) {
            return EINVAL;
        }
        // libdrm hands both arrays to the kernel, which only reads them. It says -errno, unlike the other syncobj calls.
        return -drmSyncobjTimelineWait(
            fd, const_cast<std::uint32_t*>(handles.data()), const_cast<std::uint64_t*>(points.data()),
            static_cast<unsigned>(handles.size()), timeout_ns,
            DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL | DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT, nullptr);
    }

    int syncobj_signal(int fd, std::uint32_t handle, std::uint64_t point) noexcept override {
        return error_of(drmSyncobjTimelineSignal(fd, &handle, &point, 1));
    }

    int syncobj_query(int fd, std::uint32_t handle, std::uint64_t& point) noexcept override {
        std::uint64_t reached = 0;
        const int error = error_of(drmSyncobjQuery(fd, &handle, &reached, 1));
        if (error == 0) {
            point = reached;
        }
        return error;
    }
};

}  // namespace

DrmCalls& system_drm_calls() noexcept {
    // Never destroyed: devices that are static objects may end after it would.
    alignas(SystemDrmCalls) static std::array<std::byte, sizeof(SystemDrmCalls)> place;
    static auto* const calls = ::new (place.data()) SystemDrmCalls;
    return *calls;
}

}  // namespace granule
