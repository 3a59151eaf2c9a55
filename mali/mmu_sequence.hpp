// What a driver does to the MMU's registers, as data: the steps, in order, for each protocol that Linux has had.
//
// A sequence is a list of steps; whoever has the registers (a kernel, firmware, the software MMU) runs them: write the
// value, or read the register until the condition holds. Nothing is written here.
//
//     change of translations          kJobManager           kCsfFlush             kCsfAtomic
//                                     panfrost;             panthor 6.18, 6.19    panthor 7.0 and later
//                                     panthor to 6.17
//       begin_update(range)           -                     -                     LOCK
//       (the caller writes entries)
//       end_update(range)             LOCK, FLUSH_PT        LOCK, GPU flush       GPU flush,
//                                                           (L2), UNLOCK          UNLOCK
//       enable_as(config)             LOCK all, FLUSH_MEM,  LOCK all, GPU flush,  registers, UPDATE
//                                     registers, UPDATE     UNLOCK, registers,
//                                                           UPDATE
//       disable_as()                  LOCK all, FLUSH_MEM,  LOCK all, GPU flush,  GPU flush, zeros and UNMAPPED,
//                                     zeros and UNMAPPED,   UNLOCK, zeros and     UPDATE
//                                     UPDATE                UNMAPPED, UPDATE
//
// Only kCsfAtomic keeps the GPU from seeing the entries half written: its accesses to the region stall from
// begin_update to end_update.
//
// Invariants: every AS_COMMAND is written with AS_ACTIVE polled clear before it, and polled clear after it. Every LOCK
// is ended by the sequence that closes the update: FLUSH_PT and FLUSH_MEM end it themselves, a GPU flush does not.
// LOCKADDR is written before the LOCK that reads it, TRANSTAB, MEMATTR and TRANSCFG before their UPDATE.
// Sources: Linux drivers/gpu/drm/panfrost/panfrost_mmu.c, drivers/gpu/drm/panthor/panthor_mmu.c and panthor_gpu.c of
// the versions named.
//
// A poll that does not end is the runner's to time out (Linux: 100 ms, then a GPU reset). No allocation; no failure;
// values.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "mali/address.hpp"
#include "mali/lock_region.hpp"
#include "mali/mmu_registers.hpp"
#include "mali/translation_config.hpp"

namespace granule::mali {

struct MmuStep {
    enum class Kind : std::uint8_t {
        kWrite,      // reg = value
        kPollClear,  // until (reg & value) == 0
        kPollSet,    // until (reg & value) == value
    };
    Kind kind = Kind::kWrite;
    std::uint32_t reg = 0;  // offset in the GPU's MMIO page
    std::uint32_t value = 0;

    constexpr bool operator==(const MmuStep&) const noexcept = default;
};

class MmuSequence {
public:
    // The longest is enable_as of kCsfFlush.
    static constexpr std::size_t kCapacity = 24;

    constexpr void push(const MmuStep& step) noexcept {
        assert(size_ < kCapacity);
        steps_[size_++] = step;
    }
    [[nodiscard]] constexpr std::size_t size() const noexcept { return size_; }
    [[nodiscard]] constexpr bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] constexpr const MmuStep& operator[](std::size_t i) const noexcept {
        assert(i < size_);
        return steps_[i];
    }
    [[nodiscard]] constexpr const MmuStep* begin() const noexcept { return steps_.data(); }
    [[nodiscard]] constexpr const MmuStep* end() const noexcept { return steps_.data() + size_; }

private:
    std::array<MmuStep, kCapacity> steps_{};
    std::size_t size_ = 0;
};

enum class MmuProtocol : std::uint8_t {
    kJobManager,  // the MMU's own flush commands, after the change
    kCsfFlush,    // the GPU's cache flush under a lock, after the change
    kCsfAtomic,   // the lock is held across the change
};

// Whether a GPU has TRANSCFG: HasTranscfg{model.has_transcfg()}. Midgard has only the legacy mode, in TRANSTAB.
enum class HasTranscfg : bool { kNo = false, kYes = true };

// Gives address space `as` its tables. Precondition for kCsfAtomic: the slot was disabled by disable_as before.
[[nodiscard]] MmuSequence enable_as(MmuProtocol protocol, unsigned as, const TranslationConfig& config,
                                    HasTranscfg has_transcfg = HasTranscfg::kYes) noexcept;

// Takes them away: what it translated leaves the TLBs and caches, and every access faults.
[[nodiscard]] MmuSequence disable_as(MmuProtocol protocol, unsigned as,
                                     HasTranscfg has_transcfg = HasTranscfg::kYes) noexcept;

// Around a change of the translations in `range`, which is not empty. Both calls take the same range.
[[nodiscard]] MmuSequence begin_update(MmuProtocol protocol, unsigned as, VaRange range,
                                       unsigned smallest_lock_log2 = kSmallestLockLog2) noexcept;
[[nodiscard]] MmuSequence end_update(MmuProtocol protocol, unsigned as, VaRange range,
                                     unsigned smallest_lock_log2 = kSmallestLockLog2) noexcept;

}  // namespace granule::mali
