// One BoPool for each kind of memory in use: what keeps CPU-cached and uncached buffers apart.
//
//     pool({cached})    ->  slabs of cached BOs       |c|c|  c  |
//     pool({uncached})  ->  slabs of others           |u|   u   |
//
// Thread-safety: all members, any thread. Who keeps the pool that `pool` returned takes no lock of the set's.
// Failure: `pool`; nothing changed.
// Lifetime: device and VM outlive it; pools end with it.
#pragma once

#include <cstdint>
#include <mutex>

#include "mali/result.hpp"
#include "src/bo_pool.hpp"
#include "src/device.hpp"
#include "src/owned.hpp"
#include "src/vm.hpp"
#include "src/vm_slab_source.hpp"

namespace granule {

class BoPools {
public:
    // All pools are made with `config`, their slabs with `slabs` but for the kind.
    BoPools(Device& device, Vm& vm, const BoPoolConfig& config, const VmSlabConfig& slabs) noexcept
        : device_(device), vm_(vm), config_(config), slabs_(slabs) {}
    BoPools(const BoPools&) = delete;
    BoPools& operator=(const BoPools&) = delete;
    ~BoPools() = default;

    // The pool of this kind, as long as the set lives; made when it is asked for first. As BoPool::create.
    // O(kinds in use).
    [[nodiscard]] Result<BoPool*, Status> pool(const SlabKind& kind) noexcept;

    // BoPool::collect and trim of all.
    std::uint64_t collect() noexcept;
    std::uint64_t trim(std::uint64_t idle_ns = 0, std::uint64_t now_ns = 0) noexcept;

    // Calls `visitor(const SlabKind&, BoPool&)` for each pool, under the set's lock.
    template <class Visitor>
    void for_each(Visitor&& visitor) {
        const std::lock_guard lock(mutex_);
        for (KindPool* at = newest_.get(); at != nullptr; at = at->older.get()) {
            visitor(at->kind, *at->pool);
        }
    }

private:
    struct KindPool {
        SlabKind kind;
        Owned<BoPool> pool;
        Owned<KindPool> older;
    };

    Device& device_;
    Vm& vm_;
    const BoPoolConfig config_;
    const VmSlabConfig slabs_;
    std::mutex mutex_;
    Owned<KindPool> newest_;  // guarded by mutex_
};

}  // namespace granule
