// The BOs of a BoCache, one entry each, and where an entry is: its state, and the lists of that state.
//
//     state       lists                                    counted as
//     kMaking     -                                        live       is being made
//     kOut        by id                                    live       handed out
//     kInHand     -                                        live, or idle where `offered`: a call looks at it, unlocked
//     kIdle       its bin's idle, warm or cold             idle
//     kUnknown    its bin's unknown, warm or cold          idle       a kernel knows whether it is
//     kWaiting    the fences' queue, waiting               waiting
//     kRetiring   the fences' queue, retiring; or stuck             retiring   goes when its fences have signalled
//     kEnding     -                                        -          is just ended, unlocked
//
// Thread-safety: none; the cache's lock covers all of it, but for what an entry in hand says of its BO.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "allocator/fence_queue.hpp"
#include "allocator/mapping.hpp"
#include "allocator/va_request.hpp"
#include "src/backend/bo_backend.hpp"

namespace granule {

struct BoEntry;

struct EntryLinks {
    BoEntry* before = nullptr;
    BoEntry* after = nullptr;
};

// A list through one of an entry's links. All O(1).
template <EntryLinks BoEntry::*kLinks>
class EntryList {
public:
    [[nodiscard]] BoEntry* front() const noexcept { return front_; }
    [[nodiscard]] bool empty() const noexcept { return front_ == nullptr; }
    void push_front(BoEntry& entry) noexcept { insert(nullptr, entry, front_); }
    void push_back(BoEntry& entry) noexcept { insert(back_, entry, nullptr); }
    void remove(BoEntry& entry) noexcept {
        const EntryLinks links = entry.*kLinks;
        (links.before == nullptr ? front_ : (links.before->*kLinks).after) = links.after;
        (links.after == nullptr ? back_ : (links.after->*kLinks).before) = links.before;
        entry.*kLinks = {};
    }
    // nullptr: it is empty.
    [[nodiscard]] BoEntry* pop_front() noexcept {
        BoEntry* const entry = front_;
        if (entry != nullptr) {
            remove(*entry);
        }
        return entry;
    }
    // The one behind `entry`.
    [[nodiscard]] static BoEntry* after(const BoEntry& entry) noexcept { return (entry.*kLinks).after; }

private:
    void insert(BoEntry* before, BoEntry& entry, BoEntry* after) noexcept {
        entry.*kLinks = {before, after};
        (before == nullptr ? front_ : (before->*kLinks).after) = &entry;
        (after == nullptr ? back_ : (after->*kLinks).before) = &entry;
    }

    BoEntry* front_ = nullptr;
    BoEntry* back_ = nullptr;
};

// What two BOs have in common that stand in for each other, but for the size.
struct BoKind {
    BoRequest bo;    // without `bytes` and `made_by`
    MapFlags flags;  // as mapped; without a VM, and where the kernel maps, as default
    VaRequest va;    // likewise; without `size`

    bool operator==(const BoKind&) const noexcept = default;
};

// All BOs of one kind and one size.
struct BoBin;

struct BoEntry {
    enum class State : std::uint8_t { kMaking, kOut, kInHand, kIdle, kUnknown, kWaiting, kRetiring, kEnding };

    FenceWait<BoEntry> wait;  // kWaiting, kRetiring; and while it ends, what it waited for
    BoBin* bin = nullptr;     // nullptr: not one that is kept
    BoId id = kNoBo;
    Bo* bo = nullptr;
    VaRange va;                  // with a VM: where it is mapped
    std::uint64_t bytes = 0;     // of the BO
    std::uint64_t asked = 0;     // kOut: of these, what was asked for
    std::uint64_t since_ns = 0;  // in its state, or idle as far as it is known
    State state = State::kMaking;
    bool evictable = false;    // the kernel may have taken its pages
    bool offered = false;      // kInHand: on its way to `cold` ...
    bool was_unknown = false;  // ... from kUnknown
    EntryLinks by_age;         // warm, cold, waiting, retiring, stuck; or the entries that a call ends
    EntryLinks in_bin;         // idle, unknown

    // Fences that are not known to have signalled.
    [[nodiscard]] std::span<const FencePoint> waits_for() const noexcept {
        return std::span{wait.points}.subspan(wait.current, std::size_t{wait.count} - wait.current);
    }
};

using EntriesByAge = EntryList<&BoEntry::by_age>;
using EntriesInBin = EntryList<&BoEntry::in_bin>;

struct BoBin {
    BoKind kind;
    std::uint64_t bytes = 0;  // a size class
    BoBin* next = nullptr;    // in its bucket
    EntriesInBin idle;        // the one that became idle last is first; those that the kernel may have taken are last
    EntriesInBin unknown;     // the one that was put first is first
    std::uint64_t waiting = 0;
    std::uint64_t entries = 0;  // in any state
};

}  // namespace granule
