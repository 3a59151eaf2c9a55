// pool.h: small buffers inside BOs.
#include <granule/pool.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "src/bo_pool.hpp"
#include "src/c_api/bo_cache_handle.hpp"
#include "src/c_api/bo_handle.hpp"
#include "src/c_api/bo_request.hpp"
#include "src/c_api/convert.hpp"
#include "src/c_api/device_handle.hpp"
#include "src/c_api/error.hpp"
#include "src/c_api/sized_struct.hpp"
#include "src/c_api/timeline_handle.hpp"
#include "src/c_api/vm_handle.hpp"
#include "src/cache_slab_source.hpp"
#include "src/owned.hpp"
#include "src/vm_slab_source.hpp"

struct granule_pool final : public granule::c_api::DeviceChild {
public:
    granule_pool(granule_device& device, const granule::ShortLabel& label,
                 granule::Owned<granule::BoPool> pool) noexcept
        : DeviceChild(Kind::kPool, device, label), pool_(std::move(pool)) {}

    [[nodiscard]] granule::BoPool& pool() noexcept { return *pool_; }
    [[nodiscard]] const granule::BoPool& pool() const noexcept { return *pool_; }

private:
    const granule::Owned<granule::BoPool> pool_;
};

namespace granule::c_api {
namespace {

constexpr std::uint64_t kDefaultSlabSize = std::uint64_t{1} << 20;
constexpr std::uint64_t kSmallestSlabSize = std::uint64_t{64} << 10;
constexpr std::uint64_t kLargestSlabSize = std::uint64_t{64} << 20;

const char* wrong_in(const granule_pool_info& info, granule_vm& vm) noexcept {
    if (const char* const why = wrong_reusable_bo_flags(info.bo_flags)) {
        return why;
    }
    if ((info.map_flags & ~kAllMapFlags) != 0 || !is_zone(info.zone)) {
        return "map_flags or zone is none of its kind";
    }
    if (info.slab_size != 0 && (!std::has_single_bit(info.slab_size) || info.slab_size < kSmallestSlabSize ||
                                info.slab_size > kLargestSlabSize)) {
        return "slab_size is not a power of two from 64 KiB to 64 MiB";
    }
    if (info.alignment != 0 &&
        (!std::has_single_bit(info.alignment) || info.alignment < kCacheLineBytes || info.alignment > kBlock2MBytes)) {
        return "alignment is not a power of two from 64 to 2 MiB";
    }
    if (info.cache != nullptr && info.cache->vm() != &vm) {
        return "cache is of another VM, or of none";
    }
    return nullptr;
}

Owned<SlabSource> make_source(const granule_pool_info& info, granule_vm& vm, const ShortLabel& label) noexcept {
    granule_device& device = vm.device();
    const BoRequest bo = to_bo_request(info.bo_flags);
    VmSlabConfig config;
    config.kind = {bo.cpu_visible, bo.cpu_cached, bo.executable, to_map_flags(info.map_flags)};
    config.zone = to_zone(info.zone);
    config.label = label;
    if (info.cache != nullptr) {
        return make_owned<CacheSlabSource>(device.nodes(), device.device(), vm.vm(), info.cache->cache(), config);
    }
    return make_owned<VmSlabSource>(device.nodes(), device.device(), vm.vm(), config);
}

}  // namespace
}  // namespace granule::c_api

using granule::c_api::ErrorOut;

