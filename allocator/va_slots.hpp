// Runs of equal slots: what most requests of a VaHeap are served from, with a count of zeroes and one bit.
//
// A run is a block (va_block.hpp) that is cut into up to 64 slots of one size class. A mask says which are free, another
// which have an owner; those in neither wait for fences.
//
//      block:   |  slot 0   |  slot 1   |  slot 2   |  slot 3   |    ->  free  0 0 1 0
//               | range    ~| range     | free      | waiting  ~|        taken 1 1 0 0 (slot 0 first)
//                         `- slack: the pages of the slot beyond the exact range; nobody's
//
// Classes. 16 an octave: the sizes (m << s, (m + 1) << s] pages with m from 16 to 31, and below 16 pages each size by
// itself. The stride of a class is its largest size. Where the size is a multiple of the alignment so is the stride, and
// runs begin at multiples of the largest power of two that divides the stride (up to 2 MiB): 4 KiB, 64 KiB and 2 MiB
// alignment come for free.
//
// What is here is a fast path. VaHeap decides what may go through it (`plain` requests), falls back on the blocks, and
// dissolves runs where the difference between a slot and a block could be seen: va_heap.md.
//
// Invariants
//   S1  A run is a block in the state kSlots that knows the run, of slots * stride pages.
//   S2  A slot is free, taken or retired; slots beyond `slots` are none of these.
//   S3  Exactly the runs with a free slot are on the list of their class.
//   S4  The counters of a zone are the sums over its runs.
//   S5  The waits of a run are those of its retired slots.
//   S6  A run in which nothing is taken or retired is the spare of its class.
//
// Complexity: take, release: O(1). grow: O(1) and the block layer's. dissolve: O(slots) block operations. dissolve_all:
//             that, and a look at every run.
// Memory    : 192 B a run, 3 B a slot where it has 64.
// Failure   : `take` and `grow` say no, and nothing has changed. Thread-safety: none.
#pragma once

