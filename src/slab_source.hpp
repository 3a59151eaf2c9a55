// Where a BoPool's slabs come from: BOs that are mapped in a VM, whole, and that the CPU sees where their kind says so.
//
//     VmSlabSource (vm_slab_source.hpp)         makes a BO and maps it for each slab; ends it when the slab comes back
//     CacheSlabSource (cache_slab_source.hpp)   takes BOs of a BoCache, which come mapped, and puts them back
//
// A slab's memory is of one kind, and so is everything in it: what the CPU caches never shares a page, and so never a
// cache line, with what it does not.
//
// Thread-safety: all members, any thread. A pool calls its source under the pool's lock.
#pragma once

#include <cstddef>
#include <cstdint>

#include "allocator/mapping.hpp"
#include "mali/address.hpp"
#include "mali/result.hpp"
#include "src/status.hpp"

namespace granule {

// What memory has to have in common to be in one BO and one mapping.
struct SlabKind {
    bool cpu_visible = true;  // false: no CPU view, `cpu` is null
    bool cpu_cached = false;  // the CPU's view is cached: it needs Device::sync_caches where the GPU does not snoop
    bool executable = false;  // as BoRequest: matters where the kernel maps
    MapFlags flags;  // the GPU's view. Where the kernel maps (panfrost), it decides, and these are of no effect

    constexpr bool operator==(const SlabKind&) const noexcept = default;
};

// One slab. Whoever acquired it holds one reference on the BO, and the VA.
struct SlabMemory {
    BoId bo = kNoBo;
    VaRange va;                // shows the whole BO from its start on
    std::byte* cpu = nullptr;  // of the first byte; null where the kind is not CPU-visible

    [[nodiscard]] std::uint64_t bytes() const noexcept { return va.size(); }
    constexpr bool operator==(const SlabMemory&) const noexcept = default;
};

class SlabSource {
public:
    SlabSource() noexcept = default;
    SlabSource(const SlabSource&) = delete;
    SlabSource& operator=(const SlabSource&) = delete;
    SlabSource(SlabSource&&) = delete;
    SlabSource& operator=(SlabSource&&) = delete;
    virtual ~SlabSource() = default;

    // At least `bytes` (a multiple of 4 KiB) and less than 2 GiB more, at a VA that is a multiple of `alignment` (a power
    // of two, at least 4 KiB). On failure nothing changed.
    [[nodiscard]] virtual Result<SlabMemory, OsError> acquire(std::uint64_t bytes,
                                                              std::uint64_t alignment) noexcept = 0;
    // Nobody uses `slab` any more, the GPU neither. Allocates nothing (P4). Anything but kOk: nothing changed, and it is
    // still the caller's (a kernel can fail to unmap).
    [[nodiscard]] virtual Status give_back(const SlabMemory& slab) noexcept = 0;
    // The end of a caller that could not give `slab` back: its reference on the BO goes, and the mapping stays until the
    // VM ends.
    virtual void abandon(const SlabMemory& slab) noexcept = 0;
};

}  // namespace granule
