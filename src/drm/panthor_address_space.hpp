// One address space of panthor: a VM of the kernel's, driven by VM_BIND.
//
// A transaction is one ioctl: its plans become one array (bind_array.hpp), which the kernel carries out in order. A
// synchronous array stops at the first operation that fails and says which; the VM undoes those before it from its
// ledger (P3). A queued one (`submit`) is checked whole before anything is queued; a failure later makes the kernel drop
// the VM for good, and its fence still looks like success: `check` asks, and `renew` begins with a new VM.
//
//     execute   plans --> [ op | op | op ]            VM_BIND, carried out when it returns
//     submit    groups -> [ op | op | op ][ op | op ] VM_BIND async: one job an element, in order; one ioctl
//                           ^         ^     ^    ^
//                         waits   signals waits signals, and a point of our own: whether the queue is empty
//
// A group waits with its first element and signals with its last one; the kernel takes a fence that an earlier element of
// the same array signals for one that is there.
//
// Order. A synchronous array does not wait for queued ones in the kernel. Where the two touch the same 2 MiB windows, ours
// waits for the queue first (kTimedOut after `queue_wait`: nothing changed). On kernels that oops it always does:
// whether an unmap leaves parts of mappings on both of its sides was decided with the queue carried out.
// What it cannot keep from happening there: a queued map that fails loses the VM, which refuses all maps behind it, and
// carries out the unmaps all the same, where the maps were to make them harmless. Queued operations of ours fail where the
// GPU does not answer a flush, and for nothing else that is known; src/bind_queue.hpp, which binds synchronously, stops
// at the first failure.
//
// Leaves. The kernel chose them and does not tell: a 2 MiB window that lies whole in one bind is taken for a block, never
// for less than what is there. What is left to the kernel to cut, with one plain operation and nothing exposed:
//
//     splits              everything
//     refuses, oopses     nothing
//     realigns            BOs of 2 MiB and more where the driver has huge pages of its own; sparse mappings. It tells a
//                         block by the folio behind it, and those BOs have folios of 2 MiB. 512 small folios that happen
//                         to be neighbours make a block too, which it does not know: then it drops the VM, and VM_BIND
//                         says 0 (seen on 7.3.4 with transparent_hugepage=0, for 2 of 512 phases of the VA against
//                         256 MiB of memory). Without huge pages that is a matter of luck, so we cut; with them it
//                         takes a BO whose memory was fragmented when it was made. `execute` asks for the state of the
//                         VM after such a cut and fails with kVmUnusable, rather than report what is not so.
//                         Nothing of imported BOs, not even what cuts no leaf (CutRule::kWholeWindow): it looks for
//                         folios that it has no list of, and oopses (seen on 7.3.4 with a udmabuf). Nor where the
//                         kernel is not known, and taken for one that oopses: it may realign.
//
// Failures of VM_BIND. The number of operations carried out comes back in the array. An operation that fails for want of
// memory has changed nothing: the kernel sets all aside before it begins. One that fails otherwise may have done a part:
// `begun`, with the last plan that is in it. Not on kernels that oops: there an operation stops in the middle only where
// it would cut a leaf, which ours do not, and to undo what was not done is an unmap of the kind that they oops on.
// ENOMEM is kOutOfTableMemory, as most of what the kernel sets aside are page tables; EINVAL of a VM that the kernel has
// dropped is kVmUnusable; the rest is kBackendFailed, with its errno. An interrupted call goes on where it was.
//
// Where the driver has no MAP_SPARSE, the address space has a BO of 2 MiB to show, made with the first sparse map.
// BOs that only one VM may show (BoRequest::only_for_vm) are the old VM's after `renew`: the new one cannot show them.
//
// Thread-safety: the VM's lock. `check` makes an ioctl.
// Failure: `hold` and `submit` say what ran out and have changed nothing; `execute` says which operation failed. `hold` of
// plans that only unmap does not fail (P4): `execute` goes in parts of BindArray::kBaseOps where there is no more room.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "mali/lock_region.hpp"
#include "src/array.hpp"
#include "src/backend/backend.hpp"
#include "src/bo.hpp"
#include "src/drm/bind_array.hpp"
#include "src/drm/drm_file.hpp"
#include "src/drm/kernel_facts.hpp"
#include "src/drm/queue_tail.hpp"
#include "src/owned.hpp"

