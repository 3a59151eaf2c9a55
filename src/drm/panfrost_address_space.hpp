// The one address space of an open file of panfrost, as the VM sees it.
//
// There is nothing to carry out. The kernel maps a BO whole when its handle is made, at a VA of its own choice, and
// unmaps it whole when the handle is closed; in between nothing moves. So a plan is right or it is refused, before
// anything is done:
//
//     map of a whole BO, at its `kernel_va`, with its `kernel_flags`     it is there already
//     unmap of whole mappings                                            the kernel follows when the BO ends
//     anything else                                                      kNotSupported, by `hold`: nothing has changed
//
// An unmap is of whole mappings because the planner is told that a mapping is one granule (CutRule::kWholeMapping): a
// request that cuts one is refused by its policy (kReject), takes all of it (kEnlarge), or asks for residuals (kSplit),
// which are no whole BOs.
//
// The kernel chose the leaves and does not tell: a 2 MiB window wholly inside a BO is taken for a block (conservative),
// also in a BO that has pages only where the GPU touched it.
//
// Thread-safety: the VM's lock.
// Failure: `hold`; nothing else.
// What it does not do: a queue, or to begin again: the address space is the file's and ends with it.
#pragma once

#include <atomic>
#include <span>

#include "mali/lock_region.hpp"
#include "src/backend/backend.hpp"
#include "src/bo.hpp"
#include "src/drm/kernel_facts.hpp"

namespace granule {

class PanfrostAddressSpace final : public AddressSpaceBackend, private BackingLayout {
public:
    // `facts` and `bos` outlive it, and so does `in_use`: who makes it sets that, and its end clears it.
    PanfrostAddressSpace(const KernelFacts& facts, const BoTable& bos, std::atomic<bool>& in_use) noexcept;
    ~PanfrostAddressSpace() override;

    [[nodiscard]] Status hold(std::span<const Plan> plans) noexcept override;
    [[nodiscard]] Result<void, BackendFailure> execute(std::span<const Plan> plans) noexcept override;
    void settle() noexcept override {}
    void detach() noexcept override {}  // never: nothing fails that had begun

    [[nodiscard]] const BackingLayout& layout() const noexcept override { return *this; }
    [[nodiscard]] KernelBehaviour kernel() const noexcept override { return facts_.behaviour; }
    [[nodiscard]] bool atomic_binds() const noexcept override { return true; }  // nothing is ever in between
    [[nodiscard]] LeafSizes leaf_sizes() const noexcept override { return facts_.leaf_sizes; }
    [[nodiscard]] unsigned smallest_lock_log2() const noexcept override { return mali::kSmallestLockLog2; }

private:
    [[nodiscard]] Extent extent_at(const Backing& shows, Va va) const noexcept override;
    [[nodiscard]] CutRule cut_rule(const Backing& shows) const noexcept override;

    const KernelFacts& facts_;
    const BoTable& bos_;
    std::atomic<bool>& in_use_;
};

}  // namespace granule
