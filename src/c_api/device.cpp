// device.h: opening, what a device is, what its BOs come to.
#include "src/device.hpp"

#include <granule/device.h>

#include <algorithm>
#include <limits>
#include <string_view>
#include <utility>

#include "mali/gpu_model.hpp"
#include "src/c_api/bo_cache_handle.hpp"
#include "src/c_api/convert.hpp"
#include "src/c_api/device_handle.hpp"
#include "src/c_api/error.hpp"
#include "src/c_api/failure_requests.hpp"
#include "src/c_api/sized_struct.hpp"
#include "src/drm/device_list.hpp"
#include "src/drm/drm_device.hpp"
#include "src/drm/kernel_facts.hpp"
#include "src/soft_device.hpp"

namespace granule::c_api {
namespace {

static_assert(GRANULE_DEVICE_SOFT == static_cast<int>(DeviceProperties::Kind::kSoft));
static_assert(GRANULE_DEVICE_PANTHOR == static_cast<int>(DeviceProperties::Kind::kPanthor));
static_assert(GRANULE_DEVICE_PANFROST == static_cast<int>(DeviceProperties::Kind::kPanfrost));
static_assert(GRANULE_KERNEL_FROM_RELEASE == static_cast<int>(KernelFacts::From::kRelease));
static_assert(GRANULE_KERNEL_FROM_UNKNOWN == static_cast<int>(KernelFacts::From::kUnknown));
static_assert(GRANULE_KERNEL_FROM_PROBE == static_cast<int>(KernelFacts::From::kProbe));
static_assert(GRANULE_KERNEL_FROM_OVERRIDE == static_cast<int>(KernelFacts::From::kOverride));

constexpr std::string_view kVendorPrefix = "Mali-";

// "Mali-G610" as "G610": it still ends with its zero byte.
std::string_view short_name(const mali::GpuModel& gpu) noexcept {
    std::string_view name = gpu.name;
    if (name.starts_with(kVendorPrefix)) {
        name.remove_prefix(kVendorPrefix.size());
    }
    return name;
}

constexpr std::uint8_t byte_of(bool value) noexcept {
    return value ? 1 : 0;
}

constexpr bool is_behaviour(std::uint32_t kernel) noexcept {
    return kernel <= GRANULE_KERNEL_REALIGNS;
}

// Not of FIND_OUT.
constexpr KernelBehaviour to_behaviour(std::uint32_t kernel) noexcept {
    return static_cast<KernelBehaviour>(kernel - GRANULE_KERNEL_SPLITS);
}

granule_device_properties to_properties(const DeviceProperties& from) noexcept {
    granule_device_properties to{};
    to.struct_size = sizeof(to);
    to.kind = static_cast<std::uint32_t>(from.kind);
    to.gpu_id = from.gpu_id;
    to.va_bits = from.va_bits;
    to.pa_bits = from.pa_bits;
    to.kernel = to_c(from.behaviour);
    to.kernel_from = GRANULE_KERNEL_FROM_OVERRIDE;
    if (from.kernel_facts != nullptr) {
        to.kernel_from = static_cast<std::uint32_t>(from.kernel_facts->behaviour_from);
        to.driver_major = from.kernel_facts->version.major;
        to.driver_minor = from.kernel_facts->version.minor;
        copy_text(to.kernel_release, from.kernel_facts->release_text.view());
    }
    to.leaf_sizes = from.leaf_sizes;
    to.vm_space = to_c(from.vm_space);
    to.default_vm_space = to_c(from.default_vm_space);
    if (from.gpu != nullptr) {
        copy_text(to.gpu_name, short_name(*from.gpu));
    }
    to.coherent = byte_of(from.coherent);
    to.sparse = byte_of(from.sparse);
    to.native_sparse = byte_of(from.native_sparse);
    to.cached_bos = byte_of(from.cpu_cached_bos);
    to.labels = byte_of(from.labels);
    to.huge_pages = byte_of(from.huge_pages);
    to.async_binds = byte_of(from.kernel_queue || from.kind == DeviceProperties::Kind::kSoft);
    to.kernel_queue = byte_of(from.kernel_queue);
    to.kernel_places_bos = byte_of(from.kernel_places_bos);
    to.evictable_bos = byte_of(from.evictable_bos);
    to.bo_wait = byte_of(from.bo_wait);
    to.timelines_in_kernel = byte_of(from.kind == DeviceProperties::Kind::kPanthor);
    return to;
}

// Why this is no description of a device; nullptr: it is one.
const char* wrong_in(const granule_device_info& info) noexcept {
    if ((info.flags & ~all_of(GRANULE_DEVICE_NO_PROBE)) != 0) {
        return "flags has a bit that is none of granule_device_flags";
    }
    if (info.reserved != 0 || info.use_fd > 1) {
        return "reserved is not 0, or use_fd not 0 or 1";
    }
    if (!is_behaviour(info.kernel)) {
        return "kernel is no granule_kernel_behaviour";
    }
    if (info.path != nullptr && info.use_fd != 0) {
        return "path and use_fd exclude each other";
    }
    if (info.use_fd != 0 && info.fd < 0) {
        return "fd is no open file";
    }
    if (info.soft != nullptr && (info.path != nullptr || info.use_fd != 0)) {
        return "soft must be NULL with path or use_fd";
    }
    if ((info.allocator.allocate == nullptr) != (info.allocator.release == nullptr)) {
        return "allocator has one of its two functions only";
    }
    return nullptr;
}

const char* wrong_in(const granule_soft_info& soft, std::uint32_t kernel) noexcept {
    if (!is_behaviour(soft.kernel)) {
        return "soft->kernel is no granule_kernel_behaviour";
    }
    if (soft.kernel != GRANULE_KERNEL_FIND_OUT && kernel != GRANULE_KERNEL_FIND_OUT && soft.kernel != kernel) {
        return "kernel and soft->kernel contradict each other";
    }
    if (soft.memory_size % bytes_of(LeafSize::k2M) != 0) {
        return "soft->memory_size is not a multiple of 2 MiB";
    }
    if (soft.scatter > 1 || soft.reserved != 0) {
        return "soft->scatter is not 0 or 1, or reserved not 0";
    }
    return nullptr;
}

granule_status open_soft(const granule_device_info& info, granule_device& handle, const ErrorOut& out) noexcept {
    granule_soft_info soft{};
    if (info.soft != nullptr) {
        if (const char* const why = read_struct(info.soft, soft)) {
            return out.bad(why);
        }
    }
    if (const char* const why = wrong_in(soft, info.kernel)) {
        return out.bad(why);
    }
    SoftDeviceConfig config;
    config.gpu = mali::find_gpu_model(std::string_view{soft.gpu == nullptr ? "G610" : soft.gpu});
    if (config.gpu == nullptr) {
        return out.bad("soft->gpu is the name of no GPU that is known: see granule_gpu_name()");
    }
    if (const std::uint32_t kernel = std::max(soft.kernel, info.kernel); kernel != GRANULE_KERNEL_FIND_OUT) {
        config.kernel = to_behaviour(kernel);
    }
    if (soft.memory_size != 0) {
        config.memory_bytes = soft.memory_size;
    }
    config.bo_memory = soft.scatter != 0 ? BoMemory::kScattered : BoMemory::kHuge;
    config.nodes = handle.nodes();
    config.injection = &handle.failures();
    Result<Owned<SoftDevice>, DeviceError> device = SoftDevice::create(config);
    if (!device) {
        return device.error().status == Status::kBadArgument
                   ? out.bad("soft->memory_size is more than this GPU's addresses reach")
                   : out.from(device.error());
    }
    handle.use(std::move(*device));
    return GRANULE_STATUS_OK;
}

granule_status open_drm(const granule_device_info& info, granule_device& handle, const ErrorOut& out) noexcept {
    DrmDeviceConfig config;
    if (info.kernel != GRANULE_KERNEL_FIND_OUT) {
        config.kernel = to_behaviour(info.kernel);
    }
    config.probe = (info.flags & GRANULE_DEVICE_NO_PROBE) == 0;
    config.nodes = handle.nodes();
    Result<Owned<DrmDevice>, OsError> device =
        info.path != nullptr ? DrmDevice::open(info.path, config) : DrmDevice::adopt(info.fd, config);
    if (!device) {
        return out.from(device.error());
    }
    handle.use(std::move(*device));
    return GRANULE_STATUS_OK;
}

void tell_what_was_found(const granule_device& handle) noexcept {
    const DeviceProperties& properties = handle.device().properties();
    const KernelFacts* const facts = properties.kernel_facts;
    handle.log(GRANULE_LOG_INFO, [&](TextWriter& out) {
        out.text("device: ").text(to_string(properties.kind)).text(", GPU ");
        if (properties.gpu != nullptr) {
            out.text(short_name(*properties.gpu));
        } else {
            out.hex(properties.gpu_id);
        }
        out.text(", a part of a leaf: ").text(to_string(properties.behaviour));
        if (facts != nullptr) {
            out.text(" (").text(to_string(facts->behaviour_from)).text("), kernel ").text(facts->release_text.view());
        }
    });
    if (facts != nullptr && facts->behaviour_from == KernelFacts::From::kUnknown) {
        handle.log(GRANULE_LOG_WARNING, [&](TextWriter& out) {
            out.text("kernel ").text(facts->release_text.view());
            out.text(" is not known: it is taken to do the worst with a part of a leaf, ");
            out.text(to_string(properties.behaviour));
        });
    }
}

const char* kind_of(const DeviceChild& child) noexcept {
    switch (child.kind()) {
        case DeviceChild::Kind::kVm:
            return "VM";
        case DeviceChild::Kind::kTimeline:
        case DeviceChild::Kind::kVmTimeline:
            return "timeline";
        case DeviceChild::Kind::kBoCache:
            return "BO cache";
        case DeviceChild::Kind::kPool:
            return "pool";
    }
    return "object";
}

// How many; tells the logger of each.
std::uint64_t tell_what_leaked(const granule_device& handle) noexcept {
    std::uint64_t leaked = 0;
    handle.for_each_child([&](const DeviceChild& child) {
        if (child.kind() == DeviceChild::Kind::kVmTimeline) {
            return;
        }
        ++leaked;
        handle.log(GRANULE_LOG_ERROR, [&](TextWriter& out) {
            out.text("not given back when the device was closed: ").text(kind_of(child));
            if (!child.label().view().empty()) {
                out.text(" ").quoted(child.label().view());
            }
        });
    });
    const BoTable& bos = handle.device().bos();
    bos.for_each([&](const Bo& bo) {
        ++leaked;
        handle.log(GRANULE_LOG_ERROR, [&](TextWriter& out) {
            const std::uint64_t shown = bo.mapped_pages();
            out.text("not given back when the device was closed: ");
            out.bo(static_cast<std::uint32_t>(bo.id), bos.short_label(bo.id).view()).text(" of ").bytes(bo.size);
            out.text(", ").bytes(shown * kPageBytes).text(" of it mapped");
        });
    });
    return leaked;
}

granule_device_entry to_entry(const DrmDeviceEntry& from) noexcept {
    granule_device_entry to{};
    to.struct_size = sizeof(to);
    copy_text(to.path, from.path.view());
    copy_text(to.bus, from.bus.view());
    copy_text(to.driver, from.version.name.view());
    to.properties.struct_size = sizeof(to.properties);
    if (from.facts) {
        DeviceProperties properties = DrmDevice::properties_of(*from.facts);
        properties.kernel_facts = &*from.facts;
        to.properties = to_properties(properties);
    } else {
        to.status = static_cast<std::int32_t>(from.error.status);
        to.os_error = from.error.error;
    }
    return to;
}

}  // namespace
}  // namespace granule::c_api

