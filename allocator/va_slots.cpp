#include "allocator/va_slots.hpp"

#include <algorithm>
#include <cassert>
#include <limits>

namespace granule {

static_assert(sizeof(VaSlotRun) == 192 || sizeof(void*) != 8, "a header of a cache line, and two of slacks");

namespace {

// A run takes at most this part of what is in use in its zone, or so many pages where little is: the slots of a run that
// nobody has are a small part of the span. Where few allocations share them, a smaller one.
constexpr unsigned kMostPartLog2 = 7;
constexpr unsigned kMostPartOfFewLog2 = 8;
constexpr std::uint64_t kFew = 2048;
constexpr std::uint64_t kAlwaysPages = 64;
constexpr std::uint32_t kLeastSlots = 2;
// A run in a gap has at least this part of the slots that were wanted.
constexpr unsigned kLeastPartLog2 = 2;
// A hole that is larger than this part of what is in use is the open, not a gap.
constexpr unsigned kOpenPartLog2 = 3;
// New slots are at most this part of those that the class has; or more, where all of the run is no more than such a part
// of what is in use.
constexpr unsigned kGrowthLog2 = 2;
constexpr unsigned kTinyPartLog2 = 12;

// So that whatever alignment divides the stride holds for all slots.
unsigned alignment_bits_of(std::uint32_t stride) noexcept {
    constexpr unsigned kMost = static_cast<unsigned>(std::countr_zero(VaSlots::kMostAlignment)) - kPageBits;
    return std::min(static_cast<unsigned>(std::countr_zero(stride)), kMost);
}

}  // namespace

VaSlots::VaSlots(NodeMemory memory, VaPartition& partition, VaWaits& waits, VaSlotPolicy policy) noexcept
    : partition_(partition), waits_(waits), policy_(policy), runs_(memory) {}

VaSlots::Grown VaSlots::grow(const VaRequest& request, VaLease& lease) noexcept {
    const unsigned size_class = class_of(request);
    if (!policy_.enabled) {
        return Grown::kNotHere;
    }
    auto& classes = classes_[static_cast<std::size_t>(request.zone)];
    const std::uint64_t alignment = request.alignment >> kPageBits;
    const std::size_t last = std::min<std::size_t>(size_class + kBorrowed, VaSlotClass::kClasses - 1);
    for (std::size_t larger = size_class + 1; larger <= last; ++larger) {
        Class& lender = classes[larger];
        if (lender.room != nullptr && (lender.room->stride & (alignment - 1)) == 0) {
            lease = take_from(lender, *lender.room, request);
            return Grown::kTaken;
        }
    }
    Class& mine = classes[size_class];
    if (mine.misses < policy_.least_demand) {
        ++mine.misses;
        return Grown::kNotHere;
    }
    const Grown made = make_run(request, size_class, mine);
    if (made == Grown::kTaken) {
        lease = take_from(mine, *mine.room, request);
    }
    return made;
}

bool VaSlots::take_at(VaSlotRun& run, VaRange range) noexcept {
    const std::uint64_t first = range.start.raw() >> kPageBits;
    const std::uint64_t pages = range.size() >> kPageBits;
    const unsigned slot = run.slot_at(first);
    const bool fits = run.page_of(slot) == first && pages <= run.stride && run.stride <= 2 * pages &&
                      run.stride - pages <= std::numeric_limits<std::uint16_t>::max();
    if (!fits || (run.free >> slot & 1) == 0) {
        return false;
    }
    take_slot(class_of(run), run, slot, pages);
    return true;
}

// A smaller run where a hole between others has room for it rather than a large one out of the open: what others left
// behind is used up, and the span does not grow.
VaSlots::RunPlace VaSlots::place_run(const VaRequest& request, std::uint32_t stride, std::uint64_t most_slots,
                                     std::uint64_t used) noexcept {
    VaPartition::Zone& zone = partition_.zone(request.zone);
    RunPlace open;
    const auto least_slots = std::max<std::uint64_t>(most_slots >> kLeastPartLog2, kLeastSlots);
    for (std::uint64_t slots = most_slots; slots >= least_slots; slots /= 2) {
        const Shape shape{
            .pages = slots * stride, .alignment_bits = alignment_bits_of(stride), .direction = request.direction};
        const VaPartition::Place place = partition_.find(zone, shape);
        if (place.hole == nullptr) {
            continue;
        }
        const RunPlace found{place.hole, place.first, slots};
        if (place.hole->pages() <= used >> kOpenPartLog2) {
            return found;
        }
        if (open.hole == nullptr) {
            open = found;
        }
    }
    return open;
}

VaSlots::Grown VaSlots::make_run(const VaRequest& request, unsigned size_class, Class& in) noexcept {
    const VaPartition::Zone& zone = partition_.zone(request.zone);
    VaSlotCounters& counters = counters_[static_cast<std::size_t>(request.zone)];
    const std::uint32_t stride = VaSlotClass::stride_of(size_class);
    const std::uint64_t used = (zone.counters.used_bytes >> kPageBits) + counters.used_pages;
    const bool few = zone.counters.allocations + counters.allocations < kFew;
    const std::uint64_t most_pages = std::max(used >> (few ? kMostPartOfFewLog2 : kMostPartLog2), kAlwaysPages);
    const auto wanted =
        std::max<std::uint64_t>({in.slots >> kGrowthLog2, (used >> kTinyPartLog2) / stride, kLeastSlots});
    const std::uint64_t most = std::min({wanted, most_pages / stride, std::uint64_t{VaSlotRun::kMostSlots}});
    if (most < kLeastSlots) {
        return Grown::kNotHere;
    }
    const RunPlace place = place_run(request, stride, std::bit_floor(most), used);
    if (place.hole == nullptr) {
        return Grown::kNotHere;
    }
    const std::uint64_t slots = place.slots;
    const std::uint64_t end = place.first + slots * stride;
    const std::uint64_t needs = VaPartition::carve_needs(*place.hole, place.first, end);
    if (!waits_.reserve(slots) || !runs_.reserve(runs_.in_use() + 1) || !partition_.set_aside(needs)) {
        return Grown::kOutOfMemory;
    }
    const std::uint32_t number = runs_.take();
    partition_.become_slots(partition_.carve(*place.hole, place.first, end, 0), number);
    VaSlotRun& run = runs_[number];
    run.first = place.first;
    run.stride = stride;
    run.number = number;
    run.slots = static_cast<std::uint8_t>(slots);
    run.size_class = static_cast<std::uint8_t>(size_class);
    run.zone = request.zone;
    run.free = run.all();
    run.taken = 0;
    run.waits = nullptr;
    waits_.add(slots);
    in.slots += static_cast<std::uint32_t>(slots);
    ++counters.runs;
    counters.run_pages += run.pages();
    list_first(in, run);
    return Grown::kTaken;
}

// One empty run a class stays, so that a caller who takes and gives back one range does not make and end a run each time.
void VaSlots::become_empty(VaSlotRun& run) noexcept {
    Class& in = class_of(run);
    VaSlotRun* const spare = in.spare;
    in.spare = &run;
    if (spare != nullptr && spare != &run && spare->free == spare->all()) {
        give_back(*spare);
    }
}

void VaSlots::give_back(VaSlotRun& run) noexcept {
    VaBlock& block = *partition_.block_at(run.first);
    end(run);
    partition_.release(block);
}

void VaSlots::end(VaSlotRun& run) noexcept {
    Class& in = class_of(run);
    VaSlotCounters& counters = counters_[static_cast<std::size_t>(run.zone)];
    if (run.free != 0) {
        unlist(in, run);
    }
    if (in.spare == &run) {
        in.spare = nullptr;
    }
    in.slots -= run.slots;
    if (in.slots == 0) {
        in.misses = 0;
    }
    waits_.remove(run.slots);
    --counters.runs;
    counters.run_pages -= run.pages();
    run.free = 0;
    run.taken = 0;
    run.slots = 0;
    runs_.give_back(run.number);
}

void VaSlots::retire(Place place, VaWait& wait) noexcept {
    VaSlotRun& run = *place.run;
    VaSlotCounters& counters = counters_[static_cast<std::size_t>(run.zone)];
    const std::uint64_t pages = run.pages_of(place.slot);
    --counters.allocations;
    counters.used_pages -= pages;
    ++counters.retired;
    counters.retired_pages += pages;
    run.taken &= ~(std::uint64_t{1} << place.slot);
    wait.page = run.page_of(place.slot);
    wait.run = &run;
    wait.prev = nullptr;
    wait.next = run.waits;
    if (run.waits != nullptr) {
        run.waits->prev = &wait;
    }
    run.waits = &wait;
}

void VaSlots::release_retired(VaWait& wait) noexcept {
    VaSlotRun& run = *wait.run;
    VaSlotCounters& counters = counters_[static_cast<std::size_t>(run.zone)];
    const unsigned slot = run.slot_at(wait.page);
    --counters.retired;
    counters.retired_pages -= run.pages_of(slot);
    (wait.prev == nullptr ? run.waits : wait.prev->next) = wait.next;
    if (wait.next != nullptr) {
        wait.next->prev = wait.prev;
    }
    become_free(run, slot);
}

bool VaSlots::trim(VaZone zone) noexcept {
    if (counters(zone).runs == 0) {
        return false;
    }
    bool any = false;
    for (const Class& each : classes_[static_cast<std::size_t>(zone)]) {  // S6
        if (each.spare != nullptr && each.spare->free == each.spare->all()) {
            give_back(*each.spare);
            any = true;
        }
    }
    return any;
}

std::uint64_t VaSlots::dissolve_needs(const VaSlotRun& run) noexcept {
    // Every range, what is free behind it, and what is free before the first.
    return 2 * static_cast<std::uint64_t>(std::popcount(~run.free & run.all())) + 1;
}

//      block:  | slot 0    | slot 1    | slot 2    | slot 3    |
//      blocks: |  range |h |   range   |   hole    |  range  |h|
//
// The run becomes a hole first, out of which its ranges are carved; the holes join with what is free beside the run.
void VaSlots::dissolve(VaSlotRun& run) noexcept {
    const std::uint64_t taken = run.taken;
    const std::uint64_t retired = run.retired();
    VaWait* waits = run.waits;
    VaSlotCounters& counters = counters_[static_cast<std::size_t>(run.zone)];
    const VaSlotRun was = run;
    give_back(run);
    for (std::uint64_t owned = taken | retired; owned != 0; owned &= owned - 1) {
        const auto slot = static_cast<unsigned>(std::countr_zero(owned));
        const std::uint64_t first = was.page_of(slot);
        const std::uint64_t pages = was.pages_of(slot);
        waits_.add(1);
        partition_.carve(*partition_.block_at(first), first, first + pages, 0);
        if ((taken >> slot & 1) != 0) {
            --counters.allocations;
            counters.used_pages -= pages;
        } else {
            --counters.retired;
            counters.retired_pages -= pages;
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
    if (run.free != 0) {
        return true;
    }
    return std::any_of(run.slack.begin(), run.slack.begin() + run.slots,
                       [](std::uint16_t slack) { return slack != 0; });
}

bool VaSlots::validate() noexcept {
    std::array<VaSlotCounters, kVaZones> recount{};
    std::uint64_t listed = 0;
    std::uint64_t with_room = 0;
    for (std::uint32_t number = 0; number < runs_.touched(); ++number) {
        const VaSlotRun& run = runs_[number];
        if (run.slots == 0) {
            if ((run.free | run.taken) != 0) {
                return false;
            }
            continue;
        }
        const VaBlock* block = partition_.block_at(run.first);
        const bool is_block = block != nullptr && block->state() == VaBlock::State::kSlots && block->run() == number &&
                              block->first() == run.first && block->pages() == run.pages();
        const bool is_class = run.number == number && run.stride == VaSlotClass::stride_of(run.size_class) &&
                              run.slots <= VaSlotRun::kMostSlots;
        const bool is_kept = run.free != run.all() || class_of(run).spare == &run;
        if (!is_block || !is_class || !is_kept || (run.free & run.taken) != 0 ||
            ((run.free | run.taken) & ~run.all()) != 0) {
            return false;
        }
        VaSlotCounters& counters = recount[static_cast<std::size_t>(run.zone)];
        ++counters.runs;
        counters.run_pages += run.pages();
        for (unsigned slot = 0; slot < run.slots; ++slot) {
            if ((run.taken >> slot & 1) != 0) {
                ++counters.allocations;
                counters.used_pages += run.pages_of(slot);
            } else if ((run.retired() >> slot & 1) != 0) {
                ++counters.retired;
                counters.retired_pages += run.pages_of(slot);
            }
        }
        std::uint64_t waiting = 0;
        for (const VaWait* wait = run.waits; wait != nullptr; wait = wait->next) {
            const unsigned slot = run.slot_at(wait->page);
            if (wait->run != &run || slot >= run.slots || run.page_of(slot) != wait->page ||
                (waiting >> slot & 1) != 0) {
                return false;
            }
            waiting |= std::uint64_t{1} << slot;
        }
        if (waiting != run.retired()) {
            return false;
        }
        with_room += run.free != 0 ? 1 : 0;
    }
    for (std::size_t zone = 0; zone < kVaZones; ++zone) {
        for (std::size_t size_class = 0; size_class < VaSlotClass::kClasses; ++size_class) {
            const VaSlotRun* prev = nullptr;
            for (const VaSlotRun* run = classes_[zone][size_class].room; run != nullptr;
                 prev = run, run = run->behind) {
                const bool belongs = run->slots != 0 && run->free != 0 && run->prev == prev &&
                                     run->size_class == size_class && static_cast<std::size_t>(run->zone) == zone;
                if (!belongs || ++listed > with_room) {
                    return false;
                }
            }
        }
    }
    return listed == with_room && recount == counters_;
}

}  // namespace granule
