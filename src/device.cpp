#include "src/device.hpp"

#include <cassert>

namespace granule {
namespace {

BindError bind_error(Status status) noexcept {
    BindError error;
    error.status = status;
    return error;
}

Status status_of(const VaError& error) noexcept {
    switch (error.code) {
        case VaError::Code::kOutOfMemory:
            return Status::kOutOfHostMemory;
        case VaError::Code::kOccupied:
            return Status::kVaOccupied;
        default:
            return Status::kOutOfRange;  // the VM was made for less than the kernel uses
    }
}

// What a reserve of ours returned.
void release_whole(Vm& vm, const VaRange& range) noexcept {
    const Result<void, VaError> released = vm.release_va(range);
    assert(released);
    static_cast<void>(released);
}

}  // namespace

const char* to_string(DeviceProperties::Kind kind) noexcept {
    switch (kind) {
        case DeviceProperties::Kind::kSoft:
            return "soft";
        case DeviceProperties::Kind::kPanthor:
            return "panthor";
        case DeviceProperties::Kind::kPanfrost:
            return "panfrost";
    }
    return "?";
}

Result<int, OsError> Device::export_bo(const Bo& bo) noexcept {
    if (!bo.shareable) {
        return fail(OsError{Status::kBadArgument, "", 0});
    }
    // Before there is a file: from then on nobody may take it for unshared.
    bo.exported.store(true, std::memory_order_relaxed);
    return export_shareable(bo);
}

Result<void, OsError> Device::wait_bo(const Bo& /*bo*/, std::int64_t /*until_ns*/) noexcept {
    return fail(OsError{Status::kNotSupported, "", 0});
}

Result<bool, OsError> Device::set_evictable(const Bo& /*bo*/, bool /*evictable*/) noexcept {
    return fail(OsError{Status::kNotSupported, "", 0});
}

Result<BindReport, BindError> Device::show_bo(Vm& vm, BoId bo_id) noexcept {
    const Bo* const bo = bos().find(bo_id);
    if (bo == nullptr) {
        return fail(bind_error(Status::kUnknownBo));
    }
    if (!bo->kernel_va) {
        return fail(bind_error(Status::kNotSupported));
    }
    BindRequest request;
    request.kind = BindRequest::Kind::kMap;
    request.va = {*bo->kernel_va, *bo->kernel_va + bo->size};
    request.shows.bo = bo_id;
    request.shows.flags = bo->kernel_flags;
    if (const Result<VaRange, VaError> reserved = vm.reserve_va_at(request.va); !reserved) {
        BindError error = bind_error(status_of(reserved.error()));
        error.plan.request = request.va;
        return fail(error);
    }
    Result<BindReport, BindError> shown = vm.bind(request);
    if (!shown) {
        release_whole(vm, request.va);
    }
    return shown;
}

Result<VaRange, OsError> Device::map_bo(Vm& vm, const Bo& bo, const MapFlags& flags, VaRequest place) noexcept {
    if (properties().kernel_places_bos) {
        if (const Result<BindReport, BindError> shown = show_bo(vm, bo.id); !shown) {
            return fail(os_error(shown.error()));
        }
        return VaRange{*bo.kernel_va, *bo.kernel_va + bo.size};
    }
    place.size = bo.size;
    const Result<VaRange, VaError> va = vm.reserve_va(place);
    if (!va) {
        return fail(os_error(va.error()));
    }
    BindRequest request;
    request.kind = BindRequest::Kind::kMap;
    request.va = *va;
    request.shows.bo = bo.id;
    request.shows.flags = flags;
    if (const Result<BindReport, BindError> bound = vm.bind(request); !bound) {
        release_whole(vm, *va);
        return fail(os_error(bound.error()));
    }
    return *va;
}

void Device::free_mapped_bo(Vm& vm, BoId bo_id) noexcept {
    Bo* const bo = bos().find(bo_id);
    assert(bo != nullptr && bo->kernel_va);
    const VaRange range{*bo->kernel_va, *bo->kernel_va + bo->size};
    const Result<BindReport, BindError> unmapped = vm.unmap(range, UnmapPolicy::kReject);
    assert(unmapped);
    static_cast<void>(unmapped);
    // Before the handle is closed: from then on the kernel may give the VA to another BO, which is to find it free here.
    release_whole(vm, range);
    bos().release(*bo, 1);
}

Result<BoId, BindError> Device::create_mapped_bo(Vm& vm, const BoRequest& request) noexcept {
    const Result<BoId, OsError> bo = create_bo(request);
    if (!bo) {
        BindError error = bind_error(bo.error().status);
        error.error = bo.error().error;
        return fail(error);
    }
    if (const Result<BindReport, BindError> shown = show_bo(vm, *bo); !shown) {
        bos().release(*bos().find(*bo), 1);
        return fail(shown.error());
    }
    return *bo;
}

MemoryUsage Device::memory_usage() const noexcept {
    MemoryUsage usage = bos().budget().usage();
    usage.heap_bytes = properties_.heap_bytes;
    return usage;
}

}  // namespace granule
