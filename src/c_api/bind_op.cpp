#include "src/c_api/bind_op.hpp"

#include <optional>

#include "src/c_api/bo_handle.hpp"
#include "src/c_api/convert.hpp"
#include "src/c_api/timeline_handle.hpp"

namespace granule::c_api {
namespace {

// Which rule the points break; nullptr: none.
const char* bad_syncs(const granule_vm& vm, const granule_sync* syncs, std::uint32_t count) noexcept {
    if (count != 0 && syncs == nullptr) {
        return "there are waits or signals, and the pointer to them is NULL";
    }
    for (const granule_sync& sync : std::span{syncs, count}) {
        if (sync.timeline == nullptr) {
            return "a wait or signal without a timeline";
        }
        if (&sync.timeline->device() != &vm.device()) {
            return "a wait or signal with a timeline of another device";
        }
    }
    return nullptr;
}

// What the enums and flags of the operation say against it.
const char* bad_kind(BindMode mode, const granule_bind_op& op) noexcept {
    if (op.type > GRANULE_BIND_SYNC_ONLY) {
        return "type is none of granule_bind_type";
    }
    if (op.reserved != 0) {
        return "reserved is not 0";
    }
    if (op.cut > GRANULE_CUT_ENLARGE) {
        return "cut is none of granule_cut_policy";
    }
    if (op.leaves > GRANULE_LEAVES_PAGES) {
        return "leaves is none of granule_leaf_policy";
    }
    const bool maps = op.type == GRANULE_BIND_MAP || op.type == GRANULE_BIND_MAP_SPARSE;
    const std::uint32_t flags = maps                            ? kAllMapFlags
                                : op.type == GRANULE_BIND_UNMAP ? std::uint32_t{GRANULE_UNMAP_RELEASE_VA}
                                                                : 0U;
    if ((op.flags & ~flags) != 0) {
        return "flags that an operation of this type does not have";
    }
    if (op.type == GRANULE_BIND_SYNC_ONLY && mode == BindMode::kImmediate) {
        return "GRANULE_BIND_SYNC_ONLY is for ASYNC and DEFERRED";
    }
    if (mode != BindMode::kAsync && (op.wait_count != 0 || op.signal_count != 0)) {
        return "waits and signals are for ASYNC";
    }
    if (op.type == GRANULE_BIND_MAP && op.bo == nullptr) {
        return "GRANULE_BIND_MAP without a BO";
    }
    if (op.type != GRANULE_BIND_MAP && op.bo != nullptr) {
        return "a BO, which only GRANULE_BIND_MAP has";
    }
    if (op.va == GRANULE_VA_AUTO && !maps) {
        return "GRANULE_VA_AUTO is for MAP and MAP_SPARSE";
    }
    if (op.va == GRANULE_VA_AUTO && !is_zone(op.zone)) {
        return "zone is none of granule_va_zone";
    }
    return nullptr;
}

const char* bad_numbers(const granule_bind_op& op) noexcept {
    if (op.size == 0) {
        return "the size is 0";
    }
    if (!is_aligned(op.size, kPageBytes)) {
        return "the size is not a multiple of 4 KiB";
    }
    if (op.va != GRANULE_VA_AUTO && !is_aligned(op.va, kPageBytes)) {
        return "the VA is not a multiple of 4 KiB";
    }
    if (op.type == GRANULE_BIND_MAP && !is_aligned(op.bo_offset, kPageBytes)) {
        return "the BO offset is not a multiple of 4 KiB";
    }
    return nullptr;
}

granule_status out_of_range(const ErrorOut& out, const char* why, std::uint64_t start, std::uint64_t size,
                            std::uint32_t number) noexcept {
    granule_error error{};
    error.status = GRANULE_STATUS_OUT_OF_RANGE;
    error.op = number;
    error.why = why;
    error.request = {start, checked_add(start, size).value_or(UINT64_MAX)};
    return out.from(error);
}

// What cannot be done on this device, whatever the numbers are.
const char* not_supported(const DeviceProperties& device, const granule_bind_op& op) noexcept {
    if (op.type == GRANULE_BIND_MAP_SPARSE && !device.sparse) {
        return "this device has no sparse mappings";
    }
    if (op.type == GRANULE_BIND_MAP && device.kernel_places_bos) {
        const Bo& bo = to_bo(op.bo);
        if (op.bo_offset != 0 || op.size != bo.size) {
            return "this kernel shows BOs whole";
        }
        if ((op.flags & all_of(GRANULE_MAP_READ_ONLY, GRANULE_MAP_UNCACHED)) != 0) {
            return "this kernel maps BOs as they were made: neither read-only nor uncached";
        }
    }
    return nullptr;
}

}  // namespace

granule_status read_bind_op(const granule_vm& vm, BindMode mode, const granule_bind_op& from, std::uint32_t number,
                            BindOp& op, const ErrorOut& out) noexcept {
    if (const char* const why = bad_kind(mode, from)) {
        return out.bad(why, number);
    }
    for (const auto& [syncs, count] : {std::pair{from.waits, from.wait_count}, {from.signals, from.signal_count}}) {
        if (const char* const why = bad_syncs(vm, syncs, count)) {
            return out.bad(why, number);
        }
    }
    op = BindOp{};
    op.waits = {from.waits, from.wait_count};
    op.signals = {from.signals, from.signal_count};
    if (from.type == GRANULE_BIND_MAP && &device_of(to_bo(from.bo)) != &vm.device()) {
        return out.fail(Status::kUnknownBo, "the BO is another device's", number);
    }
    if (from.type == GRANULE_BIND_MAP && to_bo(from.bo).only_for != 0 && to_bo(from.bo).only_for != vm.serial()) {
        return out.bad("the BO is only for another VM", number);
    }
    if (const char* const why = not_supported(vm.device().device().properties(), from)) {
        return out.fail(Status::kNotSupported, why, number);
    }
    if (from.type == GRANULE_BIND_SYNC_ONLY) {
        op.sync_only = true;
        return GRANULE_STATUS_OK;
    }
    if (const char* const why = bad_numbers(from)) {
        return out.bad(why, number);
    }

    op.chooses_va = from.va == GRANULE_VA_AUTO;
    const std::uint64_t start = op.chooses_va ? 0 : from.va;
    const std::optional<VaRange> range = VaRange::from_size(Va{start}, from.size);
    if (!range || (!op.chooses_va && !vm.vm().config().space.contains(*range))) {
        return out_of_range(out, "outside the VM's space", start, from.size, number);
    }
    op.request.va = *range;
    op.request.policy = static_cast<UnmapPolicy>(from.cut);
    op.request.leaves = static_cast<LeafPolicy>(from.leaves);
    if (from.type == GRANULE_BIND_UNMAP) {
        op.releases_va = (from.flags & GRANULE_UNMAP_RELEASE_VA) != 0;
        const bool reserved = !vm.device().device().properties().kernel_places_bos;
        if (op.releases_va && reserved) {
            if (const Result<void, VaError> is = check_reserved(vm.vm(), *range); !is) {
                return out.from(is.error(), to_c(*range), number);
            }
        }
        return GRANULE_STATUS_OK;
    }
    op.request.kind = BindRequest::Kind::kMap;
    op.request.shows.flags = to_map_flags(from.flags);
    op.zone = to_zone(from.zone);
    if (from.type == GRANULE_BIND_MAP) {
        const Bo& bo = to_bo(from.bo);
        if (from.bo_offset > bo.size || from.size > bo.size - from.bo_offset) {
            return out_of_range(out, "outside the BO", start, from.size, number);
        }
        op.request.shows.bo = bo.id;
        op.request.shows.offset = BoOffset{from.bo_offset};
        if (bo.kernel_va) {
            op.request.shows.flags = bo.kernel_flags;
        }
    }
    return GRANULE_STATUS_OK;
}

Result<void, VaError> check_reserved(const Vm& vm, const VaRange& range) noexcept {
    const std::optional<VaAllocation> there = vm.reservation_at(range.start);
    if (there && there->range == range && !there->retired) {
        return {};
    }
    return fail(VaError{
        .code = VaError::Code::kNotAllocated,
        .occupant = there ? there->whole : VaRange{},
    });
}

VaZone zone_of(const Vm& vm, VaZone zone) noexcept {
    const bool no_main = vm.config().zones[static_cast<std::size_t>(VaZone::kMain)].empty();
    return zone == VaZone::kMain && no_main ? VaZone::kLow : zone;
}

std::uint64_t default_alignment(std::uint64_t size) noexcept {
    return size < kBlock2MBytes ? kPageBytes : kBlock2MBytes;
}

Result<VaRange, VaError> choose_va(granule_vm& vm, const BindOp& op) noexcept {
    const std::uint64_t size = op.request.va.size();
    if (vm.device().device().properties().kernel_places_bos) {
        const Va va = *vm.vm().bos().find(op.request.shows.bo)->kernel_va;
        return VaRange{va, va + size};
    }
    VaRequest request;
    request.size = size;
    request.alignment = default_alignment(size);
    // VA and BO agree modulo 2 MiB, so that the parts of a BO that can be blocks are.
    request.phase = op.request.shows.offset.raw() % request.alignment;
    request.zone = zone_of(vm.vm(), op.zone);
    return vm.vm().reserve_va(request);
}

void give_back_chosen_va(granule_vm& vm, const VaRange& range) noexcept {
    if (!vm.device().device().properties().kernel_places_bos) {
        // Nobody was told of it. A caller who has released it all the same has done what is to be done.
        static_cast<void>(vm.vm().release_va(range));
    }
}

void release_unmapped_va(granule_vm& vm, const VaRange& range, std::span<const FencePoint> fences) noexcept {
    if (!vm.device().device().properties().kernel_places_bos) {
        // It was reserved when the operation was read. Whoever released it meanwhile has done what is to be done.
        static_cast<void>(vm.vm().release_va(range, fences));
    }
}

}  // namespace granule::c_api
