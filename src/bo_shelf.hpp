// What a BoCache keeps: which BO is in which state, for whom it can stand in, and which goes first. Pure: it calls
// nobody, so that it may be held under a lock; what is to be done to BOs, it says.
//
// Structure (bo_entry.hpp). Bins by kind and size, in a hash table; in a bin, what is idle, the newest first: it is what
// the CPU's caches know, and what is too much grows old. By age: `cold` (the kernel may take its pages), then `warm`,
// both idle, then `waiting`. Each list is in the order in which its entries became what they are, so that the oldest is
// always the front of one of three.
//
// Contract
//   P4          What can fail is `prepare` and `reserve_id`. All else moves pointers.
//   Complexity  O(1), but: prepare and reserve_id allocate now and then; fences as in FenceQueue.
//   Thread-safety: none.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "allocator/fence_queue.hpp"
#include "allocator/node_memory.hpp"
#include "allocator/node_pool.hpp"
#include "src/array.hpp"
#include "src/bo.hpp"
#include "src/bo_entry.hpp"

namespace granule {

struct BoCount {
    std::uint64_t bos = 0;
    std::uint64_t bytes = 0;

    bool operator==(const BoCount&) const noexcept = default;
};

struct BoShelfUsage {
    BoCount live;                   // handed out, or being made
    BoCount idle;                   // cached, and nobody uses it as far as it is known
    BoCount waiting;                // cached, behind fences
    BoCount retiring;               // not to be used again, behind fences
    std::uint64_t asked_bytes = 0;  // of what is live: what was asked for
    std::uint64_t peak_bytes = 0;   // the most that all of it together was

    [[nodiscard]] std::uint64_t cached_bytes() const noexcept { return idle.bytes + waiting.bytes; }
    [[nodiscard]] std::uint64_t all_bytes() const noexcept { return live.bytes + cached_bytes() + retiring.bytes; }
};

// A timeline's value, as it was asked for without the lock.
struct TimelineValue {
    TimelineId timeline{};
    std::uint64_t value = 0;
};

class BoShelf {
public:
    explicit BoShelf(NodeMemory nodes) noexcept;
    BoShelf(const BoShelf&) = delete;
    BoShelf& operator=(const BoShelf&) = delete;
    ~BoShelf() = default;  // whatever is in it: its owner has ended the BOs

    // A BO comes. `bytes`: of the BO; a size class where it is `kept`. nullptr: no memory.
    [[nodiscard]] BoEntry* prepare(const BoKind& kind, std::uint64_t bytes, std::uint64_t asked, bool kept) noexcept;
    // kMaking -> gone.
    void abandon(BoEntry& entry) noexcept;
    // A place for a BO of this id, from now on. False: no memory.
    [[nodiscard]] bool reserve_id(BoId id) noexcept;
    // kMaking -> kOut. `bo` has as many bytes as were said, or more, and there is a place for its id.
    void hand_out(BoEntry& entry, Bo& bo, const VaRange& va) noexcept;
    // Found under this id, and kOut; or nullptr.
    [[nodiscard]] BoEntry* find_out(BoId id) const noexcept;

    // It is used again. kIdle, kUnknown -> kInHand; nullptr: none.
    [[nodiscard]] BoEntry* take_idle(const BoKind& kind, std::uint64_t bytes) noexcept;
    [[nodiscard]] BoEntry* take_unknown(const BoKind& kind, std::uint64_t bytes) noexcept;
    [[nodiscard]] bool some_wait(const BoKind& kind, std::uint64_t bytes) const noexcept;
    // kInHand -> kOut.
    void hand_out_again(BoEntry& entry, std::uint64_t asked) noexcept;
    // kInHand -> kUnknown: it is not idle. It is asked first next time.
    void still_busy(BoEntry& entry, std::uint64_t now_ns) noexcept;

    // kOut, kInHand -> kIdle, kUnknown, or kWaiting for entry.wait, which has a point.
    void put_idle(BoEntry& entry, std::uint64_t now_ns) noexcept;
    void put_unknown(BoEntry& entry, std::uint64_t now_ns) noexcept;
    void put_waiting(BoEntry& entry, std::uint64_t now_ns) noexcept;