using granule::c_api::ErrorOut;

granule_status granule_device_open(const granule_device_info* info, granule_device** device, granule_error* error) {
    const ErrorOut out(error);
    if (device == nullptr) {
        return out.bad("device is NULL");
    }
    *device = nullptr;
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (info == nullptr) {
        return out.bad("info is NULL");
    }
    granule_device_info ours{};
    if (const char* const why = granule::c_api::read_struct(info, ours)) {
        return out.bad(why);
    }
    if (const char* const why = granule::c_api::wrong_in(ours)) {
        return out.bad(why);
    }
    granule_device* const handle = granule_device::create(ours.allocator, ours.logger);
    if (handle == nullptr) {
        return out.fail(granule::Status::kOutOfHostMemory);
    }
    const granule_status opened = ours.path != nullptr || ours.use_fd != 0
                                      ? granule::c_api::open_drm(ours, *handle, out)
                                      : granule::c_api::open_soft(ours, *handle, out);
    if (opened != GRANULE_STATUS_OK) {
        handle->release();
        return opened;
    }
    handle->device().set_memory_limit(ours.memory_limit);
    granule::c_api::tell_what_was_found(*handle);
    *device = handle;
    return GRANULE_STATUS_OK;
}

uint32_t granule_device_close(granule_device* device) {
    if (device == nullptr) {
        return 0;
    }
    const std::uint64_t leaked = granule::c_api::tell_what_leaked(*device);
    device->release();
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(leaked, std::numeric_limits<std::uint32_t>::max()));
}