granule_status granule_pool_create(granule_vm* vm, const granule_pool_info* info, granule_pool** pool,
                                   granule_error* error) {
    const ErrorOut out(error);
    if (pool == nullptr) {
        return out.bad("pool is NULL");
    }
    *pool = nullptr;
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (vm == nullptr) {
        return out.bad("vm is NULL");
    }
    granule_pool_info ours{};
    if (info != nullptr) {
        if (const char* const why = granule::c_api::read_struct(info, ours)) {
            return out.bad(why);
        }
    }
    if (const char* const why = granule::c_api::wrong_in(ours, *vm)) {
        return out.bad(why);
    }
    granule_device& device = vm->device();
    if ((ours.bo_flags & GRANULE_BO_CPU_CACHED) != 0 && !device.device().properties().cpu_cached_bos) {
        return out.fail(granule::Status::kNotSupported, "this device has no BOs that the CPU sees cached");
    }
    const granule::ShortLabel label(ours.label == nullptr ? "pool" : granule::c_api::view_of(ours.label));
    granule::Owned<granule::SlabSource> source = granule::c_api::make_source(ours, *vm, label);
    if (!source) {
        return out.fail(granule::Status::kOutOfHostMemory);
    }
    granule::BoPoolConfig config;
    config.slab_bytes = ours.slab_size == 0 ? granule::c_api::kDefaultSlabSize : ours.slab_size;
    config.first_slab_bytes = std::min(config.first_slab_bytes, config.slab_bytes);
    config.alignment = ours.alignment == 0 ? granule::kCacheLineBytes : ours.alignment;
    granule::Result<granule::Owned<granule::BoPool>, granule::Status> made =
        granule::BoPool::create(config, std::move(source), device.device().timelines(), device.nodes());
    if (!made) {
        return out.fail(made.error());
    }
    *pool = granule::c_api::make_child<granule_pool>(device, label, std::move(*made));
    return *pool == nullptr ? out.fail(granule::Status::kOutOfHostMemory) : GRANULE_STATUS_OK;
}

void granule_pool_destroy(granule_pool* pool) {
    if (pool != nullptr) {
        granule::c_api::end_child(pool);
    }
}

granule_status granule_pool_alloc(granule_pool* pool, uint64_t size, uint64_t alignment, granule_buffer* buffer,
                                  granule_error* error) {
    const ErrorOut out(error);
    if (buffer == nullptr) {
        return out.bad("buffer is NULL");
    }
    *buffer = {};
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (pool == nullptr) {
        return out.bad("pool is NULL");
    }
    if (size == 0) {
        return out.bad("size is 0");
    }
    if (alignment != 0 && (!std::has_single_bit(alignment) || alignment > granule::kBlock2MBytes)) {
        return out.bad("alignment is not a power of two up to 2 MiB");
    }
    const granule::Result<granule::PoolBuffer, granule::OsError> made =
        pool->pool().allocate(size, std::max<std::uint64_t>(alignment, 1));
    if (!made) {
        return out.from(made.error());
    }
    buffer->va = made->va.raw();
    buffer->cpu = made->cpu;
    buffer->size = size;
    buffer->bo = granule::c_api::to_handle(*pool->device().device().bos().find(made->bo));
    buffer->bo_offset = made->offset.raw();
    buffer->handle = static_cast<std::uint64_t>(made->id);
    return GRANULE_STATUS_OK;
}

granule_status granule_pool_free(granule_pool* pool, const granule_buffer* buffer, const granule_sync* fences,
                                 uint32_t fence_count) {
    if (pool == nullptr || buffer == nullptr) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    granule::c_api::FenceList list;
    if (list.read(pool->device(), fences, fence_count) != nullptr) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    // Handles are numbers of each pool's own, and VAs of each VM's: another pool's may be good ones here. No two have a BO.
    const granule::PieceId piece{buffer->handle};
    const std::optional<granule::PoolBuffer> ours = pool->pool().find(piece);
    if (!ours || ours->va.raw() != buffer->va ||
        granule::c_api::to_handle(*pool->device().device().bos().find(ours->bo)) != buffer->bo) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    return granule::c_api::to_c(pool->pool().free(piece, list.points()));
}

uint64_t granule_pool_trim(granule_pool* pool) {
    return pool == nullptr ? 0 : pool->pool().trim();
}

granule_status granule_pool_get_statistics(const granule_pool* pool, granule_pool_statistics* statistics) {
    if (pool == nullptr || statistics == nullptr || granule::c_api::bad_struct(statistics) != nullptr) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    const granule::BoPoolStatistics from = pool->pool().statistics();
    granule_pool_statistics now{};
    now.struct_size = sizeof(now);
    now.slabs = static_cast<std::uint32_t>(from.slabs + from.own_bos);
    now.buffers = from.buffers + from.waiting;
    now.slab_bytes = from.reserved_bytes;
    now.used_bytes = from.live_bytes + from.waste_bytes + from.waiting_bytes;
    now.asked_bytes = from.live_bytes;
    now.waiting_bytes = from.waiting_bytes;
    granule::c_api::write_struct(statistics, now);
    return GRANULE_STATUS_OK;
}
