// One operation of a caller's array, checked: all that is wrong with it whatever the VM shows is found here, before anything
// is done, also for what a queue will carry out later.
//
// Thread-safety: of the VM only what does not change is looked at, but for a range that is to be released.
#pragma once

#include <granule/bind.h>

#include <cstdint>
#include <span>

#include "allocator/plan.hpp"
#include "allocator/va_heap.hpp"
#include "mali/result.hpp"
#include "src/c_api/error.hpp"
#include "src/c_api/vm_handle.hpp"

namespace granule::c_api {

enum class BindMode : std::uint8_t { kImmediate, kAsync, kDeferred };

struct BindOp {
    // kMap, kUnmap. Where the library chooses the VA, it is [0, size) until then.
    BindRequest request;
    bool sync_only = false;   // there is no request
    bool chooses_va = false;  // GRANULE_VA_AUTO
    bool releases_va = false;
    VaZone zone = VaZone::kMain;
    std::span<const granule_sync> waits;
    std::span<const granule_sync> signals;
};

// The operation that is number `number` of its array. What is wrong is told to `out`, which returns the status.
[[nodiscard]] granule_status read_bind_op(const granule_vm& vm, BindMode mode, const granule_bind_op& from,
                                          std::uint32_t number, BindOp& op, const ErrorOut& out) noexcept;

// Whether `range` is exactly what somebody reserved, and has not released.
[[nodiscard]] Result<void, VaError> check_reserved(const Vm& vm, const VaRange& range) noexcept;

// The VA of a BindOp that leaves it to the library. Where the kernel places BOs it is known already; elsewhere it is reserved.
[[nodiscard]] Result<VaRange, VaError> choose_va(granule_vm& vm, const BindOp& op) noexcept;
void give_back_chosen_va(granule_vm& vm, const VaRange& range) noexcept;
// For others once `fences` are reached. Where the kernel places BOs nothing is reserved.
void release_unmapped_va(granule_vm& vm, const VaRange& range, std::span<const FencePoint> fences = {}) noexcept;

// The zone that a request for `zone` is served from: a VM without anything above 4 GiB has its main zone below.
[[nodiscard]] VaZone zone_of(const Vm& vm, VaZone zone) noexcept;
// The alignment of what does not say.
[[nodiscard]] std::uint64_t default_alignment(std::uint64_t size) noexcept;

}  // namespace granule::c_api
