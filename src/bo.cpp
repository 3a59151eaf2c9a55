#include "src/bo.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cassert>
#include <new>

namespace granule {
namespace {

template <class T>
T* make(NodeMemory memory) noexcept {
    void* const block = memory.allocate(memory.context, sizeof(T), alignof(T));
    return block == nullptr ? nullptr : ::new (block) T(memory);
}

}  // namespace

BoTable::BoTable(DeviceMemory& device_memory, NodeMemory memory) noexcept
    : device_memory_(device_memory), memory_(memory) {}

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
    return pop(spent_);
}

// How the next run of a BO is allocated when `left` bytes of it have no memory yet.
Bo::Run BoTable::next_run(std::uint64_t left, BoMemory kind, std::uint64_t& alignment) noexcept {
    Bo::Run run;
    switch (kind) {
        case BoMemory::kContiguous:
            run.bytes = run.allocated = left;
            alignment = left >= kBlock1GBytes ? kBlock1GBytes : (left >= kBlock2MBytes ? kBlock2MBytes : kPageBytes);
            break;
        case BoMemory::kHuge:
            run.bytes = run.allocated = std::min(left, kBlock2MBytes);
            alignment = left >= kBlock2MBytes ? kBlock2MBytes : kPageBytes;
            break;
        case BoMemory::kScattered:
            // The page above each stays unused, so that no two are neighbours.
            run.bytes = kPageBytes;
            run.allocated = alignment = 2 * kPageBytes;
            break;
    }
    return run;
}

Status BoTable::allocate_runs(Bo& bo, BoMemory kind) noexcept {
    for (std::uint64_t offset = 0; offset < bo.size; offset += bo.runs.back().bytes) {
        std::uint64_t alignment = 0;
        Bo::Run run = next_run(bo.size - offset, kind, alignment);
        const std::optional<Pa> pa = device_memory_.allocate(run.allocated, alignment);
        if (!pa) {
            return Status::kOutOfDeviceMemory;
        }
        run.offset = BoOffset{offset};
        run.pa = *pa;
        if (!bo.runs.push(run)) {
            device_memory_.free(run.pa, run.allocated);
            return Status::kOutOfHostMemory;
        }
    }
    return Status::kOk;
}

void BoTable::destroy(Bo* bo) noexcept {
    // The CPU's view first: behind it stands memory that others get.
    if (bo->cpu != nullptr) {
        ::munmap(bo->cpu, bo->size);
    }
    for (const Bo::Run& run : bo->runs) {
        device_memory_.free(run.pa, run.allocated);
    }
    bo->~Bo();
    memory_.release(memory_.context, bo, sizeof(Bo), alignof(Bo));
}

Result<BoId, Status> BoTable::create(std::uint64_t bytes, BoMemory kind, std::uint64_t made_by) noexcept {
    if (bytes == 0 || bytes > kMaxVaEnd) {
        return fail(Status::kBadArgument);
    }
    if (bytes > device_memory_.size()) {
        return fail(Status::kOutOfDeviceMemory);  // known before the first of its pages is looked for
    }
    Bo* const bo = make<Bo>(memory_);
    if (bo == nullptr) {
        return fail(Status::kOutOfHostMemory);
    }
    bo->size = align_up(bytes, kPageBytes);
    bo->made_by = made_by;
    if (const Status status = allocate_runs(*bo, kind); status != Status::kOk) {
        destroy(bo);
        return fail(status);
    }
    std::unique_lock lock(mutex_);
    const std::uint32_t number = slot_for_one_more();
    if (number == 0) {
        lock.unlock();
        destroy(bo);
        return fail(Status::kOutOfHostMemory);
    }
    Slot& slot = slot_at(number);
    const BoId id{slot.next_id};
    bo->id = id;
    bo->count = &slot.references;
    live_.fetch_add(1, std::memory_order_relaxed);
    live_bytes_.fetch_add(bo->size, std::memory_order_relaxed);
    slot.bo.store(bo, std::memory_order_relaxed);
    slot.id.store(slot.next_id, std::memory_order_release);
    // Last: who sees a count above 0 sees the BO and the id that it counts for.
    slot.references.store(1, std::memory_order_release);
    return id;
}

