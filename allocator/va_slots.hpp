// Runs of equal slots: what most requests of a VaHeap are served from, with a count of zeroes and one bit.
//
// A run is a block (va_block.hpp) that is cut into up to 64 slots of one size class. A mask says which have an owner,
// another which wait for fences; all others are free.
//
//      block:   |  slot 0   |  slot 1   |  slot 2   |  slot 3   |    ->  taken    1 1 0 0  (slot 0 first)
//               | range    ~| range     | free      | waiting  ~|        waiting  0 0 0 1
//                         `- slack: the pages of the slot beyond the exact range; nobody's
//
// Classes. 16 an octave: the sizes (m << s, (m + 1) << s] pages with m from 16 to 31, and below 16 pages each size by
// itself. The stride of a class is its largest size. A slot serves every request whose size it holds and whose alignment
// its start has.
//
// Magazines. Each class has up to 27 free slots at hand, the last one that was given back on top. `take` pops, of
// the next class where its own has none; `release` pushes. Where both are empty, `grow` moves slots from the mask of a run
// ("listed") into the magazine, asks the next three classes, or makes a run; from a magazine that is full, slots go back into
// the masks. What is free stays in its class, not joined with its neighbours, large ranges too (runs of one slot): so that a range of nearly the same size finds it. How
// much may be so is bounded: a part of what is in use, for each octave of sizes.
//
// What is here is a fast path. VaHeap decides what may go through it (`plain` requests), falls back on the blocks, and
// dissolves runs where the difference between a slot and a block could be seen: va_slots.md.
//
// Invariants
//   S1  A run is a block in the state kSlots, of slots * stride pages; they know each other.
//   S2  A slot is free, taken or retired; slots beyond `slots` are none of these.
//   S3  A free slot is listed in its run, or else in the magazine of its class. Exactly the runs with listed slots are on
//       the list of their class.
//   S4  The counters of a zone and of its octaves are the sums over its runs.
//   S5  The waits of a run are those of its retired slots.
//   S6  Not all slots of a run are listed: such a run has gone back to the blocks.
//
// Complexity: take: O(1). release: O(1); now and then 14 slots of a full magazine are listed, or up to 4 runs of one slot go
//             back. grow: up to 4 magazines filled (14 slots each), and the block layer's. dissolve: O(slots) block operations. trim: all magazines.
//             dissolve_all: that, and a look at every run.
// Memory    : 128 B a run, and its block; 31 KB for each zone that exists.
// Failure   : `take` and `grow` say no, and nothing has changed but which of the free slots are at hand, and counts of misses.
// Thread-safety: none.
#pragma once

#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "allocator/node_memory.hpp"
#include "allocator/node_table.hpp"
#include "allocator/va_block.hpp"
#include "allocator/va_partition.hpp"
#include "allocator/va_request.hpp"
#include "allocator/va_wait.hpp"
#include "mali/address.hpp"

namespace granule {

struct VaSlotRun {
    static constexpr unsigned kMostSlots = 64;
    static constexpr unsigned kMostWide = kMostSlots / 2;
    static constexpr std::uint32_t kMostNarrowStride = 512;
    static constexpr std::uint32_t kNone = UINT32_MAX;

    // Pages of each slot that are not its range's: a byte each or, if `wide`, two.
    std::array<std::uint8_t, kMostSlots> slack_bytes{};
    std::uint64_t taken = 0;
    std::uint64_t waiting = 0;  // retired
    std::uint64_t listed = 0;   // of the free slots, those that are not in the magazine of the class
    std::uint64_t first = 0;    // page
    VaWait* waits = nullptr;
    std::uint32_t stride = 1;  // pages
    std::uint32_t number = 0;  // in the table
    std::uint32_t next = 0;    // on the list of its class; the table's link where this is no run
    std::uint32_t prev = 0;
    std::uint32_t block = 0;  // its number
    std::uint8_t slots = 0;   // 0: no run
    std::uint8_t size_class = 0;
    VaZone zone = VaZone::kMain;
    std::uint8_t wide = 0;  // 1: slack has two bytes, and there are at most kMostWide slots

