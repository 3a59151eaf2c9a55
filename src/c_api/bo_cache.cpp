// bo_cache.h: BOs that are used again.
#include "src/bo_cache.hpp"

#include <granule/bo_cache.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

#include "src/c_api/bo_cache_handle.hpp"
#include "src/c_api/bo_handle.hpp"
#include "src/c_api/bo_request.hpp"
#include "src/c_api/convert.hpp"
#include "src/c_api/device_handle.hpp"
#include "src/c_api/error.hpp"
#include "src/c_api/sized_struct.hpp"
#include "src/c_api/timeline_handle.hpp"
#include "src/c_api/vm_handle.hpp"

namespace granule::c_api {
namespace {

constexpr std::uint64_t kDefaultMaxBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kForEver = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint32_t kAllCacheFlags = all_of(GRANULE_CACHE_ZEROED, GRANULE_CACHE_DONT_WAIT);

const char* wrong_in(const granule_cached_bo_info& info) noexcept {
    if ((info.flags & ~kAllCacheFlags) != 0 || info.reserved != 0) {
        return "flags has a bit that is none of granule_cache_flags, or reserved is not 0";
    }
    if (const char* const why = wrong_reusable_bo_flags(info.bo_flags)) {
        return why;
    }
    if ((info.map_flags & ~kAllMapFlags) != 0 || !is_zone(info.zone)) {
        return "map_flags or zone is none of its kind";
    }
    if (info.size == 0 || info.size > kMaxVaEnd) {
        return "size is 0, or more than any VM has";
    }
    return nullptr;
}

BoCacheRequest to_request(const granule_cached_bo_info& info) noexcept {
    BoCacheRequest request;
    request.bo = to_bo_request(info.bo_flags);
    request.bo.bytes = info.size;
    request.flags = to_map_flags(info.map_flags);
    request.va.zone = to_zone(info.zone);
    if (info.label != nullptr) {
        request.label = info.label;
    }
    request.cpu_view = request.bo.cpu_visible;
    request.zeroed = (info.flags & GRANULE_CACHE_ZEROED) != 0;
    request.wait_ns = (info.flags & GRANULE_CACHE_DONT_WAIT) != 0 ? 0 : kForEver;
    return request;
}

}  // namespace
}  // namespace granule::c_api

using granule::c_api::ErrorOut;

granule_status granule_bo_cache_create(granule_device* device, granule_vm* vm, const granule_bo_cache_info* info,
                                       granule_bo_cache** cache, granule_error* error) {
    const ErrorOut out(error);
    if (cache == nullptr) {
        return out.bad("cache is NULL");
    }
    *cache = nullptr;
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (device == nullptr) {
        return out.bad("device is NULL");
    }
    if (vm != nullptr && &vm->device() != device) {
        return out.bad("vm is of another device");
    }
    granule_bo_cache_info ours{};
    if (info != nullptr) {
        if (const char* const why = granule::c_api::read_struct(info, ours)) {
            return out.bad(why);
        }
    }
    if (ours.reserved != 0) {
        return out.bad("reserved is not 0");
    }
    granule::BoCacheConfig config;
    config.max_bytes = ours.max_bytes == 0 ? granule::c_api::kDefaultMaxBytes : ours.max_bytes;
    if (ours.max_age_ns != 0) {
        config.max_age_ns = ours.max_age_ns;
    }
    granule::Vm* const shown_in = vm == nullptr ? nullptr : &vm->vm();
    granule::Result<granule::Owned<granule::BoCache>, granule::Status> made =
        granule::BoCache::create(device->device(), shown_in, config, device->nodes());
    if (!made) {
        return out.fail(made.error());
    }
    *cache = granule::c_api::make_child<granule_bo_cache>(*device, vm, std::move(*made));
    return *cache == nullptr ? out.fail(granule::Status::kOutOfHostMemory) : GRANULE_STATUS_OK;
}

void granule_bo_cache_destroy(granule_bo_cache* cache) {
    if (cache != nullptr) {
        granule::c_api::end_child(cache);
    }
}

