// What a caller asked for of a BO, as granule_bo_flags, as the library asks for it.
#pragma once

#include <granule/bo.h>

#include <cstdint>

#include "src/backend/bo_backend.hpp"
#include "src/c_api/convert.hpp"
#include "src/slab_source.hpp"

namespace granule::c_api {

inline constexpr std::uint32_t kAllBoFlags =
    all_of(GRANULE_BO_NO_CPU_ACCESS, GRANULE_BO_CPU_CACHED, GRANULE_BO_SHAREABLE, GRANULE_BO_EXECUTABLE,
           GRANULE_BO_GROWS_ON_FAULT);

// nullptr: nothing is wrong.
[[nodiscard]] constexpr const char* wrong_bo_flags(std::uint32_t flags) noexcept {
    if ((flags & ~kAllBoFlags) != 0) {
        return "a bit that is none of granule_bo_flags";
    }
    if ((flags & GRANULE_BO_NO_CPU_ACCESS) != 0 && (flags & GRANULE_BO_CPU_CACHED) != 0) {
        return "GRANULE_BO_NO_CPU_ACCESS and GRANULE_BO_CPU_CACHED exclude each other";
    }
    if ((flags & GRANULE_BO_GROWS_ON_FAULT) != 0 && (flags & GRANULE_BO_NO_CPU_ACCESS) == 0) {
        return "GRANULE_BO_GROWS_ON_FAULT needs GRANULE_BO_NO_CPU_ACCESS";
    }
    return nullptr;
}
// Of BOs that are used again, by a cache or a pool.
[[nodiscard]] constexpr const char* wrong_reusable_bo_flags(std::uint32_t flags) noexcept {
    if ((flags & all_of(GRANULE_BO_SHAREABLE, GRANULE_BO_GROWS_ON_FAULT)) != 0) {
        return "GRANULE_BO_SHAREABLE and GRANULE_BO_GROWS_ON_FAULT are not for BOs that are used again";
    }
    return wrong_bo_flags(flags);
}

// Without its size.
[[nodiscard]] inline BoRequest to_bo_request(std::uint32_t flags) noexcept {
    BoRequest request;
    request.cpu_visible = (flags & GRANULE_BO_NO_CPU_ACCESS) == 0;
    request.cpu_cached = (flags & GRANULE_BO_CPU_CACHED) != 0;
    request.shareable = (flags & GRANULE_BO_SHAREABLE) != 0;
    request.executable = (flags & GRANULE_BO_EXECUTABLE) != 0;
    request.grows_on_fault = (flags & GRANULE_BO_GROWS_ON_FAULT) != 0;
    return request;
}

}  // namespace granule::c_api
