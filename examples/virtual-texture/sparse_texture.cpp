#include "virtual-texture/sparse_texture.hpp"

#include <algorithm>
#include <string>

#include "rendering/granule_call.hpp"
#include "virtual-texture/texture.hpp"

namespace streaming {
namespace {

using rendering::checked;

constexpr std::uint32_t kSlotsPerBo = 512;  // 32 MiB

std::uint64_t whole_windows(std::uint64_t bytes) {
    return (bytes + kWindowBytes - 1) / kWindowBytes * kWindowBytes;
}

}  // namespace

SparseTexture::SparseTexture(granule::Device& device, granule::Vm& vm, std::uint32_t slots, granule_leaf_policy leaves,
                             bool with_pixels)
    : vm_(vm), leaves_(leaves) {
    const std::uint32_t flags = with_pixels ? 0U : static_cast<std::uint32_t>(GRANULE_BO_NO_CPU_ACCESS);
    for (std::uint32_t first = 0; first < slots; first += kSlotsPerBo) {
        const std::uint64_t bytes = whole_windows(std::min(slots - first, kSlotsPerBo) * kTileBytes);
        const std::string label = "tile pool " + std::to_string(pool_.size());
        pool_.push_back(checked(device.create_bo(bytes, label.c_str(), flags), label));
        pool_cpu_.push_back(with_pixels ? checked(pool_.back().map(), label) : nullptr);
    }
    granule::Bo tail = checked(device.create_bo(kTailTiles * kTileBytes, "mip tail", flags), "the mip tail");
    if (with_pixels) {
        std::byte* const cpu = checked(tail.map(), "the mip tail");
        for (std::uint32_t i = 0; i < kTailTiles; ++i) {
            make_tile(tile_of(kFirstTailTile + i), {cpu + i * kTileBytes, kTileBytes});
        }
    }
    map_all(tail);
}

void SparseTexture::map_all(const granule::Bo& tail) {
    auto where = granule_sized<granule_va_info>();
    where.size = kTextureBytes;
    va_ = checked(vm_.reserve_va(where), "the texture's VA");
    granule::Binds binds;
    with_leaves(binds.map_sparse(va_, kTextureBytes));
    with_leaves(binds.map(va_ + kFirstTailTile * kTileBytes, tail, 0, kTailTiles * kTileBytes));
    checked(vm_.bind(binds), "the texture's first bind");
}

granule_bind_op& SparseTexture::with_leaves(granule_bind_op& op) const {
    op.flags = GRANULE_MAP_NO_EXEC;
    op.cut = GRANULE_CUT_SPLIT;
    op.leaves = static_cast<std::uint16_t>(leaves_);
    return op;
}

std::span<std::byte> SparseTexture::slot(Slot slot) const {
    return {pool_cpu_[slot / kSlotsPerBo] + slot % kSlotsPerBo * kTileBytes, kTileBytes};
}

std::size_t SparseTexture::bind(const Step& step, granule_sync wait, granule_sync signal) {
    granule::Binds binds;
    binds.wait(wait);
    // By ascending VA, so that neighbours become one operation.
    for (const Unbind& unbind : step.unbinds) {
        with_leaves(binds.map_sparse(va_ + unbind.tile * kTileBytes, unbind.count * kTileBytes));
    }
    std::vector<Load> loads = step.loads;
    std::ranges::sort(loads, {}, &Load::tile);
    for (const Load& load : loads) {
        with_leaves(binds.map(va_ + load.tile * kTileBytes, pool_[load.slot / kSlotsPerBo],
                              load.slot % kSlotsPerBo * kTileBytes, load.count * kTileBytes));
    }
    binds.signal(signal);
    checked(vm_.bind(binds, GRANULE_BIND_ASYNC), "the frame's binds");
    return step.unbinds.size() + loads.size();
}

}  // namespace streaming
