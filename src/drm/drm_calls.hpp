// The calls of the operating system that the DRM backends make, as one interface: libdrm's (`system_drm_calls`), or what
// a test puts between (every call failing once in turn; a record of what was asked).
//
// Each returns 0 or an errno (positive), and writes its results only where it returns 0, as the kernel does: but ioctl's
// argument, which the kernel writes back even when it fails. Interrupted calls are made again (drmIoctl does).
// No policy: what an errno means is the caller's to know.
//
// Thread-safety: all members, any thread, as the system calls behind them.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>

#include "src/status.hpp"

namespace granule {

struct DrmVersion {
    int major = 0;
    int minor = 0;
    int patch = 0;
    ShortLabel name;  // of the driver
};

class DrmCalls {
public:
    DrmCalls() noexcept = default;
    DrmCalls(const DrmCalls&) = delete;
    DrmCalls& operator=(const DrmCalls&) = delete;
    DrmCalls(DrmCalls&&) = delete;
    DrmCalls& operator=(DrmCalls&&) = delete;
    virtual ~DrmCalls() = default;

    [[nodiscard]] virtual int open(const char* path, int& fd) noexcept = 0;  // O_RDWR | O_CLOEXEC
    [[nodiscard]] virtual int duplicate(int fd, int& copy) noexcept = 0;     // F_DUPFD_CLOEXEC
    virtual void close(int fd) noexcept = 0;
    [[nodiscard]] virtual int version(int fd, DrmVersion& version) noexcept = 0;  // drmGetVersion
    // A driver's own ioctl (drmIoctl).
    [[nodiscard]] virtual int ioctl(int fd, unsigned long request, void* argument) noexcept = 0;
    // The same, once: an interrupted call returns EINTR (or EAGAIN). For an argument in which the kernel says how far it
    // came: made again with that, it would be another call (panthor's VM_BIND writes the number of operations that it
    // carried out over the number that it was given). What does not interrupt calls needs no other.
    [[nodiscard]] virtual int ioctl_once(int fd, unsigned long request, void* argument) noexcept {
        return ioctl(fd, request, argument);
    }
    [[nodiscard]] virtual int map(int fd, std::uint64_t offset, std::size_t bytes, int protection,
                                  std::byte*& at) noexcept = 0;  // mmap, MAP_SHARED
    // The same at `at`, in place of what is mapped there (MAP_FIXED).
    [[nodiscard]] virtual int map_at(int fd, std::uint64_t offset, std::size_t bytes, int protection,
                                     std::byte* at) noexcept = 0;
    virtual void unmap(std::byte* at, std::size_t bytes) noexcept = 0;

    // A small text file of /proc or /sys, as much of it as `into` takes. Here: there are none.
    [[nodiscard]] virtual int read_text(const char* path, std::span<char> into, std::size_t& bytes) noexcept {
        static_cast<void>(path);
        static_cast<void>(into);
        static_cast<void>(bytes);
        return ENOENT;
    }

    // GEM: drmCloseBufferHandle, drmPrimeHandleToFD, drmPrimeFDToHandle; the size of a dma-buf is what lseek says.
    virtual int close_handle(int fd, std::uint32_t handle) noexcept = 0;
    [[nodiscard]] virtual int export_handle(int fd, std::uint32_t handle, int& dma_buf) noexcept = 0;
    [[nodiscard]] virtual int import_handle(int fd, int dma_buf, std::uint32_t& handle) noexcept = 0;
    [[nodiscard]] virtual int dma_buf_bytes(int dma_buf, std::uint64_t& bytes) noexcept = 0;

    // Syncobjs. `timeout_ns` is absolute, CLOCK_MONOTONIC; ETIME when it has passed.
    [[nodiscard]] virtual int syncobj_create(int fd, bool signalled, std::uint32_t& handle) noexcept = 0;
    virtual int syncobj_destroy(int fd, std::uint32_t handle) noexcept = 0;
    [[nodiscard]] virtual int syncobj_export(int fd, std::uint32_t handle, int& syncobj_fd) noexcept = 0;
    [[nodiscard]] virtual int syncobj_import(int fd, int syncobj_fd, std::uint32_t& handle) noexcept = 0;
    // All of the points, which need not have a fence yet (WAIT_FOR_SUBMIT).
    [[nodiscard]] virtual int syncobj_wait(int fd, std::span<const std::uint32_t> handles,
                                           std::span<const std::uint64_t> points, std::int64_t timeout_ns) noexcept = 0;
    [[nodiscard]] virtual int syncobj_signal(int fd, std::uint32_t handle, std::uint64_t point) noexcept = 0;
    [[nodiscard]] virtual int syncobj_query(int fd, std::uint32_t handle, std::uint64_t& point) noexcept = 0;
};

// libdrm's. One for the process; it has no state.
[[nodiscard]] DrmCalls& system_drm_calls() noexcept;

}  // namespace granule
