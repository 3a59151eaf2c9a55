#include "allocator/va_slots.hpp"

#include <algorithm>
#include <cassert>
#include <limits>
#include <new>
#include <utility>

namespace granule {

static_assert(sizeof(VaSlotRun) == 128 || sizeof(void*) != 8, "a header of a cache line, and one of slacks");

namespace {

// A run takes at most this part of what is in use in its zone, or so many pages where little is: the slots of a run that
// nobody has are a small part of the span. Where few things share them, a smaller one. But a run of one slot can be made
// for all that may be idle.
constexpr unsigned kMostPartLog2 = 7;
constexpr unsigned kMostPartOfFewLog2 = 9;
constexpr std::uint64_t kFew = 2048;
constexpr std::uint64_t kAlwaysPages = 64;
constexpr std::uint32_t kLeastSlots = 2;
// New slots are at most this part of those that the class has; or more, where all of the run is no more than such a part
// of what is in use.
constexpr unsigned kGrowthLog2 = 1;
constexpr unsigned kTinyPartLog2 = 12;
// Free slots of an octave may have this part of what is in use. Beyond that, runs of one slot go back, at most so many at
// once. Where there is none to give back, some more is borne, or else each release would look for one.
constexpr std::uint64_t kIdlePart = 48;
constexpr unsigned kMostGivenBack = 4;
constexpr unsigned kMorePartLog2 = 4;
// A run in a gap has at least this part of the slots that were wanted.
constexpr unsigned kLeastPartLog2 = 2;
// A hole that is larger than this part of what is in use is the open, not a gap.
constexpr unsigned kOpenPartLog2 = 3;

std::uint64_t most_idle_of(std::uint64_t used) noexcept {
    return std::max(used / kIdlePart, kAlwaysPages);
}

}  // namespace

VaSlots::VaSlots(NodeMemory memory, VaPartition& partition, VaWaits& waits, VaSlotPolicy policy) noexcept
    : memory_(memory), partition_(partition), waits_(waits), policy_(policy), runs_(memory) {}

VaSlots::~VaSlots() {
    for (Zone* zone : zones_) {
        if (zone != nullptr) {
            memory_.release(memory_.context, zone, sizeof(Zone), alignof(Zone));
        }
    }
}

bool VaSlots::open(VaZone zone) noexcept {
    if (!policy_.enabled) {
        return true;
    }
    void* const memory = memory_.allocate(memory_.context, sizeof(Zone), alignof(Zone));
    if (memory == nullptr) {
        return false;
    }
    zones_[static_cast<std::size_t>(zone)] = ::new (memory) Zone;
    return true;
}

std::uint64_t VaSlots::zones_bytes() const noexcept {
    const auto open = static_cast<std::uint64_t>(
        std::count_if(zones_.begin(), zones_.end(), [](const Zone* zone) { return zone != nullptr; }));
    return open * sizeof(Zone);
}

VaSlotCounters VaSlots::counters(VaZone which) const noexcept {
    const Zone* const zone = zones_[static_cast<std::size_t>(which)];
    if (zone == nullptr) {
        return {};
    }
    return {.used_pages = zone->run_pages - zone->free_pages - zone->retired_pages,
            .retired = zone->retired,
            .retired_pages = zone->retired_pages,
            .runs = zone->runs,
            .run_pages = zone->run_pages};
}

std::uint64_t VaSlots::allocations(VaZone zone) const noexcept {
    std::uint64_t taken = 0;
    for (std::uint32_t number = 0; number < runs_.touched(); ++number) {
        const VaSlotRun& run = runs_[number];
        taken += run.zone == zone ? static_cast<std::uint64_t>(std::popcount(run.taken)) : 0;
    }
    return taken;
}

std::uint64_t VaSlots::used_pages(VaZone zone) const noexcept {
    return (partition_.zone(zone).counters.used_bytes >> kPageBits) + counters(zone).used_pages;
}

VaSlots::Grown VaSlots::grow(const VaRequest& request, VaLease& lease) noexcept {
    Zone* const zone = zones_[static_cast<std::size_t>(request.zone)];
    if (zone == nullptr) {
        return Grown::kNotHere;
    }
    const unsigned own = class_of(request);
    Class& mine = zone->classes[own];
    if (has_slot(mine, request.direction) && prefer_aligned(mine, request.alignment) &&
        take_from(*zone, own, request, lease)) {
        return Grown::kTaken;
    }
    const unsigned last = std::min<unsigned>(own + kBorrowed, VaSlotClass::kClasses - 1);
    for (unsigned near = own + 1; near <= last; ++near) {
        if (has_slot(zone->classes[near], request.direction) && take_from(*zone, near, request, lease)) {
            return Grown::kTaken;
        }
    }
    if (mine.misses < policy_.least_demand) {
        ++mine.misses;
        return Grown::kNotHere;
    }
    return make_run(request, own, lease);
}

bool VaSlots::prefer_aligned(Class& in, std::uint64_t alignment) noexcept {
    for (std::uint32_t i = in.loaded; i-- > 0;) {
        const std::uint32_t name = in.magazine[i];
        if (((run_at(name).page_of(slot_in(name)) << kPageBits) & (alignment - 1)) == 0) {
            std::swap(in.magazine[i], in.magazine[in.loaded - 1]);
            return true;
        }
    }
    return false;
}

bool VaSlots::take_at(VaSlotRun& run, VaRange range) noexcept {
    const std::uint64_t first = range.start.raw() >> kPageBits;
    const std::uint64_t pages = range.size() >> kPageBits;
    const unsigned slot = run.slot_at(first);
    const bool fits = run.page_of(slot) == first && pages <= run.stride && run.stride <= 2 * pages &&
                      run.can_have_slack(run.stride - pages);
    if (!fits || !run.is_free(slot)) {
        return false;
    }
    Zone& zone = zone_of(run);
    Class& in = zone.classes[run.size_class];
    const std::uint64_t bit = std::uint64_t{1} << slot;
    if ((run.listed & bit) == 0) {
        unload(zone, run);
    }
    run.listed ^= bit;
    if (run.listed == 0) {
        unlist(in, run);
    }
    occupy(zone, run, slot, pages);
    return true;
}

// A smaller run where a hole between others has room for it rather than a large one out of the open: what others left
// behind is used up, and the span does not grow.
VaSlots::RunPlace VaSlots::place_run(const VaRequest& request, std::uint32_t stride, std::uint64_t most_slots,
                                     std::uint64_t used) noexcept {
    VaPartition::Zone& zone = partition_.zone(request.zone);
    const unsigned alignment_bits = static_cast<unsigned>(std::countr_zero(request.alignment)) - kPageBits;
    RunPlace open;
    const auto least_slots = std::max<std::uint64_t>(most_slots >> kLeastPartLog2, 1);
    for (std::uint64_t slots = most_slots; slots >= least_slots; slots /= 2) {
        const Shape shape{.pages = slots * stride, .alignment_bits = alignment_bits, .direction = request.direction};
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

VaSlots::Grown VaSlots::make_run(const VaRequest& request, unsigned size_class, VaLease& lease) noexcept {
    Zone& zone = *zones_[static_cast<std::size_t>(request.zone)];
    Class& in = zone.classes[size_class];
    const std::uint32_t stride = VaSlotClass::stride_of(size_class);
    const std::uint64_t used = used_pages(request.zone);
    Octave& octave = zone.octaves[size_class / kOctave];
    octave.most = most_idle_of(used);
    const std::uint64_t slack = stride - (request.size >> kPageBits);
    if (stride <= VaSlotRun::kMostNarrowStride && slack > std::numeric_limits<std::uint8_t>::max()) {
        return Grown::kNotHere;
    }
    if (stride > octave.most || runs_.in_use() >= kMostRuns) {
        return Grown::kNotHere;
    }
    const unsigned part = waits_.things() < kFew ? kMostPartOfFewLog2 : kMostPartLog2;
    const std::uint64_t room = octave.most - std::min(octave.idle, octave.most);
    const std::uint64_t most_pages = std::min(std::max(used >> part, kAlwaysPages), room);
    const auto wanted =
        std::max<std::uint64_t>({in.slots >> kGrowthLog2, (used >> kTinyPartLog2) / stride, kLeastSlots});
    const bool wide = stride > VaSlotRun::kMostNarrowStride;
    const std::uint64_t most =
        std::min({wanted, most_pages / stride, std::uint64_t{wide ? VaSlotRun::kMostWide : VaSlotRun::kMostSlots}});
    const RunPlace place = place_run(request, stride, std::bit_floor(std::max<std::uint64_t>(most, 1)), used);
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
    VaBlock& block = partition_.carve(*place.hole, place.first, end, 0);
    partition_.become_slots(block, number);
    VaSlotRun& run = runs_[number];
    run.block = block.number();
    run.first = place.first;
    run.stride = stride;
    run.number = number;
    run.slots = static_cast<std::uint8_t>(slots);
    run.size_class = static_cast<std::uint8_t>(size_class);
    run.zone = request.zone;
    run.wide = wide ? 1 : 0;
    run.taken = 0;
    run.waiting = 0;
    run.listed = 0;
    run.waits = nullptr;
    waits_.add(slots);
    in.slots += static_cast<std::uint32_t>(slots);
    ++zone.runs;
    zone.run_pages += run.pages();
    zone.free_pages += run.pages();
    octave.idle += run.pages();
    const unsigned slot = request.direction == VaDirection::kTopDown ? static_cast<unsigned>(slots) - 1 : 0;
    occupy(zone, run, slot, request.size >> kPageBits);
    if (slots > 1) {
        list(in, run, run.free());
    }
    const Va start{run.page_of(slot) << kPageBits};
    lease = {{start, start + request.size}, handle_of(run, slot)};
    return Grown::kTaken;
}

void VaSlots::settle(VaZone which, unsigned size_class) noexcept {
    Zone& zone = *zones_[static_cast<std::size_t>(which)];
    Class& in = zone.classes[size_class];
    if (in.loaded == kMagazine) {
        spill(zone, size_class, kMagazine - kReload);
    }
    Octave& octave = zone.octaves[size_class / kOctave];
    if (octave.idle <= octave.most) {
        return;
    }
    octave.most = most_idle_of(used_pages(which));
    for (unsigned i = 0; i < kMostGivenBack && octave.idle > octave.most; ++i) {
        const unsigned from = lavish(zone, size_class);
        if (from == kNone) {
            // What cannot go back is not looked at again at every release.
            octave.most = octave.idle + (octave.idle >> kMorePartLog2);
            return;
        }
        Class& its = zone.classes[from];
        VaSlotRun& run = run_at(its.magazine[0]);
        std::copy(its.magazine.begin() + 1, its.magazine.begin() + its.loaded, its.magazine.begin());
        --its.loaded;
        give_back(run);
    }
}

bool VaSlots::oldest_is_a_run(const Class& in) noexcept {
    return in.loaded != 0 && run_at(in.magazine[0]).slots == 1;
}

// Itself, if the class has another slot or can borrow one; or the largest of the octave.
unsigned VaSlots::lavish(const Zone& zone, unsigned size_class) noexcept {
    const unsigned last = std::min<unsigned>(size_class + kBorrowed, VaSlotClass::kClasses - 1);
    std::uint32_t near = 0;
    for (unsigned each = size_class; each <= last; ++each) {
        near += zone.classes[each].loaded + (zone.classes[each].room != kNone ? 1U : 0U);
    }
    if (near > 1 && oldest_is_a_run(zone.classes[size_class])) {
        return size_class;
    }
    const unsigned octave = size_class & ~(kOctave - 1);
    for (unsigned each = octave + kOctave; each-- > octave;) {
        if (oldest_is_a_run(zone.classes[each])) {
            return each;
        }
    }
    return kNone;
}

void VaSlots::spill(Zone& zone, unsigned size_class, std::uint32_t count) noexcept {
    Class& in = zone.classes[size_class];
    const std::array<std::uint32_t, kMagazine> spilled = in.magazine;
    std::copy(in.magazine.begin() + count, in.magazine.begin() + in.loaded, in.magazine.begin());
    in.loaded -= count;
    for (std::uint32_t i = 0; i < count; ++i) {
        VaSlotRun& run = run_at(spilled[i]);
        list(in, run, std::uint64_t{1} << slot_in(spilled[i]));
        if (run.listed == run.all()) {
            give_back(run);
        }
    }
}

bool VaSlots::reload(Class& in, VaDirection direction) noexcept {
    if (in.room == kNone) {
        return false;
    }
    VaSlotRun& run = runs_[in.room];
    // The last one in is the first one out.
    std::array<unsigned, kReload> slots{};
    std::uint32_t count = 0;
    for (; count < kReload && run.listed != 0; ++count) {
        const auto lowest = static_cast<unsigned>(std::countr_zero(run.listed));
        const auto highest = static_cast<unsigned>(std::bit_width(run.listed)) - 1;
        slots[count] = direction == VaDirection::kTopDown ? highest : lowest;
        run.listed ^= std::uint64_t{1} << slots[count];
    }
    if (run.listed == 0) {
        unlist(in, run);
    }
    while (count != 0) {
        in.magazine[in.loaded++] = name_of(run, slots[--count]);
    }
    return true;
}

void VaSlots::unload(Zone& zone, VaSlotRun& run) noexcept {
    Class& in = zone.classes[run.size_class];
    const std::uint64_t loaded = run.free() & ~run.listed;
    if (loaded == 0) {
        return;
    }
    const auto end = in.magazine.begin() + in.loaded;
    const auto kept =
        std::remove_if(in.magazine.begin(), end, [&](std::uint32_t name) { return name >> kSlotBits == run.number; });
    in.loaded = static_cast<std::uint32_t>(kept - in.magazine.begin());
    list(in, run, loaded);
}

// What was full until now comes first: it is nearly full, and others become empty meanwhile.
void VaSlots::list(Class& in, VaSlotRun& run, std::uint64_t slots) noexcept {
    const bool was_listed = run.listed != 0;
    run.listed |= slots;
    if (was_listed) {
        return;
    }
    run.prev = kNone;
    run.next = in.room;
    if (in.room != kNone) {
        runs_[in.room].prev = run.number;
    }
    in.room = run.number;
}

void VaSlots::unlist(Class& in, VaSlotRun& run) noexcept {
    (run.prev == kNone ? in.room : runs_[run.prev].next) = run.next;
    if (run.next != kNone) {
        runs_[run.next].prev = run.prev;
    }
}

void VaSlots::give_back(VaSlotRun& run) noexcept {
    VaBlock& block = *partition_.find_block(run.block);
    end(run);
    partition_.release(block);
}

void VaSlots::end(VaSlotRun& run) noexcept {
    Zone& zone = zone_of(run);
    Class& in = zone.classes[run.size_class];
    if (run.listed != 0) {
        unlist(in, run);
    }
    in.slots -= run.slots;
    if (in.slots == 0) {
        in.misses = 0;
    }
    waits_.remove(run.slots);
    --zone.runs;
    zone.run_pages -= run.pages();
    zone.octaves[run.size_class / kOctave].idle -= run.pages();
    zone.free_pages -= run.pages();  // but for what has an owner or waits: `dissolve` adds it before
    run.taken = 0;
    run.waiting = 0;
    run.listed = 0;
    run.slots = 0;
    runs_.give_back(run.number);
}

void VaSlots::retire(Place place, VaWait& wait) noexcept {
    VaSlotRun& run = *place.run;
    Zone& zone = zone_of(run);
    const std::uint64_t bit = std::uint64_t{1} << place.slot;
    ++zone.retired;
    zone.retired_pages += run.pages_of(place.slot);
    run.taken ^= bit;
    run.waiting |= bit;
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
    Zone& zone = zone_of(run);
    const unsigned slot = run.slot_at(wait.page);
    --zone.retired;
    zone.retired_pages -= run.pages_of(slot);
    run.waiting ^= std::uint64_t{1} << slot;
    (wait.prev == nullptr ? run.waits : wait.prev->next) = wait.next;
    if (wait.next != nullptr) {
        wait.next->prev = wait.prev;
    }
    become_free(run, slot, run.pages_of(slot));
}

}  // namespace granule
