// A block: the unit that a VaHeap's zones are cut into. Every page of a zone is in exactly one block.
//
//      |  hole  | allocated (guard + range + guard) | slots | retired |     hole     |
//       lowest <-> ------------- neighbours in address order ------------------- <->
//
// One cache line each, in all states, so that a state changes without memory (P4): a hole that is taken whole becomes
// the allocation, and a released allocation becomes the hole.
//
// Internal to VaHeap and ReuseQueue. Page numbers (VA / 4 KiB) throughout: starts fit 36 bits, ends are at most 2^36.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>

#include "allocator/indexed_pool.hpp"
#include "mali/address.hpp"

namespace granule {

inline constexpr unsigned kPageBits = 12;
inline constexpr unsigned kPageNumberBits = kMaxVaBits - kPageBits;

struct HoleNode;
struct VaWait;

struct alignas(64) VaBlock {
    enum class State : std::uint8_t {
        kUnused,     // in the pool, in no zone
        kHole,       // free
        kAllocated,  // one allocation, guards included
        kRetired,    // the same, waiting for fences
        kSlots,      // cut into equal slots
    };
    // Where a hole stands with the exact index (hole_index.hpp), which learns of holes only when it is asked.
    enum class Indexing : std::uint8_t {
        kUnknown,  // the index need not know of it: no hole, or not yet told
        kListed,   // in the list of what may have become a hole since the index was asked last
        kIndexed,  // has a HoleNode
    };

    explicit VaBlock(std::uint32_t number) noexcept : key_(number) {}

    // Its number in the pool of its partition, from 1 on.
    [[nodiscard]] std::uint32_t number() const noexcept { return static_cast<std::uint32_t>(key_ & kNumberMask); }
    // Start, then number: what the address index keeps of it.
    [[nodiscard]] std::uint64_t key() const noexcept { return key_; }
    [[nodiscard]] std::uint64_t first() const noexcept { return key_ >> kItemNumberBits; }
    [[nodiscard]] std::uint64_t end() const noexcept { return end_and_tags_ >> kTagBits; }
    [[nodiscard]] std::uint64_t pages() const noexcept { return end() - first(); }
    [[nodiscard]] State state() const noexcept { return static_cast<State>(tag(kStateTag)); }
    [[nodiscard]] bool is_hole() const noexcept { return state() == State::kHole; }
    [[nodiscard]] Indexing indexing() const noexcept { return static_cast<Indexing>(tag(kIndexingTag)); }
    // kHole: its bin (hole_bins.hpp).
    [[nodiscard]] unsigned bin() const noexcept { return static_cast<unsigned>(tag(kBinTag)); }
    // Pages at both ends of an allocation that belong to it but not to the range that its owner was given.
    [[nodiscard]] std::uint64_t guard() const noexcept {
        return state() == State::kAllocated || state() == State::kRetired ? used.guard : 0;
    }
    // Which zone it is in.
    [[nodiscard]] std::size_t zone() const noexcept { return static_cast<std::size_t>(tag(kZoneTag)); }
    // With its guards.
    [[nodiscard]] VaRange whole() const noexcept { return {Va{first() << kPageBits}, Va{end() << kPageBits}}; }
    // Without them: what the owner was given.
    [[nodiscard]] VaRange range() const noexcept {
        return {Va{(first() + guard()) << kPageBits}, Va{(end() - guard()) << kPageBits}};
    }

    // Was it given out, without guards, as this range?
    [[nodiscard]] bool is_allocated_as(VaRange range) const noexcept {
        return state() == State::kAllocated && (first() + used.guard) << kPageBits == range.start.raw() &&
               (end() - used.guard) << kPageBits == range.end.raw();
    }