    [[nodiscard]] std::uint64_t all() const noexcept { return ~std::uint64_t{0} >> (kMostSlots - slots); }
    [[nodiscard]] std::uint64_t free() const noexcept { return all() & ~(taken | waiting); }
    [[nodiscard]] bool is_taken(unsigned slot) const noexcept { return (taken >> slot & 1) != 0; }
    [[nodiscard]] bool is_retired(unsigned slot) const noexcept { return (waiting >> slot & 1) != 0; }
    [[nodiscard]] bool is_free(unsigned slot) const noexcept { return !is_taken(slot) && !is_retired(slot); }
    [[nodiscard]] std::uint64_t pages() const noexcept { return std::uint64_t{slots} * stride; }
    [[nodiscard]] std::uint64_t page_of(unsigned slot) const noexcept { return first + std::uint64_t{slot} * stride; }
    // Pages of a slot that are not its range's.
    [[nodiscard]] std::uint32_t slack(unsigned slot) const noexcept {
        // Both bytes at once: of the last slot that is not wide, the second is the next member's, and not looked at.
        static_assert(std::endian::native == std::endian::little);
        std::uint16_t both = 0;
        std::memcpy(&both, reinterpret_cast<const std::byte*>(this) + (slot << wide), sizeof(both));
        return both & (0xFFU | (0U - wide));
    }
    [[nodiscard]] bool can_have_slack(std::uint64_t pages) const noexcept { return pages >> (8U << wide) == 0; }
    void set_slack(unsigned slot, std::uint64_t pages) noexcept {
        const unsigned at = slot << wide;
        slack_bytes[at | wide] = static_cast<std::uint8_t>(pages >> 8U);  // if not wide, written over
        slack_bytes[at] = static_cast<std::uint8_t>(pages);
    }
    [[nodiscard]] std::uint64_t pages_of(unsigned slot) const noexcept { return stride - slack(slot); }
    // Of a slot with an owner, or that waits.
    [[nodiscard]] VaRange range_of(unsigned slot) const noexcept {
        const std::uint64_t start = page_of(slot);
        return {Va{start << kPageBits}, Va{(start + pages_of(slot)) << kPageBits}};
    }
    // The slot that a page of the run is in.
    [[nodiscard]] unsigned slot_at(std::uint64_t page) const noexcept {
        return static_cast<std::uint32_t>(page - first) / stride;
    }
};

static_assert(offsetof(VaSlotRun, slack_bytes) == 0, "`slack` reads two bytes at a slot's, within the run");

// The arithmetic of classes. Sizes in pages.
struct VaSlotClass {
    static constexpr unsigned kPerOctaveLog2 = 4;
    static constexpr std::uint64_t kMostPages = std::uint64_t{1} << 18;  // 1 GiB
    static constexpr std::size_t kClasses = 240;

    [[nodiscard]] static constexpr unsigned shift_of(std::uint64_t last) noexcept {
        return static_cast<unsigned>(std::bit_width(last | (1U << kPerOctaveLog2))) - (kPerOctaveLog2 + 1);
    }
    // 1 <= pages <= kMostPages
    [[nodiscard]] static constexpr unsigned of(std::uint64_t pages) noexcept {
        const std::uint64_t last = pages - 1;
        const unsigned shift = shift_of(last);
        return (shift << kPerOctaveLog2) + static_cast<unsigned>(last >> shift);
    }
    [[nodiscard]] static constexpr std::uint32_t stride_of(unsigned size_class) noexcept {
        constexpr unsigned kPerOctave = 1U << kPerOctaveLog2;
        if (size_class < 2 * kPerOctave) {
            return size_class + 1;
        }
        const unsigned shift = (size_class >> kPerOctaveLog2) - 1;
        return ((size_class & (kPerOctave - 1)) + kPerOctave + 1) << shift;
    }
};
static_assert(VaSlotClass::of(VaSlotClass::kMostPages) == VaSlotClass::kClasses - 1);
static_assert(VaSlotClass::stride_of(VaSlotClass::kClasses - 1) == VaSlotClass::kMostPages);

// How eagerly runs are made.
struct VaSlotPolicy {
    bool enabled = true;
    std::uint32_t least_demand = 4;  // requests of a class that the blocks serve before it has a run
};

// Sums over the slots of a zone.
struct VaSlotCounters {
    std::uint64_t used_pages = 0;
    std::uint64_t retired = 0;
    std::uint64_t retired_pages = 0;
    std::uint64_t runs = 0;
    std::uint64_t run_pages = 0;

    constexpr bool operator==(const VaSlotCounters&) const noexcept = default;
};

class VaSlots {
public:
    static constexpr std::uint64_t kMostAlignment = kBlock2MBytes;

