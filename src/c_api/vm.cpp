// vm.h: address spaces. Their VA: va.cpp.
#include <granule/vm.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <optional>
#include <utility>

#include "src/c_api/convert.hpp"
#include "src/c_api/error.hpp"
#include "src/c_api/sized_struct.hpp"
#include "src/c_api/timeline_handle.hpp"
#include "src/c_api/vm_handle.hpp"

using granule::OsError;
using granule::Owned;
using granule::Result;
using granule::Status;
using granule::Timeline;
using granule::Va;
using granule::VaRange;
using granule::Vm;
using granule::VmConfig;
using granule::c_api::ErrorOut;
using granule::c_api::to_c;

namespace {

// Nobody's history is as long as that.
constexpr std::uint32_t kNoHistory = UINT32_MAX;

bool is_backwards(const granule_range& range) noexcept {
    return range.end < range.start;
}

// Whether the space or a zone has what is no VA.
bool reaches_beyond(const granule_vm_info& info) noexcept {
    return info.space.end > granule::kMaxVaEnd ||
           std::any_of(std::begin(info.zones), std::end(info.zones),
                       [](const granule_range& zone) { return zone.end > granule::kMaxVaEnd; });
}

VaRange to_range(const granule_range& range) noexcept {
    return {Va{range.start}, Va{range.end}};
}

const char* read_config(const granule_vm_info& info, VmConfig& config) noexcept {
    if ((info.flags & ~granule::c_api::all_of(GRANULE_VM_TRACK_ACTIVITY)) != 0) {
        return "flags that granule_vm_flags does not have";
    }
    if (info.reserved != 0) {
        return "reserved is not 0";
    }
    if (is_backwards(info.space) || std::any_of(std::begin(info.zones), std::end(info.zones), is_backwards)) {
        return "space or a zone ends before it begins";
    }
    config.space = to_range(info.space);
    for (std::uint32_t zone = 0; zone < granule::kVaZones; ++zone) {
        const granule_range& range = info.zones[zone];
        config.zones[static_cast<std::size_t>(granule::c_api::to_zone(zone))] = to_range(range);
    }
    if (info.history != 0) {
        config.journal_capacity = info.history == kNoHistory ? 0 : info.history;
    }
    return nullptr;
}

// What a granule_vm is made of.
Result<granule::c_api::VmParts, OsError> make_parts(granule_device& device, const granule_vm_info& info,
                                                    VmConfig& config) noexcept {
    const OsError no_memory{Status::kOutOfHostMemory, "", 0};
    granule::c_api::VmParts parts;
    if (info.on_binding != nullptr) {
        parts.observer = granule::make_owned<granule::c_api::BindingObserver>(
            device.nodes(), info.on_binding, info.on_binding_data, device.device().bos());
        if (!parts.observer) {
            return granule::fail(no_memory);
        }
        config.observer = parts.observer.get();
    }
    Result<Owned<Vm>, OsError> vm = device.device().create_vm(config);
    if (!vm) {
        return granule::fail(vm.error());
    }
    parts.vm = std::move(*vm);
    if (device.device().properties().kernel_queue) {
        Result<Owned<Timeline>, OsError> tail = device.device().create_timeline();
        if (!tail) {
            return granule::fail(tail.error());
        }
        parts.queue_tail = std::move(*tail);
    }
    if ((info.flags & GRANULE_VM_TRACK_ACTIVITY) != 0) {
        Result<Owned<Timeline>, OsError> activity = device.device().create_timeline();
        if (!activity) {
            return granule::fail(activity.error());
        }
        parts.activity = granule::c_api::make_child<granule_timeline>(device, std::move(*activity),
                                                                      granule::c_api::DeviceChild::Kind::kVmTimeline);
        if (parts.activity == nullptr) {
            return granule::fail(no_memory);
        }
    }
    return parts;
}

granule_zone_statistics statistics_of(const granule::VaZoneStats& zone) noexcept {
    granule_zone_statistics statistics{};
    statistics.range = to_c(zone.range);
    statistics.reserved_bytes = zone.used_bytes + zone.retired_bytes;
    statistics.waiting_bytes = zone.retired_bytes;
    statistics.largest_hole = zone.largest_hole;
    statistics.holes = zone.holes;
    return statistics;
}

}  // namespace