granule_status granule_bo_cache_get(granule_bo_cache* cache, const granule_cached_bo_info* info,
                                    granule_cached_bo* out_bo, granule_error* error) {
    const ErrorOut out(error);
    if (out_bo == nullptr) {
        return out.bad("out is NULL");
    }
    *out_bo = {};
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (cache == nullptr || info == nullptr) {
        return out.bad("cache or info is NULL");
    }
    granule_cached_bo_info ours{};
    if (const char* const why = granule::c_api::read_struct(info, ours)) {
        return out.bad(why);
    }
    if (const char* const why = granule::c_api::wrong_in(ours)) {
        return out.bad(why);
    }
    const granule::Result<granule::CachedBo, granule::OsError> got =
        cache->cache().acquire(granule::c_api::to_request(ours));
    if (!got) {
        return out.from(got.error());
    }
    out_bo->bo = granule::c_api::hand_out(*got->bo);
    out_bo->va = cache->vm() == nullptr ? 0 : got->va.start.raw();
    out_bo->cpu = got->cpu;
    out_bo->size = got->bo->size;
    out_bo->reused = got->reused ? 1 : 0;
    return GRANULE_STATUS_OK;
}

granule_status granule_bo_cache_put(granule_bo_cache* cache, granule_bo* bo, const granule_sync* fences,
                                    uint32_t fence_count) {
    if (cache == nullptr || bo == nullptr) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    granule_device& device = cache->device();
    // BOs have numbers of their device's own: another's may be a good one here.
    if (&granule::c_api::device_of(granule::c_api::to_bo(bo)) != &device) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    granule::c_api::FenceList list;
    if (list.read(device, fences, fence_count) != nullptr) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    // Where there are no timelines, because the kernel knows which BOs a job uses, it is asked.
    const granule::BoBusy busy = fence_count == 0 && device.device().properties().bo_wait
                                     ? granule::BoBusy::kAsKernelKnows
                                     : granule::BoBusy::kUntilFences;
    if (cache->cache().put(granule::c_api::to_bo(bo).id, list.points(), busy) != granule::Status::kOk) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    // The reference on the BO went to the cache, the one on the device goes: never the last, the cache has its own.
    device.release();
    return GRANULE_STATUS_OK;
}

uint64_t granule_bo_cache_trim(granule_bo_cache* cache) {
    return cache == nullptr ? 0 : cache->cache().trim();
}

uint64_t granule_bo_cache_evict_all(granule_bo_cache* cache) {
    return cache == nullptr ? 0 : cache->cache().evict_all();
}

granule_status granule_bo_cache_get_statistics(const granule_bo_cache* cache, granule_bo_cache_statistics* statistics) {
    if (cache == nullptr || statistics == nullptr || granule::c_api::bad_struct(statistics) != nullptr) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    using Reason = granule::BoCacheStatistics::Reason;
    const granule::BoCacheStatistics from = cache->cache().statistics();
    granule_bo_cache_statistics now{};
    now.struct_size = sizeof(now);
    now.cached_bos = static_cast<std::uint32_t>(from.usage.idle.bos + from.usage.waiting.bos);
    now.cached_bytes = from.usage.cached_bytes();
    now.busy_bytes = from.usage.waiting.bytes;
    now.out_bytes = from.usage.live.bytes;
    now.peak_bytes = from.usage.peak_bytes;
    now.hits = from.hits;
    now.misses = from.misses;
    now.waits = from.waits;
    now.evicted_by_age = from.ended_by(Reason::kAge);
    now.evicted_by_size = from.ended_by(Reason::kCap) + from.ended_by(Reason::kHighWater);
    now.evicted_for_memory = from.ended_by(Reason::kShortage) + from.ended_by(Reason::kPurged);
    now.not_kept = from.ended_by(Reason::kShared) + from.ended_by(Reason::kLarge);
    granule::c_api::write_struct(statistics, now);
    return GRANULE_STATUS_OK;
}