namespace granule {

struct PanthorAddressSpaceConfig {
    VaRange space;  // what the VM binds: the kernel's VM has at least that
    // How long a synchronous array waits for queued ones in its way.
    std::chrono::nanoseconds queue_wait = std::chrono::seconds(2);
};

// What was asked of the kernel, for reports.
struct BindTraffic {
    std::uint64_t ioctls = 0;      // VM_BIND
    std::uint64_t operations = 0;  // elements of arrays
    std::uint64_t largest_array = 0;
    // Of these at most (neighbours are merged), what a caller who leaves everything to the kernel would not have asked for:
    std::uint64_t residuals = 0;   // the rest of granules mapped again; granules unmapped whole under a map over them
    std::uint64_t isolations = 0;  // granules mapped over themselves
    std::uint64_t pieces = 0;      // all but the first element of each operation
};

class PanthorAddressSpace final : public AddressSpaceBackend, private BackingLayout {
public:
    // `file`, `facts` and `bos` outlive it. EINVAL: more VA than the kernel gives a user; EBUSY: the file has as many VMs
    // as it may have (32).
    [[nodiscard]] static Result<Owned<PanthorAddressSpace>, OsError> create(const PanthorAddressSpaceConfig& config,
                                                                            const DrmFile& file,
                                                                            const KernelFacts& facts, BoTable& bos,
                                                                            NodeMemory nodes) noexcept;
    PanthorAddressSpace(const PanthorAddressSpaceConfig& config, const DrmFile& file, const KernelFacts& facts,
                        BoTable& bos, NodeMemory nodes) noexcept;
    ~PanthorAddressSpace() override;

    [[nodiscard]] Status hold(std::span<const Plan> plans) noexcept override;
    [[nodiscard]] Result<void, BackendFailure> execute(std::span<const Plan> plans) noexcept override;
    // A point that is waited for needs its fence to be there already, even if unsignalled (EINVAL), or to be signalled by
    // an earlier group: the kernel does not wait for one to come.
    [[nodiscard]] Result<void, BackendFailure> submit(std::span<const PlanGroup> groups) noexcept override;
    [[nodiscard]] Status check() noexcept override;
    // Where the file has no room for a VM more, the old one goes first: on failure there is none then, as lost as before.
    [[nodiscard]] Result<void, BackendFailure> renew() noexcept override;
    void settle() noexcept override {}
    // Waits for the queue (`queue_wait`), and unmaps everything. Where that does not come to its end, the VM is
    // destroyed: the kernel unmaps then, and lets nobody bind any more.
    void detach() noexcept override;

    [[nodiscard]] const BackingLayout& layout() const noexcept override { return *this; }
    [[nodiscard]] std::uint32_t kernel_id() const noexcept override { return vm_; }
    [[nodiscard]] KernelBehaviour kernel() const noexcept override { return facts_.behaviour; }
    // Every operation is locked on its own, a transaction is not.
    [[nodiscard]] bool atomic_binds() const noexcept override { return false; }
    [[nodiscard]] LeafSizes leaf_sizes() const noexcept override { return facts_.leaf_sizes; }
    [[nodiscard]] unsigned smallest_lock_log2() const noexcept override { return mali::kSmallestLockLog2; }

    [[nodiscard]] const BindTraffic& traffic() const noexcept { return traffic_; }

private:
    [[nodiscard]] Extent extent_at(const Backing& shows, Va va) const noexcept override;
    [[nodiscard]] CutRule cut_rule(const Backing& shows) const noexcept override;

    [[nodiscard]] int create_vm() noexcept;  // 0 or an errno
    void destroy_vm(std::uint32_t vm) noexcept;
    [[nodiscard]] int create_dummy() noexcept;  // 0 or an errno
    [[nodiscard]] BindArrayRules rules() const noexcept;
    [[nodiscard]] std::uint64_t elements_of(const Plan& plan) const noexcept;  // in the array, at most
    void count(const Plan& plan) noexcept;
    [[nodiscard]] bool queue_is_in_the_way(std::span<const Plan> plans) const noexcept;
    // The array, now or later. Later: 0 or an errno.
    [[nodiscard]] Result<void, BackendFailure> carry_out() noexcept;
    [[nodiscard]] int queue(std::span<drm_panthor_vm_bind_op> ops) noexcept;
    [[nodiscard]] bool add_group(const PlanGroup& group) noexcept;  // false: out of memory
    void attach(drm_panthor_vm_bind_op& op, const SyncobjPoint& point, std::uint32_t what) noexcept;
    struct Answer {
        Status status = Status::kOk;
        int error = 0;
    };
    [[nodiscard]] Answer ask() noexcept;  // as `check`
    [[nodiscard]] BackendFailure failure(int error, std::size_t element, bool entered) noexcept;
    [[nodiscard]] Status status_of(int error) noexcept;

    const PanthorAddressSpaceConfig config_;
    const DrmFile& file_;
    const KernelFacts& facts_;
    BoTable& bos_;
    BindArray array_;
    Array<drm_panthor_sync_op> syncs_;  // of the array that is being submitted
    QueueTail queue_;
    std::uint32_t vm_ = 0;         // 0: none any more
    std::uint32_t dummy_gem_ = 0;  // 0: none yet, or none needed
    BindTraffic traffic_;
};

}  // namespace granule
