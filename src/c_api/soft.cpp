// soft.h: what only the soft device has.
#include <granule/soft.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "mali/address.hpp"
#include "mali/fault_status.hpp"
#include "src/c_api/convert.hpp"
#include "src/c_api/device_handle.hpp"
#include "src/c_api/failure_requests.hpp"
#include "src/c_api/sized_struct.hpp"
#include "src/c_api/text.hpp"
#include "src/c_api/vm_handle.hpp"
#include "src/soft_device.hpp"

namespace granule::c_api {
namespace {

static_assert(GRANULE_SOFT_OPERATION == static_cast<int>(Injection::Site::kOperation));
static_assert(GRANULE_SOFT_TABLE_MEMORY == static_cast<int>(Injection::Site::kTableMemory));
static_assert(GRANULE_SOFT_DEVICE_MEMORY == static_cast<int>(Injection::Site::kDeviceMemory));
static_assert(GRANULE_SOFT_SHARED_FILE == static_cast<int>(Injection::Site::kSharedFile));
static_assert(GRANULE_SOFT_SHARED_FILE + 1 == FailureRequests::kSites);

std::uint32_t kind_of(mali::FaultClass fault) noexcept {
    switch (fault) {
        case mali::FaultClass::kNone:
            return GRANULE_FAULT_NONE;
        case mali::FaultClass::kTranslation:
            return GRANULE_FAULT_TRANSLATION;
        case mali::FaultClass::kPermission:
            return GRANULE_FAULT_PERMISSION;
        case mali::FaultClass::kAddressSizeIn:
        case mali::FaultClass::kAddressSizeOut:
            return GRANULE_FAULT_ADDRESS;
        default:
            return GRANULE_FAULT_OTHER;
    }
}

granule_gpu_fault to_fault(const GpuFault& fault, const SoftDevice& device, mali::AccessKind access) noexcept {
    const std::uint8_t exception = mali::decode_fault_status(fault.status).exception;
    const bool csf = device.config().gpu->has_csf();
    granule_gpu_fault to{};
    to.struct_size = sizeof(to);
    to.kind = kind_of(mali::fault_class(exception));
    to.va = fault.va.raw();
    to.status = fault.status;
    to.write = access == mali::AccessKind::kWrite ? 1 : 0;
    to.name = mali::exception_name(exception, csf ? mali::FaultNames::kCsf : mali::FaultNames::kJobManager);
    return to;
}

// `transfer(SoftGpu&, SoftGpu::Context&)` is the access itself.
template <class Transfer>
granule_status access(granule_vm* vm, const void* memory, std::size_t size, granule_gpu_fault* fault,
                      mali::AccessKind kind, Transfer&& transfer) noexcept {
    if (vm == nullptr || (memory == nullptr && size != 0) || (fault != nullptr && bad_struct(fault) != nullptr)) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    if (!vm->device().is_soft()) {
        return GRANULE_STATUS_NOT_SUPPORTED;
    }
    auto& device = static_cast<SoftDevice&>(vm->device().device());
    const Result<void, GpuFault> done = transfer(device.gpu(), SoftDevice::address_space(vm->vm()).gpu_context());
    if (done) {
        return GRANULE_STATUS_OK;
    }
    if (fault != nullptr) {
        write_struct(fault, to_fault(done.error(), device, kind));
    }
    return GRANULE_STATUS_OUT_OF_RANGE;
}

}  // namespace
}  // namespace granule::c_api

using granule::Va;

granule_status granule_soft_read(granule_vm* vm, uint64_t va, void* to, size_t size, granule_gpu_fault* fault) {
    return granule::c_api::access(vm, to, size, fault, granule::mali::AccessKind::kRead,
                                  [&](granule::SoftGpu& gpu, granule::SoftGpu::Context& context) {
                                      return gpu.read(context, Va{va}, {static_cast<std::byte*>(to), size});
                                  });
}

granule_status granule_soft_write(granule_vm* vm, uint64_t va, const void* from, size_t size,
                                  granule_gpu_fault* fault) {
    return granule::c_api::access(vm, from, size, fault, granule::mali::AccessKind::kWrite,
                                  [&](granule::SoftGpu& gpu, granule::SoftGpu::Context& context) {
                                      return gpu.write(context, Va{va}, {static_cast<const std::byte*>(from), size});
                                  });
}

size_t granule_gpu_fault_text(const granule_gpu_fault* fault, char* text, size_t size) {
    granule::c_api::TextWriter out(text, size);
    granule_gpu_fault ours{};
    if (fault == nullptr || granule::c_api::read_struct(fault, ours) != nullptr) {
        return out.finish();
    }
    const std::uint8_t exception = granule::mali::decode_fault_status(ours.status).exception;
    out.text(granule::mali::to_string(granule::mali::fault_class(exception)));
    out.text(ours.write != 0 ? ", a write at " : ", a read at ").hex(ours.va);
    if (ours.name != nullptr) {
        out.text(" (").text(ours.name).text(")");
    }
    return out.finish();
}

granule_status granule_soft_fail(granule_device* device, granule_soft_site site, uint64_t skip, int os_error) {
    const std::uint32_t number = granule::c_api::number_of(site);
    if (device == nullptr || number >= granule::c_api::FailureRequests::kSites || os_error < 0) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    if (!device->is_soft()) {
        return GRANULE_STATUS_NOT_SUPPORTED;
    }
    device->failures().fail(static_cast<granule::Injection::Site>(number), skip, os_error);
    return GRANULE_STATUS_OK;
}

granule_status granule_soft_get_statistics(const granule_device* device, granule_soft_statistics* statistics) {
    if (device == nullptr || statistics == nullptr || granule::c_api::bad_struct(statistics) != nullptr) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    if (!device->is_soft()) {
        return GRANULE_STATUS_NOT_SUPPORTED;
    }
    const auto& soft = static_cast<const granule::SoftDevice&>(device->device());
    const granule::SoftGpu::Counters counters = soft.gpu().counters();
    granule_soft_statistics now{};
    now.struct_size = sizeof(now);
    now.accesses = counters.accesses;
    now.faults = counters.faults;
    now.stalls = counters.stalls;
    now.stale = counters.stale;
    now.register_writes = counters.register_writes;
    now.leaf_cuts = soft.leaf_cuts();
    granule::c_api::write_struct(statistics, now);
    return GRANULE_STATUS_OK;
}
