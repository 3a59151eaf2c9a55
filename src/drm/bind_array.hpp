// From plans to what panthor's VM_BIND takes: an array of operations, and for each of them whose it is.
//
// Pieces. An operation is one element, but for two:
//
// - A map with LeafPolicy::kPage must not give the kernel a whole 2 MiB window in one bind, which it would make a block
//   of. It is cut in the middle of each window that it has whole:
//
//       window      |-----------|-----------|-----------|
//       kPage          |==============|===========|====|       no piece has a window
//
//   These edges are ours, and must cut nothing: the range is unmapped before. A kernel that oops on that where mappings
//   go on on both sides is made to have a mapping of its own there first: the same map with the largest leaves.
//
// - A sparse map is one element where the driver has MAP_SPARSE. Where it has not, it shows one BO of 2 MiB again and
//   again, at the offset that agrees with the VA modulo 2 MiB: one element a window.
//
//       window      |-----------|-----------|-----------|
//       sparse         |========|===========|====|              offsets 1/4, 0, 0 of the BO
//
// Neighbours are merged: the element that ends where the next one begins takes it up, if both unmap, or if both map the
// same BO (or are sparse) with the same flags, with offsets that go on, and meet at a multiple of 2 MiB. The kernel then
// has one mapping where we have several, and must not do anything else for that, now or later:
//
// - Leaves. The kernel makes blocks of windows that lie whole in one bind (and of those it brings back after it took a
//   BO's memory, whole in one of its mappings). Met at a multiple of 2 MiB, no window lies on both sides: none is whole
//   in the merged one that was not whole in one of the two, so that the ledger, which knows the two, knows all blocks.
// - Unmaps of a part (Linux 7.0 and later: panthor_mmu.c, unmap_hugepage_align). They are widened at an edge inside a
//   window that the kernel's mapping goes on to the end of. An edge cuts one window, and a mapping's way to the end of
//   that window never leads over a multiple of 2 MiB: so at each edge the merged mapping answers as the two did. Met
//   elsewhere it would not: at an edge where we see the end of a mapping the kernel would see the middle of one, widen,
//   and look up the pages of an imported BO, of which it has no list.
// - Unmaps that leave parts of mappings on both of their sides (kOopses). A merged mapping has its ends elsewhere, and so
//   has a merged unmap: the one that leaves only a head and the one that leaves only a tail would together leave both.
//   On those kernels nothing is merged (`merge` false); there, pieces of one mapping do no harm: an unmap that leaves
//   nothing on one of its sides leaves nothing there of a piece either.
// - Unmaps. Each edge of the merged unmap was an edge of one of the two, which had the right to be there; the one
//   between them is gone.
//
// Groups. What is queued stands between fences of its own, which are those of elements: a group's first waits, its last
// signals. So an element belongs to one group: `end_group` keeps the next one from being merged with those before. A group
// that has none gets one of its own, which does nothing.
//
// Pure: no ioctls. The array keeps its capacity, so that unmaps allocate nothing (P4): `hold` makes room for plans, and
// kBaseOps are there from the beginning. Plans that do not fit are carried out in parts: `add` says when.
//
// Thread-safety: the VM's lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "allocator/plan.hpp"
#include "src/array.hpp"
#include "src/bo.hpp"
#include "src/drm/panthor_uapi.hpp"

namespace granule {

struct BindArrayRules {
    bool sparse = false;          // the driver has MAP_SPARSE
    std::uint32_t dummy_gem = 0;  // where it has not: the BO of 2 MiB
    bool merge = true;            // false on kernels that oops
};

class BindArray {
public:
    // Any plan (Plan::kMaxOps) of one unmap, with every one of its operations in pieces: what it maps lies in granules of
    // 2 MiB.
    static constexpr std::size_t kBaseOps = 64;

    struct PlanPosition {
        std::uint32_t plan = 0;
        std::uint32_t op = 0;

        constexpr auto operator<=>(const PlanPosition&) const noexcept = default;
    };
    // Whose an element is: of more than one operation where it was merged.
    struct Origin {
        PlanPosition first;
        PlanPosition last;
        bool continues = false;  // a piece of `first` was in an element before
    };

    explicit BindArray(NodeMemory memory) noexcept;
    [[nodiscard]] bool valid() const noexcept;  // false: no memory for kBaseOps

    // Room for all of `plans` at once. False: out of memory, nothing changed.
    [[nodiscard]] bool hold(std::span<const Plan> plans, const BindArrayRules& rules) noexcept;
    // Room for so many elements.
    [[nodiscard]] bool hold(std::uint64_t elements) noexcept;
    // How many elements an operation becomes, before merging.
    [[nodiscard]] static std::uint64_t elements(const PlanOp& op, const BindArrayRules& rules) noexcept;

    // Empty, for other plans.
    void reset() noexcept;
    // Empty, to go on with the operation that `add` had no room for.
    void clear() noexcept;
    // Adds operation `op`, which is at `position`. False: the room is used up. Then the elements so far are to be carried
    // out, the array cleared, and the same operation added again, which goes on where it was.
    [[nodiscard]] bool add(const PlanOp& op, const PlanPosition& position, const BoTable& bos,
                           const BindArrayRules& rules) noexcept;
    // An element that does nothing, for fences. False: the room is used up.
    [[nodiscard]] bool add_nothing() noexcept;
    // What is added from here on is not merged with what is there.
    void end_group() noexcept { group_start_ = ops_.size(); }

    [[nodiscard]] std::span<drm_panthor_vm_bind_op> ops() noexcept;
    [[nodiscard]] const Origin& origin(std::size_t element) const noexcept { return origins_[element]; }

private:
    [[nodiscard]] std::size_t room() const noexcept;

    Array<drm_panthor_vm_bind_op> ops_;
    Array<Origin> origins_;  // of ops_
    std::size_t group_start_ = 0;
    // Bytes of the operation that is being added that are in elements already: those of all that is done to its range.
    std::uint64_t done_of_op_ = 0;
};

}  // namespace granule
