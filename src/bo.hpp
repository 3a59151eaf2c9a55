// Buffer objects: memory of a device with a size, a label and a life.
//
// A BO lives as long as somebody holds it or a VM shows a page of it: `references` counts both, one for each holder and
// one for each page that a mapping shows, so that neither side asks the other. Its memory is its backend's
// (src/backend/bo_backend.hpp). Where the backend knows what stands where physically, `runs` says it; where only a
// kernel does, `gem` is its name there.
//
// BoTable finds a BO by its id without a lock: ids are indices into chunks of slots that never move, with a generation,
// so that the id of a BO that is gone is not found. A slot is used for its 4096 generations and then comes last of all,
// behind every slot that was never used: an id does not come again before all 2^32 were used, or no memory for a
// further chunk is left.
//
//     never used ---> live <---> free     each time round, the generation goes up by one
//                     |  ^
//                     v  |                after 4096 of them
//                     spent               taken when nothing else is there: the one that has been spent longest
//
// A pointer to a BO is good while a reference is held. `find` is for callers that hold one; who has no more than an id
// takes one with `retain_if_live`. That is lock-free: the count is in the slot, which outlives the BO, so that looking
// at it touches no memory that goes. Once it is 0 it stays 0 until the slot has its next BO.
//
// Thread-safety: all members, any thread. The table's lock is taken when BOs come and go; a BO has a lock for its label
// and one for its CPU view: so VMs that bind share no lock of this table, whichever BOs they bind.
// Failure: create says what ran out; nothing else fails for want of memory but `map_cpu`, `map_cpu_at` and what copies
// labels.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string_view>

#include "allocator/leaf_layout.hpp"
#include "allocator/mapping.hpp"
#include "allocator/node_memory.hpp"
#include "mali/result.hpp"
#include "src/array.hpp"
#include "src/backend/bo_backend.hpp"
#include "src/memory_budget.hpp"
#include "src/status.hpp"

namespace granule {

class BoTable;

// The counts of a BO, in its slot of the table. The pages shown are what holders do not hold: so that binding counts once.
struct BoCounts {
    std::atomic<std::uint64_t> references{0};
    std::atomic<std::uint64_t> held{0};  // of these, by holders
};

struct Bo {
    // `bytes` of the BO from `offset` on stand at `pa`. `allocated` is what the device memory gave for it.
    struct Run {
        BoOffset offset;
        Pa pa;
        std::uint64_t bytes = 0;
        std::uint64_t allocated = 0;
    };

    Bo(BoTable& of, BoCounts& in_slot, NodeMemory memory) noexcept
        : table(of), counts(in_slot), runs(memory), label(memory) {}

    // Holders + pages shown.
    [[nodiscard]] std::uint64_t references() const noexcept {
        return counts.references.load(std::memory_order_relaxed);
    }
    // Pages shown, over all VMs. Exact while no other thread takes or gives back references; about right otherwise.
    [[nodiscard]] std::uint64_t mapped_pages() const noexcept {
        const std::uint64_t held = counts.held.load(std::memory_order_relaxed);
        const std::uint64_t all = references();
        return all > held ? all - held : 0;
    }

    BoTable& table;  // that it is in
    BoCounts& counts;
    BoId id = kNoBo;
    std::uint64_t size = 0;
    std::uint64_t made_by = 0;         // the creator's own mark, for reports
    std::uint64_t only_for = 0;        // serial of the C interface's VM that alone may show it; 0: any
    std::atomic<void*> user{nullptr};  // whoever uses the library keeps here what they like
    Array<Run> runs;             // ascending, without gaps; empty where only a kernel knows (then `gem` is its name)
    std::uint32_t gem = 0;       // GEM handle in the device file; 0: none
    bool imported = false;       // its memory is of another device or driver (a dma-buf)
    bool shareable = false;      // may be exported: made so, or imported
    int share_fd = -1;           // soft device: the file that its memory is, where it may be shared
    std::uint64_t budgeted = 0;  // what its table's budget counts for it; 0: it came from elsewhere
    mutable std::atomic<bool> exported{false};  // others may hold its memory: Device::export_bo was asked for it
    std::atomic<bool> cached{false};            // nobody uses it: a BoCache keeps it
    bool cpu_visible = true;
    bool grows_on_fault = false;  // has pages only where the GPU touched it
    std::optional<Va> kernel_va;  // where the kernel shows it all its life (panfrost) ...
    MapFlags kernel_flags;        // ... and how
    // Two locks: mapping a large BO takes long, and whoever wants its name for a report should not wait for that.
    mutable std::mutex label_mutex;
    Array<char> label;  // guarded by label_mutex
    std::mutex cpu_mutex;
    std::byte* cpu = nullptr;                  // guarded by cpu_mutex: where mmapped
    std::optional<std::uint64_t> mmap_offset;  // guarded by cpu_mutex: in the device file, once it was asked for
};

class BoTable final : public BackingLayout {
public:
    static constexpr std::uint64_t kMaxLabelBytes = 4096;  // as DRM_PANTHOR_BO_LABEL_MAXLEN

