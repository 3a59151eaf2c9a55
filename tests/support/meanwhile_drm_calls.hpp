// DrmCalls over others, with something that happens between what the kernel answers to an import and who asked: what
// another thread would do there if it were lucky, every time.
//
// Thread-safety: as the calls below, and of `meanwhile`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>

#include "src/drm/drm_calls.hpp"

namespace granule::test {

class MeanwhileDrmCalls final : public DrmCalls {
public:
    MeanwhileDrmCalls(DrmCalls& calls, std::function<void()> meanwhile)
        : calls_(calls), meanwhile_(std::move(meanwhile)) {}

    [[nodiscard]] int import_handle(int fd, int dma_buf, std::uint32_t& handle) noexcept override {
        const int error = calls_.import_handle(fd, dma_buf, handle);
        meanwhile_();
        return error;
    }

    // The rest as they are.
    [[nodiscard]] int open(const char* path, int& fd) noexcept override { return calls_.open(path, fd); }
    [[nodiscard]] int duplicate(int fd, int& copy) noexcept override { return calls_.duplicate(fd, copy); }
    void close(int fd) noexcept override { calls_.close(fd); }
    [[nodiscard]] int version(int fd, DrmVersion& version) noexcept override { return calls_.version(fd, version); }
    [[nodiscard]] int ioctl(int fd, unsigned long request, void* argument) noexcept override {
        return calls_.ioctl(fd, request, argument);
    }
    [[nodiscard]] int ioctl_once(int fd, unsigned long request, void* argument) noexcept override {
        return calls_.ioctl_once(fd, request, argument);
    }
    [[nodiscard]] int read_text(const char* path, std::span<char> into, std::size_t& bytes) noexcept override {
        return calls_.read_text(path, into, bytes);
    }
    [[nodiscard]] int map(int fd, std::uint64_t offset, std::size_t bytes, int protection,
                          std::byte*& at) noexcept override {
        return calls_.map(fd, offset, bytes, protection, at);
    }
    [[nodiscard]] int map_at(int fd, std::uint64_t offset, std::size_t bytes, int protection,
                             std::byte* at) noexcept override {
        return calls_.map_at(fd, offset, bytes, protection, at);
    }
    void unmap(std::byte* at, std::size_t bytes) noexcept override { calls_.unmap(at, bytes); }
    int close_handle(int fd, std::uint32_t handle) noexcept override { return calls_.close_handle(fd, handle); }
    [[nodiscard]] int export_handle(int fd, std::uint32_t handle, int& dma_buf) noexcept override {
        return calls_.export_handle(fd, handle, dma_buf);
    }
    [[nodiscard]] int dma_buf_bytes(int dma_buf, std::uint64_t& bytes) noexcept override {
        return calls_.dma_buf_bytes(dma_buf, bytes);
    }
    [[nodiscard]] int syncobj_create(int fd, bool signalled, std::uint32_t& handle) noexcept override {
        return calls_.syncobj_create(fd, signalled, handle);
    }
    int syncobj_destroy(int fd, std::uint32_t handle) noexcept override { return calls_.syncobj_destroy(fd, handle); }
    [[nodiscard]] int syncobj_export(int fd, std::uint32_t handle, int& syncobj_fd) noexcept override {
        return calls_.syncobj_export(fd, handle, syncobj_fd);
    }
    [[nodiscard]] int syncobj_import(int fd, int syncobj_fd, std::uint32_t& handle) noexcept override {
        return calls_.syncobj_import(fd, syncobj_fd, handle);
    }
    [[nodiscard]] int syncobj_wait(int fd, std::span<const std::uint32_t> handles,
                                   std::span<const std::uint64_t> points, std::int64_t timeout_ns) noexcept override {
        return calls_.syncobj_wait(fd, handles, points, timeout_ns);
    }
    [[nodiscard]] int syncobj_signal(int fd, std::uint32_t handle, std::uint64_t point) noexcept override {
        return calls_.syncobj_signal(fd, handle, point);
    }
    [[nodiscard]] int syncobj_query(int fd, std::uint32_t handle, std::uint64_t& point) noexcept override {
        return calls_.syncobj_query(fd, handle, point);
    }

private:
    DrmCalls& calls_;
    std::function<void()> meanwhile_;
};

}  // namespace granule::test