granule_status granule_device_get_properties(const granule_device* device, granule_device_properties* properties) {
    if (device == nullptr || properties == nullptr || granule::c_api::bad_struct(properties) != nullptr) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    granule::c_api::write_struct(properties, granule::c_api::to_properties(device->device().properties()));
    return GRANULE_STATUS_OK;
}

int granule_device_fd(const granule_device* device) {
    if (device == nullptr || device->is_soft()) {
        return -1;
    }
    return static_cast<const granule::DrmDevice&>(device->device()).file().fd();
}

granule_status granule_device_get_memory_usage(const granule_device* device, granule_memory_usage* usage) {
    if (device == nullptr || usage == nullptr || granule::c_api::bad_struct(usage) != nullptr) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    const granule::MemoryUsage of_bos = device->device().memory_usage();
    granule_memory_usage now{};
    now.struct_size = sizeof(now);
    now.bos = static_cast<std::uint32_t>(device->device().bos().live());
    now.bo_bytes = of_bos.bytes;
    now.bo_bytes_peak = of_bos.peak_bytes;
    now.imported_bytes = of_bos.imported_bytes;
    device->for_each_child([&](const granule::c_api::DeviceChild& child) {
        if (child.kind() == granule::c_api::DeviceChild::Kind::kBoCache) {
            now.cached_bytes += static_cast<const granule_bo_cache&>(child).cached_bytes();
        }
    });
    if (device->is_soft()) {
        now.table_bytes = static_cast<const granule::SoftDevice&>(device->device()).table_bytes();
    }
    now.limit = of_bos.limit_bytes;
    now.heap_bytes = of_bos.heap_bytes;
    now.budget = now.limit == 0 ? now.heap_bytes : std::min(now.limit, now.heap_bytes);
    granule::c_api::write_struct(usage, now);
    return GRANULE_STATUS_OK;
}

