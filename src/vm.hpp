// A VM: one GPU address space, its VA, what is mapped in it, and every change of that.
//
// Every change is planned, then committed: see allocator/plan.hpp. A call that fails has changed nothing (P3), neither
// here nor in the tables; where a backend makes that impossible, `BindError::undone` is false and the VM is lost: it binds
// nothing more and the GPU gets nothing through it, until `rebuild` brings it back. Its state stays what it was before
// the call.
// `unmap` and `release_va` allocate nothing (P4). A transaction of unmaps remembers what was there, and where there is no
// memory for that, unmaps one by one: it still does not fail for want of memory, but if a kernel fails one of them then,
// those before it stay done and `undone` is false, with a VM that is as usable as before. The same holds for unmaps that
// are submitted, as far as it is up to us: a kernel may want memory for its queue. A BindObserver is told of each that is
// done (src/bind_observer.hpp).
// A VA that was released is not handed out again before the fences that it was released with have signalled (P5); the
// end of a timeline signals all of it. `address` names what is, or was, at any VA (P6), back to `journal_capacity`
// removals ago, and says whether older ones were forgotten.
//
// Thread-safety: all members, any thread; one lock a VM. Two VMs that bind and unmap share no lock, but for the moments
// in which memory for page tables is taken from the device, and in which a BO that both show ends, gets a label, or has one
// that the journal copies when a mapping goes.
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
#include "mali/result.hpp"
#include "src/backend/backend.hpp"
#include "src/bind_observer.hpp"
#include "src/bo.hpp"
#include "src/journal.hpp"
#include "src/leaf_pieces.hpp"
#include "src/spin_mutex.hpp"
#include "src/status.hpp"
#include "src/timeline.hpp"
#include "src/transaction.hpp"

namespace granule {

struct VmConfig {
    VaRange space;  // what may be bound
    // Where reserve_va finds addresses, inside `space`; all empty: as `default_zones(space)`.
    std::array<VaRange, kVaZones> zones{};
    // Removals that stay known (P6). More than the mappings of the largest VM seen (18,000: a 16K x 16K sparse
    // texture), which one unmap removes. 48 B each, and 49 B more where the BO has a label: taken from the machine as they
    // are used.
    std::size_t journal_capacity = 32768;
    // Binds that are simple enough take the short way (vm_direct.cpp). false: none, which shows whether it is to blame.
    bool direct_binds = true;
    std::uint64_t made_by = 0;  // the creator's own mark, for reports
    // Is told what the VM shows, as it changes; outlives the VM. nullptr: nobody.
    BindObserver* observer = nullptr;
};

// Low: 32 MiB to 4 GiB (VA 0 and what 32-bit offsets from it reach stay unused, as in Mesa's PAN_VA_USER). Above 4 GiB
// the lower half is main and the upper half is for replay.
[[nodiscard]] std::array<VaRange, kVaZones> default_zones(const VaRange& space) noexcept;

// What a bind did.
struct BindReport {
    BindSerial serial{};
    std::uint64_t operations = 0;   // given to the backend
    std::uint64_t granules = 0;     // taken whole because a request cut them
    std::uint64_t kernel_cuts = 0;  // cut by the kernel, which was asked for a part (CutRule::kByKernel)
    std::uint64_t residual_bytes = 0;
    std::uint64_t exposed_bytes = 0;
    std::uint64_t enlarged_bytes = 0;
    std::uint64_t unmapped_bytes = 0;  // what was mapped there before and is not any more
    VaRange touched{};                 // the hull of all that the operations touched

    // Becomes the report of both, under its own serial.
    void add(const BindReport& next) noexcept;
};

// Requests that are submitted with fences of their own: they begin after `waits`, and `signals` follow the last of them.
// Without requests: only the fences, in their turn.
struct BindGroup {
    std::span<const BindRequest> requests;  // of a Transaction, where neighbours are to be one
    std::span<const SyncobjPoint> waits;
    std::span<const SyncobjPoint> signals;
};

// Why a VM is lost.
struct VmLoss {
    enum class How : std::uint8_t {
        kNotUndone,   // what a call had done could not be undone: `status` and `error` are those of the undoing
        kKernelLost,  // the kernel dropped the address space: something that was queued failed, or the device was reset
    };
    How how = How::kKernelLost;
    Status status = Status::kVmUnusable;
    int error = 0;  // errno; 0: nobody said one
};

// What a rebuild did.
struct RebuildReport {
    std::uint64_t mappings = 0;
    std::uint64_t bytes = 0;
    std::uint32_t kernel_id = 0;  // of the new address space
};

// What is, and was, at a VA.
struct AddressReport {
    Va va;
    std::optional<Mapping> mapping;  // what is there now
    VaRange granule{};               // where mapped: what an unmap takes whole: its leaf, or more (CutRule)
    ShortLabel label;                // where mapped: of its BO
    bool cached = false;             // where mapped: nobody uses that BO, a BoCache keeps it
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
    std::uint64_t node_bytes = 0;               // in the mapping map and the ledger
    std::uint64_t set_aside_bytes = 0;          // for what unmaps will need (P4)
    std::uint64_t table_bytes = 0;              // of page tables, where they are ours
    std::array<VaZoneStats, kVaZones> zones{};  // by VaZone
};

class BoPin;

class Vm {
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
    [[nodiscard]] Result<VaRange, VaError> reserve_va_at(const VaRange& range, std::uint64_t guard = 0) noexcept;
    // `range` is what a reserve returned. It is free for others once all fences have signalled.
    [[nodiscard]] Result<void, VaError> release_va(const VaRange& range,
                                                   std::span<const FencePoint> fences = {}) noexcept;