    // `backend` outlives the table.
    BoTable(BoBackend& backend, NodeMemory memory) noexcept;
    ~BoTable() override;

    // `bytes` is rounded up to 4 KiB. The caller holds it. kOverBudget: more than `budget` admits.
    [[nodiscard]] Result<BoId, OsError> create(const BoRequest& request) noexcept;
    [[nodiscard]] Result<BoId, OsError> create(std::uint64_t bytes, BoMemory kind, std::uint64_t made_by) noexcept {
        BoRequest request;
        request.bytes = bytes;
        request.memory = kind;
        request.made_by = made_by;
        return create(request);
    }

    // As `create`, for memory that does not come by request but from elsewhere (a dma-buf), which the budget counts apart:
    // `give_memory(Bo&)` does what BoBackend::create would. It is the last thing that can fail, and it is called without
    // the table's lock.
    template <class GiveMemory>
    [[nodiscard]] Result<BoId, OsError> adopt(std::uint64_t made_by, GiveMemory&& give_memory) noexcept {
        const Result<Bo*, OsError> bo = prepare(made_by);
        if (!bo) {
            return fail(bo.error());
        }
        if (const Result<void, OsError> given = give_memory(**bo); !given) {
            abandon(*bo);
            return fail(given.error());
        }
        (*bo)->shareable = true;
        budget_.add_imported((*bo)->size);
        return publish(**bo);
    }

    // A small number that no other live BO has.
    [[nodiscard]] static std::uint32_t slot_of(BoId id) noexcept { return static_cast<std::uint32_t>(id) % kSlots; }

    // nullptr: no such BO. For callers that hold a reference, or keep others from giving back the last one.
    [[nodiscard]] Bo* find(BoId id) const noexcept;
    // Takes `references` (at least 1) of the BO, whoever gives back its last one meanwhile. nullptr: it is gone, and
    // nothing was taken.
    [[nodiscard]] Bo* retain_if_live(BoId id, std::uint64_t references) noexcept;

    // The caller has a reference already.
    void retain(Bo& bo, std::uint64_t references) noexcept;
    // Destroys it with the last reference.
    void release(Bo& bo, std::uint64_t references) noexcept;

    // For VMs: a mapping comes that shows so many pages (at least 1) from `offset` on, and holds the BO by as many
    // references; a part of it goes. Nothing was taken but where `show` says kYes.
    enum class Shown : std::uint8_t { kYes, kUnknownBo, kOutsideBo };
    [[nodiscard]] Shown show(BoId id, BoOffset offset, std::uint64_t pages) noexcept;
    void hide(BoId id, std::uint64_t pages) noexcept { drop(slot_at(id), pages); }
    // `show` or `hide` is about to be called, for a BO that there is or was.
    void prepare(BoId id) const noexcept {
        if (const Slot* const chunk = chunks_[slot_of(id) / kChunkSlots].load(std::memory_order_acquire)) {
            __builtin_prefetch(chunk + slot_of(id) % kChunkSlots, 1);
        }
    }
    // As `show`, for who holds the BO and knows the range to be inside it.
    void show_more(BoId id, std::uint64_t pages) noexcept {
        slot_at(id).counts.references.fetch_add(pages, std::memory_order_relaxed);
    }

    // Cut to kMaxLabelBytes, at a UTF-8 boundary. kOutOfHostMemory: it has the label that it had.
    [[nodiscard]] Status set_label(Bo& bo, std::string_view label) noexcept;
    [[nodiscard]] bool has_label(const Bo& bo, std::string_view label) const noexcept;
    // Of a BO that somebody holds or shows; empty for kNoBo.
    [[nodiscard]] bool is_labelled(BoId id) const noexcept {
        return id != kNoBo && slot_at(id).has_label.load(std::memory_order_relaxed);
    }
    [[nodiscard]] ShortLabel short_label(BoId id) const noexcept;
    // Appends the label to `out`; false: no memory, and nothing was appended.
    [[nodiscard]] bool copy_label(const Bo& bo, Array<char>& out) const noexcept;

    // The whole BO at one place in the CPU's address space, for as long as it lives.
    [[nodiscard]] Result<std::byte*, Status> map_cpu(Bo& bo) noexcept;
    // The whole BO at `where`, page-aligned, in place of whatever is mapped there: for who reserved the range first. The
    // view is the caller's, who unmaps it, or maps over it, before the BO ends. kBadArgument: not aligned. kNotSupported:
    // a BO without a CPU view. Where it fails, each page of the range is as it was, or reserved and inaccessible.
    [[nodiscard]] Status map_cpu_at(Bo& bo, std::byte* where, CpuAccess access = CpuAccess::kReadWrite) noexcept;

    // How much may be taken, and is.
    [[nodiscard]] MemoryBudget& budget() noexcept { return budget_; }
    [[nodiscard]] const MemoryBudget& budget() const noexcept { return budget_; }
    // Whoever keeps the table may leave a mark here, to be found from any of its BOs. Set before there is one.
    void set_owner(void* owner) noexcept { owner_ = owner; }
    [[nodiscard]] void* owner() const noexcept { return owner_; }