void granule_device_set_memory_limit(granule_device* device, uint64_t limit) {
    if (device != nullptr) {
        device->device().set_memory_limit(limit);
    }
}

granule_status granule_list_devices(void (*visit)(void* data, const granule_device_entry* entry), void* data,
                                    granule_error* error) {
    const ErrorOut out(error);
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (visit == nullptr) {
        return out.bad("visit is NULL");
    }
    granule::KernelFactsOptions options;
    options.probe = false;
    const granule::Result<granule::Array<granule::DrmDeviceEntry>, granule::OsError> devices =
        granule::list_drm_devices(granule::system_drm_calls(), options, granule::NodeMemory::process());
    if (!devices) {
        return out.from(devices.error());
    }
    for (const granule::DrmDeviceEntry& device : *devices) {
        const granule_device_entry entry = granule::c_api::to_entry(device);
        visit(data, &entry);
    }
    return GRANULE_STATUS_OK;
}

const char* granule_gpu_name(uint32_t index) {
    for (const granule::mali::GpuModel& gpu : granule::mali::gpu_models()) {
        // Of rows of the same name only the first can be named.
        if (granule::mali::find_gpu_model(gpu.name) == &gpu && index-- == 0) {
            return granule::c_api::short_name(gpu).data();
        }
    }
    return nullptr;
}