    // What `va` is reserved with, released ranges that wait for fences too.
    [[nodiscard]] std::optional<VaAllocation> reservation_at(Va va) const noexcept;

    // Changes. `bind` is a transaction of one request.
    [[nodiscard]] Result<BindReport, BindError> bind(const BindRequest& request) noexcept;
    [[nodiscard]] Result<BindReport, BindError> commit(const Transaction& transaction) noexcept;
    [[nodiscard]] Result<BindReport, BindError> unmap(const VaRange& range, UnmapPolicy policy) noexcept {
        return bind({BindRequest::Kind::kUnmap, range, {}, policy, LeafPolicy::kLargest});
    }
    // As `commit` without a Transaction around them: none of `requests` is joined with another.
    [[nodiscard]] Result<BindReport, BindError> commit(std::span<const BindRequest> requests) noexcept;
    // As `commit`, but the kernel carries it out later, in order behind what was submitted before: one group after the
    // other, each after its `waits`; its `signals` when it is done, even if there is nothing to do. What a group waits for
    // may be what an earlier one signals. All groups or nothing: on failure nothing was queued, and `BindError::group` and
    // `request` say which one was wrong. They are one bind: one serial, one report of their sum.
    // kNotSupported where the backend has no queue (src/bind_queue.hpp then).
    //
    // Our state follows at once: what this VM says is mapped is what will be, what it says was removed may be shown until
    // then. A BO whose last page goes with it may be gone for us at once: the kernel holds what it still shows.
    //
    // Should it fail later in the kernel, its fences signal all the same and the VM is lost: `check` finds out.
    // Unmaps that are submitted one by one, for want of memory: a group's first waits, its last signals; where one of them
    // is not queued, those before it are, neither its group nor one behind it signals, and `undone` is false.
    [[nodiscard]] Result<BindReport, BindError> submit(std::span<const BindGroup> groups) noexcept;
    // One group.
    [[nodiscard]] Result<BindReport, BindError> submit(const Transaction& transaction,
                                                       std::span<const SyncobjPoint> waits,
                                                       std::span<const SyncobjPoint> signals) noexcept {
        const BindGroup group{transaction.requests(), waits, signals};
        return submit({&group, 1});
    }
    // Asks the backend whether the address space is still there. kOk; kVmUnusable: it is lost, and `usable` is false from
    // then on; anything else: the question failed, and nothing is known.
    [[nodiscard]] Status check() noexcept;
    // For a VM that is lost (kBadArgument for others): a new address space in the place of the old one, and every mapping
    // of ours bound again, at the same VA, leaf by leaf as the ledger says; VA, journal and statistics stay. On success
    // the VM is usable. On failure it is as lost as before, and may be rebuilt again. `kernel_id` changes: who told the
    // kernel about the VM tells it again. O(mappings). The VM needs no memory for it; the backend may (`hold`).
    [[nodiscard]] Result<RebuildReport, BindError> rebuild() noexcept;
    // The kernel's name for the address space; 0 where there is none.
    [[nodiscard]] std::uint32_t kernel_id() const noexcept;
    // The plan that `bind` would carry out now.
    [[nodiscard]] Result<Plan, BindError> explain(const BindRequest& request) const noexcept;

