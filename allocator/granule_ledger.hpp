// The ledger of granules: how large the leaf is, at every VA that is mapped.
//
// A page that is mapped and not said to be part of a block is a 4 KiB leaf; whether it is mapped, the mapping map
// knows. Where granule owns the tables the ledger is exact. Where a kernel owns them it is conservative: a window that
// may be a block is marked as one.
//
//   VA    47        39 38        30 29        21 20       0
//        | shelf      | region     | window     |          |
//          512 shelves  of 512 GiB: a bit per 1 GiB block, and
//                       512 regions of 1 GiB: 64 B, a bit per 2 MiB block
//
// Contract
//   P4          `clear`, and `mark` after `hold` of the same range, cannot fail and allocate nothing. A region, once it
//               is there, stays until the end of the ledger (64 B per GiB that was ever mapped, 16 MiB at the very
//               most), so that clearing and marking again (a roll-back, or splitting a 1 GiB block) needs no new hold.
//   State       A 1 GiB block and 2 MiB blocks inside it are never marked at once.
//   Complexity  O(1) per look-up; O(windows / 64) per mark or clear.
//   Thread-safety: none; the VM's lock covers it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "allocator/node_memory.hpp"
#include "allocator/node_pool.hpp"
#include "mali/address.hpp"

namespace granule {

class GranuleLedger {
public:
    explicit GranuleLedger(NodeMemory memory = NodeMemory::process()) noexcept;
    GranuleLedger(GranuleLedger&& other) noexcept;  // `other` becomes an empty ledger
    GranuleLedger& operator=(GranuleLedger&& other) noexcept;
    GranuleLedger(const GranuleLedger&) = delete;
    GranuleLedger& operator=(const GranuleLedger&) = delete;
    ~GranuleLedger() = default;

    // Makes sure that marking blocks inside `range` cannot fail. False: there is not so much memory, nothing changed.
    [[nodiscard]] bool hold(VaRange range) noexcept;
    // The leaves of `run` are what it says. 2 MiB and 1 GiB: they become blocks, whatever was there; precondition:
    // `hold`. 4 KiB: every 2 MiB window that the run touches ceases to be a block.
    // Precondition: no larger block than the run's leaves is cut, except by 4 KiB runs, and those cut no 1 GiB block.
    void mark(const LeafRun& run) noexcept;
    // Forgets the blocks inside `range`, whose edges cut none (asserted).
    void clear(VaRange range) noexcept;

    // 4 KiB where no block is marked.
    [[nodiscard]] LeafSize leaf_at(Va va) const noexcept;
    // The range of the leaf that contains `va`, below 2^48.
    [[nodiscard]] VaRange granule_at(Va va) const noexcept;

    // Calls `visitor(const LeafRun&)` for the blocks that overlap `range`, ascending, in runs as long as they get:
    // whole blocks, not clipped to the range, and none that is beyond it. It must not change the ledger.
    template <class Visitor>
    void for_each_block_run(VaRange range, Visitor&& visitor) const {
        visit_erased(
            range,
            [](void* context, const LeafRun& run) { (*static_cast<std::remove_reference_t<Visitor>*>(context))(run); },
            &visitor);
    }

    [[nodiscard]] std::uint64_t blocks_2m() const noexcept { return blocks_2m_; }
    [[nodiscard]] std::uint64_t blocks_1g() const noexcept { return blocks_1g_; }
    [[nodiscard]] std::uint64_t bytes() const noexcept {
        return shelf_pool_.bytes_reserved() + region_pool_.bytes_reserved();
    }

    // Checks every invariant; for tests and debug builds. O(regions).
    [[nodiscard]] bool validate() const noexcept;

private:
    static constexpr std::size_t kFanOut = 512;
    struct Region;
    struct Shelf;
    struct Part;
    using ErasedVisitor = void (*)(void* context, const LeafRun& run);

    void visit_erased(VaRange range, ErasedVisitor visitor, void* context) const;
    template <class Visit>
    void for_each_part(std::uint64_t first, std::uint64_t end, Visit visit) const;
    // Whether `va` is inside a block, not at its start.
    [[nodiscard]] bool cuts_block(Va va) const noexcept;

    NodePool shelf_pool_;
    NodePool region_pool_;
    std::array<Shelf*, kFanOut> shelves_{};
    std::uint64_t blocks_2m_ = 0;
    std::uint64_t blocks_1g_ = 0;
};

}  // namespace granule
