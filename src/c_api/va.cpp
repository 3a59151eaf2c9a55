// vm.h: reserving and releasing VA.
#include <granule/vm.h>

#include <optional>

#include "src/c_api/bind_op.hpp"
#include "src/c_api/convert.hpp"
#include "src/c_api/error.hpp"
#include "src/c_api/sized_struct.hpp"
#include "src/c_api/timeline_handle.hpp"
#include "src/c_api/vm_handle.hpp"

using granule::Result;
using granule::Status;
using granule::Va;
using granule::VaError;
using granule::VaRange;
using granule::VaRequest;
using granule::c_api::ErrorOut;

namespace {

Result<VaRange, VaError> reserve(granule_vm& vm, const granule_va_info& info) noexcept {
    VaRequest request;
    request.size = info.size;
    request.alignment = info.alignment != 0 ? info.alignment : granule::c_api::default_alignment(info.size);
    request.phase = info.phase;
    request.zone = granule::c_api::zone_of(vm.vm(), granule::c_api::to_zone(info.zone));
    request.direction =
        (info.flags & GRANULE_VA_BOTTOM_UP) != 0 ? granule::VaDirection::kBottomUp : granule::VaDirection::kTopDown;
    request.boundary = info.boundary;
    request.guard = info.guard;
    return vm.vm().reserve_va(request);
}

const char* bad_info(const granule_va_info& info) noexcept {
    if ((info.flags & ~granule::c_api::all_of(GRANULE_VA_BOTTOM_UP)) != 0) {
        return "flags that granule_va_flags does not have";
    }
    if (info.fixed > 1) {
        return "fixed is not 0 or 1";
    }
    if (!granule::c_api::is_zone(info.zone)) {
        return "zone is none of granule_va_zone";
    }
    return nullptr;
}

// Exactly where it is asked for.
granule_status reserve_fixed(granule_vm& vm, const granule_va_info& info, uint64_t* va, const ErrorOut& out) noexcept {
    const granule_range asked{info.address, granule::checked_add(info.address, info.size).value_or(UINT64_MAX)};
    const std::optional<VaRange> range = VaRange::from_size(Va{info.address}, info.size);
    if (!range || !vm.vm().config().space.contains(*range)) {
        return out.fail(Status::kOutOfRange, "outside the VM's space");
    }
    const Result<VaRange, VaError> reserved = vm.vm().reserve_va_at(*range, info.guard);
    if (!reserved) {
        return out.from(reserved.error(), asked);
    }
    *va = reserved->start.raw();
    return GRANULE_STATUS_OK;
}

}  // namespace

granule_status granule_va_reserve(granule_vm* vm, const granule_va_info* info, uint64_t* va, granule_error* error) {
    const ErrorOut out(error);
    if (va == nullptr) {
        return out.bad("va is NULL");
    }
    *va = 0;
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (vm == nullptr || info == nullptr) {
        return out.bad("vm or info is NULL");
    }
    granule_va_info asked;
    if (const char* const why = granule::c_api::read_struct(info, asked)) {
        return out.bad(why);
    }
    if (const char* const why = bad_info(asked)) {
        return out.bad(why);
    }
    if (vm->device().device().properties().kernel_places_bos) {
        return out.fail(Status::kNotSupported, "the kernel chooses the VA of BOs");
    }
    if (asked.fixed != 0) {
        return reserve_fixed(*vm, asked, va, out);
    }
    const Result<VaRange, VaError> reserved = reserve(*vm, asked);
    if (!reserved) {
        return out.from(reserved.error(), {});
    }
    *va = reserved->start.raw();
    return GRANULE_STATUS_OK;
}

granule_status granule_va_release(granule_vm* vm, uint64_t va, uint64_t size, const granule_sync* fences,
                                  uint32_t fence_count, granule_error* error) {
    const ErrorOut out(error);
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (vm == nullptr) {
        return out.bad("vm is NULL");
    }
    granule::c_api::FenceList behind;
    if (const char* const why = behind.read(vm->device(), fences, fence_count)) {
        return out.bad(why);
    }
    const std::optional<VaRange> range = VaRange::from_size(Va{va}, size);
    if (!range) {
        return out.bad("va + size is beyond 2^48");
    }
    const Result<void, VaError> released = vm->vm().release_va(*range, behind.points());
    return released ? GRANULE_STATUS_OK : out.from(released.error(), granule::c_api::to_c(*range));
}
