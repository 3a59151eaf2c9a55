#include "src/drm/syncobj_timeline.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

namespace granule {

std::int64_t monotonic_deadline(std::chrono::nanoseconds timeout) noexcept {
    // libstdc++'s steady clock is CLOCK_MONOTONIC. 0 would mean to the kernel what any time in the past does: look once.
    const std::chrono::nanoseconds now = std::chrono::steady_clock::now().time_since_epoch();
    const std::chrono::nanoseconds left = std::chrono::nanoseconds::max() - now;
    return (now + std::clamp(timeout, std::chrono::nanoseconds(0), left)).count();
}

Result<Owned<SyncobjTimeline>, OsError> SyncobjTimeline::create(const DrmFile& file, NodeMemory memory) noexcept {
    std::uint32_t syncobj = 0;
    if (const int error = file.calls().syncobj_create(file.fd(), false, syncobj); error != 0) {
        return fail(OsError{error == EOPNOTSUPP ? Status::kNotSupported : Status::kOsFailed, "SYNCOBJ_CREATE", error});
    }
    // A driver may have syncobjs and no timelines.
    std::uint64_t value = 0;
    if (const int error = file.calls().syncobj_query(file.fd(), syncobj, value); error != 0) {
        file.calls().syncobj_destroy(file.fd(), syncobj);
        return fail(OsError{error == EOPNOTSUPP ? Status::kNotSupported : Status::kOsFailed, "SYNCOBJ_QUERY", error});
    }
    Owned<SyncobjTimeline> timeline = make_owned<SyncobjTimeline>(memory, file, syncobj, Ends::kWithTimeline);
    if (!timeline) {
        file.calls().syncobj_destroy(file.fd(), syncobj);
        return fail(OsError{Status::kOutOfHostMemory, "", ENOMEM});
    }
    return timeline;
}

Result<Owned<SyncobjTimeline>, OsError> SyncobjTimeline::adopt(const DrmFile& file, std::uint32_t syncobj,
                                                               NodeMemory memory) noexcept {
    std::uint64_t value = 0;
    if (const int error = file.calls().syncobj_query(file.fd(), syncobj, value); error != 0) {
        return fail(OsError{error == EOPNOTSUPP ? Status::kNotSupported : Status::kOsFailed, "SYNCOBJ_QUERY", error});
    }
    Owned<SyncobjTimeline> timeline = make_owned<SyncobjTimeline>(memory, file, syncobj, Ends::kLater);
    if (!timeline) {
        return fail(OsError{Status::kOutOfHostMemory, "", ENOMEM});
    }
    return timeline;
}

SyncobjTimeline::~SyncobjTimeline() {
    if (ends_ == Ends::kWithTimeline) {
        file_.calls().syncobj_destroy(file_.fd(), syncobj_);
    }
}

std::uint64_t SyncobjTimeline::value() const noexcept {
    std::uint64_t value = 0;
    if (file_.calls().syncobj_query(file_.fd(), syncobj_, value) == 0) {
        reached(value);
    }
    return reached_;
}

Status SyncobjTimeline::signal(std::uint64_t value) noexcept {
    if (value <= this->value()) {
        return Status::kOk;
    }
    return file_.calls().syncobj_signal(file_.fd(), syncobj_, value) == 0 ? Status::kOk : Status::kOsFailed;
}

Status SyncobjTimeline::wait(std::uint64_t value, std::chrono::nanoseconds timeout) const noexcept {
    if (value <= reached_) {
        return Status::kOk;
    }
    const std::array handles{syncobj_};
    const std::array points{value};
    switch (file_.calls().syncobj_wait(file_.fd(), handles, points, monotonic_deadline(timeout))) {
        case 0:
            reached(value);
            return Status::kOk;
        case ETIME:
            return Status::kTimedOut;
        default:
            return Status::kOsFailed;
    }
}

void SyncobjTimeline::reached(std::uint64_t value) const noexcept {
    std::uint64_t before = reached_;
    while (before < value && !reached_.compare_exchange_weak(before, value)) {
    }
}

}  // namespace granule
