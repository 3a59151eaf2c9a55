// The soft device: a Mali whose memory is a memfd, whose page tables are real and whose GPU is the software MMU.
//
// It is a whole device in this process: BOs, VMs, the kernel's behaviour, the GPU's accesses. Everything that runs on
// hardware runs on it. It stands in for no kernel: what a kernel does is tested on that kernel.
//
// Lifetime: VMs, timelines and BOs end before their device; VMs' queues before their VM.
// Thread-safety: all members, any thread.
#pragma once

#include <cstdint>
#include <optional>

#include "mali/export.hpp"
#include "mali/gpu_model.hpp"
#include "src/backend/injection.hpp"
#include "src/backend/soft_address_space.hpp"
#include "src/backend/soft_bo_backend.hpp"
#include "src/backend/soft_gpu.hpp"
#include "src/backend/soft_tables.hpp"
#include "src/bo.hpp"
#include "src/device_memory.hpp"
#include "src/timeline.hpp"
#include "src/vm.hpp"

namespace granule {

struct SoftDeviceConfig {
    const mali::GpuModel* gpu = nullptr;  // which Mali; see mali::find_gpu_model
    KernelBehaviour kernel = KernelBehaviour::kSplits;
    // How the MMU is driven; by default as the GPU and the kernel's age say (`default_protocol`).
    std::optional<mali::MmuProtocol> protocol;
    LeafSizes leaf_sizes = kLeaves4K2M;  // what panfrost and panthor use
    BoMemory bo_memory = BoMemory::kHuge;
    bool coherent = false;
    std::uint64_t memory_bytes = std::uint64_t{64} << 30;  // taken from the machine only as it is touched
    NodeMemory nodes = NodeMemory::process();
    Injection* injection = nullptr;  // outlives the device
};

// panfrost's for GPUs with a job manager; for CSF GPUs that of the kernels with this behaviour.
[[nodiscard]] GRANULE_API mali::MmuProtocol default_protocol(const mali::GpuModel& gpu,
                                                             KernelBehaviour kernel) noexcept;

// Why there is no device, in words: `call` names the call of the OS that failed.
using DeviceError = OsError;

class GRANULE_API SoftDevice {
public:
    // kBadArgument: no GPU, a protocol that it does not have, memory that its addresses do not reach.
    [[nodiscard]] static Result<Owned<SoftDevice>, DeviceError> create(const SoftDeviceConfig& config) noexcept;
    SoftDevice(const SoftDeviceConfig& config, Owned<DeviceMemory> memory, Owned<SoftTables> tables,
               Owned<SoftGpu> gpu) noexcept;

    // `space` lies in what the GPU translates; empty: all of `vm_space`.
    [[nodiscard]] Result<Owned<Vm>, Status> create_vm(VmConfig config) noexcept;
    // What a VM of this GPU and its kernel driver has: panfrost: 32 MiB to 4 GiB; panthor: the lower
    // half of what the GPU translates.
    [[nodiscard]] VaRange vm_space() const noexcept;

    [[nodiscard]] Result<BoId, Status> create_bo(std::uint64_t bytes, std::uint64_t made_by = 0) noexcept {
        return bos_.create(bytes, config_.bo_memory, made_by);
    }
    [[nodiscard]] BoTable& bos() noexcept { return bos_; }
    [[nodiscard]] const BoTable& bos() const noexcept { return bos_; }
    [[nodiscard]] TimelineTable& timelines() noexcept { return timelines_; }
    [[nodiscard]] SoftGpu& gpu() noexcept { return *gpu_; }
    [[nodiscard]] DeviceMemory& memory() noexcept { return *memory_; }
    [[nodiscard]] const SoftDeviceConfig& config() const noexcept { return config_; }

    // The soft side of a VM that this device created.
    [[nodiscard]] static SoftAddressSpace& address_space(Vm& vm) noexcept;

private:
    const SoftDeviceConfig config_;
    Owned<DeviceMemory> memory_;
    Owned<SoftTables> tables_;
    Owned<SoftGpu> gpu_;
    SoftBoBackend bo_backend_;
    BoTable bos_;
    TimelineTable timelines_;
};

}  // namespace granule