    // Of a BO that somebody holds or shows; `known` only where it has runs. Sparse mappings are their address space's to
    // lay out.
    [[nodiscard]] Extent extent_at(const Backing& shows, Va va) const noexcept override;
    [[nodiscard]] std::uint64_t live() const noexcept { return live_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t live_bytes() const noexcept { return live_bytes_.load(std::memory_order_relaxed); }
    // Calls `visitor(const Bo&)` for each live BO, under the table's lock.
    template <class Visitor>
    void for_each(Visitor&& visitor) const {
        const std::lock_guard lock(mutex_);
        for (std::uint32_t slot = 1; slot < used_slots_; ++slot) {
            if (const Bo* const bo = slot_at(slot).bo.load(std::memory_order_relaxed)) {
                visitor(*bo);
            }
        }
    }

private:
    // id: generation in the upper 12 bits, slot in the lower 20. Slot 0 is nobody's, so that no id is kNoBo.
    static constexpr unsigned kSlotBits = 20;
    static constexpr std::uint32_t kSlots = std::uint32_t{1} << kSlotBits;
    static constexpr std::uint32_t kChunkSlots = 1024;
    // The id is beside the pointer, so that looking for a BO that is gone does not touch the one that has its slot now,
    // which nobody may hold. 0: free. A cache line: all that binding and unmapping a small BO needs of it, and nothing of
    // another one, which another VM may bind meanwhile.
    struct alignas(64) Slot {
        BoCounts counts;
        std::atomic<Bo*> bo{nullptr};
        std::uint64_t bytes = 0;        // of the BO ...
        std::uint64_t first_bytes = 0;  // ... and its first run: published with it, and as constant. 0: it has no runs
        Pa first_pa;
        std::atomic<std::uint32_t> id{0};
        std::uint32_t next_id = 0;            // guarded by mutex_: with the generation to come
        std::uint32_t next_slot = 0;          // guarded by mutex_: behind this one in its queue; 0: none
        bool was_spent = false;               // guarded by mutex_: came from that queue
        std::atomic<bool> has_label = false;  // written under the BO's label_mutex
    };
    static_assert(sizeof(Slot) == 64);
    // Slots without a BO, first in first out, through the slots themselves: release allocates nothing (P4).
    struct SlotQueue {
        std::uint32_t first = 0;  // 0: none
        std::uint32_t last = 0;
    };

    [[nodiscard]] Slot& slot_at(std::uint32_t slot) const noexcept {
        return chunks_[slot / kChunkSlots].load(std::memory_order_acquire)[slot % kChunkSlots];
    }
    // Of a BO that was there once.
    [[nodiscard]] Slot& slot_at(BoId id) const noexcept { return slot_at(slot_of(id)); }
    // nullptr: no such BO.
    [[nodiscard]] Slot* find_slot(BoId id) const noexcept;
    // Of a live BO, by `references` that are taken; nullptr: there was none.
    [[nodiscard]] Slot* retain_slot(BoId id, std::uint64_t references) noexcept;
    // Gives back references that are no holders', or not counted as such.
    void drop(Slot& slot, std::uint64_t references) noexcept {
        Bo* const bo = slot.bo.load(std::memory_order_relaxed);
        // Where this was not the last one, the BO may be gone from here on.
        if (slot.counts.references.fetch_sub(references, std::memory_order_acq_rel) == references) {
            end(*bo);
        }
    }
    // The last reference was given back.
    void end(Bo& bo) noexcept;
    // A BO with its id, which nobody finds yet.
    [[nodiscard]] Result<Bo*, OsError> prepare(std::uint64_t made_by) noexcept;
    // Its memory, of at least request.bytes, counted.
    [[nodiscard]] Result<void, OsError> give_memory(Bo& bo, const BoRequest& request) noexcept;
    // Its end, where it got no memory: its id was nobody's.
    void abandon(Bo* bo) noexcept;
    [[nodiscard]] BoId publish(Bo& bo) noexcept;
    // Under the lock, all five.
    void push(SlotQueue& queue, std::uint32_t slot) noexcept;
    void push_first(SlotQueue& queue, std::uint32_t slot) noexcept;
    [[nodiscard]] std::uint32_t pop(SlotQueue& queue) noexcept;  // 0: it is empty
    [[nodiscard]] std::uint32_t unused_slot() noexcept;          // 0: none is left, or no memory for it
    [[nodiscard]] std::uint32_t slot_for_one_more() noexcept;    // 0: no memory
    void destroy(Bo* bo) noexcept;                               // one that has memory
    void free_bo(Bo* bo) noexcept;                               // one that has none

    BoBackend& backend_;
    NodeMemory memory_;
    MemoryBudget budget_;
    void* owner_ = nullptr;
    mutable std::mutex mutex_;
    std::array<std::atomic<Slot*>, kSlots / kChunkSlots> chunks_{};
    std::uint32_t used_slots_ = 1;  // guarded by mutex_
    SlotQueue free_;                // guarded by mutex_: with generations left
    SlotQueue spent_;               // guarded by mutex_: with none, so that their first id comes again
    std::atomic<std::uint64_t> live_{0};
    std::atomic<std::uint64_t> live_bytes_{0};
};

}  // namespace granule