#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>

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

    std::uint64_t free = 0;
    std::uint64_t taken = 0;
    std::uint64_t first = 0;    // page
    VaSlotRun* prev = nullptr;  // on the list of its class
    VaSlotRun* behind = nullptr;
    VaWait* waits = nullptr;
    std::uint32_t stride = 1;  // pages
    std::uint32_t number = 0;  // in the table
    std::uint32_t next = 0;    // the table's link
    std::uint8_t slots = 0;    // 0: no run
    std::uint8_t size_class = 0;
    VaZone zone = VaZone::kMain;
    std::array<std::uint16_t, kMostSlots> slack{};  // pages of a slot that are not its range's

    [[nodiscard]] std::uint64_t all() const noexcept { return ~std::uint64_t{0} >> (kMostSlots - slots); }
    [[nodiscard]] std::uint64_t retired() const noexcept { return all() & ~(free | taken); }
    [[nodiscard]] std::uint64_t pages() const noexcept { return std::uint64_t{slots} * stride; }
    [[nodiscard]] std::uint64_t page_of(unsigned slot) const noexcept { return first + std::uint64_t{slot} * stride; }
    [[nodiscard]] std::uint64_t pages_of(unsigned slot) const noexcept { return stride - slack[slot]; }
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
    std::uint64_t allocations = 0;
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
    ~VaSlots() = default;

    // May the request be served by a slot? No phase, no boundary, no guard, and nothing that breaks a rule.
    [[nodiscard]] static bool is_plain(const VaRequest& request) noexcept {
        const std::uint64_t alignment = request.alignment;
        const bool no_extras =
            (request.phase | request.boundary | request.guard | (request.size & (kPageBytes - 1))) == 0;
        return no_extras && request.size - 1 < (VaSlotClass::kMostPages << kPageBits) &&
               (alignment & (alignment - 1)) == 0 && alignment - kPageBytes <= kMostAlignment - kPageBytes &&
               static_cast<std::size_t>(request.zone) < kVaZones;
    }

    // A slot that is free, for a plain request. False: its class has none.
    [[nodiscard]] bool take(const VaRequest& request, VaLease& lease) noexcept {
        const unsigned size_class = class_of(request);
        Class& mine = classes_[static_cast<std::size_t>(request.zone)][size_class];
        if (mine.room == nullptr) {
            return false;
        }
        lease = take_from(mine, *mine.room, request);
        return true;
    }
    // The slot of `run` that begins where `range` does. False: there is none, it is not free, or the range is less than half
    // of it.
    [[nodiscard]] bool take_at(VaSlotRun& run, VaRange range) noexcept;
    // The same as `take` where that said no: borrows from the next larger classes, or makes a run.
    enum class Grown : std::uint8_t { kTaken, kNotHere, kOutOfMemory };  // kNotHere: the blocks should serve this one
    [[nodiscard]] Grown grow(const VaRequest& request, VaLease& lease) noexcept;

    // If `handle` leads to a taken slot whose range this is, the slot.
    struct Place {
        VaSlotRun* run = nullptr;
        unsigned slot = 0;

        explicit operator bool() const noexcept { return run != nullptr; }
    };
    [[nodiscard]] Place find(VaRange range, VaHandle handle) noexcept {
        const std::uint64_t number = (static_cast<std::uint64_t>(handle) >> kSlotBits) - 1;
        if (number >= runs_.touched()) {
            return {};
        }
        return confirm(runs_[static_cast<std::uint32_t>(number)],
                       static_cast<unsigned>(static_cast<std::uint64_t>(handle)) & (VaSlotRun::kMostSlots - 1), range);
    }
    // If the slot is taken and has this range.
    [[nodiscard]] static Place confirm(VaSlotRun& run, unsigned slot, VaRange range) noexcept {
        const bool is_it = (run.taken >> slot & 1) != 0 && run.range_of(slot) == range;
        return is_it ? Place{&run, slot} : Place{};
    }
    [[nodiscard]] VaSlotRun& run_of(std::uint32_t number) noexcept { return runs_[number]; }
    [[nodiscard]] const VaSlotRun& run_of(std::uint32_t number) const noexcept { return runs_[number]; }
    [[nodiscard]] static VaHandle handle_of(const VaSlotRun& run, unsigned slot) noexcept {
        return VaHandle{(std::uint64_t{run.number} + 1) << kSlotBits | slot};
    }

    // A taken slot becomes free.
    void release(Place place) noexcept {
        VaSlotRun& run = *place.run;
        VaSlotCounters& counters = counters_[static_cast<std::size_t>(run.zone)];
        --counters.allocations;
        counters.used_pages -= run.pages_of(place.slot);
        run.taken &= ~(std::uint64_t{1} << place.slot);
        become_free(run, place.slot);
    }
    // A taken slot waits from now on; `wait` has its points.
    void retire(Place place, VaWait& wait) noexcept;
    // It waits no more.
    void release_retired(VaWait& wait) noexcept;

    // Gives the empty runs of a zone back to the blocks. Needs no nodes. Were there any?
    bool trim(VaZone zone) noexcept;
    // Turns runs into blocks, one per range, so that what is free in them is free for everything. Blocks must have been
    // set aside (`dissolve_needs`). Waits of retired slots go with them.
    [[nodiscard]] static std::uint64_t dissolve_needs(const VaSlotRun& run) noexcept;
    void dissolve(VaSlotRun& run) noexcept;
    // All runs of the zone in which something is free. False: there are not so many nodes, and nothing changed.
    [[nodiscard]] bool dissolve_all(VaZone zone) noexcept;

    [[nodiscard]] const VaSlotCounters& counters(VaZone zone) const noexcept {
        return counters_[static_cast<std::size_t>(zone)];
    }
    // Free in the runs of a zone: slots, and slack.
    [[nodiscard]] std::uint64_t free_pages(VaZone zone) const noexcept {
        const VaSlotCounters& in_runs = counters(zone);
        return in_runs.run_pages - in_runs.used_pages - in_runs.retired_pages;
    }
    [[nodiscard]] std::uint64_t bytes_reserved() const noexcept { return runs_.bytes_reserved(); }
    [[nodiscard]] std::uint64_t bytes_touched() const noexcept { return runs_.touched() * sizeof(VaSlotRun); }

    // S1 to S6. O(n log n).
    [[nodiscard]] bool validate() noexcept;

