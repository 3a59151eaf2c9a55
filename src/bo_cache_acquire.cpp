// How a BoCache comes by a BO: an idle one, a new one, and what it does when memory is short.
//
//     find ---- one is idle ----------------------------------------------------------> dress, hand out
//       | none                                                                               ^
//     make ---- memory is there ------------------------------------------------------------+
//       | short                                                                              |
//     end all that is idle, make again ------------------------------------------------------+
//       | still short                                                                        |
//     wait for what is busy; find, or end it and make again; until nothing is, or the time is up
#include <algorithm>
#include <cstring>
#include <limits>

#include "src/bo_cache.hpp"
#include "src/bo_size_class.hpp"
#include "src/journal.hpp"

namespace granule {
namespace {

constexpr std::uint64_t k64K = std::uint64_t{64} << 10;

// The CPU view that a BO has, or nullptr.
std::byte* cpu_view_of(Bo& bo) noexcept {
    const std::lock_guard lock(bo.cpu_mutex);
    return bo.cpu;
}

std::uint64_t deadline(std::uint64_t wait_ns) noexcept {
    const std::uint64_t now = monotonic_ns();
    return now + std::min(wait_ns, std::numeric_limits<std::uint64_t>::max() - now);
}

// Leaves of 2 MiB need it; 64 KiB are what images of 64 KiB tiles and the TLB want.
std::uint64_t natural_alignment(std::uint64_t bytes) noexcept {
    return bytes >= kBlock2MBytes ? kBlock2MBytes : (bytes >= k64K ? k64K : kPageBytes);
}

}  // namespace

struct BoCache::Wanted {
    BoKind kind;
    std::uint64_t bytes = 0;   // of the BO to be
    bool kept = false;         // not too large
    bool old_will_do = false;  // it may have been used before
};

BoCache::Wanted BoCache::wanted_by(const BoCacheRequest& request) const noexcept {
    const std::uint64_t bytes = size_class_of(request.bo.bytes);
    Wanted wanted;
    wanted.kept = bytes <= std::min(config_.largest_bo_bytes, config_.max_bytes);
    wanted.bytes = wanted.kept ? bytes : align_up(request.bo.bytes, kPageBytes);
    wanted.old_will_do = wanted.kept && (!request.zeroed || request.bo.cpu_visible);
    wanted.kind.bo = request.bo;
    wanted.kind.bo.bytes = 0;
    wanted.kind.bo.made_by = 0;
    if (vm_ != nullptr && !device_.properties().kernel_places_bos) {
        wanted.kind.flags = request.flags;
        wanted.kind.va = request.va;
        wanted.kind.va.size = 0;
        wanted.kind.va.alignment = std::max(request.va.alignment, natural_alignment(wanted.bytes));
    }
    return wanted;
}

Result<CachedBo, OsError> BoCache::acquire(const BoCacheRequest& request) noexcept {
    if (request.bo.bytes == 0 || request.bo.bytes > kMaxVaEnd) {
        return fail(os_error(Status::kBadArgument));
    }
    const std::uint64_t now = request.now_ns == 0 ? monotonic_ns() : request.now_ns;
    const Wanted wanted = wanted_by(request);
    bool asked = false;
    BoEntry* const found = find(wanted, now, asked);
    Result<CachedBo, OsError> acquired =
        found != nullptr ? use_again(*found, request, now, asked) : make(wanted, request, now);
    if (!acquired) {
        const std::lock_guard lock(mutex_);
        ++statistics_.failures;
    }
    trim_if_due(now);
    return acquired;
}

BoEntry* BoCache::find(const Wanted& wanted, std::uint64_t now_ns, bool& asked) noexcept {
    if (!wanted.old_will_do) {
        return nullptr;
    }
    bool looked = false;
    for (;;) {
        BoEntry* entry = nullptr;
        bool unknown = false;
        {
            const std::lock_guard lock(mutex_);
            entry = shelf_.take_idle(wanted.kind, wanted.bytes);
            if (entry == nullptr && (looked || !shelf_.some_wait(wanted.kind, wanted.bytes))) {
                entry = shelf_.take_unknown(wanted.kind, wanted.bytes);
                unknown = true;
                if (entry == nullptr) {
                    return nullptr;
                }
            }
        }
        if (entry == nullptr) {
            looked = true;
            asked = true;
            look_at_fences(now_ns);
            continue;
        }
        if (unknown) {
            asked = true;
            if (!kernel_says_idle(*entry->bo)) {
                // They are in the order of their puts: what is behind it is hardly idle.
                EntriesByAge ended;
                {
                    const std::lock_guard lock(mutex_);
                    shelf_.still_busy(*entry, now_ns);
                    shrink_to(config_.max_bytes, ended);
                }
                end(ended);
                return nullptr;
            }
        }
        const bool ours = only_ours(*entry);
        if (ours && retained(*entry, asked)) {
            return entry;
        }
        EntriesByAge ended;
        {
            const std::lock_guard lock(mutex_);
            entry->wait = {};
            count(ours ? Reason::kPurged : Reason::kShared);
            shelf_.retire(*entry, ended);
        }
        end(ended);
    }
}

bool BoCache::kernel_says_idle(const Bo& bo) noexcept {
    return device_.wait_bo(bo, 0).has_value();
}

bool BoCache::retained(const BoEntry& entry, bool& asked) noexcept {
    if (!entry.evictable) {
        return true;
    }
    asked = true;
    return device_.set_evictable(*entry.bo, false).value_or(false);
}

Result<std::byte*, OsError> BoCache::dress(Bo& bo, const BoCacheRequest& request, bool reused, bool& asked) noexcept {
    std::byte* cpu = cpu_view_of(bo);
    if (cpu == nullptr && (request.cpu_view || (request.zeroed && reused))) {
        asked = true;
        const Result<std::byte*, Status> mapped = device_.bos().map_cpu(bo);
        if (!mapped) {
            return fail(os_error(mapped.error()));
        }
        cpu = *mapped;
    }
    if (request.zeroed && reused) {
        std::memset(cpu, 0, bo.size);
        if (request.bo.cpu_cached && !device_.properties().coherent) {
            asked = true;
            const CacheSync all{&bo, BoOffset{0}, bo.size, CacheOp::kFlush};
            if (const Result<void, OsError> flushed = device_.sync_caches({&all, 1}); !flushed) {
                return fail(flushed.error());
            }
        }
    }
    if (request.label && !device_.bos().has_label(bo, *request.label)) {
        asked = true;
        if (const Status status = device_.bos().set_label(bo, *request.label); status != Status::kOk) {
            return fail(os_error(status));
        }
    }
    return cpu;
}

Result<CachedBo, OsError> BoCache::use_again(BoEntry& entry, const BoCacheRequest& request, std::uint64_t now_ns,
                                             bool asked) noexcept {
    const Result<std::byte*, OsError> cpu = dress(*entry.bo, request, true, asked);
    EntriesByAge ended;
    {
        const std::lock_guard lock(mutex_);
        entry.wait = {};
        entry.evictable = false;
        if (cpu) {
            shelf_.hand_out_again(entry, request.bo.bytes);
            entry.bo->cached.store(false, std::memory_order_relaxed);
            ++statistics_.hits;
            statistics_.hits_without_calls += asked ? 0 : 1;
            return CachedBo{entry.id, entry.bo, entry.va, *cpu, true};
        }
        shelf_.put_idle(entry, now_ns);
        shrink_to(config_.max_bytes, ended);  // others may have taken its place
    }
    end(ended);
    return fail(cpu.error());
}

Result<CachedBo, OsError> BoCache::make(const Wanted& wanted, const BoCacheRequest& request,
                                        std::uint64_t now_ns) noexcept {
    BoEntry* entry = nullptr;
    EntriesByAge ended;
    {
        const std::lock_guard lock(mutex_);
        entry = shelf_.prepare(wanted.kind, wanted.bytes, request.bo.bytes, wanted.kept);
        if (entry == nullptr) {
            return fail(os_error(Status::kOutOfHostMemory));
        }
        while (config_.high_water_bytes != 0 && shelf_.usage().all_bytes() > config_.high_water_bytes) {
            BoEntry* const idle = shelf_.oldest_idle();
            if (idle == nullptr) {
                break;
            }
            shelf_.end(*idle, ended);
            count(Reason::kHighWater);
        }
    }
    end(ended);
    Result<CachedBo, OsError> made = make_into(*entry, wanted, request);
    if (!made && is_shortage(made.error().status)) {
        const std::uint64_t until = request.wait_ns == 0 ? 0 : deadline(request.wait_ns);
        look_at_fences(now_ns);
        end_idle(Reason::kShortage, until);
        made = make_into(*entry, wanted, request);
        while (!made && is_shortage(made.error().status) && until != 0 && wait_for_one(until)) {
            look_at_fences(now_ns);
            bool asked = true;
            if (BoEntry* const found = find(wanted, now_ns, asked)) {
                abandon(*entry);
                return use_again(*found, request, now_ns, asked);
            }
            end_idle(Reason::kShortage, until);
            made = make_into(*entry, wanted, request);
        }
    }
    if (!made) {
        abandon(*entry);
        return made;
    }
    const std::lock_guard lock(mutex_);
    ++statistics_.misses;
    statistics_.large += wanted.kept ? 0 : 1;
    return made;
}

void BoCache::abandon(BoEntry& entry) noexcept {
    const std::lock_guard lock(mutex_);
    shelf_.abandon(entry);
}

Result<CachedBo, OsError> BoCache::make_into(BoEntry& entry, const Wanted& wanted,
                                             const BoCacheRequest& request) noexcept {
    BoRequest bo_request = request.bo;
    bo_request.bytes = wanted.bytes;
    const Result<BoId, OsError> id = device_.create_bo(bo_request);
    if (!id) {
        return fail(id.error());
    }
    Bo& bo = *device_.bos().find(*id);
    bool asked = true;
    const Result<std::byte*, OsError> cpu = dress(bo, request, false, asked);
    if (!cpu) {
        device_.bos().release(bo, 1);
        return fail(cpu.error());
    }
    bool known = false;
    {
        const std::lock_guard lock(mutex_);
        known = shelf_.reserve_id(*id);
    }
    if (!known) {
        device_.bos().release(bo, 1);
        return fail(os_error(Status::kOutOfHostMemory));
    }
    VaRange va;
    if (vm_ != nullptr) {
        // Last, so that there is no mapping to undo.
        const Result<VaRange, OsError> mapped = device_.map_bo(*vm_, bo, wanted.kind.flags, wanted.kind.va);
        if (!mapped) {
            device_.bos().release(bo, 1);
            return fail(mapped.error());
        }
        va = *mapped;
    }
    const std::lock_guard lock(mutex_);
    shelf_.hand_out(entry, bo, va);
    return CachedBo{*id, &bo, va, *cpu, false};
}

}  // namespace granule
