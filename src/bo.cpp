#include "src/bo.hpp"

#include <algorithm>
#include <cassert>
#include <new>

namespace granule {

Result<void, OsError> check_parts(std::span<const CacheSync> parts) noexcept {
    for (const CacheSync& part : parts) {
        if (part.bo == nullptr) {
            return fail(OsError{Status::kBadArgument, "", 0});
        }
        if (part.offset.raw() > part.bo->size || part.bytes > part.bo->size - part.offset.raw()) {
            return fail(OsError{Status::kOutOfRange, "", 0});
        }
    }
    return {};
}

BoTable::BoTable(BoBackend& backend, NodeMemory memory) noexcept : backend_(backend), memory_(memory) {}

BoTable::~BoTable() {
    for (std::uint32_t slot = 1; slot < used_slots_; ++slot) {
        if (Bo* const bo = slot_at(slot).bo.load(std::memory_order_relaxed)) {
            destroy(bo);
        }
    }
    for (std::atomic<Slot*>& chunk : chunks_) {
        if (Slot* const slots = chunk.load(std::memory_order_relaxed)) {
            memory_.release(memory_.context, slots, kChunkSlots * sizeof(Slot), alignof(Slot));
        }
    }
}

void BoTable::push(SlotQueue& queue, std::uint32_t slot) noexcept {
    slot_at(slot).next_slot = 0;
    if (queue.first == 0) {
        queue.first = slot;
    } else {
        slot_at(queue.last).next_slot = slot;
    }
    queue.last = slot;
}

void BoTable::push_first(SlotQueue& queue, std::uint32_t slot) noexcept {
    slot_at(slot).next_slot = queue.first;
    if (queue.first == 0) {
        queue.last = slot;
    }
    queue.first = slot;
}

std::uint32_t BoTable::pop(SlotQueue& queue) noexcept {
    const std::uint32_t slot = queue.first;
    if (slot != 0) {
        queue.first = slot_at(slot).next_slot;
    }
    return slot;
}

std::uint32_t BoTable::unused_slot() noexcept {
    if (used_slots_ == kSlots) {
        return 0;
    }
    std::atomic<Slot*>& chunk = chunks_[used_slots_ / kChunkSlots];
    if (chunk.load(std::memory_order_relaxed) == nullptr) {
        void* const block = memory_.allocate(memory_.context, kChunkSlots * sizeof(Slot), alignof(Slot));
        if (block == nullptr) {
            return 0;
        }
        auto* const slots = static_cast<Slot*>(block);
        for (std::uint32_t i = 0; i < kChunkSlots; ++i) {
            ::new (static_cast<void*>(slots + i)) Slot;
        }
        chunk.store(slots, std::memory_order_release);
    }
    slot_at(used_slots_).next_id = used_slots_;
    return used_slots_++;
}

std::uint32_t BoTable::slot_for_one_more() noexcept {
    if (const std::uint32_t slot = pop(free_); slot != 0) {
        return slot;
    }
    if (const std::uint32_t slot = unused_slot(); slot != 0) {
        return slot;
    }
    const std::uint32_t slot = pop(spent_);
    if (slot != 0) {
        slot_at(slot).was_spent = true;
    }
    return slot;
}

Result<Bo*, OsError> BoTable::prepare(std::uint64_t made_by) noexcept {
    void* const block = memory_.allocate(memory_.context, sizeof(Bo), alignof(Bo));
    if (block == nullptr) {
        return fail(OsError{Status::kOutOfHostMemory, "", 0});
    }
    std::unique_lock lock(mutex_);
    const std::uint32_t number = slot_for_one_more();
    if (number == 0) {
        lock.unlock();
        memory_.release(memory_.context, block, sizeof(Bo), alignof(Bo));
        return fail(OsError{Status::kOutOfHostMemory, "", 0});
    }
    Slot& slot = slot_at(number);
    Bo* const bo = ::new (block) Bo(*this, slot.counts, memory_);
    bo->made_by = made_by;
    bo->id = BoId{slot.next_id};
    return bo;
}

void BoTable::abandon(Bo* bo) noexcept {
    const std::uint32_t number = static_cast<std::uint32_t>(bo->id) % kSlots;
    free_bo(bo);
    const std::lock_guard lock(mutex_);
    push_first(slot_at(number).was_spent ? spent_ : free_, number);
}

BoId BoTable::publish(Bo& bo) noexcept {
    const BoId id = bo.id;
    const auto raw = static_cast<std::uint32_t>(id);
    live_.fetch_add(1, std::memory_order_relaxed);
    live_bytes_.fetch_add(bo.size, std::memory_order_relaxed);
    const std::lock_guard lock(mutex_);
    Slot& slot = slot_at(id);
    slot.bo.store(&bo, std::memory_order_relaxed);
    slot.bytes = bo.size;
    slot.first_bytes = bo.runs.empty() ? 0 : bo.runs[0].bytes;
    slot.first_pa = bo.runs.empty() ? Pa{} : bo.runs[0].pa;
    slot.id.store(raw, std::memory_order_release);
    slot.counts.held.store(1, std::memory_order_relaxed);
    // Last: who sees a count above 0 sees the BO and the id that it counts for.
    slot.counts.references.store(1, std::memory_order_release);
    return id;
}

Result<void, OsError> BoTable::give_memory(Bo& bo, const BoRequest& request) noexcept {
    std::uint64_t reserved = align_up(request.bytes, kPageBytes);
    if (!budget_.reserve(reserved)) {
        return fail(OsError{Status::kOverBudget, "", 0});
    }
    const Result<void, OsError> created = backend_.create(bo, request);
    if (!created) {
        budget_.give_back(reserved);
        return created;
    }
    // A driver may round up further.
    if (bo.size > reserved) {
        if (!budget_.reserve(bo.size - reserved)) {
            backend_.destroy(bo);
            budget_.give_back(reserved);
            return fail(OsError{Status::kOverBudget, "", 0});
        }
        reserved = bo.size;
    }
    bo.budgeted = reserved;
    return {};
}

Result<BoId, OsError> BoTable::create(const BoRequest& request) noexcept {
    if (request.bytes == 0 || request.bytes > kMaxVaEnd || (request.shareable && request.only_for_vm != 0)) {
        return fail(OsError{Status::kBadArgument, "", 0});
    }
    const Result<Bo*, OsError> bo = prepare(request.made_by);
    if (!bo) {
        return fail(bo.error());
    }
    (*bo)->shareable = request.shareable;
    if (const Result<void, OsError> given = give_memory(**bo, request); !given) {
        abandon(*bo);
        return fail(given.error());
    }
    return publish(**bo);
}

void BoTable::free_bo(Bo* bo) noexcept {
    bo->~Bo();
    memory_.release(memory_.context, bo, sizeof(Bo), alignof(Bo));
}

void BoTable::destroy(Bo* bo) noexcept {
    // The CPU's view first: behind it stands memory that others get.
    if (bo->cpu != nullptr) {
        backend_.unmap_cpu(*bo, bo->cpu);
    }
    backend_.destroy(*bo);
    // After its memory: what comes in its place is never there together with it.
    if (bo->budgeted != 0) {
        budget_.give_back(bo->budgeted);
    } else {
        budget_.remove_imported(bo->size);
    }
    free_bo(bo);
}

BoTable::Slot* BoTable::find_slot(BoId id) const noexcept {
    const std::uint32_t number = slot_of(id);
    Slot* const chunk = chunks_[number / kChunkSlots].load(std::memory_order_acquire);
    if (number == 0 || chunk == nullptr) {
        return nullptr;
    }
    Slot& slot = chunk[number % kChunkSlots];
    return slot.id.load(std::memory_order_acquire) == static_cast<std::uint32_t>(id) ? &slot : nullptr;
}

Bo* BoTable::find(BoId id) const noexcept {
    const Slot* const slot = find_slot(id);
    return slot == nullptr ? nullptr : slot->bo.load(std::memory_order_relaxed);
}

BoTable::Slot* BoTable::retain_slot(BoId id, std::uint64_t references) noexcept {
    assert(references != 0);
    Slot* const slot = find_slot(id);
    if (slot == nullptr) {
        return nullptr;
    }
    std::uint64_t count = slot->counts.references.load(std::memory_order_relaxed);
    do {
        if (count == 0) {
            return nullptr;
        }
    } while (!slot->counts.references.compare_exchange_weak(count, count + references, std::memory_order_acquire,
                                                            std::memory_order_relaxed));
    // From here on the slot keeps the BO that it has. Since it was found it may have become another one.
    if (slot->id.load(std::memory_order_relaxed) != static_cast<std::uint32_t>(id)) {
        drop(*slot, references);
        return nullptr;
    }
    return slot;
}

Bo* BoTable::retain_if_live(BoId id, std::uint64_t references) noexcept {
    Slot* const slot = retain_slot(id, references);
    if (slot == nullptr) {
        return nullptr;
    }
    slot->counts.held.fetch_add(references, std::memory_order_relaxed);
    return slot->bo.load(std::memory_order_relaxed);
}

void BoTable::retain(Bo& bo, std::uint64_t references) noexcept {
    bo.counts.references.fetch_add(references, std::memory_order_relaxed);
    bo.counts.held.fetch_add(references, std::memory_order_relaxed);
}

void BoTable::release(Bo& bo, std::uint64_t references) noexcept {
    // First: where it is not the last one, the slot may be another BO's behind it.
    bo.counts.held.fetch_sub(references, std::memory_order_relaxed);
    if (bo.counts.references.fetch_sub(references, std::memory_order_acq_rel) == references) {
        end(bo);
    }
}

BoTable::Shown BoTable::show(BoId id, BoOffset offset, std::uint64_t pages) noexcept {
    Slot* const slot = retain_slot(id, pages);
    if (slot == nullptr) {
        return Shown::kUnknownBo;
    }
    if (offset.raw() > slot->bytes || pages > (slot->bytes - offset.raw()) / kPageBytes) {
        drop(*slot, pages);
        return Shown::kOutsideBo;
    }
    return Shown::kYes;
}

void BoTable::end(Bo& bo) noexcept {
    const auto raw = static_cast<std::uint32_t>(bo.id);
    live_.fetch_sub(1, std::memory_order_relaxed);
    live_bytes_.fetch_sub(bo.size, std::memory_order_relaxed);
    {
        const std::lock_guard lock(mutex_);
        Slot& slot = slot_at(raw % kSlots);
        slot.id.store(0, std::memory_order_relaxed);
        slot.bo.store(nullptr, std::memory_order_relaxed);
        slot.has_label.store(false, std::memory_order_relaxed);
    }
    destroy(&bo);
    const std::lock_guard lock(mutex_);
    const std::uint32_t next_id = raw + kSlots;  // wraps to the first one after 4096
    slot_at(raw % kSlots).next_id = next_id;
    slot_at(raw % kSlots).was_spent = false;
    push(next_id < kSlots ? spent_ : free_, raw % kSlots);
}

Status BoTable::set_label(Bo& bo, std::string_view label) noexcept {
    const std::lock_guard lock(bo.label_mutex);
    const std::size_t bytes = utf8_prefix(label, kMaxLabelBytes);
    if (!bo.label.reserve(bytes)) {
        return Status::kOutOfHostMemory;
    }
    bo.label.clear();
    for (std::size_t i = 0; i < bytes; ++i) {
        const bool pushed = bo.label.push(label[i]);
        assert(pushed);
        static_cast<void>(pushed);
    }
    slot_at(bo.id).has_label.store(bytes != 0, std::memory_order_relaxed);
    backend_.set_label(bo, label.substr(0, bytes));
    return Status::kOk;
}

bool BoTable::has_label(const Bo& bo, std::string_view label) const noexcept {
    const std::lock_guard lock(bo.label_mutex);
    return std::string_view{bo.label.begin(), bo.label.size()} == label.substr(0, utf8_prefix(label, kMaxLabelBytes));
}

ShortLabel BoTable::short_label(BoId id) const noexcept {
    const Slot* const slot = find_slot(id);
    if (slot == nullptr || !slot->has_label.load(std::memory_order_relaxed)) {
        return {};  // without a look at the BO: a mapping that goes asks for its label
    }
    const Bo* const bo = slot->bo.load(std::memory_order_relaxed);
    const std::lock_guard lock(bo->label_mutex);
    return ShortLabel{std::string_view{bo->label.begin(), bo->label.size()}};
}

bool BoTable::copy_label(const Bo& bo, Array<char>& out) const noexcept {
    const std::lock_guard lock(bo.label_mutex);
    if (!out.reserve(out.size() + bo.label.size())) {
        return false;
    }
    for (const char c : bo.label) {
        const bool pushed = out.push(c);
        assert(pushed);
        static_cast<void>(pushed);
    }
    return true;
}

Result<std::byte*, Status> BoTable::map_cpu(Bo& bo) noexcept {
    const std::lock_guard lock(bo.cpu_mutex);
    if (bo.cpu != nullptr) {
        return bo.cpu;
    }
    const Result<std::byte*, Status> cpu = backend_.map_cpu(bo);
    if (cpu) {
        bo.cpu = *cpu;
    }
    return cpu;
}

Status BoTable::map_cpu_at(Bo& bo, std::byte* where, CpuAccess access) noexcept {
    if (where == nullptr || !is_aligned(reinterpret_cast<std::uintptr_t>(where), kPageBytes)) {
        return Status::kBadArgument;
    }
    if (!bo.cpu_visible) {
        return Status::kNotSupported;
    }
    const std::lock_guard lock(bo.cpu_mutex);
    return backend_.map_cpu_at(bo, where, access);
}

Extent BoTable::extent_at(const Backing& shows, Va /*va*/) const noexcept {
    assert(!shows.sparse());
    const Slot* const slot = find_slot(shows.bo);
    assert(slot != nullptr && shows.offset.raw() < slot->bytes);
    if (shows.offset.raw() < slot->first_bytes) {
        return {slot->first_pa + shows.offset.raw(), slot->first_bytes - shows.offset.raw(), true};
    }
    const Bo* const bo = slot->bo.load(std::memory_order_relaxed);
    if (bo->runs.empty()) {
        return {Pa{0}, bo->size - shows.offset.raw(), false};
    }
    const auto after = std::upper_bound(bo->runs.begin(), bo->runs.end(), shows.offset,
                                        [](BoOffset offset, const Bo::Run& run) { return offset < run.offset; });
    const Bo::Run& run = *(after - 1);
    const std::uint64_t within = shows.offset - run.offset;
    return {run.pa + within, run.bytes - within, true};
}

}  // namespace granule