    VaSlots(NodeMemory memory, VaPartition& partition, VaWaits& waits, VaSlotPolicy policy) noexcept;
    VaSlots(const VaSlots&) = delete;
    VaSlots& operator=(const VaSlots&) = delete;
    ~VaSlots();

    // A zone without this has no slots. False: no memory.
    [[nodiscard]] bool open(VaZone zone) noexcept;

    // May the request be served by a slot? No phase, no boundary, no guard, and nothing that breaks a rule.
    [[nodiscard]] static bool is_plain(const VaRequest& request) noexcept {
        const std::uint64_t alignment = request.alignment;
        const bool no_extras =
            (request.phase | request.boundary | request.guard | (request.size & (kPageBytes - 1))) == 0;
        return no_extras && request.size - 1 < (VaSlotClass::kMostPages << kPageBits) &&
               (alignment & (alignment - 1)) == 0 && alignment - kPageBytes <= kMostAlignment - kPageBytes &&
               static_cast<std::size_t>(request.zone) < kVaZones;
    }

    [[nodiscard]] bool enabled() const noexcept { return policy_.enabled; }
    // A slot from the magazine of the request's class, or the next, for a plain request. False: ask `grow`.
    [[nodiscard]] bool take(const VaRequest& request, VaLease& lease) noexcept {
        Zone* const zone = zones_[static_cast<std::size_t>(request.zone)];
        if (zone == nullptr) {
            return false;
        }
        // The next class where its own has none: no branch, as chance decides where things are few.
        const unsigned own = class_of(request);
        const unsigned from = own + (zone->classes[own].loaded == 0 ? 1 : 0);
        return zone->classes[from].loaded != 0 && take_from(*zone, from, request, lease);
    }
    // The slot of `run` that begins where `range` does. False: there is none, it is not free, or the range is less than half
    // of it.
    [[nodiscard]] bool take_at(VaSlotRun& run, VaRange range) noexcept;
    // The same where `take` said no: fills a magazine, of this class or the next three, or makes a run.
    enum class Grown : std::uint8_t { kTaken, kNotHere, kOutOfMemory };  // kNotHere: the blocks should serve this one
    [[nodiscard]] Grown grow(const VaRequest& request, VaLease& lease) noexcept;

    // If `handle` leads to a taken slot whose range this is, the slot.
    struct Place {
        VaSlotRun* run = nullptr;
        unsigned slot = 0;

        explicit operator bool() const noexcept { return run != nullptr; }
    };
    [[nodiscard]] Place find(VaRange range, VaHandle handle) noexcept {
        const std::uint64_t name = static_cast<std::uint64_t>(handle) - kFirstHandle;
        if (name >> kSlotBits >= runs_.touched()) {
            return {};
        }
        return confirm(run_at(static_cast<std::uint32_t>(name)), slot_in(static_cast<std::uint32_t>(name)), range);
    }
    // If the slot is taken and has this range.
    [[nodiscard]] static Place confirm(VaSlotRun& run, unsigned slot, VaRange range) noexcept {
        const bool is_it = run.is_taken(slot) && run.range_of(slot) == range;
        return is_it ? Place{&run, slot} : Place{};
    }
    [[nodiscard]] VaSlotRun& run_of(std::uint32_t number) noexcept { return runs_[number]; }
    [[nodiscard]] const VaSlotRun& run_of(std::uint32_t number) const noexcept { return runs_[number]; }
    [[nodiscard]] static VaHandle handle_of(const VaSlotRun& run, unsigned slot) noexcept {
        return VaHandle{name_of(run, slot) + kFirstHandle};
    }

    // A taken slot becomes free.
    void release(Place place) noexcept {
        VaSlotRun& run = *place.run;
        const std::uint64_t pages = run.pages_of(place.slot);
        run.taken ^= std::uint64_t{1} << place.slot;
        become_free(run, place.slot, pages);
    }
    // A taken slot waits from now on; `wait` has its points.
    void retire(Place place, VaWait& wait) noexcept;
    // It waits no more.
    void release_retired(VaWait& wait) noexcept;

    // Gives the empty runs of a zone back to the blocks. Needs no nodes. Were there any?
    bool trim(VaZone zone) noexcept;
    // Turns runs into blocks, one per range, so that what is free in them is free for everybody. Blocks must have been
    // set aside (`dissolve_needs`). Waits of retired slots go with them.
    [[nodiscard]] static std::uint64_t dissolve_needs(const VaSlotRun& run) noexcept;
    void dissolve(VaSlotRun& run) noexcept;
    // All runs of the zone in which something is free. False: there are not so many nodes, and nothing changed.
    [[nodiscard]] bool dissolve_all(VaZone zone) noexcept;

