// timeline.h: fences.
#include <granule/timeline.h>

#include <span>
#include <utility>

#include "src/c_api/convert.hpp"
#include "src/c_api/device_handle.hpp"
#include "src/c_api/error.hpp"
#include "src/c_api/timeline_handle.hpp"
#include "src/drm/drm_device.hpp"

namespace granule::c_api {
namespace {

granule_status hand_out(granule_device& device, Result<Owned<Timeline>, OsError> made, granule_timeline** timeline,
                        const ErrorOut& out) noexcept {
    if (!made) {
        return out.from(made.error());
    }
    *timeline = make_child<granule_timeline>(device, std::move(*made));
    return *timeline == nullptr ? out.fail(Status::kOutOfHostMemory) : GRANULE_STATUS_OK;
}

}  // namespace

const char* FenceList::read(const granule_device& device, const granule_sync* fences, std::uint32_t count) noexcept {
    count_ = 0;
    if (count > GRANULE_MAX_FENCES) {
        return "more than GRANULE_MAX_FENCES fences";
    }
    if (fences == nullptr && count != 0) {
        return "fences is NULL";
    }
    for (const granule_sync& fence : std::span<const granule_sync>{fences, count}) {
        if (fence.timeline == nullptr) {
            return "the timeline of a fence is NULL";
        }
        if (&fence.timeline->device() != &device) {
            return "a fence is of another device";
        }
        const FencePoint point = fence.timeline->timeline().at(fence.point);
        for (const FencePoint& other : points()) {
            if (other.timeline == point.timeline) {
                return "two fences are of the same timeline";
            }
        }
        points_[count_++] = point;
    }
    return nullptr;
}

}  // namespace granule::c_api

using granule::c_api::ErrorOut;

granule_status granule_timeline_create(granule_device* device, granule_timeline** timeline, granule_error* error) {
    const ErrorOut out(error);
    if (timeline == nullptr) {
        return out.bad("timeline is NULL");
    }
    *timeline = nullptr;
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (device == nullptr) {
        return out.bad("device is NULL");
    }
    return granule::c_api::hand_out(*device, device->device().create_timeline(), timeline, out);
}

granule_status granule_timeline_from_syncobj(granule_device* device, uint32_t syncobj, granule_timeline** timeline,
                                             granule_error* error) {
    const ErrorOut out(error);
    if (timeline == nullptr) {
        return out.bad("timeline is NULL");
    }
    *timeline = nullptr;
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (device == nullptr || syncobj == 0) {
        return out.bad("device is NULL, or syncobj is 0");
    }
    if (device->is_soft()) {
        return out.fail(granule::Status::kNotSupported, "the soft device has no syncobjs");
    }
    auto& drm = static_cast<granule::DrmDevice&>(device->device());
    return granule::c_api::hand_out(*device, drm.adopt_timeline(syncobj), timeline, out);
}

granule_timeline* granule_timeline_ref(granule_timeline* timeline) {
    if (timeline != nullptr) {
        timeline->retain();
    }
    return timeline;
}

void granule_timeline_unref(granule_timeline* timeline) {
    if (timeline != nullptr) {
        timeline->release();
    }
}

uint64_t granule_timeline_value(const granule_timeline* timeline) {
    return timeline == nullptr ? 0 : timeline->timeline().value();
}

granule_status granule_timeline_status(const granule_timeline* timeline) {
    return timeline == nullptr ? GRANULE_STATUS_BAD_ARGUMENT : granule::c_api::to_c(timeline->timeline().status());
}

granule_status granule_timeline_signal(granule_timeline* timeline, uint64_t value, granule_error* error) {
    const ErrorOut out(error);
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (timeline == nullptr) {
        return out.bad("timeline is NULL");
    }
    const granule::Status signalled = timeline->timeline().try_signal(value);
    return signalled == granule::Status::kOk ? GRANULE_STATUS_OK : out.fail(signalled);
}

granule_status granule_timeline_wait(const granule_timeline* timeline, uint64_t value, uint64_t timeout_ns) {
    if (timeline == nullptr) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    const granule::Status waited =
        timeline->timeline().wait_until_reached(value, granule::c_api::to_timeout(timeout_ns));
    return granule::c_api::to_c(waited);
}

uint32_t granule_timeline_syncobj(const granule_timeline* timeline) {
    if (timeline == nullptr || timeline->timeline().source() == nullptr) {
        return 0;
    }
    return granule::DrmDevice::syncobj_of(timeline->timeline());
}
