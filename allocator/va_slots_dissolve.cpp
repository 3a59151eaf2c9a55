// How slots become holes again where somebody needs what is free in them: empty runs go back, others are dissolved.
#include <array>
#include <bit>
#include <cstdint>

#include "allocator/va_slots.hpp"

namespace granule {

bool VaSlots::trim(VaZone which) noexcept {
    Zone* const zone = zones_[static_cast<std::size_t>(which)];
    if (zone == nullptr || zone->runs == 0) {
        return false;
    }
    const std::uint64_t before = zone->runs;
    for (unsigned size_class = 0; size_class < VaSlotClass::kClasses; ++size_class) {
        spill(*zone, size_class, zone->classes[size_class].loaded);
    }
    return zone->runs != before;
}

std::uint64_t VaSlots::dissolve_needs(const VaSlotRun& run) noexcept {
    // Every range, what is free behind it, and what is free before the first.
    return 2 * static_cast<std::uint64_t>(std::popcount(run.taken | run.waiting)) + 1;
}

//      block:  | slot 0    | slot 1    | slot 2    | slot 3    |
//      blocks: |  range |h |   range   |   hole    |  range  |h|
//
// The run becomes a hole first, out of which its ranges are carved; the holes join with what is free beside the run.
void VaSlots::dissolve(VaSlotRun& run) noexcept {
    Zone& zone = zone_of(run);
    unload(zone, run);
    const VaSlotRun was = run;
    VaWait* waits = run.waits;
    // All that is free in it is the blocks' again.
    for (std::uint64_t owned = was.taken | was.waiting; owned != 0; owned &= owned - 1) {
        zone.free_pages += was.pages_of(static_cast<unsigned>(std::countr_zero(owned)));
        zone.octaves[was.size_class / kOctave].idle += was.stride;
    }
    give_back(run);
    for (std::uint64_t owned = was.taken | was.waiting; owned != 0; owned &= owned - 1) {
        const auto slot = static_cast<unsigned>(std::countr_zero(owned));
        const std::uint64_t first = was.page_of(slot);
        const std::uint64_t pages = was.pages_of(slot);
        waits_.add(1);
        partition_.carve(*partition_.block_at(first), first, first + pages, 0);
        if (!was.is_taken(slot)) {
            --zone.retired;
            zone.retired_pages -= pages;
        }
    }
    for (; waits != nullptr; waits = waits->next) {
        waits->run = nullptr;
        partition_.retire(*partition_.block_at(waits->page), *waits);
    }
}

bool VaSlots::dissolve_all(VaZone zone) noexcept {
    std::uint64_t needs = 0;
    const auto for_each = [&](auto&& call) noexcept {
        for (std::uint32_t number = 0; number < runs_.touched(); ++number) {
            VaSlotRun& run = runs_[number];
            if (run.slots != 0 && run.zone == zone && has_hole(run)) {
                call(run);
            }
        }
    };
    for_each([&](const VaSlotRun& run) noexcept { needs += dissolve_needs(run); });
    if (!partition_.set_aside(needs)) {
        return false;
    }
    for_each([&](VaSlotRun& run) noexcept { dissolve(run); });
    return true;
}

bool VaSlots::has_hole(const VaSlotRun& run) noexcept {
    if (run.free() != 0) {
        return true;
    }
    for (unsigned slot = 0; slot < run.slots; ++slot) {
        if (run.slack(slot) != 0) {
            return true;
        }
    }
    return false;
}

}  // namespace granule
