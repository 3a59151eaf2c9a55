// inspect.h: what is, or was, in a VM. In words: address_report_text.cpp.
#include <granule/inspect.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "src/bo_pin.hpp"
#include "src/c_api/bo_handle.hpp"
#include "src/c_api/convert.hpp"
#include "src/c_api/mapping.hpp"
#include "src/c_api/sized_struct.hpp"
#include "src/c_api/vm_handle.hpp"
#include "src/journal.hpp"

using granule::AddressReport;
using granule::Bo;
using granule::LeafRun;
using granule::Mapping;
using granule::ShortLabel;
using granule::Va;
using granule::VaAllocation;
using granule::VaRange;
using granule::VaZone;
using granule::c_api::to_c;

namespace {

// Of a BO that may be gone meanwhile; then nothing.
ShortLabel label_of(const granule_vm& vm, const Mapping& mapping) noexcept {
    granule::BoTable& bos = vm.device().device().bos();
    granule::BoPin pin(bos);
    if (mapping.shows.sparse() || pin.take(mapping.shows.bo) == nullptr) {
        return {};
    }
    return bos.short_label(mapping.shows.bo);
}

granule_address_condition condition_of(const granule_vm& vm, const AddressReport& known) noexcept {
    if (known.mapping) {
        return known.mapping->shows.sparse() ? GRANULE_ADDRESS_SPARSE : GRANULE_ADDRESS_MAPPED;
    }
    if (!vm.vm().config().space.contains(known.va)) {
        return GRANULE_ADDRESS_OUTSIDE;
    }
    if (known.removed) {
        return GRANULE_ADDRESS_UNMAPPED;
    }
    if (known.reserved) {
        return known.retired ? GRANULE_ADDRESS_WAITING : GRANULE_ADDRESS_RESERVED;
    }
    return GRANULE_ADDRESS_NEVER_USED;
}

granule_address_report to_report(const granule_vm& vm, const AddressReport& known) noexcept {
    using granule::c_api::copy_text;
    granule_address_report report{};
    report.condition = condition_of(vm, known);
    report.va = known.va.raw();
    if (known.mapping) {
        report.mapping = to_c(*known.mapping);
        report.granule = to_c(known.granule);
        copy_text(report.label, known.label.view());
        report.cached = known.cached ? 1 : 0;
    }
    if (known.below) {
        report.below = to_c(*known.below);
        copy_text(report.below_label, label_of(vm, *known.below).view());
    }
    if (known.above) {
        report.above = to_c(*known.above);
        copy_text(report.above_label, label_of(vm, *known.above).view());
    }
    if (known.removed) {
        report.removed = to_c(known.removed->what);
        report.removed_ns = known.removed->time_ns;
        report.removed_by = static_cast<std::uint32_t>(known.removed->by);
        report.removed_by_map = known.removed->how == granule::Removal::By::kMap ? 1 : 0;
        copy_text(report.removed_label, known.removed->label.view());
    }
    report.history_complete = known.history_complete ? 1 : 0;
    if (known.reserved) {
        report.reserved_range = to_c(*known.reserved);
        report.reserved_waiting = known.retired ? 1 : 0;
    }
    return report;
}

// What a caller wants to walk over, as far as there can be anything; nullopt: no range.
std::optional<VaRange> to_walk(const granule_range& range) noexcept {
    if (range.end < range.start || range.start > granule::kMaxVaEnd) {
        return std::nullopt;
    }
    return VaRange{Va{range.start}, Va{std::min(range.end, granule::kMaxVaEnd)}};
}

}  // namespace

granule_status granule_vm_lookup(const granule_vm* vm, uint64_t va, granule_bo** bo, uint64_t* bo_offset) {
    if (bo != nullptr) {
        *bo = nullptr;
    }
    if (bo_offset != nullptr) {
        *bo_offset = 0;
    }
    if (vm == nullptr || bo == nullptr || va >= granule::kMaxVaEnd) {
        return vm == nullptr || bo == nullptr ? GRANULE_STATUS_BAD_ARGUMENT : GRANULE_STATUS_OK;
    }
    granule::BoTable& bos = vm->device().device().bos();
    vm->vm().for_each_mapping({Va{va}, Va{va + 1}}, [&](const Mapping& mapping) {
        // Under the VM's lock, so that the page that is shown still holds it.
        Bo* const shown = mapping.shows.sparse() ? nullptr : bos.retain_if_live(mapping.shows.bo, 1);
        if (shown != nullptr) {
            *bo = granule::c_api::hand_out(*shown);
            if (bo_offset != nullptr) {
                *bo_offset = mapping.shows.offset.raw() + (va - mapping.va.start.raw());
            }
        }
    });
    return GRANULE_STATUS_OK;
}

granule_status granule_vm_describe(const granule_vm* vm, uint64_t va, granule_address_report* report) {
    if (vm == nullptr || report == nullptr || granule::c_api::bad_struct(report) != nullptr) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    granule_address_report found{};
    if (va < granule::kMaxVaEnd) {
        found = to_report(*vm, vm->vm().address(Va{va}));
    } else {
        found.condition = GRANULE_ADDRESS_OUTSIDE;
        found.va = va;
        found.history_complete = 1;
    }
    found.asked_ns = granule::monotonic_ns();
    granule::c_api::write_struct(report, found);
    return GRANULE_STATUS_OK;
}

granule_status granule_vm_walk(const granule_vm* vm, granule_range range,
                               int (*visit)(void* data, const granule_mapping* mapping), void* data) {
    const std::optional<VaRange> walked = to_walk(range);
    if (vm == nullptr || visit == nullptr || !walked) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    vm->vm().for_each_mapping(*walked, [&](const Mapping& mapping) {
        const granule_mapping shown = to_c(mapping);
        return visit(data, &shown) == 0;
    });
    return GRANULE_STATUS_OK;
}

granule_status granule_vm_walk_leaves(const granule_vm* vm, granule_range range,
                                      int (*visit)(void* data, const granule_leaves* leaves), void* data) {
    const std::optional<VaRange> walked = to_walk(range);
    if (vm == nullptr || visit == nullptr || !walked) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    vm->vm().for_each_leaf_run(*walked, [&](const LeafRun& run) {
        const granule_leaves leaves{to_c(run.range()), granule::bytes_of(run.size)};
        return visit(data, &leaves) == 0;
    });
    return GRANULE_STATUS_OK;
}

granule_status granule_vm_walk_reservations(const granule_vm* vm, granule_range range,
                                            int (*visit)(void* data, const granule_reservation* reservation),
                                            void* data) {
    const std::optional<VaRange> walked = to_walk(range);
    if (vm == nullptr || visit == nullptr || !walked) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    bool more = true;
    vm->vm().for_each_reserved([&](const VaAllocation& allocation) {
        if (!more || !allocation.whole.overlaps(*walked)) {
            return;
        }
        const auto& zones = vm->vm().config().zones;
        granule_reservation reservation{};
        reservation.va = to_c(allocation.range);
        reservation.with_guards = to_c(allocation.whole);
        for (const VaZone zone : {VaZone::kLow, VaZone::kMain, VaZone::kReplay}) {
            if (zones[static_cast<std::size_t>(zone)].contains(allocation.whole)) {
                reservation.zone = to_c(zone);
            }
        }
        reservation.waiting = allocation.retired ? 1 : 0;
        more = visit(data, &reservation) == 0;
    });
    return GRANULE_STATUS_OK;
}
