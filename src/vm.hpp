// A VM: one GPU address space, its VA, what is mapped in it, and every change of that.
//
// Every change is planned, then committed: see allocator/plan.hpp. A call that fails has changed nothing (P3), neither
// here nor in the tables; where a backend makes that impossible, `BindError::undone` is false and the VM is unusable:
// it binds nothing more, the GPU gets nothing through it, and what it holds ends with it.
// `unmap` and `release_va` allocate nothing (P4). A transaction of unmaps remembers what was there, and where there is no
// memory for that, unmaps one by one: it still does not fail for want of memory, but if a kernel fails one of them then,
// those before it stay done and `undone` is false, with a VM that is as usable as before.
// A VA that was released is not handed out again before the fences that it was released with have signalled (P5); the
// end of a timeline signals all of it. `address` names what is, or was, at any VA (P6), back to `journal_capacity`
// removals ago, and says whether older ones were forgotten.
//
// Thread-safety: all members, any thread; one lock a VM. Two VMs that bind and unmap share no lock, but for the moments
// in which memory for page tables is taken from the device, and in which a BO that both show is labelled or ends.
// Complexity: bind, unmap: O(log mappings) + O(mappings that go) + the leaves that change.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>

#include "allocator/granule_ledger.hpp"
#include "allocator/mapping_map.hpp"
#include "allocator/planner.hpp"
#include "allocator/reuse_queue.hpp"
#include "allocator/va_heap.hpp"
#include "mali/export.hpp"
#include "mali/result.hpp"
#include "src/backend/backend.hpp"
#include "src/bo.hpp"
#include "src/journal.hpp"
#include "src/status.hpp"
#include "src/timeline.hpp"
#include "src/transaction.hpp"

namespace granule {

struct VmConfig {
    VaRange space;  // what may be bound
    // Where reserve_va finds addresses, inside `space`; all empty: as `default_zones(space)`.
    std::array<VaRange, kVaZones> zones{};
    // Removals that stay known (P6). More than the mappings of the largest VM seen (18,000: a 16K x 16K sparse
    // texture), which one unmap removes. About 100 B each, taken from the machine as they are used.
    std::size_t journal_capacity = 32768;
    std::uint64_t made_by = 0;  // the creator's own mark, for reports
};

// Low: 32 MiB to 4 GiB (VA 0 and what 32-bit offsets from it reach stay unused, as in Mesa's PAN_VA_USER). Above 4 GiB
// the lower half is main and the upper half is for replay.
[[nodiscard]] GRANULE_API std::array<VaRange, kVaZones> default_zones(const VaRange& space) noexcept;

// What a bind did.
struct BindReport {
    BindSerial serial{};
    std::uint64_t operations = 0;  // given to the backend
    std::uint64_t granules = 0;    // taken whole because a request cut them
    std::uint64_t residual_bytes = 0;
    std::uint64_t exposed_bytes = 0;
    std::uint64_t enlarged_bytes = 0;
    std::uint64_t unmapped_bytes = 0;  // what was mapped there before and is not any more
    VaRange touched{};                 // the hull of all that the operations touched
};

// What is, and was, at a VA.
struct AddressReport {
    Va va;
    std::optional<Mapping> mapping;  // what is there now
    VaRange granule{};               // where mapped: its leaf
    ShortLabel label;                // where mapped: of its BO
    std::optional<Mapping> below;    // where not: the nearest mappings
    std::optional<Mapping> above;
    std::optional<Removal> removed;   // the last thing that was removed from here
    bool history_complete = true;     // false: more than `journal_capacity` removals; the oldest are forgotten
    std::optional<VaRange> reserved;  // the VA range that this address was reserved with
    bool retired = false;             // ... and its owner is done with it: it waits for fences
};

struct VmStatistics {
    std::uint64_t mappings = 0;
    std::uint64_t mapped_bytes = 0;
    std::uint64_t peak_mapped_bytes = 0;
    std::uint64_t binds = 0;
    std::uint64_t blocks_2m = 0;
    std::uint64_t blocks_1g = 0;
    std::uint64_t node_bytes = 0;       // in the mapping map and the ledger
    std::uint64_t set_aside_bytes = 0;  // for what unmaps will need (P4)
};

class BoPin;

class GRANULE_API Vm {
public:
    // `backend` belongs to the VM from here on; `bos` and `timelines` outlive it.
    [[nodiscard]] static Result<Owned<Vm>, Status> create(const VmConfig& config, BoTable& bos,
                                                          const TimelineTable& timelines,
                                                          Owned<AddressSpaceBackend> backend,
                                                          NodeMemory nodes) noexcept;
    Vm(const VmConfig& config, BoTable& bos, const TimelineTable& timelines, Owned<AddressSpaceBackend> backend,
       VaHeap heap, NodeMemory nodes) noexcept;
    Vm(const Vm&) = delete;
    Vm& operator=(const Vm&) = delete;
    ~Vm();  // unmaps everything; BOs that only this VM held are gone then

