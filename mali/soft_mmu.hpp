// A software MMU: what Mali's address-space hardware does with the registers and the tables, honestly.
//
// - It walks the real tables, in the real formats, through PhysicalMemory (hardware_walk.hpp).
// - Its TLB keeps what it has walked until an invalidation that covers the entry (soft_tlb.hpp): a missing invalidation
//   is visible. A hit whose entry no longer agrees with the tables is reported (`Access::stale`), because that is the
//   bug this exists to find; it is answered from the entry all the same, as hardware would.
// - A driver drives it by its registers (mmu_registers.hpp), step by step or with the sequences of mmu_sequence.hpp.
//
// Decisions, where the documentation that there is leaves room:
//
//   UPDATE   TRANSTAB, MEMATTR and TRANSCFG take effect, all three. On CSF GPUs an UPDATE to other values also forgets
//            the address space: Linux from 7.0 on gives a slot to another VM with nothing else in between. A
//            job-manager GPU keeps its TLB: there Linux always flushes first, and whoever does not is to be found out.
//   LOCK     Accesses to the region stall until the lock ends, hits as well as walks. A second LOCK moves the region;
//            what only the first covered is not invalidated.
//   UNLOCK, FLUSH_PT, FLUSH_MEM
//            end the lock, and what the TLB has of the region is forgotten. That UNLOCK forgets follows from panthor's
//            sequence since 6.18: LOCK, a flush of the GPU's caches, UNLOCK. Without a lock they do nothing: no driver
//            sends them so, and doing less finds more.
//   GPU_CMD  A flush of the caches completes at once and forgets no translation. A job-manager GPU does not know the
//            command of CSF GPUs, nor the other way about: it never completes.
//   Faults   raise the MMU_INT bit of the address space and fill FAULTSTATUS and FAULTADDRESS, which then keep the
//            first fault until the bit is cleared. The access fails; the address space goes on translating (a driver
//            disables it). Faults are not cached.
//   Unmapped An address space that was never configured, or whose mode is not known, faults as TRANSLATION_FAULT_0.
//   Not modelled: privilege (every access is privileged), memory attributes, timing: every command is done when the
//   write returns. `hang` makes an address space whose commands never end.
//
// Complexity: an access O(levels), registers O(1) but for invalidation (soft_tlb.hpp).
// Thread-safety: none; one caller at a time for all members. Table entries are read through PhysicalMemory::load, so
// tables may be written meanwhile.
// Memory: none of its own: the TLB's entries are the caller's span, which outlives it, as does the memory.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/fault_status.hpp"
#include "mali/hardware_walk.hpp"
#include "mali/mmu_registers.hpp"
#include "mali/mmu_sequence.hpp"
#include "mali/soft_tlb.hpp"
#include "mali/translation_config.hpp"

namespace granule::mali {

struct SoftMmuConfig {
    unsigned as_count = 8;  // 1 to 16
    unsigned va_bits = 48;  // as in MMU_FEATURES
    unsigned pa_bits = 40;
    bool csf = false;  // a command stream frontend in place of a job manager; see UPDATE and GPU_CMD above
};

struct Access {
    enum class Outcome : std::uint8_t { kDone, kStalled, kFault };
    Outcome outcome = Outcome::kFault;
    Pa pa;                           // where done
    std::uint64_t contiguous = 0;    // bytes from `pa` on that the same leaf translates
    LeafSize leaf = LeafSize::k4K;   // where done
    LeafAttributes attributes;       // where done
    bool from_tlb = false;           // where done or a permission fault
    bool stale = false;              // from the TLB, and the tables say something else now
    std::uint32_t fault_status = 0;  // where fault: as AS_FAULTSTATUS
};

struct SoftMmuStatistics {
    std::uint64_t accesses = 0;
    std::uint64_t stalls = 0;
    std::uint64_t hits = 0;
    std::uint64_t stale_hits = 0;
    std::uint64_t walks = 0;  // of accesses that missed; checks for staleness are not counted
    std::uint64_t faults = 0;
    std::uint64_t evicted = 0;      // TLB entries that went because their set was full
    std::uint64_t invalidated = 0;  // TLB entries that an invalidation forgot
    std::uint64_t commands = 0;     // of AS_COMMAND, but NOP
    std::uint64_t gpu_flushes = 0;

