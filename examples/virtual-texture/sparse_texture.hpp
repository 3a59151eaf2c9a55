// The texture's memory and VA: the part of this program that a driver's sparse binding would be.
//
// All of it is mapped sparse at first, then the tail over it. A tile is bound by a MAP over what is there, and unbound by a
// MAP_SPARSE over the tile: nothing is ever unmapped, so that the GPU faults nowhere in it. All changes of a step are one
// transaction, queued behind the fences that it is given.
//
// Leaf policy `largest`: the sparse mapping and whole windows are leaves of 2 MiB; the first tile that is bound inside one
// cuts it, and the library takes it whole and maps the rest again, pages then. `page`: pages from the start, nothing to cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <granule/granule.hpp>
#include <span>
#include <vector>

#include "virtual-texture/residency.hpp"
#include "virtual-texture/texture_layout.hpp"

namespace streaming {

class SparseTexture {
public:
    // `with_pixels` false: the CPU does not look at the tiles' memory.
    SparseTexture(granule::Device& device, granule::Vm& vm, std::uint32_t slots, granule_leaf_policy leaves,
                  bool with_pixels);

    [[nodiscard]] std::uint64_t va() const noexcept { return va_; }
    [[nodiscard]] granule_range range() const noexcept { return {va_, va_ + kTextureBytes}; }
    // Where the CPU puts what is in a slot.
    [[nodiscard]] std::span<std::byte> slot(Slot slot) const;

    // Returns how many operations it took. `wait` is reached before the first one, `signal` when all are done.
    std::size_t bind(const Step& step, granule_sync wait, granule_sync signal);

private:
    void map_all(const granule::Bo& tail);
    granule_bind_op& with_leaves(granule_bind_op& op) const;

    granule::Vm& vm_;
    const granule_leaf_policy leaves_;
    std::uint64_t va_ = 0;
    std::vector<granule::Bo> pool_;
    std::vector<std::byte*> pool_cpu_;
};

}  // namespace streaming
