// What a BoCache does with the BOs that it keeps: puts, fences, caps, age. How it comes by them: bo_cache_acquire.cpp.
//
// Every call has the same shape: under the lock the shelf says what is to be done, and takes it out of everybody's reach;
// without the lock it is done to the device; under the lock the entries go back.
#include "src/bo_cache.hpp"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <limits>

#include "src/journal.hpp"

namespace granule {
namespace {

// Timelines whose values one look keeps. More than drivers have: of others, those that come last are asked last, and
// what waits for many may be found one look late.
constexpr std::size_t kTimelinesAtOnce = 64;

std::uint64_t or_now(std::uint64_t now_ns) noexcept {
    return now_ns == 0 ? monotonic_ns() : now_ns;
}

// Without leaving the range.
std::uint64_t before(std::uint64_t now_ns, std::uint64_t ns) noexcept {
    return now_ns > ns ? now_ns - ns : 0;
}
std::uint64_t after(std::uint64_t now_ns, std::uint64_t ns) noexcept {
    return now_ns + std::min(ns, std::numeric_limits<std::uint64_t>::max() - now_ns);
}

}  // namespace

Result<Owned<BoCache>, Status> BoCache::create(Device& device, Vm* vm, const BoCacheConfig& config,
                                               NodeMemory nodes) noexcept {
    if (config.max_bytes == 0) {
        return fail(Status::kBadArgument);
    }
    Owned<BoCache> cache = make_owned<BoCache>(nodes, device, vm, config, nodes);
    if (!cache) {
        return fail(Status::kOutOfHostMemory);
    }
    return cache;
}

BoCache::BoCache(Device& device, Vm* vm, const BoCacheConfig& config, NodeMemory nodes) noexcept
    : device_(device), vm_(vm), config_(config), shelf_(nodes) {}

BoCache::~BoCache() {
    look_at_fences(monotonic_ns());
    EntriesByAge ended;
    while (BoEntry* const idle = shelf_.oldest_idle()) {
        shelf_.end(*idle, ended);
    }
    shelf_.end_all_busy(ended);
    end(ended);
    // What no kernel unmaps stays in the VM until that ends.
    shelf_.end_stuck(ended);
    while (const BoEntry* const entry = ended.pop_front()) {
        entry->bo->cached.store(false, std::memory_order_relaxed);
        device_.bos().release(*entry->bo, 1);
    }
}

bool BoCache::only_ours(const BoEntry& entry) const noexcept {
    // Ours are one reference, and one for each page that our mapping shows.
    const std::uint64_t ours = 1 + (vm_ == nullptr ? 0 : entry.bytes / kPageBytes);
    return !entry.bo->exported.load(std::memory_order_relaxed) && entry.bo->references() == ours;
}

void BoCache::count(Reason reason) noexcept {
    ++statistics_.ended[static_cast<std::size_t>(reason)];
}

Status BoCache::put(BoId id, std::span<const FencePoint> fences, BoBusy busy, std::uint64_t now_ns) noexcept {
    const bool unknown = busy == BoBusy::kAsKernelKnows;
    if (unknown && !device_.properties().bo_wait) {
        return Status::kNotSupported;
    }
    if (unknown && !fences.empty()) {
        return Status::kBadArgument;
    }
    FenceWait<BoEntry> wait;
    bool few = true;
    for (const FencePoint& fence : fences) {
        if (!device_.timelines().was_made(fence.timeline)) {
            return Status::kBadArgument;
        }
        few = few && wait.merge({&fence, 1});
    }
    if (!few) {
        wait = {};
        for (const FencePoint& fence : fences) {
            if (!device_.timelines().signalled(fence) && !wait.merge({&fence, 1})) {
                return Status::kBadArgument;
            }
        }
    }
    const std::uint64_t now = or_now(now_ns);
    EntriesByAge ended;
    {
        const std::lock_guard lock(mutex_);
        BoEntry* const entry = shelf_.find_out(id);
        if (entry == nullptr) {
            return Status::kUnknownBo;
        }
        entry->wait = wait;
        if (entry->bin == nullptr || !only_ours(*entry)) {
            count(entry->bin == nullptr ? Reason::kLarge : Reason::kShared);
            shelf_.retire(*entry, ended);
        } else {
            entry->bo->cached.store(true, std::memory_order_relaxed);
            if (unknown) {
                shelf_.put_unknown(*entry, now);
            } else if (wait.count != 0) {
                shelf_.put_waiting(*entry, now);
            } else {
                shelf_.put_idle(*entry, now);
            }
        }
        shrink_to(config_.max_bytes, ended);
    }
    end(ended);
    trim_if_due(now);
    return Status::kOk;
}

void BoCache::shrink_to(std::uint64_t bytes, EntriesByAge& ended) noexcept {
    // What is idle first: ending it gives memory back now.
    while (shelf_.usage().cached_bytes() > bytes) {
        if (BoEntry* const idle = shelf_.oldest_idle()) {
            shelf_.end(*idle, ended);
        } else if (BoEntry* const waiting = shelf_.oldest_waiting()) {
            shelf_.retire(*waiting, ended);
        } else {
            return;  // a call that offers it has the rest in hand: no more than was within the cap before
        }
        count(Reason::kCap);
    }
}

std::uint64_t BoCache::end(EntriesByAge& ended) noexcept {
    std::uint64_t bytes = 0;
    EntriesByAge gone;
    EntriesByAge stuck;
    std::uint64_t times_stuck = 0;
    while (BoEntry* const entry = ended.pop_front()) {
        if (unmap_and_release(*entry->bo, entry->va, entry->waits_for())) {
            bytes += entry->bytes;
            gone.push_back(*entry);
        } else {
            ++times_stuck;
            stuck.push_back(*entry);
        }
    }
    if (gone.empty() && stuck.empty()) {
        return bytes;
    }
    const std::lock_guard lock(mutex_);
    while (BoEntry* const entry = gone.pop_front()) {
        shelf_.forget(*entry);
    }
    while (BoEntry* const entry = stuck.pop_front()) {
        shelf_.stick(*entry);
    }
    statistics_.stuck += times_stuck;
    return bytes;
}

bool BoCache::unmap_and_release(Bo& bo, const VaRange& va, std::span<const FencePoint> fences) noexcept {
    if (vm_ != nullptr) {
        if (!vm_->unmap(va, UnmapPolicy::kReject)) {
            return false;
        }
        // A kernel that places BOs waits by itself until it gives a VA to the next one, which then has to be free here.
        const bool kernel_waits = device_.properties().kernel_places_bos;
        const Result<void, VaError> released =
            vm_->release_va(va, kernel_waits ? std::span<const FencePoint>{} : fences);
        assert(released);
        static_cast<void>(released);
    }
    bo.cached.store(false, std::memory_order_relaxed);
    device_.bos().release(bo, 1);
    return true;
}

std::uint64_t BoCache::look_at_fences(std::uint64_t now_ns) noexcept {
    std::array<TimelineValue, kTimelinesAtOnce> values;
    std::size_t known = 0;
    TimelineId last{0};
    std::uint64_t bytes = 0;
    for (;;) {
        const std::span<TimelineValue> unknown = std::span{values}.subspan(known);
        std::size_t count = 0;
        {
            const std::lock_guard lock(mutex_);
            count = shelf_.timelines(last, {values.data(), known}, unknown);
        }
        if (count == 0) {
            return bytes;
        }
        for (TimelineValue& value : unknown.first(count)) {
            value.value = device_.timelines().value(value.timeline);
        }
        known += count;
        EntriesByAge ended;
        {
            // A value may be old by now. Values only go up: what it signals, is. What it signals may wait for another
            // timeline from now on.
            const std::lock_guard lock(mutex_);
            shelf_.signalled({values.data(), known}, now_ns, ended);
        }
        bytes += end(ended);
        if (known == values.size()) {
            last = values[known - 1].timeline;
            known = 0;
        }
    }
}

void BoCache::end_older_than(std::uint64_t since_ns, EntriesByAge& ended) noexcept {
    for (BoEntry* idle = shelf_.oldest_idle(); idle != nullptr && idle->since_ns < since_ns;
         idle = shelf_.oldest_idle()) {
        shelf_.end(*idle, ended);
        count(Reason::kAge);
    }
}

std::uint64_t BoCache::trim(std::uint64_t now_ns) noexcept {
    const std::uint64_t now = or_now(now_ns);
    next_trim_ns_.store(after(now, config_.trim_interval_ns), std::memory_order_relaxed);
    std::uint64_t bytes = look_at_fences(now);
    EntriesByAge ended;
    {
        const std::lock_guard lock(mutex_);
        end_older_than(before(now, config_.max_age_ns), ended);
        shelf_.end_stuck(ended);
    }
    bytes += end(ended);
    offer(before(now, config_.evictable_after_ns));
    return bytes;
}

void BoCache::trim_if_due(std::uint64_t now_ns) noexcept {
    std::uint64_t due = next_trim_ns_.load(std::memory_order_relaxed);
    // One of those who come at once does it.
    if (now_ns >= due && next_trim_ns_.compare_exchange_strong(due, after(now_ns, config_.trim_interval_ns),
                                                               std::memory_order_relaxed)) {
        trim(now_ns);
    }
}

void BoCache::offer(std::uint64_t since_ns) noexcept {
    if (!device_.properties().evictable_bos) {
        return;
    }
    for (;;) {
        BoEntry* entry = nullptr;
        {
            const std::lock_guard lock(mutex_);
            entry = shelf_.oldest_warm();
            if (entry == nullptr || entry->since_ns >= since_ns) {
                return;
            }
            shelf_.take_to_offer(*entry);
        }
        const Result<bool, OsError> pages_there = device_.set_evictable(*entry->bo, true);
        EntriesByAge ended;
        {
            const std::lock_guard lock(mutex_);
            if (pages_there.value_or(false)) {
                shelf_.put_offered(*entry);
                ++statistics_.offered;
            } else {
                shelf_.end_offered(*entry, ended);
                count(Reason::kPurged);
            }
        }
        end(ended);
    }
}

void BoCache::offer_idle() noexcept {
    offer(std::numeric_limits<std::uint64_t>::max());
}

std::uint64_t BoCache::end_idle(Reason reason, std::uint64_t until_ns) noexcept {
    std::uint64_t bytes = 0;
    // Not what others put meanwhile.
    for (std::uint64_t left = statistics().usage.idle.bos; left != 0; --left) {
        EntriesByAge ended;
        const Bo* unknown = nullptr;
        {
            const std::lock_guard lock(mutex_);
            BoEntry* const idle = shelf_.oldest_idle();
            if (idle == nullptr) {
                break;
            }
            if (idle->state == BoEntry::State::kUnknown) {
                unknown = idle->bo;
            }
            shelf_.end(*idle, ended);
            count(reason);
        }
        if (unknown != nullptr && until_ns != 0) {
            // Its pages are free once its jobs are done, whether we hold it or not.
            static_cast<void>(device_.wait_bo(*unknown, static_cast<std::int64_t>(std::min<std::uint64_t>(
                                                            until_ns, std::numeric_limits<std::int64_t>::max()))));
        }
        bytes += end(ended);
    }
    return bytes;
}

std::uint64_t BoCache::evict_all() noexcept {
    const std::uint64_t bytes = look_at_fences(monotonic_ns());
    EntriesByAge ended;
    {
        const std::lock_guard lock(mutex_);
        while (BoEntry* const idle = shelf_.oldest_idle()) {
            shelf_.end(*idle, ended);
            count(Reason::kAsked);
        }
        while (BoEntry* const waiting = shelf_.oldest_waiting()) {
            shelf_.retire(*waiting, ended);
            count(Reason::kAsked);
        }
        shelf_.end_stuck(ended);
    }
    return bytes + end(ended);
}

bool BoCache::wait_for_one(std::uint64_t until_ns) noexcept {
    std::array<FencePoint, kMaxFencePoints> points{};
    std::size_t count = 0;
    {
        const std::lock_guard lock(mutex_);
        const BoEntry* const busy = shelf_.oldest_busy();
        if (busy == nullptr) {
            return false;
        }
        for (const FencePoint& point : busy->waits_for()) {
            points[count] = point;
            ++count;
        }
        ++statistics_.waits;
    }
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint64_t now = monotonic_ns();
        const std::uint64_t left = until_ns > now ? until_ns - now : 0;
        const std::chrono::nanoseconds timeout{
            static_cast<std::int64_t>(std::min<std::uint64_t>(left, std::numeric_limits<std::int64_t>::max()))};
        if (!device_.timelines().wait(points[i], timeout)) {
            return false;
        }
    }
    return true;
}

BoCacheStatistics BoCache::statistics() const noexcept {
    const std::lock_guard lock(mutex_);
    BoCacheStatistics statistics = statistics_;
    statistics.usage = shelf_.usage();
    return statistics;
}

bool BoCache::validate() const noexcept {
    const std::lock_guard lock(mutex_);
    return shelf_.validate() && shelf_.usage().cached_bytes() <= config_.max_bytes;
}

}  // namespace granule