Bo* BoTable::find(BoId id) const noexcept {
    const auto raw = static_cast<std::uint32_t>(id);
    const std::uint32_t slot = raw % kSlots;
    if (slot == 0 || chunks_[slot / kChunkSlots].load(std::memory_order_acquire) == nullptr) {
        return nullptr;
    }
    if (slot_at(slot).id.load(std::memory_order_acquire) != raw) {
        return nullptr;
    }
    return slot_at(slot).bo.load(std::memory_order_relaxed);
}

Bo* BoTable::retain_if_live(BoId id, std::uint64_t references) noexcept {
    assert(references != 0);
    if (find(id) == nullptr) {
        return nullptr;
    }
    const auto raw = static_cast<std::uint32_t>(id);
    Slot& slot = slot_at(raw % kSlots);
    std::uint64_t count = slot.references.load(std::memory_order_relaxed);
    do {
        if (count == 0) {
            return nullptr;
        }
    } while (!slot.references.compare_exchange_weak(count, count + references, std::memory_order_acquire,
                                                    std::memory_order_relaxed));
    // From here on the slot keeps the BO that it has. Since it was found it may have become another one.
    Bo* const bo = slot.bo.load(std::memory_order_relaxed);
    if (slot.id.load(std::memory_order_relaxed) != raw) {
        release(*bo, references);
        return nullptr;
    }
    return bo;
}

void BoTable::retain(Bo& bo, std::uint64_t references) noexcept {
    bo.count->fetch_add(references, std::memory_order_relaxed);
}

void BoTable::release(Bo& bo, std::uint64_t references) noexcept {
    // Where this was not the last one, the BO may be gone from here on.
    if (bo.count->fetch_sub(references, std::memory_order_acq_rel) != references) {
        return;
    }
    const auto raw = static_cast<std::uint32_t>(bo.id);
    live_.fetch_sub(1, std::memory_order_relaxed);
    live_bytes_.fetch_sub(bo.size, std::memory_order_relaxed);
    {
        const std::lock_guard lock(mutex_);
        Slot& slot = slot_at(raw % kSlots);
        slot.id.store(0, std::memory_order_relaxed);
        slot.bo.store(nullptr, std::memory_order_relaxed);
    }
    destroy(&bo);
    const std::lock_guard lock(mutex_);
    const std::uint32_t next_id = raw + kSlots;  // wraps to the first one after 4096
    slot_at(raw % kSlots).next_id = next_id;
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
    return Status::kOk;
}

ShortLabel BoTable::short_label(BoId id) const noexcept {
    const Bo* const bo = find(id);
    if (bo == nullptr) {
        return {};
    }
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
    void* const whole = ::mmap(nullptr, bo.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (whole == MAP_FAILED) {
        return fail(Status::kOutOfHostMemory);
    }
    auto* const start = static_cast<std::byte*>(whole);
    for (const Bo::Run& run : bo.runs) {
        void* const part = ::mmap(start + run.offset.raw(), run.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                                  device_memory_.fd(), static_cast<off_t>(run.pa - DeviceMemory::kStart));
        if (part == MAP_FAILED) {
            ::munmap(start, bo.size);
            return fail(Status::kOutOfHostMemory);
        }
    }
    bo.cpu = start;
    return bo.cpu;
}

Extent BoTable::extent_at(const Backing& shows, Va /*va*/) const noexcept {
    assert(!shows.sparse());
    const Bo* const bo = find(shows.bo);
    assert(bo != nullptr && shows.offset.raw() < bo->size);
    const auto after = std::upper_bound(bo->runs.begin(), bo->runs.end(), shows.offset,
                                        [](BoOffset offset, const Bo::Run& run) { return offset < run.offset; });
    const Bo::Run& run = *(after - 1);
    const std::uint64_t within = shows.offset - run.offset;
    return {run.pa + within, run.bytes - within, true};
}

}  // namespace granule
