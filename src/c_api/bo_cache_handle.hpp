// What a granule_bo_cache is: a cache of one device, and of one of its VMs or none.
//
// The caller's reference on a BO that is handed out is one of the device's too, as on any other (bo_handle.hpp).
#pragma once

#include <granule/bo_cache.h>

#include <cstdint>
#include <utility>

#include "src/bo_cache.hpp"
#include "src/c_api/device_handle.hpp"
#include "src/owned.hpp"

struct granule_bo_cache final : public granule::c_api::DeviceChild {
public:
    granule_bo_cache(granule_device& device, granule_vm* vm, granule::Owned<granule::BoCache> cache) noexcept
        : DeviceChild(Kind::kBoCache, device, {}), vm_(vm), cache_(std::move(cache)) {}

    [[nodiscard]] granule::BoCache& cache() noexcept { return *cache_; }
    [[nodiscard]] const granule::BoCache& cache() const noexcept { return *cache_; }
    // nullptr: its BOs are not mapped.
    [[nodiscard]] granule_vm* vm() const noexcept { return vm_; }
    [[nodiscard]] std::uint64_t cached_bytes() const noexcept { return cache_->statistics().usage.cached_bytes(); }

private:
    granule_vm* const vm_;
    const granule::Owned<granule::BoCache> cache_;
};
