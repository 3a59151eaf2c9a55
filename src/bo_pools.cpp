#include "src/bo_pools.hpp"

#include <utility>

namespace granule {

Result<BoPool*, Status> BoPools::pool(const SlabKind& kind) noexcept {
    const std::lock_guard lock(mutex_);
    for (KindPool* at = newest_.get(); at != nullptr; at = at->older.get()) {
        if (at->kind == kind) {
            return at->pool.get();
        }
    }
    VmSlabConfig slabs = slabs_;
    slabs.kind = kind;
    Result<Owned<BoPool>, Status> pool = BoPool::create(config_, device_, vm_, slabs);
    if (!pool) {
        return fail(pool.error());
    }
    Owned<KindPool> made = make_owned<KindPool>(device_.nodes());
    if (!made) {
        return fail(Status::kOutOfHostMemory);
    }
    made->kind = kind;
    made->pool = std::move(*pool);
    made->older = std::move(newest_);
    newest_ = std::move(made);
    return newest_->pool.get();
}

std::uint64_t BoPools::collect() noexcept {
    std::uint64_t freed = 0;
    for_each([&](const SlabKind& /*kind*/, BoPool& pool) noexcept { freed += pool.collect(); });
    return freed;
}

std::uint64_t BoPools::trim(std::uint64_t idle_ns, std::uint64_t now_ns) noexcept {
    std::uint64_t bytes = 0;
    for_each([&](const SlabKind& /*kind*/, BoPool& pool) noexcept { bytes += pool.trim(idle_ns, now_ns); });
    return bytes;
}

}  // namespace granule
