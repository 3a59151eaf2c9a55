// The split compatibility: transformers of plans that give the semantics of kernels which split blocks, on kernels that
// do not.
//
// `add_residuals` turns "unmap whole granules" into "unmap exactly this much": the end state, page by page, is that of
// io-pgtable up to Linux 6.12 (drivers/iommu/io-pgtable-arm.c, arm_lpae_split_blk_unmap): every byte of the granule
// outside the request translates as before, with the same memory and attributes. What is left of a 2 MiB leaf are 4 KiB
// pages; what is left of a 1 GiB leaf are 2 MiB leaves, and 4 KiB pages around the edge. Nothing outside the cut
// granules is touched.
//
// Pure; no allocation.
#pragma once

#include "allocator/mapping_map.hpp"
#include "allocator/plan.hpp"
#include "allocator/planner.hpp"

namespace granule {

// Adds to `plan`, which unmaps `whole` and keeps `request` (or maps it anew), the maps that bring the rest of `whole`
// back. Operations stay in VA order behind the unmap:
//
//     unmap | map [whole.start, request.start) | map request, if there is one | map [request.end, whole.end)
void add_residuals(Plan& plan, const MappingMap& mappings, const VaRange& request, const VaRange& whole) noexcept;

// For kernels that dereference NULL when an unmap leaves parts of mappings on both of its sides: panthor set one new
// mapping aside for an unmap, and needs two, whether the parts are of one mapping or of two (Linux
// drivers/gpu/drm/panthor/panthor_mmu.c before "Fix kernel panic on partial unmap of a GPU VA region"). A map has three
// set aside. So such an unmap gets a map of its first granule over itself in front, and then cuts nothing at its start:
//
//     mappings  |-------:--- m1 ----|------ m2 ---:----|
//        1              |=g=|                                 map over itself: m1 ends here, g is a mapping of its own
//        2              |-------- unmap ----------|           leaves a part of m2 only
void isolate_start_of_unmap(Plan& plan, const AddressSpaceView& state) noexcept;

}  // namespace granule
