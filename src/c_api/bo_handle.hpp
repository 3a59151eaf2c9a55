// What a granule_bo is: the address of the library's BO, so that the same BO is always the same handle. The type is never
// defined.
//
// A reference of a caller is one of the BO's and one of its device's (device_handle.hpp). References that the library
// holds itself, for pages shown and for what is queued, are their VM's, which keeps the device.
#pragma once

#include <granule/bo.h>

#include "src/bo.hpp"
#include "src/c_api/device_handle.hpp"

namespace granule::c_api {

[[nodiscard]] inline granule_bo* to_handle(Bo& bo) noexcept {
    return reinterpret_cast<granule_bo*>(&bo);
}
[[nodiscard]] inline Bo& to_bo(granule_bo* handle) noexcept {
    return *reinterpret_cast<Bo*>(handle);
}
[[nodiscard]] inline const Bo& to_bo(const granule_bo* handle) noexcept {
    return *reinterpret_cast<const Bo*>(handle);
}
[[nodiscard]] inline granule_device& device_of(const Bo& bo) noexcept {
    return *static_cast<granule_device*>(bo.table.owner());
}

// The handle of a BO of which the caller gets a reference that the library has (create, import, retain_if_live).
[[nodiscard]] inline granule_bo* hand_out(Bo& bo) noexcept {
    device_of(bo).retain();
    return to_handle(bo);
}
// The caller's reference goes. The BO may be gone then, and the device too.
inline void take_back(Bo& bo) noexcept {
    granule_device& device = device_of(bo);
    bo.table.release(bo, 1);
    device.release();
}
// One more, of a BO that somebody holds.
[[nodiscard]] inline granule_bo* hand_out_one_more(Bo& bo) noexcept {
    bo.table.retain(bo, 1);
    return hand_out(bo);
}

}  // namespace granule::c_api