    // Looking.
    [[nodiscard]] AddressReport address(Va va) const noexcept;
    [[nodiscard]] VmStatistics statistics() const noexcept;
    // Whether it takes binds: not, once a bind, an undo or `check` has found it lost. Asks no kernel.
    [[nodiscard]] bool usable() const noexcept;
    // Why not; nothing while it is usable.
    [[nodiscard]] std::optional<VmLoss> lost_because() const noexcept;
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
    // Calls `visitor(const LeafRun&)`, which returns whether to go on, for the leaves of what overlaps `range`, ascending,
    // under the VM's lock: in runs of one size and one mapping, none of them wholly outside `range`.
    template <class Visitor>
    void for_each_leaf_run(const VaRange& range, Visitor&& visitor) const {
        const std::lock_guard lock(mutex_);
        mappings_.for_each_overlap(range, [&](const Mapping& mapping) {
            bool more = true;
            for_each_mapped_leaf_run(ledger_, mapping.va, [&](const LeafRun& run) {
                more = more && (!run.range().overlaps(range) || visitor(run));
            });
            return more;
        });
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
    // When plans are carried out.
    enum class When : std::uint8_t { kNow, kLater };  // execute, submit
    void collect() noexcept;                          // VA whose fences have signalled

    [[nodiscard]] AddressSpaceView view() const noexcept { return view(mappings_, ledger_); }
    [[nodiscard]] AddressSpaceView view(const MappingMap& mappings, const GranuleLedger& ledger) const noexcept;
    [[nodiscard]] std::optional<BindError> refusal() const noexcept;  // of all binds, where the VM is lost
    [[nodiscard]] std::optional<BindError> check(const BindRequest& request, BoPin& pin) const noexcept;
    [[nodiscard]] BindError describe(const PlanError& error) const noexcept;
    [[nodiscard]] static BindError describe(const BackendFailure& failure, const BindRequest& request) noexcept;
    [[nodiscard]] static BindError error_of_all(Status status) noexcept;
    // Several groups only later: what happens now waits for nothing and signals nothing.
    [[nodiscard]] Result<BindReport, BindError> commit_all(std::span<const BindGroup> groups, When when) noexcept;
    // The one request of `group`.
    [[nodiscard]] Result<BindReport, BindError> commit_one(const BindGroup& group, When when) noexcept;
    // Without plans, all of them (vm_direct.cpp): whether they are for that, and all that they need of us is held. If not,
    // nothing changed.
    enum class Direct : std::uint8_t { kNo, kNoMemory, kHeld };
    [[nodiscard]] bool is_direct(const BindRequest& request) const noexcept;
    [[nodiscard]] Direct hold_directly(std::span<const BindRequest> requests) noexcept;
    [[nodiscard]] static BindError direct_failure(const BackendFailure& failure,
                                                  std::span<const BindRequest> requests) noexcept;
    void give_back_shown(std::span<const BindRequest> requests) noexcept;
    // Precondition: they are held.
    [[nodiscard]] Result<BindReport, BindError> commit_directly(std::span<const BindRequest> requests) noexcept;
    void follow_directly(const BindRequest& request, BindReport& report, std::uint64_t& time_ns) noexcept;
    [[nodiscard]] Result<BindReport, BindError> commit_many(std::span<const BindGroup> groups, When when) noexcept;
    // Plans a request of a transaction, and applies it to our state.
    [[nodiscard]] std::optional<BindError> step(Undo& undo, const BindRequest& request, BindReport& report) noexcept;
    [[nodiscard]] std::optional<BindError> step_all(Undo& undo, std::span<const BindGroup> groups,
                                                    BindReport& report) noexcept;
    [[nodiscard]] Result<void, BackendFailure> carry_out(Undo& undo, std::span<const BindGroup> groups,
                                                         When when) noexcept;

    [[nodiscard]] Status hold_state(const BindRequest& request, const Plan& plan) noexcept;
    [[nodiscard]] Mapping made_by(const BindRequest& map) const noexcept;
    void apply_state(const BindRequest& request, const Plan& plan) noexcept;
    void settle() noexcept;
    void forget(const Mapping& part, Removal::By how, std::uint64_t time_ns) noexcept;
    void tell_bound(const Mapping& mapping) const noexcept;
    void retain_shown(const BindRequest& request) noexcept;
    void count(BindReport& report, const Plan& plan) const noexcept;

    [[nodiscard]] bool remember(Undo& undo, const BindRequest& request, const Plan& plan) const noexcept;
    void roll_back(const Undo& undo, std::size_t step) noexcept;
    void release_inserted(const Undo& undo) noexcept;
    // `failure`: how far the backend came; nullptr: it did nothing. Fails with what made the undoing fail.
    [[nodiscard]] Result<void, BackendFailure> undo_all(const Undo& undo, const BackendFailure* failure) noexcept;
    // Brings the tables back to what our state says. `in_doubt`: perhaps they are that already.
    [[nodiscard]] Result<void, BackendFailure> restore(const VaRange& touched, std::span<const UndoStep> earlier,
                                                       bool in_doubt) noexcept;
    [[nodiscard]] Result<BindReport, BindError> unmap_one_by_one(std::span<const BindGroup> groups, When when) noexcept;
    void become_unusable(const BackendFailure& why) noexcept;
    [[nodiscard]] std::optional<BindError> bind_all_again() noexcept;

    // What is constant of the backend, as calls through its table are not.
    struct BackendTraits {
        LeafSizes leaf_sizes;
        KernelBehaviour kernel;
        bool atomic_binds;
        bool changes_directly;
        unsigned smallest_lock_log2;
        const BackingLayout* cut_rules;
    };

    const VmConfig config_;
    BoTable& bos_;
    const TimelineTable& timelines_;
    NodeMemory nodes_;
    mutable SpinMutex mutex_;
    // All below is guarded by mutex_.
    Owned<AddressSpaceBackend> backend_;
    const BackendTraits traits_;
    MappingMap mappings_;
    GranuleLedger ledger_;
    VaHeap heap_;
    ReuseQueue reuse_;  // of heap_
    Journal journal_;
    std::uint32_t next_serial_ = 1;
    std::uint64_t binds_ = 0;
    std::uint64_t peak_mapped_bytes_ = 0;
    std::optional<VmLoss> lost_;
};

}  // namespace granule
