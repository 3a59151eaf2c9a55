// A timeline that a kernel keeps: a timeline syncobj of a DRM file, owned or somebody else's.
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

#include "mali/result.hpp"
#include "src/drm/drm_file.hpp"
#include "src/owned.hpp"
#include "src/status.hpp"
#include "src/timeline.hpp"

namespace granule {

// `timeout` from now, as the kernel wants it: nanoseconds of CLOCK_MONOTONIC. A time that is too long is for ever.
[[nodiscard]] std::int64_t monotonic_deadline(std::chrono::nanoseconds timeout) noexcept;

class SyncobjTimeline final : public TimelineSource {
public:
    // `file` outlives it.
    [[nodiscard]] static Result<Owned<SyncobjTimeline>, OsError> create(const DrmFile& file,
                                                                        NodeMemory memory) noexcept;
    // Over a syncobj that stays its maker's, and outlives the timeline. ENOENT: there is none of that name.
    [[nodiscard]] static Result<Owned<SyncobjTimeline>, OsError> adopt(const DrmFile& file, std::uint32_t syncobj,
                                                                       NodeMemory memory) noexcept;
    enum class Ends : std::uint8_t { kWithTimeline, kLater };
    SyncobjTimeline(const DrmFile& file, std::uint32_t syncobj, Ends ends) noexcept
        : file_(file), syncobj_(syncobj), ends_(ends) {}
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
    const Ends ends_;
    mutable std::atomic<std::uint64_t> reached_ = 0;  // only goes up
};

}  // namespace granule
