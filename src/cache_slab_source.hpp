// Slabs out of a BoCache, whose BOs come mapped and stay it: a slab that goes and comes asks the kernel nothing.
//
// Contract
//   P3, P4      As SlabSource; `give_back` is BoCache::put.
//   Failure     What BoCache::acquire says. kNotSupported: the kernel places BOs, and not at that alignment.
//   Thread-safety: all members, any thread.
//   Lifetime    Device, VM and cache outlive it.
#pragma once

#include <cstdint>

#include "src/bo_cache.hpp"
#include "src/device.hpp"
#include "src/slab_source.hpp"
#include "src/status.hpp"
#include "src/vm.hpp"
#include "src/vm_slab_source.hpp"

namespace granule {

class CacheSlabSource final : public SlabSource {
public:
    // `cache` is one of `vm` of `device`.
    CacheSlabSource(Device& device, Vm& vm, BoCache& cache, const VmSlabConfig& config) noexcept
        : device_(device), vm_(vm), cache_(cache), config_(config) {}

    [[nodiscard]] Result<SlabMemory, OsError> acquire(std::uint64_t bytes, std::uint64_t alignment) noexcept override;
    [[nodiscard]] Status give_back(const SlabMemory& slab) noexcept override;
    void abandon(const SlabMemory& slab) noexcept override;

private:
    Device& device_;
    Vm& vm_;
    BoCache& cache_;
    const VmSlabConfig config_;
};

}  // namespace granule
