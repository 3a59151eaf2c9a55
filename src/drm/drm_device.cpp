#include "src/drm/drm_device.hpp"

#include <sys/sysinfo.h>

#include <algorithm>
#include <utility>

#include "src/drm/panfrost_address_space.hpp"
#include "src/drm/panthor_address_space.hpp"
#include "src/drm/syncobj_timeline.hpp"

namespace granule {
namespace {

DrmCalls& calls_of(const DrmDeviceConfig& config) noexcept {
    return config.calls == nullptr ? system_drm_calls() : *config.calls;
}

Result<Owned<DrmDevice>, OsError> make_device(const DrmDeviceConfig& config, DrmFile file) noexcept {
    const Result<KernelFacts, OsError> facts =
        find_kernel_facts(file.calls(), file.fd(), {config.kernel, config.probe});
    if (!facts) {
        return fail(facts.error());
    }
    Owned<DrmDevice> device = make_owned<DrmDevice>(config.nodes, config, std::move(file), *facts);
    if (!device) {
        return fail(OsError{Status::kOutOfHostMemory, "", 0});
    }
    return device;
}

OsError without_call(Status status) noexcept {
    return {status, "", 0};
}

DeviceProperties with_facts(DeviceProperties properties, const KernelFacts* kept) noexcept {
    properties.kernel_facts = kept;
    return properties;
}

}  // namespace

DeviceProperties DrmDevice::properties_of(const KernelFacts& facts) noexcept {
    const bool panfrost = facts.driver == DrmDriver::kPanfrost;
    DeviceProperties properties;
    properties.kind = panfrost ? DeviceProperties::Kind::kPanfrost : DeviceProperties::Kind::kPanthor;
    properties.gpu = facts.gpu;
    properties.gpu_id = facts.gpu_id;
    properties.mmu_features = facts.mmu_features;
    properties.va_bits = facts.va_bits;
    properties.pa_bits = facts.pa_bits;
    properties.leaf_sizes = facts.leaf_sizes;
    properties.behaviour = facts.behaviour;
    properties.vm_space = facts.vm_space;
    properties.default_vm_space = facts.vm_space;
    if (!panfrost) {
        properties.default_vm_space.end = std::min(facts.vm_space.end, Va{std::uint64_t{1} << (facts.va_bits - 1)});
    }
    struct sysinfo machine {};
    if (::sysinfo(&machine) == 0) {
        properties.heap_bytes = std::uint64_t{machine.totalram} * machine.mem_unit;
    }
    properties.coherent = facts.coherent;
    properties.cpu_cached_bos = facts.cpu_cached_bos;
    properties.sparse = !panfrost;
    properties.native_sparse = facts.sparse;
    properties.huge_pages = facts.huge_pages;
    properties.kernel_queue = !panfrost;
    properties.kernel_places_bos = panfrost;
    properties.labels = facts.labels;
    properties.evictable_bos = panfrost;
    properties.bo_wait = panfrost;
    return properties;
}

Result<Owned<DrmDevice>, OsError> DrmDevice::open(const char* path, const DrmDeviceConfig& config) noexcept {
    DrmCalls& calls = calls_of(config);
    int fd = -1;
    if (const int error = calls.open(path, fd); error != 0) {
        return fail(OsError{Status::kOsFailed, "open", error});
    }
    return make_device(config, DrmFile{calls, fd});
}

Result<Owned<DrmDevice>, OsError> DrmDevice::adopt(int fd, const DrmDeviceConfig& config) noexcept {
    DrmCalls& calls = calls_of(config);
    int copy = -1;
    if (const int error = calls.duplicate(fd, copy); error != 0) {
        return fail(OsError{Status::kOsFailed, "F_DUPFD_CLOEXEC", error});
    }
    return make_device(config, DrmFile{calls, copy});
}

DrmDevice::DrmDevice(const DrmDeviceConfig& config, DrmFile file, const KernelFacts& facts) noexcept
    : Device(with_facts(properties_of(facts), &facts_), config.nodes),
      config_(config),
      file_(std::move(file)),
      facts_(facts),
      bo_backend_(file_, facts_, config.nodes),
      bos_(bo_backend_, config.nodes) {}

Result<Owned<Vm>, OsError> DrmDevice::create_vm(VmConfig config) noexcept {
    if (config.space.empty()) {
        config.space = properties().default_vm_space;
    }
    if (config.space.end < config.space.start) {
        return fail(without_call(Status::kBadArgument));
    }
    if (!properties().vm_space.contains(config.space)) {
        return fail(without_call(Status::kOutOfRange));
    }
    if (facts_.driver == DrmDriver::kPanthor) {
        PanthorAddressSpaceConfig space_config;
        space_config.space = config.space;
        Result<Owned<PanthorAddressSpace>, OsError> space =
            PanthorAddressSpace::create(space_config, file_, facts_, bos_, config_.nodes);
        if (!space) {
            return fail(space.error());
        }
        return Vm::create(config, bos_, timelines(), std::move(*space), config_.nodes).map_error(without_call);
    }
    if (has_vm_.exchange(true, std::memory_order_acquire)) {
        return fail(without_call(Status::kNotSupported));
    }
    Owned<PanfrostAddressSpace> space = make_owned<PanfrostAddressSpace>(config_.nodes, facts_, bos_, has_vm_);
    if (!space) {
        has_vm_.store(false, std::memory_order_release);
        return fail(without_call(Status::kOutOfHostMemory));
    }
    return Vm::create(config, bos_, timelines(), std::move(space), config_.nodes).map_error(without_call);
}

Result<Owned<Timeline>, OsError> DrmDevice::create_timeline() noexcept {
    Result<Owned<SyncobjTimeline>, OsError> syncobj = SyncobjTimeline::create(file_, config_.nodes);
    if (!syncobj) {
        return fail(syncobj.error());
    }
    return timelines().create(std::move(*syncobj)).map_error(without_call);
}

Result<Owned<Timeline>, OsError> DrmDevice::adopt_timeline(std::uint32_t syncobj) noexcept {
    Result<Owned<SyncobjTimeline>, OsError> adopted = SyncobjTimeline::adopt(file_, syncobj, config_.nodes);
    if (!adopted) {
        return fail(adopted.error());
    }
    return timelines().create(std::move(*adopted)).map_error(without_call);
}

std::uint32_t DrmDevice::syncobj_of(const Timeline& timeline) noexcept {
    return static_cast<const SyncobjTimeline*>(timeline.source())->syncobj();
}

}  // namespace granule
