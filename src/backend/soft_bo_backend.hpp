// The memory of the soft device's BOs: runs of device memory.
//
// What a BO looks like physically decides which leaves a mapping can have:
//
//     kHuge        2 MiB folios, each somewhere else, and a tail of pages: shmem with transparent huge pages
//     kContiguous  one run: CMA
//     kScattered   single pages, no two of them neighbours: a fragmented machine without huge pages
//
// The CPU's view of a BO shows its runs one behind the other.
//
// Thread-safety: all members, any thread, for different BOs.
// Failure: kOutOfDeviceMemory, kOutOfHostMemory; nothing changed.
// What it does not do: growth on faults (kNotSupported). The CPU sees all BOs, cached; every VM may show them.
#pragma once

#include "mali/export.hpp"
#include "src/backend/bo_backend.hpp"
#include "src/bo.hpp"
#include "src/device_memory.hpp"

namespace granule {

class GRANULE_API SoftBoBackend final : public BoBackend {
public:
    // `device_memory` outlives it.
    explicit SoftBoBackend(DeviceMemory& device_memory) noexcept : device_memory_(device_memory) {}

    [[nodiscard]] Status create(Bo& bo, const BoRequest& request) noexcept override;
    void destroy(Bo& bo) noexcept override;
    [[nodiscard]] Result<std::byte*, Status> map_cpu(Bo& bo) noexcept override;
    void unmap_cpu(Bo& bo, std::byte* cpu) noexcept override;

private:
    DeviceMemory& device_memory_;
};

}  // namespace granule