    [[nodiscard]] VaSlotCounters counters(VaZone zone) const noexcept;
    // Taken slots of a zone. A look at each run.
    [[nodiscard]] std::uint64_t allocations(VaZone zone) const noexcept;
    // Free in the runs of a zone: slots, and slack.
    [[nodiscard]] std::uint64_t free_pages(VaZone which) const noexcept {
        const Zone* const zone = zones_[static_cast<std::size_t>(which)];
        return zone == nullptr ? 0 : zone->free_pages;
    }
    [[nodiscard]] std::uint64_t bytes_reserved() const noexcept { return runs_.bytes_reserved() + zones_bytes(); }
    [[nodiscard]] std::uint64_t bytes_touched() const noexcept {
        return runs_.touched() * sizeof(VaSlotRun) + zones_bytes();
    }

    // S1 to S6. O(n log n).
    [[nodiscard]] bool validate() noexcept;

private:
    static constexpr unsigned kSlotBits = 6;
    static constexpr std::uint64_t kFirstHandle = std::uint64_t{1} << kSlotBits;
    static constexpr std::uint32_t kMostRuns = std::uint32_t{1} << (32 - kSlotBits);
    static constexpr unsigned kOctave = 1U << VaSlotClass::kPerOctaveLog2;
    static constexpr unsigned kBorrowed = 3;  // classes above its own that a request may take a slot of
    static constexpr std::uint32_t kMagazine = 28;
    static constexpr std::uint32_t kReload = kMagazine / 2;
    static constexpr std::uint32_t kNone = VaSlotRun::kNone;

    // A slot by name: the number of its run, and its number there.
    struct alignas(64) Class {
        std::array<std::uint32_t, kMagazine> magazine{};  // names of free slots, the next one last
        std::uint32_t loaded = 0;                         // of these
        std::uint32_t room = kNone;                       // runs with listed slots
        std::uint32_t slots = 0;                          // of its runs
        std::uint32_t misses = 0;                         // requests that the blocks served, up to the policy's
    };
    struct Octave {
        std::uint64_t idle = 0;  // pages of its classes' free slots
        std::uint64_t most = 0;  // of these, before some go back: as of the last look at the zone
    };
    struct Zone {
        std::uint64_t free_pages = 0;  // in runs
        std::uint64_t retired = 0;
        std::uint64_t retired_pages = 0;
        std::uint64_t runs = 0;
        std::uint64_t run_pages = 0;
        std::array<Octave, VaSlotClass::kClasses / kOctave> octaves{};
        std::array<Class, VaSlotClass::kClasses + 1> classes{};  // the last one has none, ever
    };

    [[nodiscard]] static unsigned class_of(const VaRequest& request) noexcept {
        static_assert((VaSlotClass::kMostPages << kPageBits) % kMostAlignment == 0, "rounded up, there is a class");
        const std::uint64_t rounded = (request.size + (request.alignment - 1)) & ~(request.alignment - 1);
        return VaSlotClass::of(rounded >> kPageBits);
    }
    [[nodiscard]] Zone& zone_of(const VaSlotRun& run) noexcept { return *zones_[static_cast<std::size_t>(run.zone)]; }
    [[nodiscard]] static std::uint32_t name_of(const VaSlotRun& run, unsigned slot) noexcept {
        return run.number << kSlotBits | slot;
    }
    [[nodiscard]] VaSlotRun& run_at(std::uint32_t name) noexcept { return runs_[name >> kSlotBits]; }
    [[nodiscard]] static unsigned slot_in(std::uint32_t name) noexcept { return name & (VaSlotRun::kMostSlots - 1); }

