// DrmCalls over others (a FakeDrm, or a real kernel's), one of which fails when told to: without being made, as a call that
// the kernel refuses changes nothing.
//
//     fail_at(k, error)            the k-th call from now on, whichever it is
//     fail_kind(kind, k, error)    the k-th call of a kind
//     fail_device(k)               that one and every call after it: the device is gone (ENODEV)
//     fail_bind_at(k, j, error)    the k-th VM_BIND at its operation j. Those before j are really carried out, by an array
//                                  that ends there; then the ioctl says that it failed, and `ops.count` that it was at j.
//                                  An array that is queued fails as a whole (j = 0), as a kernel does. Nothing fails
//                                  where the array has no such operation
//     fail_binds_from(k, j, error) that one and every VM_BIND after it, so that nothing can be brought back either
//
// A call that fails and is carried out all the same is not on offer: kernels do not do that.
//
// Thread-safety: any thread; the plan of failures is one for all of them.
// No exceptions, no allocation: it runs in guests too.
#pragma once

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <span>

#include "src/drm/drm_calls.hpp"
#include "src/drm/panthor_uapi.hpp"
#include "tests/support/drm_call_kind.hpp"

namespace granule::test {

class FailingDrmCalls final : public DrmCalls {
public:
    FailingDrmCalls(DrmCalls& calls, DrmDriver driver) noexcept : calls_(calls), driver_(driver) {}

    // Each of these takes the place of the one before.
    void fail_at(std::uint64_t call, int error) noexcept { plan({What::kAny, DrmCallKind::kOther, call, 0, error}); }
    void fail_kind(DrmCallKind kind, std::uint64_t call, int error) noexcept {
        plan({What::kKind, kind, call, 0, error});
    }
    void fail_bind_at(std::uint64_t call, std::size_t operation, int error) noexcept {
        plan({What::kBindOperation, DrmCallKind::kVmBind, call, operation, error});
    }
    void fail_binds_from(std::uint64_t call, std::size_t operation, int error) noexcept {
        plan({What::kBindsFrom, DrmCallKind::kVmBind, call, operation, error});
    }
    void fail_device(std::uint64_t call = 0) noexcept { plan({What::kDevice, DrmCallKind::kOther, call, 0, ENODEV}); }
    void stop() noexcept { plan({}); }

    // What happened since the last of the above.
    [[nodiscard]] bool failed() const noexcept {
        const std::lock_guard lock(mutex_);
        return failed_.has_value();
    }
    [[nodiscard]] std::optional<DrmCallKind> failed_kind() const noexcept {
        const std::lock_guard lock(mutex_);
        return failed_;
    }
    // Since the beginning: calls that were made to fail.
    [[nodiscard]] std::uint64_t failures() const noexcept {
        const std::lock_guard lock(mutex_);
        return failures_;
    }
    // Since the beginning: calls, and of these the ones of a kind; failed ones too.
    [[nodiscard]] std::uint64_t calls() const noexcept {
        const std::lock_guard lock(mutex_);
        return all_;
    }
    [[nodiscard]] std::uint64_t calls(DrmCallKind kind) const noexcept {
        const std::lock_guard lock(mutex_);
        return counts_[kind];
    }
    // Made and not destroyed, since the beginning: what a kernel does not tell of a file.
    [[nodiscard]] std::int64_t syncobjs() const noexcept {
        const std::lock_guard lock(mutex_);
        return syncobjs_;
    }
    // What the call was that came when `number` had passed since `record_kinds`; for "fail this one with everything that it
    // can fail with".
    [[nodiscard]] std::optional<DrmCallKind> kind_of_call(std::uint64_t number) const noexcept {
        const std::lock_guard lock(mutex_);
        return number < recorded_ ? std::optional(kinds_[number]) : std::nullopt;
    }
    // Remembers the kinds of the next calls, kMostRecorded at most.
    void record_kinds() noexcept {
        const std::lock_guard lock(mutex_);
        recorded_ = 0;
        recording_ = true;
    }
    [[nodiscard]] std::span<const DrmCallKind> recorded_kinds() const noexcept { return {kinds_.data(), recorded_}; }
    static constexpr std::size_t kMostRecorded = 4096;

