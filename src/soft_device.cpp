#include "src/soft_device.hpp"

#include <utility>

namespace granule {
namespace {

constexpr Va kPanfrostStart{std::uint64_t{32} << 20};  // Linux panfrost_drv.c, panfrost_open: 32M to 4G
constexpr Va kPanfrostEnd{std::uint64_t{1} << 32};

// What a VM of this GPU has under its kernel driver.
VaRange usual_vm_space(const mali::GpuModel& gpu) noexcept {
    if (gpu.driver == mali::KernelDriver::kPanfrost) {
        return {kPanfrostStart, kPanfrostEnd};
    }
    // The upper half is the kernel's.
    return {Va{0}, Va{std::uint64_t{1} << (gpu.va_bits - 1)}};
}

DeviceProperties properties_of(const SoftDeviceConfig& config) noexcept {
    DeviceProperties properties;
    properties.kind = DeviceProperties::Kind::kSoft;
    properties.gpu = config.gpu;
    properties.gpu_id = std::uint32_t{config.gpu->product_id} << 16U;
    properties.mmu_features = mali::encode_mmu_features({config.gpu->va_bits, config.gpu->pa_bits});
    properties.va_bits = config.gpu->va_bits;
    properties.pa_bits = config.gpu->pa_bits;
    properties.leaf_sizes = config.leaf_sizes;
    properties.behaviour = config.kernel;
    properties.vm_space = {Va{0}, Va{std::uint64_t{1} << config.gpu->va_bits}};
    properties.default_vm_space = usual_vm_space(*config.gpu);
    properties.heap_bytes = config.memory_bytes;
    properties.coherent = true;
    properties.cpu_cached_bos = true;
    properties.sparse = true;
    properties.native_sparse = true;
    properties.huge_pages = config.bo_memory != BoMemory::kScattered;
    properties.labels = true;
    return properties;
}

OsError without_call(Status status) noexcept {
    return {status, "", 0};
}

}  // namespace

mali::MmuProtocol default_protocol(const mali::GpuModel& gpu, KernelBehaviour kernel) noexcept {
    if (!gpu.has_csf()) {
        return mali::MmuProtocol::kJobManager;
    }
    switch (kernel) {
        case KernelBehaviour::kSplits:
        case KernelBehaviour::kOopses:
            return mali::MmuProtocol::kJobManager;
        case KernelBehaviour::kRefuses:
            return mali::MmuProtocol::kCsfFlush;
        case KernelBehaviour::kRealigns:
            return mali::MmuProtocol::kCsfAtomic;
    }
    return mali::MmuProtocol::kJobManager;
}

Result<Owned<SoftDevice>, DeviceError> SoftDevice::create(const SoftDeviceConfig& config) noexcept {
    if (config.gpu == nullptr) {
        return fail(DeviceError{Status::kBadArgument, "", 0});
    }
    const mali::MmuProtocol protocol = config.protocol.value_or(default_protocol(*config.gpu, config.kernel));
    const std::uint64_t reach = std::uint64_t{1} << config.gpu->pa_bits;
    if ((protocol != mali::MmuProtocol::kJobManager && !config.gpu->has_csf()) ||
        config.memory_bytes > reach - DeviceMemory::kStart.raw()) {
        return fail(DeviceError{Status::kBadArgument, "", 0});
    }
    Result<Owned<DeviceMemory>, OsError> memory =
        DeviceMemory::create(config.memory_bytes, config.nodes, config.injection);
    if (!memory) {
        return fail(memory.error());
    }
    Result<Owned<SoftTables>, OsError> tables = SoftTables::create(**memory, config.nodes);
    if (!tables) {
        return fail(tables.error());
    }
    SoftGpuConfig gpu_config;
    gpu_config.protocol = protocol;
    gpu_config.address_spaces = config.gpu->address_spaces;
    gpu_config.first_address_space = config.gpu->has_csf() ? 1 : 0;
    gpu_config.has_transcfg = config.gpu->has_transcfg() ? mali::HasTranscfg::kYes : mali::HasTranscfg::kNo;
    gpu_config.va_bits = config.gpu->va_bits;
    gpu_config.pa_bits = config.gpu->pa_bits;
    gpu_config.csf = config.gpu->has_csf();
    Result<Owned<SoftGpu>, Status> gpu = SoftGpu::create(gpu_config, **memory, config.nodes);
    if (!gpu) {
        return fail(DeviceError{gpu.error(), "", 0});
    }
    Owned<SoftDevice> device =
        make_owned<SoftDevice>(config.nodes, config, std::move(*memory), std::move(*tables), std::move(*gpu));
    if (!device) {
        return fail(DeviceError{Status::kOutOfHostMemory, "", 0});
    }
    return device;
}

SoftDevice::SoftDevice(const SoftDeviceConfig& config, Owned<DeviceMemory> memory, Owned<SoftTables> tables,
                       Owned<SoftGpu> gpu) noexcept
    : Device(properties_of(config), config.nodes),
      config_(config),
      memory_(std::move(memory)),
      tables_(std::move(tables)),
      gpu_(std::move(gpu)),
      bo_backend_(*memory_, config.bo_memory, config.nodes, config.injection),
      bos_(bo_backend_, config.nodes) {}

Result<Owned<Vm>, OsError> SoftDevice::create_vm(VmConfig config) noexcept {
    if (config.space.empty()) {
        config.space = properties().default_vm_space;
    }
    if (config.space.end < config.space.start) {
        return fail(OsError{Status::kBadArgument, "", 0});
    }
    if (!properties().vm_space.contains(config.space)) {
        return fail(OsError{Status::kOutOfRange, "", 0});
    }
    SoftAddressSpaceConfig space_config;
    space_config.table.format = config_.gpu->format;
    space_config.table.va_bits = config_.gpu->va_bits;
    space_config.table.pa_bits = config_.gpu->pa_bits;
    space_config.table.leaf_sizes = config_.leaf_sizes;
    space_config.table.coherent_walk = config_.coherent;
    space_config.kernel = config_.kernel;
    space_config.protocol = config_.protocol.value_or(default_protocol(*config_.gpu, config_.kernel));
    Result<Owned<SoftAddressSpace>, Status> space =
        SoftAddressSpace::create(space_config, *tables_, *gpu_, bos_, config_.nodes, config_.injection);
    if (!space) {
        return fail(OsError{space.error(), "", 0});
    }
    return Vm::create(config, bos_, timelines(), std::move(*space), config_.nodes).map_error(without_call);
}

Result<void, OsError> SoftDevice::sync_caches(std::span<const CacheSync> parts) noexcept {
    return check_parts(parts);
}

Result<Owned<Timeline>, OsError> SoftDevice::create_timeline() noexcept {
    return timelines().create().map_error(without_call);
}

SoftAddressSpace& SoftDevice::address_space(Vm& vm) noexcept {
    return static_cast<SoftAddressSpace&>(vm.backend());
}

}  // namespace granule