private:
    static constexpr unsigned kSlotBits = 6;
    static constexpr unsigned kBorrowed = 2;  // classes above its own that a request may take a slot of

    struct Class {
        VaSlotRun* room = nullptr;   // runs with a free slot
        VaSlotRun* spare = nullptr;  // a run that was empty last: kept, if it still is
        std::uint32_t slots = 0;     // of its runs
        std::uint32_t misses = 0;    // requests that the blocks served, up to the policy's
    };

    [[nodiscard]] static unsigned class_of(const VaRequest& request) noexcept {
        static_assert((VaSlotClass::kMostPages << kPageBits) % kMostAlignment == 0, "rounded up, there is a class");
        const std::uint64_t rounded = (request.size + (request.alignment - 1)) & ~(request.alignment - 1);
        return VaSlotClass::of(rounded >> kPageBits);
    }
    [[nodiscard]] Class& class_of(const VaSlotRun& run) noexcept {
        return classes_[static_cast<std::size_t>(run.zone)][run.size_class];
    }

    [[nodiscard]] VaLease take_from(Class& from, VaSlotRun& run, const VaRequest& request) noexcept {
        assert(run.free != 0);
        const std::uint64_t pages = request.size >> kPageBits;
        const auto lowest = static_cast<unsigned>(std::countr_zero(run.free));
        const auto highest = static_cast<unsigned>(std::bit_width(run.free)) - 1;
        const unsigned slot =
            (request.direction == VaDirection::kTopDown ? highest : lowest) & (VaSlotRun::kMostSlots - 1);
        take_slot(from, run, slot, pages);
        const std::uint64_t start = run.page_of(slot);
        return {{Va{start << kPageBits}, Va{(start << kPageBits) + request.size}}, handle_of(run, slot)};
    }
    // A free slot.
    void take_slot(Class& from, VaSlotRun& run, unsigned slot, std::uint64_t pages) noexcept {
        const std::uint64_t bit = std::uint64_t{1} << slot;
        run.free ^= bit;
        run.taken |= bit;
        run.slack[slot] = static_cast<std::uint16_t>(run.stride - pages);
        VaSlotCounters& counters = counters_[static_cast<std::size_t>(run.zone)];
        ++counters.allocations;
        counters.used_pages += pages;
        if (run.free == 0) {
            unlist(from, run);
        }
    }
    void become_free(VaSlotRun& run, unsigned slot) noexcept {
        const std::uint64_t before = run.free;
        run.free = before | std::uint64_t{1} << slot;
        if (before == 0) {
            list_first(class_of(run), run);
        } else if (run.free == run.all()) {
            become_empty(run);
        }
    }
    // What was full until now comes first: it is nearly full, and others become empty meanwhile.
    static void list_first(Class& in, VaSlotRun& run) noexcept {
        run.prev = nullptr;
        run.behind = in.room;
        if (in.room != nullptr) {
            in.room->prev = &run;
        }
        in.room = &run;
    }
    static void unlist(Class& in, VaSlotRun& run) noexcept {
        (run.prev == nullptr ? in.room : run.prev->behind) = run.behind;
        if (run.behind != nullptr) {
            run.behind->prev = run.prev;
        }
    }

    void become_empty(VaSlotRun& run) noexcept;
    // An empty one, or one that is about to be dissolved: its block becomes a hole.
    void give_back(VaSlotRun& run) noexcept;
    [[nodiscard]] static bool has_hole(const VaSlotRun& run) noexcept;
    struct RunPlace {
        VaBlock* hole = nullptr;
        std::uint64_t first = 0;
        std::uint64_t slots = 0;
    };
    [[nodiscard]] RunPlace place_run(const VaRequest& request, std::uint32_t stride, std::uint64_t most_slots,
                                     std::uint64_t used) noexcept;
    [[nodiscard]] Grown make_run(const VaRequest& request, unsigned size_class, Class& in) noexcept;
    // The run is no more; its block stays.
    void end(VaSlotRun& run) noexcept;

    VaPartition& partition_;
    VaWaits& waits_;
    VaSlotPolicy policy_;
    NodeTable<VaSlotRun> runs_;
    std::array<VaSlotCounters, kVaZones> counters_{};
    std::array<std::array<Class, VaSlotClass::kClasses>, kVaZones> classes_{};
};

}  // namespace granule