    void set_first(std::uint64_t first_page) noexcept { key_ = first_page << kItemNumberBits | (key_ & kNumberMask); }
    void set_end(std::uint64_t end_page) noexcept {
        end_and_tags_ = end_page << kTagBits | (end_and_tags_ & ((std::uint64_t{1} << kTagBits) - 1));
    }
    void set_zone(std::size_t zone) noexcept { set_tag(kZoneTag, zone); }
    void set_indexing(Indexing indexing) noexcept { set_tag(kIndexingTag, static_cast<unsigned>(indexing)); }
    void set_bin(unsigned bin) noexcept { set_tag(kBinTag, bin); }

    // Fresh from the pool: its ends and its zone.
    void begin(std::size_t zone, std::uint64_t first_page, std::uint64_t end_page) noexcept {
        set_first(first_page);
        const std::uint64_t indexing_bits = end_and_tags_ & (kIndexingTag.mask << kIndexingTag.shift);
        end_and_tags_ = end_page << kTagBits | std::uint64_t{zone} << kZoneTag.shift | indexing_bits;
    }
    // States whose members of the union differ. Those of a hole are set by its bin.
    void become_hole() noexcept { set_state(State::kHole); }
    void become_allocated(std::uint64_t guard_pages) noexcept {
        set_state(State::kAllocated);
        used.guard = guard_pages;
    }
    void become_retired(VaWait& waits) noexcept {
        assert(state() == State::kAllocated);
        set_state(State::kRetired);
        used.wait = &waits;
    }
    void become_slots(std::uint32_t run) noexcept {
        assert(state() == State::kAllocated && used.guard == 0);
        set_state(State::kSlots);
        used.run = run;
    }
    void become_unused() noexcept { set_state(State::kUnused); }

    // kSlots: the number of the run (va_slots.hpp).
    [[nodiscard]] std::uint32_t run() const noexcept {
        assert(state() == State::kSlots);
        return used.run;
    }
    // kRetired: what it waits for (va_wait.hpp).
    [[nodiscard]] VaWait* wait() const noexcept {
        assert(state() == State::kRetired);
        return used.wait;
    }

    // A block in the pool keeps its place in the list of the exact index: `next` says nothing then.
    [[nodiscard]] static VaBlock*& unused_link(VaBlock& block) noexcept { return block.next; }

    VaBlock* prev = nullptr;  // in the same zone
    VaBlock* next = nullptr;
    std::uint64_t* entry = nullptr;  // the word of the address index that holds key()

    struct InBin {
        VaBlock** link;  // what leads here: the head of the list, or `next` of the one before
        VaBlock* next;
    };
    struct InUse {
        std::uint64_t guard;
        union {
            VaWait* wait;
            std::uint32_t run;
        };
    };
    union {
        InBin free{};  // kHole: its place in its bin (hole_bins.hpp)
        InUse used;    // all others
    };
    union {
        VaBlock* next_listed = nullptr;  // Indexing::kListed
        HoleNode* node;                  // Indexing::kIndexed
    };

private:
    static constexpr std::uint64_t kNumberMask = (std::uint64_t{1} << kItemNumberBits) - 1;

    // What is small is in the word of the end: whole words are written and read, so that no read waits for a narrower
    // write.
    struct Tag {
        unsigned shift;
        std::uint64_t mask;
    };
    static constexpr unsigned kTagBits = 64 - (kPageNumberBits + 1);
    static constexpr Tag kStateTag{0, 7};
    static constexpr Tag kIndexingTag{3, 3};
    static constexpr Tag kZoneTag{5, 3};
    static constexpr Tag kBinTag{8, 0x1FF};
    static_assert(8 + 9 <= kTagBits);

    [[nodiscard]] std::uint64_t tag(Tag which) const noexcept { return end_and_tags_ >> which.shift & which.mask; }
    void set_tag(Tag which, std::uint64_t value) noexcept {
        end_and_tags_ = (end_and_tags_ & ~(which.mask << which.shift)) | value << which.shift;
    }
    void set_state(State state) noexcept { set_tag(kStateTag, static_cast<unsigned>(state)); }

    std::uint64_t key_;
    std::uint64_t end_and_tags_ = 0;
};

}  // namespace granule