    [[nodiscard]] int open(const char* path, int& fd) noexcept override {
        const int error = next(DrmCallKind::kOpen);
        return error != 0 ? error : calls_.open(path, fd);
    }
    [[nodiscard]] int duplicate(int fd, int& copy) noexcept override {
        const int error = next(DrmCallKind::kDuplicate);
        return error != 0 ? error : calls_.duplicate(fd, copy);
    }
    void close(int fd) noexcept override { calls_.close(fd); }
    [[nodiscard]] int version(int fd, DrmVersion& version) noexcept override {
        const int error = next(DrmCallKind::kVersion);
        return error != 0 ? error : calls_.version(fd, version);
    }
    [[nodiscard]] int ioctl(int fd, unsigned long request, void* argument) noexcept override {
        return ioctl_by(&DrmCalls::ioctl, false, fd, request, argument);
    }
    [[nodiscard]] int ioctl_once(int fd, unsigned long request, void* argument) noexcept override {
        return ioctl_by(&DrmCalls::ioctl_once, true, fd, request, argument);
    }
    [[nodiscard]] int map(int fd, std::uint64_t offset, std::size_t bytes, int protection,
                          std::byte*& at) noexcept override {
        const int error = next(DrmCallKind::kMap);
        return error != 0 ? error : calls_.map(fd, offset, bytes, protection, at);
    }
    [[nodiscard]] int map_at(int fd, std::uint64_t offset, std::size_t bytes, int protection,
                             std::byte* at) noexcept override {
        const int error = next(DrmCallKind::kMap);
        return error != 0 ? error : calls_.map_at(fd, offset, bytes, protection, at);
    }
    void unmap(std::byte* at, std::size_t bytes) noexcept override { calls_.unmap(at, bytes); }
    [[nodiscard]] int read_text(const char* path, std::span<char> into, std::size_t& bytes) noexcept override {
        const int error = next(DrmCallKind::kReadText);
        return error != 0 ? error : calls_.read_text(path, into, bytes);
    }
    int close_handle(int fd, std::uint32_t handle) noexcept override {
        const int error = next(DrmCallKind::kCloseHandle);
        return error != 0 ? error : calls_.close_handle(fd, handle);
    }
    [[nodiscard]] int export_handle(int fd, std::uint32_t handle, int& dma_buf) noexcept override {
        const int error = next(DrmCallKind::kExportHandle);
        return error != 0 ? error : calls_.export_handle(fd, handle, dma_buf);
    }
    [[nodiscard]] int import_handle(int fd, int dma_buf, std::uint32_t& handle) noexcept override {
        const int error = next(DrmCallKind::kImportHandle);
        return error != 0 ? error : calls_.import_handle(fd, dma_buf, handle);
    }
    [[nodiscard]] int dma_buf_bytes(int dma_buf, std::uint64_t& bytes) noexcept override {
        const int error = next(DrmCallKind::kDmaBufBytes);
        return error != 0 ? error : calls_.dma_buf_bytes(dma_buf, bytes);
    }
    [[nodiscard]] int syncobj_create(int fd, bool signalled, std::uint32_t& handle) noexcept override {
        const int error = next(DrmCallKind::kSyncobjCreate);
        return counted(error != 0 ? error : calls_.syncobj_create(fd, signalled, handle), 1);
    }
    int syncobj_destroy(int fd, std::uint32_t handle) noexcept override {
        const int error = next(DrmCallKind::kSyncobjDestroy);
        return counted(error != 0 ? error : calls_.syncobj_destroy(fd, handle), -1);
    }
    [[nodiscard]] int syncobj_export(int fd, std::uint32_t handle, int& syncobj_fd) noexcept override {
        const int error = next(DrmCallKind::kSyncobjExport);
        return error != 0 ? error : calls_.syncobj_export(fd, handle, syncobj_fd);
    }
    [[nodiscard]] int syncobj_import(int fd, int syncobj_fd, std::uint32_t& handle) noexcept override {
        const int error = next(DrmCallKind::kSyncobjImport);
        return counted(error != 0 ? error : calls_.syncobj_import(fd, syncobj_fd, handle), 1);
    }
    [[nodiscard]] int syncobj_wait(int fd, std::span<const std::uint32_t> handles,
                                   std::span<const std::uint64_t> points, std::int64_t timeout_ns) noexcept override {
        const int error = next(DrmCallKind::kSyncobjWait);
        return error != 0 ? error : calls_.syncobj_wait(fd, handles, points, timeout_ns);
    }
    [[nodiscard]] int syncobj_signal(int fd, std::uint32_t handle, std::uint64_t point) noexcept override {
        const int error = next(DrmCallKind::kSyncobjSignal);
        return error != 0 ? error : calls_.syncobj_signal(fd, handle, point);
    }
    [[nodiscard]] int syncobj_query(int fd, std::uint32_t handle, std::uint64_t& point) noexcept override {
        const int error = next(DrmCallKind::kSyncobjQuery);
        return error != 0 ? error : calls_.syncobj_query(fd, handle, point);
    }

private:
    enum class What : std::uint8_t { kNothing, kAny, kKind, kBindOperation, kBindsFrom, kDevice };
    struct Plan {
        What what = What::kNothing;
        DrmCallKind kind = DrmCallKind::kOther;
        std::uint64_t calls_before = 0;
        std::size_t operation = 0;
        int error = 0;
    };
    using Ioctl = int (DrmCalls::*)(int, unsigned long, void*) noexcept;

