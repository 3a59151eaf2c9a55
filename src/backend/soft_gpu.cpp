#include "src/backend/soft_gpu.hpp"

#include <algorithm>
#include <cstring>

namespace granule {

// An address space of the GPU, with an MMU of its own so that two VMs share no lock.
struct SoftGpu::Slot {
    Slot(const mali::PhysicalMemory& memory, const mali::SoftMmuConfig& config, std::span<mali::TlbEntry> tlb) noexcept
        : mmu(memory, config, tlb) {}

    std::mutex mutex;
    std::condition_variable unlocked;
    mali::SoftMmu mmu;         // guarded by mutex; one address space: this slot's
    Context* owner = nullptr;  // written under table_mutex_ and mutex
    Counters counters;         // guarded by mutex
    std::atomic<std::uint64_t> last_use{0};
};

std::size_t SoftGpu::slot_bytes() noexcept {
    return sizeof(Slot) + kTlbEntries * sizeof(mali::TlbEntry);
}

Result<Owned<SoftGpu>, Status> SoftGpu::create(const SoftGpuConfig& config, DeviceMemory& memory,
                                               NodeMemory nodes) noexcept {
    if (config.address_spaces > kMaxAddressSpaces || config.first_address_space >= config.address_spaces) {
        return fail(Status::kBadArgument);
    }
    Owned<SoftGpu> gpu = make_owned<SoftGpu>(nodes, config, memory, nodes);
    if (!gpu || !gpu->init()) {
        return fail(Status::kOutOfHostMemory);
    }
    return gpu;
}

SoftGpu::SoftGpu(const SoftGpuConfig& config, DeviceMemory& memory, NodeMemory nodes) noexcept
    : config_(config), memory_(memory), nodes_(nodes) {}

// A slot and its TLB are one block: the TLB comes behind the slot.
bool SoftGpu::init() noexcept {
    static_assert(alignof(Slot) >= alignof(mali::TlbEntry) && sizeof(Slot) % alignof(mali::TlbEntry) == 0);
    const mali::SoftMmuConfig mmu{1, config_.va_bits, config_.pa_bits, config_.csf};
    for (unsigned as = config_.first_address_space; as < config_.address_spaces; ++as) {
        void* const block = nodes_.allocate(nodes_.context, slot_bytes(), alignof(Slot));
        if (block == nullptr) {
            return false;
        }
        auto* const tlb = static_cast<std::byte*>(block) + sizeof(Slot);
        for (std::size_t i = 0; i < kTlbEntries; ++i) {
            ::new (static_cast<void*>(tlb + i * sizeof(mali::TlbEntry))) mali::TlbEntry{};
        }
        void* const entries = tlb;
        slots_[as] = ::new (block) Slot(memory_, mmu, {static_cast<mali::TlbEntry*>(entries), kTlbEntries});
    }
    return true;
}

SoftGpu::~SoftGpu() {
    for (Slot* const slot : slots_) {
        if (slot != nullptr) {
            assert(slot->owner == nullptr);
            slot->~Slot();
            nodes_.release(nodes_.context, slot, slot_bytes(), alignof(Slot));
        }
    }
}

void SoftGpu::run(Slot& slot, const mali::MmuSequence& sequence) noexcept {
    for (const mali::MmuStep& step : sequence) {
        slot.counters.register_writes += step.kind == mali::MmuStep::Kind::kWrite ? 1 : 0;
    }
    const bool done = slot.mmu.run(sequence);
    assert(done);
    static_cast<void>(done);
}

void SoftGpu::begin_update(Context& context, const VaRange& range) noexcept {
    const std::lock_guard context_lock(context.mutex_);
    context.updating_ = true;
    context.update_ = range;
    const int as = context.slot_.load(std::memory_order_relaxed);
    if (as == Context::kNoSlot) {
        return;
    }
    Slot& slot = *slots_[static_cast<std::size_t>(as)];
    const std::lock_guard slot_lock(slot.mutex);
    run(slot, mali::begin_update(config_.protocol, 0, range, config_.smallest_lock_log2));
}

void SoftGpu::end_update(Context& context, const VaRange& range) noexcept {
    // Where nothing was begun and the context has no slot there is nobody to tell. An activation is either before this in
    // the order of changes of `slot_`, and seen here; or after it, and sees the entries that were written.
    if (config_.protocol != mali::MmuProtocol::kCsfAtomic &&
        context.slot_.fetch_add(0, std::memory_order_acq_rel) == Context::kNoSlot) {
        return;
    }
    const std::lock_guard context_lock(context.mutex_);
    context.updating_ = false;
    const int as = context.slot_.load(std::memory_order_relaxed);
    if (as == Context::kNoSlot) {
        return;
    }
    Slot& slot = *slots_[static_cast<std::size_t>(as)];
    {
        const std::lock_guard slot_lock(slot.mutex);
        run(slot, mali::end_update(config_.protocol, 0, range, config_.smallest_lock_log2));
    }
    slot.unlocked.notify_all();
}

void SoftGpu::take_slot(Slot& slot) noexcept {
    Context& owner = *slot.owner;
    {
        const std::lock_guard slot_lock(slot.mutex);
        if (owner.updating_) {
            // The lock of a change that is under way is not the next owner's.
            run(slot, mali::end_update(config_.protocol, 0, owner.update_, config_.smallest_lock_log2));
        }
        run(slot, mali::disable_as(config_.protocol, 0, config_.has_transcfg));
        slot.owner = nullptr;
    }
    owner.slot_.store(Context::kNoSlot, std::memory_order_relaxed);
    slot.unlocked.notify_all();
}

void SoftGpu::deactivate(Context& context) noexcept {
    const std::lock_guard table_lock(table_mutex_);
    const std::lock_guard context_lock(context.mutex_);
    const int as = context.slot_.load(std::memory_order_relaxed);
    if (as != Context::kNoSlot) {
        take_slot(*slots_[static_cast<std::size_t>(as)]);
    }
}

void SoftGpu::unmap_all(Context& context) noexcept {
    const std::lock_guard table_lock(table_mutex_);
    const std::lock_guard context_lock(context.mutex_);
    const int as = context.slot_.load(std::memory_order_relaxed);
    if (as != Context::kNoSlot) {
        take_slot(*slots_[static_cast<std::size_t>(as)]);
    }
    context.config_ = mali::kUnmappedConfig;
}

void SoftGpu::activate(Context& context) noexcept {
    const std::lock_guard table_lock(table_mutex_);
    if (context.slot_.load(std::memory_order_relaxed) != Context::kNoSlot) {
        return;
    }
    unsigned best = config_.first_address_space;
    for (unsigned as = best; as < config_.address_spaces; ++as) {
        if (slots_[as]->owner == nullptr) {
            best = as;
            break;
        }
        if (slots_[as]->last_use.load(std::memory_order_relaxed) <
            slots_[best]->last_use.load(std::memory_order_relaxed)) {
            best = as;
        }
    }
    Slot& slot = *slots_[best];
    if (slot.owner != nullptr) {
        const std::lock_guard victim_lock(slot.owner->mutex_);
        take_slot(slot);
    }
    const std::lock_guard context_lock(context.mutex_);
    const std::lock_guard slot_lock(slot.mutex);
    slot.owner = &context;
    slot.last_use.store(clock_.fetch_add(1, std::memory_order_relaxed), std::memory_order_relaxed);
    run(slot, mali::enable_as(config_.protocol, 0, context.config_, config_.has_transcfg));
    if (context.updating_) {
        // A change is under way: its region is locked from the first access on.
        run(slot, mali::begin_update(config_.protocol, 0, context.update_, config_.smallest_lock_log2));
    }
    ++slot.counters.activations;
    context.slot_.exchange(static_cast<int>(best), std::memory_order_acq_rel);
}

template <class Body>
mali::Access SoftGpu::with_access(Context& context, Va va, mali::AccessKind kind, Body&& body) noexcept {
    for (;;) {
        const int as = context.slot_.load(std::memory_order_acquire);
        if (as == Context::kNoSlot) {
            activate(context);
            continue;
        }
        Slot& slot = *slots_[static_cast<std::size_t>(as)];
        std::unique_lock slot_lock(slot.mutex);
        if (slot.owner != &context) {
            continue;  // somebody else needed the slot
        }
        const mali::Access access = slot.mmu.access(0, va, kind);
        if (access.outcome == mali::Access::Outcome::kStalled) {
            ++slot.counters.stalls;
            slot.unlocked.wait(slot_lock);
            continue;
        }
        slot.last_use.store(clock_.fetch_add(1, std::memory_order_relaxed), std::memory_order_relaxed);
        ++slot.counters.accesses;
        slot.counters.stale += access.stale ? 1 : 0;
        slot.counters.faults += access.outcome == mali::Access::Outcome::kFault ? 1 : 0;
        body(access);
        return access;
    }
}

mali::Access SoftGpu::access(Context& context, Va va, mali::AccessKind kind) noexcept {
    return with_access(context, va, kind, [](const mali::Access&) {});
}

// Moves bytes leaf by leaf. `move(host, done, bytes)` copies between host memory and place `done` of the caller's span.
template <class Move>
Result<void, GpuFault> SoftGpu::transfer(Context& context, Va va, std::size_t size, mali::AccessKind kind,
                                         Move&& move) noexcept {
    std::size_t done = 0;
    while (done < size) {
        const Va at = va + done;
        std::size_t bytes = 0;
        const mali::Access access = with_access(context, at, kind, [&](const mali::Access& result) {
            if (result.outcome == mali::Access::Outcome::kDone) {
                bytes = std::min<std::uint64_t>(size - done, result.contiguous);
                move(memory_.host(result.pa), done, bytes);
            }
        });
        if (access.outcome != mali::Access::Outcome::kDone) {
            return fail(GpuFault{at, access.fault_status});
        }
        done += bytes;
    }
    return {};
}

Result<void, GpuFault> SoftGpu::read(Context& context, Va va, std::span<std::byte> to) noexcept {
    return transfer(context, va, to.size(), mali::AccessKind::kRead,
                    [&](const std::byte* host, std::size_t done, std::size_t bytes) {
                        std::memcpy(to.data() + done, host, bytes);
                    });
}

Result<void, GpuFault> SoftGpu::write(Context& context, Va va, std::span<const std::byte> from) noexcept {
    return transfer(
        context, va, from.size(), mali::AccessKind::kWrite,
        [&](std::byte* host, std::size_t done, std::size_t bytes) { std::memcpy(host, from.data() + done, bytes); });
}

SoftGpu::Counters SoftGpu::counters() const noexcept {
    Counters sum;
    for (Slot* const slot : slots_) {
        if (slot != nullptr) {
            const std::lock_guard slot_lock(slot->mutex);
            sum.accesses += slot->counters.accesses;
            sum.stale += slot->counters.stale;
            sum.stalls += slot->counters.stalls;
            sum.faults += slot->counters.faults;
            sum.register_writes += slot->counters.register_writes;
            sum.activations += slot->counters.activations;
        }
    }
    return sum;
}

}  // namespace granule
