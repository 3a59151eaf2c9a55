// The soft device's GPU: address-space slots with a software MMU each, and accesses through them.
//
// A VM owns a Context. It gets a slot (AS) at the first access after it lost its last one; where all are taken, the
// slot whose VM accessed longest ago goes (Linux panfrost_mmu_as_get, panthor_vm_active). While a VM has no slot a
// change of its tables writes no register, because nothing of it can be cached.
//
//     bind: begin_update -- entries are written -- end_update        GPU: access, access, ...
//              LOCK                                FLUSH / UNLOCK          stalls while the region is locked
//
// Which sequence each step is, the protocol says (mali/mmu_sequence.hpp).
//
// Thread-safety: any thread, any context. Two contexts share a lock only while one of them gets a slot. Lock order: the
// table of slots, a context, a slot.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <span>

#include "mali/mmu_sequence.hpp"
#include "mali/soft_mmu.hpp"
#include "mali/translation_config.hpp"
#include "src/array.hpp"
#include "src/device_memory.hpp"

namespace granule {

struct SoftGpuConfig {
    mali::MmuProtocol protocol = mali::MmuProtocol::kJobManager;
    unsigned address_spaces = 8;
    unsigned first_address_space = 0;  // 1 on CSF GPUs, whose microcontroller has slot 0
    mali::HasTranscfg has_transcfg = mali::HasTranscfg::kYes;
    unsigned smallest_lock_log2 = mali::kSmallestLockLog2;
    unsigned va_bits = 48;
    unsigned pa_bits = 40;
    bool csf = false;
};

// The first fault of a read or write.
struct GpuFault {
    Va va;
    std::uint32_t status = 0;  // AS_FAULTSTATUS
};

class SoftGpu {
public:
    static constexpr unsigned kMaxAddressSpaces = 16;
    static constexpr std::size_t kTlbEntries = 4096;  // each address space

    class Context {
    public:
        void use(const mali::TranslationConfig& config) noexcept { config_ = config; }

    private:
        friend class SoftGpu;
        static constexpr int kNoSlot = -1;
        std::mutex mutex_;
        mali::TranslationConfig config_;  // guarded by mutex_, once it is in use
        std::atomic<int> slot_{kNoSlot};  // changed under mutex_
        bool updating_ = false;           // guarded by mutex_
        VaRange update_;                  // guarded by mutex_
    };

    struct Counters {
        std::uint64_t accesses = 0;
        std::uint64_t stale = 0;  // answered by a TLB entry that the tables no longer agree with
        std::uint64_t stalls = 0;
        std::uint64_t faults = 0;
        std::uint64_t register_writes = 0;
        std::uint64_t activations = 0;
    };

    [[nodiscard]] static Result<Owned<SoftGpu>, Status> create(const SoftGpuConfig& config, DeviceMemory& memory,
                                                               NodeMemory nodes) noexcept;
    SoftGpu(const SoftGpuConfig& config, DeviceMemory& memory, NodeMemory nodes) noexcept;
    SoftGpu(const SoftGpu&) = delete;
    SoftGpu& operator=(const SoftGpu&) = delete;
    ~SoftGpu();

    void begin_update(Context& context, const VaRange& range) noexcept;
    void end_update(Context& context, const VaRange& range) noexcept;
    // Takes its slot away. The context may be destroyed then.
    void deactivate(Context& context) noexcept;
    // The same, and every access from here on is a fault.
    void unmap_all(Context& context) noexcept;

    // What the MMU answers for `va`; waits while the region is locked.
    [[nodiscard]] mali::Access access(Context& context, Va va, mali::AccessKind kind) noexcept;

    // As a shader core would. On a fault the bytes before it were transferred.
    [[nodiscard]] Result<void, GpuFault> read(Context& context, Va va, std::span<std::byte> to) noexcept;
    [[nodiscard]] Result<void, GpuFault> write(Context& context, Va va, std::span<const std::byte> from) noexcept;

    [[nodiscard]] Counters counters() const noexcept;

private:
    struct Slot;
    [[nodiscard]] static std::size_t slot_bytes() noexcept;
    [[nodiscard]] bool init() noexcept;
    void activate(Context& context) noexcept;
    void take_slot(Slot& slot) noexcept;  // under table_mutex_ and the owner's lock
    void run(Slot& slot, const mali::MmuSequence& sequence) noexcept;
    // Calls `body(access)` with the slot's lock held, so that an invalidation waits for it as it waits for
    // transactions.
    template <class Body>
    mali::Access with_access(Context& context, Va va, mali::AccessKind kind, Body&& body) noexcept;
    template <class Move>
    Result<void, GpuFault> transfer(Context& context, Va va, std::size_t size, mali::AccessKind kind,
                                    Move&& move) noexcept;

    const SoftGpuConfig config_;
    DeviceMemory& memory_;
    NodeMemory nodes_;
    std::mutex table_mutex_;
    std::array<Slot*, kMaxAddressSpaces> slots_{};
    std::atomic<std::uint64_t> clock_{0};
};

}  // namespace granule
