// Are the invariants of the slots (va_slots.hpp) true? For tests: a look at everything, O(n log n).
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "allocator/va_slots.hpp"

namespace granule {

bool VaSlots::validate() noexcept {
    std::array<VaSlotCounters, kVaZones> recount{};
    std::array<std::array<std::uint64_t, VaSlotClass::kClasses / kOctave>, kVaZones> idle{};
    std::uint64_t with_room = 0;
    std::uint64_t in_magazines = 0;
    for (std::uint32_t number = 0; number < runs_.touched(); ++number) {
        const VaSlotRun& run = runs_[number];
        if (run.slots == 0) {
            if ((run.taken | run.waiting | run.listed) != 0) {
                return false;
            }
            continue;
        }
        if (!validate_run(run, number)) {
            return false;
        }
        VaSlotCounters& counters = recount[static_cast<std::size_t>(run.zone)];
        ++counters.runs;
        counters.run_pages += run.pages();
        for (unsigned slot = 0; slot < run.slots; ++slot) {
            if (run.is_taken(slot)) {
                counters.used_pages += run.pages_of(slot);
            } else if (run.is_retired(slot)) {
                ++counters.retired;
                counters.retired_pages += run.pages_of(slot);
            }
        }
        const auto free = static_cast<std::uint64_t>(std::popcount(run.free()));
        idle[static_cast<std::size_t>(run.zone)][run.size_class / kOctave] += free * run.stride;
        in_magazines += static_cast<std::uint64_t>(std::popcount(run.free() & ~run.listed));
        with_room += run.listed != 0 ? 1 : 0;
    }
    for (std::size_t zone = 0; zone < kVaZones; ++zone) {
        if (zones_[zone] == nullptr) {
            continue;
        }
        for (std::size_t octave = 0; octave < idle[zone].size(); ++octave) {
            if (zones_[zone]->octaves[octave].idle != idle[zone][octave]) {
                return false;
            }
        }
        if (zones_[zone]->classes[VaSlotClass::kClasses].loaded != 0) {
            return false;
        }
        for (unsigned size_class = 0; size_class < VaSlotClass::kClasses; ++size_class) {
            if (!validate_class(static_cast<VaZone>(zone), size_class, with_room, in_magazines)) {
                return false;
            }
        }
    }
    for (std::size_t zone = 0; zone < kVaZones; ++zone) {
        if (recount[zone] != counters(static_cast<VaZone>(zone))) {
            return false;
        }
    }
    return with_room == 0 && in_magazines == 0;
}

// S1, S2, S5, S6
bool VaSlots::validate_run(const VaSlotRun& run, std::uint32_t number) const noexcept {
    const VaBlock* const block = partition_.block_at(run.first);
    const bool is_block = block != nullptr && block->state() == VaBlock::State::kSlots && block->run() == number &&
                          block->number() == run.block && block->first() == run.first && block->pages() == run.pages();
    const bool is_class = run.number == number && run.stride == VaSlotClass::stride_of(run.size_class) &&
                          run.slots <= VaSlotRun::kMostSlots;
    const bool are_states = (run.taken & run.waiting) == 0 && ((run.taken | run.waiting) & ~run.all()) == 0 &&
                            (run.listed & ~run.free()) == 0 && run.listed != run.all();
    if (!is_block || !is_class || !are_states) {
        return false;
    }
    std::uint64_t waiting = 0;
    for (const VaWait* wait = run.waits; wait != nullptr; wait = wait->next) {
        const unsigned slot = run.slot_at(wait->page);
        if (wait->run != &run || slot >= run.slots || run.page_of(slot) != wait->page || (waiting >> slot & 1) != 0) {
            return false;
        }
        waiting |= std::uint64_t{1} << slot;
    }
    return waiting == run.waiting;
}

// S3. Counts down the runs with room, and the slots in magazines.
bool VaSlots::validate_class(VaZone which, unsigned size_class, std::uint64_t& with_room,
                             std::uint64_t& in_magazines) const noexcept {
    const Zone& zone = *zones_[static_cast<std::size_t>(which)];
    const Class& in = zone.classes[size_class];
    const auto belongs = [&](std::uint32_t number) noexcept {
        return number < runs_.touched() && runs_[number].slots != 0 && runs_[number].size_class == size_class &&
               runs_[number].zone == which;
    };
    std::uint32_t prev = kNone;
    for (std::uint32_t number = in.room; number != kNone; prev = number, number = runs_[number].next) {
        if (!belongs(number) || runs_[number].listed == 0 || runs_[number].prev != prev || with_room-- == 0) {
            return false;
        }
    }
    for (std::uint32_t i = 0; i < in.loaded; ++i) {
        const std::uint32_t name = in.magazine[i];
        const VaSlotRun& run = runs_[name >> kSlotBits];
        const bool twice = std::count(in.magazine.begin(), in.magazine.begin() + in.loaded, name) != 1;
        if (!belongs(name >> kSlotBits) || twice || !run.is_free(slot_in(name)) ||
            (run.listed >> slot_in(name) & 1) != 0 || in_magazines-- == 0) {
            return false;
        }
    }
    return in.loaded < kMagazine;
}

}  // namespace granule
