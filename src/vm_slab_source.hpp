// Slabs straight from a device and a VM: a BO each, mapped whole at a VA of its own.
//
//     acquire      create_bo -> label -> map_cpu -> reserve_va -> bind, undone backwards where a step fails
//     give_back    unmap -> release_va -> the reference on the BO
//
// Where the kernel places BOs (panfrost), the middle is Device::show_bo, and the end is the handle's. That kernel aligns
// to 2 MiB what is 2 MiB or larger, and nothing else to more than 4 KiB (panfrost_gem_open in Linux
// drivers/gpu/drm/panfrost/panfrost_gem.c): a slab that needs an alignment is rounded up to 2 MiB there.
//
// Contract
//   P3, P4      As SlabSource. The VM's unmap of a whole mapping cuts nothing.
//   Failure     What the device or the VM says: kOutOfDeviceMemory, kOverBudget, kOutOfVa, kVmUnusable, ...
//               kBadArgument: a kind with a CPU cache but no CPU view. kNotSupported: an alignment that the kernel at hand
//               does not give.
//   Thread-safety: all members, any thread; it has no lock of its own, and takes the VM's.
//   Lifetime    Device and VM outlive it.
#pragma once

#include <cstdint>
#include <optional>

#include "allocator/va_request.hpp"
#include "src/device.hpp"
#include "src/slab_source.hpp"
#include "src/status.hpp"
#include "src/vm.hpp"

namespace granule {

struct VmSlabConfig {
    SlabKind kind;
    VaZone zone = VaZone::kMain;     // where VAs are ours to choose
    std::optional<BoMemory> memory;  // soft device only; nullopt: its own choice
    bool only_for_vm = false;        // the BOs can be shown by this VM alone: cheaper to submit with on panthor
    std::uint64_t made_by = 0;       // the creator's own mark
    ShortLabel label{"slab"};        // of the BOs
};

// The BO that a slab of at least `bytes` at `alignment` needs, in `vm` of `device`.
[[nodiscard]] BoRequest slab_bo_request(const VmSlabConfig& config, const Device& device, const Vm& vm,
                                        std::uint64_t bytes, std::uint64_t alignment) noexcept;

class VmSlabSource final : public SlabSource {
public:
    VmSlabSource(Device& device, Vm& vm, const VmSlabConfig& config) noexcept
        : device_(device), vm_(vm), config_(config) {}

    [[nodiscard]] Result<SlabMemory, OsError> acquire(std::uint64_t bytes, std::uint64_t alignment) noexcept override;
    [[nodiscard]] Status give_back(const SlabMemory& slab) noexcept override;
    void abandon(const SlabMemory& slab) noexcept override;

private:
    [[nodiscard]] Result<VaRange, OsError> map(const Bo& bo, std::uint64_t alignment) noexcept;
    void release(const VaRange& va) noexcept;

    Device& device_;
    Vm& vm_;
    const VmSlabConfig config_;
};

}  // namespace granule
