// What carries plans out: the one interface between the library and whoever owns the page tables.
//
// A backend serves one address space. It is told first what will be needed (`hold`), then to do it (`execute`), then
// that the transaction is over, well or not (`settle`). Only `hold` may run out of memory.
//
// Thread-safety: the VM's lock is held around every call.
#pragma once

#include <cstddef>
#include <span>

#include "allocator/leaf_layout.hpp"
#include "allocator/plan.hpp"
#include "mali/result.hpp"
#include "src/status.hpp"

namespace granule {

struct BackendFailure {
    Status status = Status::kBackendFailed;  // or kKernelOops
    int error = 0;                           // errno
    std::size_t plan = 0;                    // which one failed
    std::size_t op = 0;                      // which of its operations; those before it were carried out
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
    // Carries out the plans in order. Stops at the first operation that fails; what was done before stays done, and the
    // first operation of a plan that fails has changed nothing. (A kernel that refuses to cut a leaf may have cleared those
    // before it; plans cut none.)
    [[nodiscard]] virtual Result<void, BackendFailure> execute(std::span<const Plan> plans) noexcept = 0;
    virtual void settle() noexcept = 0;
    // Nobody knows any more what the tables hold: the GPU gets nothing through this address space from here on.
    virtual void detach() noexcept = 0;

    [[nodiscard]] virtual const BackingLayout& layout() const noexcept = 0;
    [[nodiscard]] virtual KernelBehaviour kernel() const noexcept = 0;
    [[nodiscard]] virtual bool atomic_binds() const noexcept = 0;
    [[nodiscard]] virtual LeafSizes leaf_sizes() const noexcept = 0;
    [[nodiscard]] virtual unsigned smallest_lock_log2() const noexcept = 0;
};

}  // namespace granule
