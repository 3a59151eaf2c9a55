// One address space of the soft device: page tables in device memory, driven the way a Linux driver drives them, in
// each of the four ways that Linux has had.
//
// Operations arrive as VM_BIND would bring them. A map replaces what was there; an unmap of holes is success. What
// happens where an operation would cut a leaf is the behaviour that was selected:
//
//     kSplits    the leaf is replaced by smaller ones, without the part that goes
//     kRefuses   EINVAL; what the operation cleared before it came to the leaf stays cleared, as there
//     kOopses    as kRefuses; and an unmap that leaves parts of mappings on both of its sides kills the kernel
//     kRealigns  the leaf is unmapped whole and the rest of it mapped again
//
// What an operation that fails did change is flushed, as there. In every one of them that is counted (`leaf_cuts`): the
// library never lets it happen (P1). On failure of an operation nothing before it is undone: that is the library's to
// do (P3).
//
// Order of entries and invalidation: with `MmuProtocol::kCsfAtomic` (Linux 7.0) a plan happens under a lock of its
// region; with the others the entries are written first, and the GPU may see them half done.
//
// Sparse mappings show one 2 MiB block of device memory again and again. It is this address space's own: what one VM
// writes to it, no other VM reads. It is taken with the first sparse map and given back with the address space.
//
//     VA   |--- 2 MiB ---|--- 2 MiB ---|--- 2 MiB ---|   sparse
//                  \            |            /
//     PA                |--- 2 MiB ---|                  sparse_pa()
//
// Thread-safety: the VM's lock; GPU accesses through SoftGpu run meanwhile.
// Failure: `hold` says what ran out, and has changed nothing; nothing else runs out of memory.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "allocator/mapping_map.hpp"
#include "mali/page_table.hpp"
#include "src/backend/backend.hpp"
#include "src/backend/injection.hpp"
#include "src/backend/soft_gpu.hpp"
#include "src/backend/soft_tables.hpp"
#include "src/device_memory.hpp"

namespace granule {

struct SoftAddressSpaceConfig {
    mali::PageTableConfig table;
    KernelBehaviour kernel = KernelBehaviour::kSplits;
    mali::MmuProtocol protocol = mali::MmuProtocol::kJobManager;
    unsigned smallest_lock_log2 = mali::kSmallestLockLog2;
};

class SoftAddressSpace final : public AddressSpaceBackend, private BackingLayout {
public:
    // `bos` says where the pages of BOs are. The sparse block comes from where the tables come from.
    [[nodiscard]] static Result<Owned<SoftAddressSpace>, Status> create(const SoftAddressSpaceConfig& config,
                                                                        const SoftTables& tables, SoftGpu& gpu,
                                                                        const BackingLayout& bos, NodeMemory nodes,
                                                                        Injection* injection) noexcept;
    SoftAddressSpace(const SoftAddressSpaceConfig& config, const SoftTables& tables, SoftGpu& gpu,
                     const BackingLayout& bos, NodeMemory nodes, Injection* injection) noexcept;
    ~SoftAddressSpace() override;

    [[nodiscard]] Status hold(std::span<const Plan> plans) noexcept override;
    [[nodiscard]] Result<void, BackendFailure> execute(std::span<const Plan> plans) noexcept override;
    void settle() noexcept override;
    // Not where the kernel's own mappings are kept too (kOopses).
    [[nodiscard]] bool changes_directly() const noexcept override { return config_.kernel != KernelBehaviour::kOopses; }
    [[nodiscard]] Result<DirectChange, BackendFailure> change_directly(
        std::span<const BindRequest> requests) noexcept override;
    void prepare(Va va) noexcept override { table_->prefetch(va); }
    void detach() noexcept override;

    [[nodiscard]] const BackingLayout& layout() const noexcept override { return *this; }
    [[nodiscard]] const BackingLayout* cut_rules() const noexcept override { return nullptr; }
    [[nodiscard]] std::uint64_t table_bytes() const noexcept override { return table_->table_count() * kPageBytes; }
    [[nodiscard]] KernelBehaviour kernel() const noexcept override { return config_.kernel; }
    [[nodiscard]] bool atomic_binds() const noexcept override {
        return config_.protocol == mali::MmuProtocol::kCsfAtomic;
    }
    [[nodiscard]] LeafSizes leaf_sizes() const noexcept override { return config_.table.leaf_sizes; }
    [[nodiscard]] unsigned smallest_lock_log2() const noexcept override { return config_.smallest_lock_log2; }

    [[nodiscard]] const mali::PageTable& table() const noexcept { return *table_; }
    [[nodiscard]] const SoftTableMemory& table_memory() const noexcept { return memory_; }
    [[nodiscard]] SoftGpu::Context& gpu_context() noexcept { return context_; }
    // Where the block is that sparse mappings show; 0 before the first one.
    [[nodiscard]] Pa sparse_pa() const noexcept { return sparse_pa_; }
    // Leaves that an operation would have cleared in part.
    [[nodiscard]] std::uint64_t leaf_cuts() const noexcept { return leaf_cuts_; }
    [[nodiscard]] std::uint64_t operations() const noexcept { return operations_; }

private:
    // Before the sparse block is there, its address is told as 0: which leaves there will be depends on no more than its
    // alignment.
    [[nodiscard]] Extent extent_at(const Backing& shows, Va va) const noexcept override;

    // 0 or an errno. EFAULT stands for an oops. `begun` becomes true with the first change.
    [[nodiscard]] int run(const PlanOp& op, bool& begun) noexcept;
    // Whether nothing is mapped there.
    [[nodiscard]] bool is_hole(const VaRange& range) const noexcept;
    [[nodiscard]] Status hold_directly(std::span<const BindRequest> requests) noexcept;
    // False: there was no memory for a table, and nothing changed.
    [[nodiscard]] bool run_directly(const BindRequest& request, DirectChange& change) noexcept;
    [[nodiscard]] bool write_pages(const LeafRun& pages, Pa pa, const mali::LeafAttributes& attributes) noexcept;
    [[nodiscard]] bool hold_sparse(std::span<const Plan> plans) noexcept;
    [[nodiscard]] bool hold_sparse_block() noexcept;
    [[nodiscard]] bool hold_kernel_mappings(std::span<const Plan> plans) noexcept;
    [[nodiscard]] int clear(const VaRange& range, bool& begun) noexcept;
    void write(const PlanOp& op) noexcept;
    [[nodiscard]] int cut(const mali::Walk& leaf, const VaRange& range) noexcept;
    void clear_whole_leaves(const VaRange& range) noexcept;
    void write_leaves(const VaRange& va, Pa pa, const mali::LeafAttributes& attributes) noexcept;

    const SoftAddressSpaceConfig config_;
    const BackingLayout& bos_;
    DeviceMemory& device_memory_;
    Injection* const injection_;
    SoftTableMemory memory_;
    std::optional<mali::PageTable> table_;
    MappingMap kernel_mappings_;  // kOopses: the kernel's own drm_gpuvm
    SoftGpu& gpu_;
    SoftGpu::Context context_;
    Pa sparse_pa_;  // 0: no block yet
    std::uint64_t leaf_cuts_ = 0;
    std::uint64_t operations_ = 0;
    bool oopsed_ = false;
};

}  // namespace granule
