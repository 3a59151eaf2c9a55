#include "src/cache_slab_source.hpp"

#include <cassert>

namespace granule {

Result<SlabMemory, OsError> CacheSlabSource::acquire(std::uint64_t bytes, std::uint64_t alignment) noexcept {
    BoCacheRequest request;
    request.bo = slab_bo_request(config_, device_, vm_, bytes, alignment);
    request.flags = config_.kind.flags;
    request.va.alignment = alignment;
    request.va.zone = config_.zone;
    request.label = config_.label.view();
    request.cpu_view = config_.kind.cpu_visible;
    const Result<CachedBo, OsError> bo = cache_.acquire(request);
    if (!bo) {
        return fail(bo.error());
    }
    const SlabMemory slab{bo->id, bo->va, config_.kind.cpu_visible ? bo->cpu : nullptr};
    if (!slab.va.start.is_aligned(alignment)) {
        const Status put = give_back(slab);
        assert(put == Status::kOk);
        static_cast<void>(put);
        return fail(OsError{Status::kNotSupported, "", 0});
    }
    return slab;
}

Status CacheSlabSource::give_back(const SlabMemory& slab) noexcept {
    return cache_.put(slab.bo);
}

void CacheSlabSource::abandon(const SlabMemory& slab) noexcept {
    device_.bos().release(*device_.bos().find(slab.bo), 1);
}

}  // namespace granule