    constexpr bool operator==(const SoftMmuStatistics&) const noexcept = default;
};

class SoftMmu {
public:
    SoftMmu(const PhysicalMemory& memory, const SoftMmuConfig& config, std::span<TlbEntry> tlb) noexcept;

    // A register by its offset in the GPU's MMIO page. Registers that there are not read as 0 and ignore writes.
    [[nodiscard]] std::uint32_t read(std::uint32_t offset) const noexcept;
    void write(std::uint32_t offset, std::uint32_t value) noexcept;

    // Every step in order. False: a condition that a step polls for does not hold, and nothing here will change that;
    // the steps behind it were not run.
    [[nodiscard]] bool run(const MmuSequence& sequence) noexcept;

    // An access of the GPU. `as` is below as_count; `source_id` is what FAULTSTATUS says of who made it.
    [[nodiscard]] Access access(unsigned as, Va va, AccessKind kind, std::uint16_t source_id = 0) noexcept;

    // Whether the MMU's interrupt line is up: a raw bit that the mask lets through.
    [[nodiscard]] bool interrupt() const noexcept { return (mmu_raw_ & mmu_mask_) != 0; }

    // What is in effect since the last UPDATE.
    [[nodiscard]] const TranslationConfig& active(unsigned as) const noexcept { return spaces_[as].active; }
    // Empty where nothing is locked.
    [[nodiscard]] VaRange locked(unsigned as) const noexcept { return spaces_[as].locked; }
    [[nodiscard]] const SoftMmuStatistics& statistics() const noexcept { return statistics_; }

    // An address space that hangs reads as AS_ACTIVE and takes no commands.
    void hang(unsigned as, bool hangs) noexcept { spaces_[as].hangs = hangs; }

private:
    struct AddressSpace {
        TranslationConfig written;
        std::uint64_t lockaddr = 0;
        TranslationConfig active;
        Translation translation;  // of `active`
        VaRange locked;
        std::uint32_t fault_status = 0;
        std::uint64_t fault_address = 0;
        bool hangs = false;
    };

    // The 64-bit register of an address space at this offset, or nullptr.
    template <class Space>
    [[nodiscard]] static auto* wide_register(Space& space, std::uint32_t offset) noexcept;
    [[nodiscard]] std::uint32_t read_space(unsigned as, std::uint32_t offset) const noexcept;
    void write_space(unsigned as, std::uint32_t offset, std::uint32_t value) noexcept;
    void command(unsigned as, AsCommand command) noexcept;
    void update(unsigned as) noexcept;
    void unlock(unsigned as) noexcept;
    void gpu_command(std::uint32_t command) noexcept;

    struct Requester {
        unsigned as = 0;
        Va va;
        AccessKind kind = AccessKind::kRead;
        std::uint16_t source_id = 0;
    };
    [[nodiscard]] Access translated(const Requester& by, const TlbEntry& entry) noexcept;
    [[nodiscard]] Access identity(const Requester& by) noexcept;
    [[nodiscard]] Access fault(const Requester& by, std::uint8_t exception) noexcept;
    [[nodiscard]] bool is_stale(const TlbEntry& entry, Va va) const noexcept;

    const PhysicalMemory& memory_;
    SoftMmuConfig config_;
    SoftTlb tlb_;
    std::array<AddressSpace, reg::kMaxAddressSpaces> spaces_{};
    std::uint32_t mmu_raw_ = 0;
    std::uint32_t mmu_mask_ = 0;
    std::uint32_t gpu_raw_ = 0;
    std::uint32_t gpu_mask_ = 0;
    SoftMmuStatistics statistics_;
};

}  // namespace granule::mali
