// The soft device: a Mali whose memory is a memfd, whose page tables are real and whose GPU is the software MMU.
//
// It is a whole device in this process: BOs, VMs, the kernel's behaviour, the GPU's accesses. Everything that runs on
// hardware runs on it. It stands in for no kernel: what a kernel does is tested on that kernel.
//
// Lifetime: VMs, timelines and BOs end before their device; VMs' queues before their VM.
// Thread-safety: all members, any thread.
// What it does not do: it does not know which BOs the GPU uses (wait_bo: kNotSupported), and takes back no pages
// (set_evictable: kNotSupported). Its GPU sees what the CPU writes, and the other way round.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "mali/gpu_model.hpp"
#include "src/backend/injection.hpp"
#include "src/backend/soft_address_space.hpp"
#include "src/backend/soft_bo_backend.hpp"
#include "src/backend/soft_gpu.hpp"
#include "src/backend/soft_tables.hpp"
#include "src/bo.hpp"
#include "src/device.hpp"
#include "src/device_memory.hpp"
#include "src/timeline.hpp"
#include "src/vm.hpp"

namespace granule {

struct SoftDeviceConfig {
    const mali::GpuModel* gpu = nullptr;  // which Mali; see mali::find_gpu_model
    KernelBehaviour kernel = KernelBehaviour::kSplits;
    // How the MMU is driven; by default as the GPU and the kernel's age say (`default_protocol`).
    std::optional<mali::MmuProtocol> protocol;
    LeafSizes leaf_sizes = kLeaves4K2M;    // what panfrost and panthor use
    BoMemory bo_memory = BoMemory::kHuge;  // of BOs whose request does not say
    bool coherent = false;
    std::uint64_t memory_bytes = std::uint64_t{64} << 30;  // taken from the machine only as it is touched
    NodeMemory nodes = NodeMemory::process();
    Injection* injection = nullptr;  // outlives the device
};

// panfrost's for GPUs with a job manager; for CSF GPUs that of the kernels with this behaviour.
[[nodiscard]] mali::MmuProtocol default_protocol(const mali::GpuModel& gpu, KernelBehaviour kernel) noexcept;

// Why there is no device, in words: `call` names the call of the OS that failed.
using DeviceError = OsError;

class SoftDevice final : public Device {
public:
    // kBadArgument: no GPU, a protocol that it does not have, memory that its addresses do not reach.
    [[nodiscard]] static Result<Owned<SoftDevice>, DeviceError> create(const SoftDeviceConfig& config) noexcept;
    SoftDevice(const SoftDeviceConfig& config, Owned<DeviceMemory> memory, Owned<SoftTables> tables,
               Owned<SoftGpu> gpu) noexcept;

    // A VM may have all that the GPU translates. By default it has what this GPU's kernel driver gives: panfrost 32 MiB to
    // 4 GiB, panthor the lower half of what the GPU translates.
    [[nodiscard]] Result<Owned<Vm>, OsError> create_vm(VmConfig config) noexcept override;

    using Device::create_bo;
    [[nodiscard]] Result<BoId, OsError> create_bo(std::uint64_t bytes, std::uint64_t made_by = 0) noexcept {
        return bos_.create(bytes, config_.bo_memory, made_by);
    }
    [[nodiscard]] Result<BoId, OsError> import_bo(int file, std::uint64_t made_by = 0) noexcept override {
        return bo_backend_.import(bos_, file, made_by);
    }
    [[nodiscard]] Result<void, OsError> sync_caches(std::span<const CacheSync> parts) noexcept override;
    [[nodiscard]] Result<Owned<Timeline>, OsError> create_timeline() noexcept override;

    [[nodiscard]] BoTable& bos() noexcept override { return bos_; }
    [[nodiscard]] const BoTable& bos() const noexcept override { return bos_; }
    [[nodiscard]] SoftGpu& gpu() noexcept { return *gpu_; }
    [[nodiscard]] const SoftGpu& gpu() const noexcept { return *gpu_; }
    // Of all VMs' page tables.
    [[nodiscard]] std::uint64_t table_bytes() const noexcept { return tables_->pages_in_use() * kPageBytes; }
    // Of all VMs, those that are gone too: see SoftAddressSpace.
    [[nodiscard]] std::uint64_t leaf_cuts() const noexcept { return tables_->leaf_cuts(); }
    [[nodiscard]] DeviceMemory& memory() noexcept { return *memory_; }
    [[nodiscard]] SoftBoBackend& bo_backend() noexcept { return bo_backend_; }
    [[nodiscard]] const SoftDeviceConfig& config() const noexcept { return config_; }

    // The soft side of a VM that this device created.
    [[nodiscard]] static SoftAddressSpace& address_space(Vm& vm) noexcept;

private:
    [[nodiscard]] Result<int, OsError> export_shareable(const Bo& bo) noexcept override {
        return bo_backend_.export_file(bo);
    }

    const SoftDeviceConfig config_;
    Owned<DeviceMemory> memory_;
    Owned<SoftTables> tables_;
    Owned<SoftGpu> gpu_;
    SoftBoBackend bo_backend_;
    BoTable bos_;
};

}  // namespace granule
