#include "src/drm/queue_tail.hpp"

#include "src/drm/syncobj_timeline.hpp"

namespace granule {

int QueueTail::prepare() noexcept {
    return syncobj_ != 0 ? 0 : file_.calls().syncobj_create(file_.fd(), false, syncobj_);
}

void QueueTail::queued(const VaRange& touched) noexcept {
    ++last_;
    touched_ = touched_.hull(touched);
}

int QueueTail::wait(std::chrono::nanoseconds timeout) noexcept {
    if (empty()) {
        return 0;
    }
    const std::int64_t deadline = monotonic_deadline(timeout);
    if (const int error = file_.calls().syncobj_wait(file_.fd(), {&syncobj_, 1}, {&last_, 1}, deadline); error != 0) {
        return error;
    }
    waited_ = last_;
    touched_ = {};
    return 0;
}

void QueueTail::forget() noexcept {
    if (syncobj_ != 0) {
        file_.calls().syncobj_destroy(file_.fd(), syncobj_);
    }
    syncobj_ = 0;
    last_ = 0;
    waited_ = 0;
    touched_ = {};
}

}  // namespace granule
