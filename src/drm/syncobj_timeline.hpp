// A timeline that a kernel keeps: a timeline syncobj of a DRM file, owned.
//
// The kernel chains the points of a syncobj in the order in which it is asked for them. Whoever asks, `signal` or a
// queued array of binds, has to ask for higher and higher points; one that is not higher than what is already reached is
// left out here. A point is reached when all before it are.
//
// A failed job signals its points like any other: success is asked for elsewhere (AddressSpaceBackend::check).
//
// Thread-safety: all members, any thread. `wait` blocks in the kernel; nothing else does.
// Failure: kNotSupported: a driver without timelines (panfrost). kOsFailed: the kernel does not know the syncobj any more,
// or has no memory.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "mali/export.hpp"
#include "mali/result.hpp"
#include "src/drm/drm_file.hpp"
#include "src/owned.hpp"
#include "src/status.hpp"
#include "src/timeline.hpp"

namespace granule {

// `timeout` from now, as the kernel wants it: nanoseconds of CLOCK_MONOTONIC. A time that is too long is for ever.
[[nodiscard]] GRANULE_API std::int64_t monotonic_deadline(std::chrono::nanoseconds timeout) noexcept;

class GRANULE_API SyncobjTimeline final : public TimelineSource {
public:
    // `file` outlives it.
    [[nodiscard]] static Result<Owned<SyncobjTimeline>, OsError> create(const DrmFile& file,
                                                                        NodeMemory memory) noexcept;
    SyncobjTimeline(const DrmFile& file, std::uint32_t syncobj) noexcept : file_(file), syncobj_(syncobj) {}
    ~SyncobjTimeline() override;

    [[nodiscard]] std::uint32_t syncobj() const noexcept { return syncobj_; }

    // Where the kernel cannot be asked: what it said last.
    [[nodiscard]] std::uint64_t value() const noexcept override;
    [[nodiscard]] Status signal(std::uint64_t value) noexcept override;
    [[nodiscard]] Status wait(std::uint64_t value, std::chrono::nanoseconds timeout) const noexcept override;

private:
    void reached(std::uint64_t value) const noexcept;

    const DrmFile& file_;
    const std::uint32_t syncobj_;
    mutable std::atomic<std::uint64_t> reached_ = 0;  // only goes up
};

}  // namespace granule