    // The last slot of a magazine that is not empty. False: its class is not for such an alignment.
    [[nodiscard]] bool take_from(Zone& zone, unsigned size_class, const VaRequest& request, VaLease& lease) noexcept {
        Class& from = zone.classes[size_class];
        const std::uint32_t left = from.loaded - 1;
        const std::uint32_t name = from.magazine[left];
        VaSlotRun& run = run_at(name);
        const unsigned slot = slot_in(name);
        const std::uint64_t start = run.page_of(slot) << kPageBits;
        if ((start & (request.alignment - 1)) != 0 || !run.can_have_slack(run.stride - (request.size >> kPageBits))) {
            return false;
        }
        from.loaded = left;
        occupy(zone, run, slot, request.size >> kPageBits);
        lease = {{Va{start}, Va{start + request.size}}, VaHandle{name + kFirstHandle}};
        return true;
    }
    // A slot that is free, and in no magazine nor listed any more.
    static void occupy(Zone& zone, VaSlotRun& run, unsigned slot, std::uint64_t pages) noexcept {
        const std::uint32_t stride = run.stride;
        run.taken |= std::uint64_t{1} << slot;
        zone.free_pages -= pages;
        zone.octaves[run.size_class / kOctave].idle -= stride;
        run.set_slack(slot, stride - pages);
    }
    // `pages`: of the range that it had.
    void become_free(const VaSlotRun& run, unsigned slot, std::uint64_t pages) noexcept {
        const unsigned size_class = run.size_class;
        Zone& zone = zone_of(run);
        Class& in = zone.classes[size_class];
        Octave& octave = zone.octaves[size_class / kOctave];
        zone.free_pages += pages;
        const std::uint64_t idle = octave.idle + run.stride;
        octave.idle = idle;
        const std::uint32_t loaded = in.loaded;
        in.magazine[loaded] = name_of(run, slot);
        in.loaded = loaded + 1;
        if (loaded + 1 == kMagazine || idle > octave.most) {
            settle(run.zone, size_class);
        }
    }

    // Lists slots of a magazine that is full, or whose runs should go back because more is free than may be.
    void settle(VaZone zone, unsigned size_class) noexcept;
    // Of an octave that has more free slots than it may: a class whose oldest slot in the magazine is all of its run, so
    // that this can go back. kNone: there is none.
    [[nodiscard]] unsigned lavish(const Zone& zone, unsigned size_class) noexcept;
    [[nodiscard]] bool oldest_is_a_run(const Class& in) noexcept;
    // A slot of the own magazine that is aligned comes last. False: there is none.
    [[nodiscard]] bool prefer_aligned(Class& in, std::uint64_t alignment) noexcept;
    // The first so many slots of the magazine, which are longest there, are listed. Runs all of whose slots are go back.
    void spill(Zone& zone, unsigned size_class, std::uint32_t count) noexcept;
    // Listed slots go into a magazine that is empty. False: there are none.
    [[nodiscard]] bool reload(Class& in, VaDirection direction) noexcept;
    [[nodiscard]] bool has_slot(Class& in, VaDirection direction) noexcept {
        return in.loaded != 0 || reload(in, direction);
    }
    // What is free in the run is listed, and nothing of it is in the magazine.
    void unload(Zone& zone, VaSlotRun& run) noexcept;
    void list(Class& in, VaSlotRun& run, std::uint64_t slots) noexcept;
    void unlist(Class& in, VaSlotRun& run) noexcept;

    // Pages in use in a zone, in blocks and runs.
    [[nodiscard]] std::uint64_t used_pages(VaZone zone) const noexcept;
    // All slots listed: its block becomes a hole.
    void give_back(VaSlotRun& run) noexcept;
    [[nodiscard]] static bool has_hole(const VaSlotRun& run) noexcept;
    struct RunPlace {
        VaBlock* hole = nullptr;
        std::uint64_t first = 0;
        std::uint64_t slots = 0;
    };
    [[nodiscard]] RunPlace place_run(const VaRequest& request, std::uint32_t stride, std::uint64_t most_slots,
                                     std::uint64_t used) noexcept;
    [[nodiscard]] Grown make_run(const VaRequest& request, unsigned size_class, VaLease& lease) noexcept;
    // The run is no more; its block stays.
    void end(VaSlotRun& run) noexcept;
    [[nodiscard]] std::uint64_t zones_bytes() const noexcept;
    [[nodiscard]] bool validate_run(const VaSlotRun& run, std::uint32_t number) const noexcept;
    [[nodiscard]] bool validate_class(VaZone which, unsigned size_class, std::uint64_t& with_room,
                                      std::uint64_t& in_magazines) const noexcept;

    NodeMemory memory_;
    VaPartition& partition_;
    VaWaits& waits_;
    VaSlotPolicy policy_;
    NodeTable<VaSlotRun> runs_;
    std::array<Zone*, kVaZones> zones_{};
};

}  // namespace granule
