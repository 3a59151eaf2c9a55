// What carries plans out: the one interface between the library and whoever owns the page tables.
//
// A backend serves one address space. It is told first what will be needed (`hold`), then to do it (`execute`), then
// that the transaction is over, well or not (`settle`). Only `hold` may run out of memory.
//
// Thread-safety: the VM's lock is held around every call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "allocator/leaf_layout.hpp"
#include "allocator/plan.hpp"
#include "mali/result.hpp"
#include "src/status.hpp"

namespace granule {

struct BackendFailure {
    Status status = Status::kBackendFailed;  // or kKernelOops
    int error = 0;                           // errno
    std::size_t plan = 0;                    // which one failed; those before it were carried out
    std::size_t op = 0;                      // which of its operations; those before it were carried out
    bool begun = false;                      // whether any part of this plan was carried out, operation `op` included
    bool in_doubt = false;                   // it may have begun, or not: no part of it was carried out for certain
};

// A point of a timeline syncobj of the device file that a VM belongs to (point 0: a binary syncobj).
struct SyncobjPoint {
    std::uint32_t syncobj = 0;
    std::uint64_t point = 0;

    constexpr bool operator==(const SyncobjPoint&) const noexcept = default;
};

// Plans of a queue that stand between fences of their own.
struct PlanGroup {
    std::span<const Plan> plans;  // none: only fences
    std::span<const SyncobjPoint> waits;
    std::span<const SyncobjPoint> signals;
};

// What requests came to that needed no plan.
struct DirectChange {
    std::uint64_t operations = 0;  // an unmap of holes is none
    VaRange touched{};             // the hull of them
};

class AddressSpaceBackend {
public:
    AddressSpaceBackend() noexcept = default;
    AddressSpaceBackend(const AddressSpaceBackend&) = delete;
    AddressSpaceBackend& operator=(const AddressSpaceBackend&) = delete;
    AddressSpaceBackend(AddressSpaceBackend&&) = delete;
    AddressSpaceBackend& operator=(AddressSpaceBackend&&) = delete;
    virtual ~AddressSpaceBackend() = default;

    // Sets aside what executing these plans needs beyond what their unmaps free. On failure nothing changed.
    [[nodiscard]] virtual Status hold(std::span<const Plan> plans) noexcept = 0;
    // Carries out the plans in order. Stops at the first operation that fails; what was done before stays done, and
    // `begun` says whether the plan that failed has to be undone.
    [[nodiscard]] virtual Result<void, BackendFailure> execute(std::span<const Plan> plans) noexcept = 0;
    // Has the kernel carry out the groups later, in order behind everything submitted before: each after its `waits`, and
    // its `signals` when its plans are done. All or nothing: on failure no group was queued, and which plan was to blame is
    // not said. A backend without a queue says kNotSupported; src/bind_queue.hpp is for those.
    [[nodiscard]] virtual Result<void, BackendFailure> submit(std::span<const PlanGroup> groups) noexcept {
        static_cast<void>(groups);
        return fail(BackendFailure{Status::kNotSupported, 0, 0, 0, false});
    }
    // Asks whether the address space still does what it is told. A kernel drops it for good where a queued operation
    // fails, and does not say so by the fence of that operation. kOk, kVmUnusable, or what went wrong with asking.
    [[nodiscard]] virtual Status check() noexcept { return Status::kOk; }
    // Begins again with an empty address space, which takes the place of one that is lost; its VAs and what it needs to
    // know to carry plans out stay. On failure it is as lost as before, though the old one may be gone already.
    // kNotSupported where there is nothing to begin.
    [[nodiscard]] virtual Result<void, BackendFailure> renew() noexcept {
        return fail(BackendFailure{Status::kNotSupported, 0, 0, 0, false});
    }
    virtual void settle() noexcept = 0;
    // Whether `change_directly` is there. Constant.
    [[nodiscard]] virtual bool changes_directly() const noexcept { return false; }
    // `hold`, `execute` and `settle` in one call, of requests that need no plan: where they are, there are 4 KiB leaves and
    // holes, and what they map becomes 4 KiB leaves. What can fail, fails before anything changes; `BackendFailure::plan`
    // says which request was to blame where its operation was. Precondition: nothing is held.
    [[nodiscard]] virtual Result<DirectChange, BackendFailure> change_directly(
        std::span<const BindRequest> requests) noexcept {
        static_cast<void>(requests);
        return fail(BackendFailure{Status::kNotSupported, 0, 0, 0, false});
    }
    // `change_directly` at `va` is about to be called.
    virtual void prepare(Va va) noexcept { static_cast<void>(va); }
    // Nobody knows any more what the tables hold: the GPU gets nothing through this address space from here on.
    virtual void detach() noexcept = 0;

    [[nodiscard]] virtual const BackingLayout& layout() const noexcept = 0;
    // Whose cut rules hold; nullptr: CutRule::kExplicit for all, so that planning need not look for a mapping. Constant.
    [[nodiscard]] virtual const BackingLayout* cut_rules() const noexcept { return &layout(); }
    // The kernel's name for it (panthor's VM id), for who talks to the kernel about it; 0: none.
    [[nodiscard]] virtual std::uint32_t kernel_id() const noexcept { return 0; }
    // Of the page tables, where they are ours; 0: a kernel's, which does not tell.
    [[nodiscard]] virtual std::uint64_t table_bytes() const noexcept { return 0; }
    [[nodiscard]] virtual KernelBehaviour kernel() const noexcept = 0;
    [[nodiscard]] virtual bool atomic_binds() const noexcept = 0;
    [[nodiscard]] virtual LeafSizes leaf_sizes() const noexcept = 0;
    [[nodiscard]] virtual unsigned smallest_lock_log2() const noexcept = 0;
};

}  // namespace granule
