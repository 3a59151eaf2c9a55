// The end of a VM's queue of binds in the kernel: what may still be in it, and how to wait until nothing is.
//
// A queued array signals a point of a timeline syncobj, each array the next one. The queue is in order, so that the last
// point says that all is done; a job that failed signals it too. What VA the queued arrays touch is kept as one hull, which
// is empty again when they were waited for.
//
// Thread-safety: the VM's lock. Only `wait` blocks.
// Failure: errnos; nothing changed.
#pragma once

#include <chrono>
#include <cstdint>

#include "mali/address.hpp"
#include "src/backend/backend.hpp"
#include "src/drm/drm_file.hpp"

namespace granule {

class QueueTail {
public:
    explicit QueueTail(const DrmFile& file) noexcept : file_(file) {}
    QueueTail(const QueueTail&) = delete;
    QueueTail& operator=(const QueueTail&) = delete;
    ~QueueTail() { forget(); }

    // The syncobj, made with the first array.
    [[nodiscard]] int prepare() noexcept;
    // The point that the next array is to signal. After `prepare`.
    [[nodiscard]] SyncobjPoint next() const noexcept { return {syncobj_, last_ + 1}; }
    // That array is queued.
    void queued(const VaRange& touched) noexcept;

    // The hull of what arrays in the queue may still touch; empty: nothing is in it.
    [[nodiscard]] const VaRange& touched() const noexcept { return touched_; }
    [[nodiscard]] bool empty() const noexcept { return waited_ == last_; }
    // Until nothing is queued. 0, ETIME or what else went wrong.
    [[nodiscard]] int wait(std::chrono::nanoseconds timeout) noexcept;
    // The VM is gone, and its queue with it.
    void forget() noexcept;

private:
    const DrmFile& file_;
    std::uint32_t syncobj_ = 0;  // 0: none yet
    std::uint64_t last_ = 0;     // point that was given to an array
    std::uint64_t waited_ = 0;   // point that was waited for
    VaRange touched_{};
};

}  // namespace granule