granule_status granule_vm_create(granule_device* device, const granule_vm_info* info, granule_vm** vm,
                                 granule_error* error) {
    const ErrorOut out(error);
    if (vm == nullptr) {
        return out.bad("vm is NULL");
    }
    *vm = nullptr;
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (device == nullptr) {
        return out.bad("device is NULL");
    }
    granule_vm_info asked{};
    if (info != nullptr) {
        if (const char* const why = granule::c_api::read_struct(info, asked)) {
            return out.bad(why);
        }
    }
    if (reaches_beyond(asked)) {
        return out.fail(Status::kOutOfRange, "space and zones are below 2^48");
    }
    VmConfig config;
    if (const char* const why = read_config(asked, config)) {
        return out.bad(why);
    }
    Result<granule::c_api::VmParts, OsError> parts = make_parts(*device, asked, config);
    if (!parts) {
        return out.from(parts.error());
    }
    granule_timeline* const activity = parts->activity;
    const granule::ShortLabel label(granule::c_api::view_of(asked.label));
    *vm = granule::c_api::make_child<granule_vm>(*device, label, std::move(*parts));
    if (*vm == nullptr) {
        if (activity != nullptr) {
            activity->release();
        }
        return out.fail(Status::kOutOfHostMemory);
    }
    return GRANULE_STATUS_OK;
}

void granule_vm_destroy(granule_vm* vm) {
    if (vm != nullptr) {
        granule::c_api::end_child(vm);
    }
}

granule_sync granule_vm_activity_begin(granule_vm* vm) {
    return vm == nullptr ? granule_sync{} : vm->activity().begin();
}

void granule_vm_activity_end(granule_vm* vm, uint64_t point) {
    if (vm != nullptr) {
        vm->activity().end(point);
    }
}

granule_sync granule_vm_activity(granule_vm* vm) {
    return vm == nullptr ? granule_sync{} : vm->activity().last();
}

granule_status granule_vm_get_state(const granule_vm* vm, granule_vm_state* state) {
    if (vm == nullptr || state == nullptr || granule::c_api::bad_struct(state) != nullptr) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    const granule::c_api::QueuedBinds::State queued = vm->queued().state();
    const std::optional<granule::VmLoss> loss = vm->vm().lost_because();
    granule_vm_state known{};
    known.usable = loss ? 0 : 1;
    if (loss) {
        known.lost_because = static_cast<std::int32_t>(
            loss->how == granule::VmLoss::How::kKernelLost ? Status::kVmUnusable : loss->status);
        known.os_error = loss->error;
    }
    known.kernel_id = vm->vm().kernel_id();
    known.queued = queued.waiting;
    known.failed_binds = queued.failed;
    known.last_failed_bind = queued.last_failed;
    granule::c_api::write_struct(state, known);
    return GRANULE_STATUS_OK;
}

granule_status granule_vm_check(granule_vm* vm, granule_error* error) {
    const ErrorOut out(error);
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (vm == nullptr) {
        return out.bad("vm is NULL");
    }
    const Status status = vm->vm().check();
    if (status == Status::kOk) {
        return GRANULE_STATUS_OK;
    }
    vm->tell_failure(nullptr);
    return out.fail(status);
}

granule_status granule_vm_rebuild(granule_vm* vm, granule_rebuild_report* report, granule_error* error) {
    const ErrorOut out(error);
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (vm == nullptr) {
        return out.bad("vm is NULL");
    }
    if (report != nullptr) {
        if (const char* const why = granule::c_api::bad_struct(report)) {
            return out.bad(why);
        }
    }
    if (vm->vm().usable()) {
        return out.bad("the VM is not lost");
    }
    const Result<granule::RebuildReport, granule::BindError> rebuilt = vm->vm().rebuild();
    if (!rebuilt) {
        return out.from(rebuilt.error(), GRANULE_NO_OP, false);
    }
    vm->came_back();
    if (report != nullptr) {
        granule_rebuild_report did{};
        did.kernel_id = rebuilt->kernel_id;
        did.mappings = rebuilt->mappings;
        did.bytes = rebuilt->bytes;
        granule::c_api::write_struct(report, did);
    }
    return GRANULE_STATUS_OK;
}

granule_status granule_vm_get_statistics(const granule_vm* vm, granule_vm_statistics* statistics) {
    if (vm == nullptr || statistics == nullptr || granule::c_api::bad_struct(statistics) != nullptr) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    const granule::VmStatistics now = vm->vm().statistics();
    granule_vm_statistics known{};
    known.mappings = now.mappings;
    known.mapped_bytes = now.mapped_bytes;
    known.mapped_bytes_peak = now.peak_mapped_bytes;
    known.binds = now.binds;
    known.blocks_2m = now.blocks_2m;
    known.blocks_1g = now.blocks_1g;
    known.granules_remapped = vm->totals().granules();
    known.residual_bytes = vm->totals().residual_bytes();
    known.exposed_bytes = vm->totals().exposed_bytes();
    known.host_bytes = now.node_bytes;
    known.table_bytes = now.table_bytes;
    for (std::uint32_t zone = 0; zone < granule::kVaZones; ++zone) {
        known.zones[zone] = statistics_of(now.zones[static_cast<std::size_t>(granule::c_api::to_zone(zone))]);
    }
    granule::c_api::write_struct(statistics, known);
    return GRANULE_STATUS_OK;
}