    // kOut, kInHand, kWaiting -> kRetiring, or at once kEnding in `ended` where it waits for nothing.
    void retire(BoEntry& entry, EntriesByAge& ended) noexcept;
    // kEnding -> kRetiring: it could not be ended. Counts again.
    void stick(BoEntry& entry) noexcept;
    // kEnding -> gone.
    void forget(BoEntry& entry) noexcept;

    // The oldest that is idle, or nullptr.
    [[nodiscard]] BoEntry* oldest_idle() const noexcept;
    [[nodiscard]] BoEntry* oldest_waiting() const noexcept { return waiting_.front(); }
    // That has fences: waiting, or else retiring.
    [[nodiscard]] const BoEntry* oldest_busy() const noexcept {
        return waiting_.empty() ? retiring_.front() : waiting_.front();
    }
    [[nodiscard]] BoEntry* oldest_warm() const noexcept { return warm_.front(); }
    // kIdle, kUnknown -> kEnding, in `ended`.
    void end(BoEntry& idle, EntriesByAge& ended) noexcept;
    // All that was stuck -> kEnding, in `ended`.
    void end_stuck(EntriesByAge& ended) noexcept;

    // kIdle, kUnknown in `warm` -> kInHand, and still counted as idle; back to where it was, but in `cold`, or to kEnding.
    void take_to_offer(BoEntry& entry) noexcept;
    void put_offered(BoEntry& entry) noexcept;
    void end_offered(BoEntry& entry, EntriesByAge& ended) noexcept;

    // The timelines after `after` that something waits for and that are not in `known`, ascending, as many as fit. Returns
    // how many.
    [[nodiscard]] std::size_t timelines(TimelineId after, std::span<const TimelineValue> known,
                                        std::span<TimelineValue> into) const noexcept;
    // What these values signal: kWaiting -> kIdle, kRetiring -> kEnding in `ended`.
    void signalled(std::span<const TimelineValue> values, std::uint64_t now_ns, EntriesByAge& ended) noexcept;
    // All that waits or retires -> kEnding, in `ended`, whatever it waits for.
    void end_all_busy(EntriesByAge& ended) noexcept;

    [[nodiscard]] const BoShelfUsage& usage() const noexcept { return usage_; }
    // Are the lists, the bins and the counts in order? Where no call has an entry in hand. O(entries + ids).
    [[nodiscard]] bool validate() const noexcept;

private:
    static constexpr std::size_t kBuckets = 256;

    [[nodiscard]] static std::size_t bucket_of(const BoKind& kind, std::uint64_t bytes) noexcept;
    [[nodiscard]] BoBin* find_bin(const BoKind& kind, std::uint64_t bytes) const noexcept;
    void release_node(BoEntry& entry) noexcept;  // and its bin, with the last one
    void leave_bin(BoEntry& entry) noexcept;     // one that is idle or unknown
    [[nodiscard]] EntriesByAge& age_list_of(const BoEntry& entry) noexcept;
    void become_live(BoEntry& entry) noexcept;
    void become_idle(BoEntry& entry, BoEntry::State state, std::uint64_t now_ns) noexcept;
    void leave_live(BoEntry& entry) noexcept;
    void end_retiring(BoEntry& entry, EntriesByAge& ended) noexcept;
    static void add(BoCount& count, const BoEntry& entry) noexcept;
    static void subtract(BoCount& count, const BoEntry& entry) noexcept;
    void note_peak() noexcept;

    NodePool entries_;
    NodePool bins_;
    Array<BoEntry*> by_slot_;  // of the BO table; those that are kOut
    std::array<BoBin*, kBuckets> buckets_{};
    EntriesByAge cold_;
    EntriesByAge warm_;
    EntriesByAge waiting_;
    EntriesByAge retiring_;
    EntriesByAge stuck_;
    FenceQueue<BoEntry> fences_;
    BoShelfUsage usage_;
};

}  // namespace granule