    // VA.
    [[nodiscard]] Result<VaRange, VaError> reserve_va(const VaRequest& request) noexcept;
    [[nodiscard]] Result<VaRange, VaError> reserve_va_at(const VaRange& range) noexcept;
    // `range` is what a reserve returned. It is free for others once all fences have signalled.
    [[nodiscard]] Result<void, VaError> release_va(const VaRange& range,
                                                   std::span<const FencePoint> fences = {}) noexcept;

    // Changes. `bind` is a transaction of one request.
    [[nodiscard]] Result<BindReport, BindError> bind(const BindRequest& request) noexcept;
    [[nodiscard]] Result<BindReport, BindError> commit(const Transaction& transaction) noexcept;
    [[nodiscard]] Result<BindReport, BindError> unmap(const VaRange& range, UnmapPolicy policy) noexcept {
        return bind({BindRequest::Kind::kUnmap, range, {}, policy, LeafPolicy::kLargest});
    }
    // The plan that `bind` would carry out now.
    [[nodiscard]] Result<Plan, BindError> explain(const BindRequest& request) const noexcept;

    // Looking.
    [[nodiscard]] AddressReport address(Va va) const noexcept;
    [[nodiscard]] VmStatistics statistics() const noexcept;
    [[nodiscard]] bool usable() const noexcept;
    [[nodiscard]] const VmConfig& config() const noexcept { return config_; }
    [[nodiscard]] AddressSpaceBackend& backend() noexcept { return *backend_; }
    [[nodiscard]] BoTable& bos() noexcept { return bos_; }

    // Calls `visitor(const Mapping&)` for what overlaps `range`, ascending, under the VM's lock.
    template <class Visitor>
    void for_each_mapping(const VaRange& range, Visitor&& visitor) const {
        const std::lock_guard lock(mutex_);
        mappings_.for_each_overlap(range, visitor);
    }
    // The size of the leaf that the ledger says is at `va`.
    [[nodiscard]] LeafSize granule_at(Va va) const noexcept {
        const std::lock_guard lock(mutex_);
        return ledger_.leaf_at(va);
    }
    // Calls `visitor(const VaAllocation&)` for every VA range that is reserved or retired, under the VM's lock.
    template <class Visitor>
    void for_each_reserved(Visitor&& visitor) const {
        const std::lock_guard lock(mutex_);
        for (const VaZone zone : {VaZone::kLow, VaZone::kMain, VaZone::kReplay}) {
            heap_.visit_allocations(zone, visitor);
        }
    }

private:
    struct UndoStep;
    struct Undo;

    void collect() noexcept;  // VA whose fences have signalled
    [[nodiscard]] AddressSpaceView view() const noexcept;
    [[nodiscard]] std::optional<BindError> check(const BindRequest& request, BoPin& pin) const noexcept;
    [[nodiscard]] BindError describe(const PlanError& error) const noexcept;
    [[nodiscard]] static BindError describe(const BackendFailure& failure, const BindRequest& request) noexcept;
    [[nodiscard]] Result<BindReport, BindError> commit_one(const BindRequest& request) noexcept;
    [[nodiscard]] Result<BindReport, BindError> commit_many(std::span<const BindRequest> requests) noexcept;

    [[nodiscard]] Status hold_state(const BindRequest& request, const Plan& plan) noexcept;
    void apply_state(const BindRequest& request, const Plan& plan) noexcept;
    void settle() noexcept;
    void forget(const Mapping& part, Removal::By how, std::uint64_t time_ns) noexcept;
    void retain_shown(const BindRequest& request) noexcept;
    void count(BindReport& report, const Plan& plan) const noexcept;

    [[nodiscard]] bool remember(Undo& undo, const BindRequest& request, const Plan& plan) const noexcept;
    void roll_back(const Undo& undo, std::size_t step) noexcept;
    void release_inserted(const Undo& undo) noexcept;
    [[nodiscard]] bool undo_in_tables(const BackendFailure& failure, const Undo& undo) noexcept;
    // Brings the tables back to what our state says.
    [[nodiscard]] bool restore(const VaRange& touched) noexcept;
    [[nodiscard]] bool restore(const VaRange& touched, std::span<const UndoStep> earlier) noexcept;
    [[nodiscard]] Result<BindReport, BindError> unmap_one_by_one(std::span<const BindRequest> requests) noexcept;
    void become_unusable() noexcept;

    const VmConfig config_;
    BoTable& bos_;
    const TimelineTable& timelines_;
    NodeMemory nodes_;
    mutable std::mutex mutex_;
    // All below is guarded by mutex_.
    Owned<AddressSpaceBackend> backend_;
    MappingMap mappings_;
    GranuleLedger ledger_;
    VaHeap heap_;
    ReuseQueue reuse_;  // of heap_
    Journal journal_;
    std::uint32_t next_serial_ = 1;
    std::uint64_t binds_ = 0;
    std::uint64_t peak_mapped_bytes_ = 0;
    bool usable_ = true;
};

}  // namespace granule