    void plan(const Plan& plan) noexcept {
        const std::lock_guard lock(mutex_);
        plan_ = plan;
        failed_.reset();
    }

    // Whether the plan is for this call; counts it.
    [[nodiscard]] bool hits(DrmCallKind kind) noexcept {
        ++all_;
        ++counts_[kind];
        if (recording_ && recorded_ < kMostRecorded) {
            kinds_[recorded_++] = kind;
        }
        const bool all_kinds = plan_.what == What::kAny || plan_.what == What::kDevice;
        const bool goes_on = plan_.what == What::kBindsFrom || plan_.what == What::kDevice;
        if (plan_.what == What::kNothing || (!all_kinds && kind != plan_.kind) || (failed_ && !goes_on)) {
            return false;
        }
        if (plan_.calls_before != 0) {
            --plan_.calls_before;
            return false;
        }
        return true;
    }

    // `error`, of a call that makes so many syncobjs where it is 0.
    [[nodiscard]] int counted(int error, int syncobjs) noexcept {
        const std::lock_guard lock(mutex_);
        syncobjs_ += error == 0 ? syncobjs : 0;
        return error;
    }

    [[nodiscard]] int next(DrmCallKind kind) noexcept {
        const std::lock_guard lock(mutex_);
        if (!hits(kind)) {
            return 0;
        }
        failed_ = kind;
        ++failures_;
        return plan_.error;
    }

    // 0, or the error with which the call fails; for a synchronous VM_BIND at which of its operations. An interrupted call
    // that is made again does not fail.
    [[nodiscard]] int next_ioctl(DrmCallKind kind, const void* argument, bool once, std::uint32_t& operation) noexcept {
        const std::lock_guard lock(mutex_);
        const bool again = failed_.has_value();
        if (!hits(kind)) {
            return 0;
        }
        if (!once && (plan_.error == EINTR || plan_.error == EAGAIN)) {
            plan_ = {};
            return 0;
        }
        if (plan_.what == What::kBindOperation || plan_.what == What::kBindsFrom) {
            const auto& bind = *static_cast<const drm_panthor_vm_bind*>(argument);
            const bool queued = (bind.flags & panthor::kBindAsync) != 0;
            if (!again && plan_.operation >= (queued ? 1 : bind.ops.count)) {
                plan_ = {};  // it has no such operation
                return 0;
            }
            operation = again || queued ? kWhole : static_cast<std::uint32_t>(plan_.operation);
        }
        failed_ = kind;
        ++failures_;
        return plan_.error;
    }

    [[nodiscard]] int ioctl_by(Ioctl made, bool once, int fd, unsigned long request, void* argument) noexcept {
        std::uint32_t operation = kWhole;
        const int error = next_ioctl(ioctl_kind(driver_, request), argument, once, operation);
        if (error == 0) {
            return (calls_.*made)(fd, request, argument);
        }
        if (operation != kWhole) {
            auto& bind = *static_cast<drm_panthor_vm_bind*>(argument);
            bind.ops.count = operation;
            if (operation != 0) {
                if (const int earlier = (calls_.*made)(fd, request, argument); earlier != 0) {
                    return earlier;
                }
            }
            bind.ops.count = operation;
        }
        return error;
    }

    static constexpr std::uint32_t kWhole = std::numeric_limits<std::uint32_t>::max();

    DrmCalls& calls_;
    const DrmDriver driver_;
    mutable std::mutex mutex_;
    // All below is guarded by mutex_.
    Plan plan_;
    std::optional<DrmCallKind> failed_;
    std::uint64_t failures_ = 0;
    std::uint64_t all_ = 0;
    DrmCallCounts counts_;
    std::int64_t syncobjs_ = 0;
    bool recording_ = false;
    std::size_t recorded_ = 0;
    std::array<DrmCallKind, kMostRecorded> kinds_{};
};

}  // namespace granule::test
