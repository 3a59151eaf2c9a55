// Which leaves a mapping becomes: the rule that every driver of this hardware follows, in one place.
//
// A block is written where VA and PA are both multiples of its size and that much of both runs remains; everything else
// is 4 KiB pages. That is `get_pgsize` of Linux drivers/gpu/drm/panfrost/panfrost_mmu.c and panthor/panthor_mmu.c,
// which apply it to each physically contiguous run, extended to 1 GiB blocks.
//
//   VA      |..p..|======= 2M =======|======= 2M =======|..p..|     VA = PA (mod 2 MiB), one contiguous run
//   VA      |......................p.........................|     VA != PA (mod 2 MiB), or LeafPolicy::kPage
//
// Where nobody can say what the physical address is (a kernel keeps the tables), the rule is conservative: any 2 MiB
// window wholly inside the mapping may be a block, and is taken for one.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>

#include "allocator/mapping.hpp"
#include "mali/address.hpp"

namespace granule {

// How a mapping is cut into leaves.
enum class LeafPolicy : std::uint8_t {
    kLargest,  // the largest leaves that fit
    kPage,     // 4 KiB pages: for what will be bound again in pieces, so that no later bind has residuals
};

// A physically contiguous run behind a mapping.
struct Extent {
    Pa pa;                    // where `known`: of the first byte
    std::uint64_t bytes = 0;  // how far it is contiguous; a multiple of 4 KiB, more than 0
    bool known = false;       // false: the physical address may be anything that makes blocks possible
};

// Who may unmap a part of a leaf of a mapping, where a kernel keeps the tables. In our own tables nobody may (P1).
enum class CutRule : std::uint8_t {
    kExplicit,  // nobody: whole leaves are unmapped, and the residuals mapped again
    kByKernel,  // the kernel, which does it right and without exposing the residuals: it is asked for the part alone
    // Nobody, and the kernel must not even see an edge inside a 2 MiB window that the mapping goes on in, whether there
    // can be a leaf or not: it would look up pages that it does not have (panthor from Linux 7.0, imported BOs:
    // panthor_mmu.c, the page array behind an imported dma-buf is NULL). What lies of the mapping in the window is a
    // granule. Why that is enough: planner.hpp.
    kWholeWindow,
    kWholeMapping,  // nobody: the kernel unmaps what it mapped as one, or nothing (panfrost: a BO, with its handle)
};

// What is known of the physical memory behind BOs.
class BackingLayout {
public:
    BackingLayout() noexcept = default;
    BackingLayout(const BackingLayout&) = delete;
    BackingLayout& operator=(const BackingLayout&) = delete;
    virtual ~BackingLayout() = default;

    // The run that stands behind `shows` where it is mapped at `va`. A sparse mapping shows one 2 MiB block of device
    // memory again and again, so that VA and PA agree modulo 2 MiB.
    [[nodiscard]] virtual Extent extent_at(const Backing& shows, Va va) const noexcept = 0;
    [[nodiscard]] virtual CutRule cut_rule(const Backing& shows) const noexcept {
        static_cast<void>(shows);
        return CutRule::kExplicit;
    }
};

// The next run of equal leaves of a mapping that goes on for `remaining` bytes at `va`, over `extent`.
[[nodiscard]] constexpr LeafRun next_leaf_run(Va va, std::uint64_t remaining, const Extent& extent, LeafSizes sizes,
                                              LeafPolicy policy) noexcept {
    const std::uint64_t left = std::min(remaining, extent.bytes);
    const std::uint64_t pages = left / kPageBytes;
    if (policy == LeafPolicy::kPage || (sizes & kBlock2MBytes) == 0) {
        return {va, LeafSize::k4K, pages};
    }
    const std::uint64_t phase = extent.known ? (va.raw() ^ extent.pa.raw()) : 0;
    if (!is_aligned(phase, kBlock2MBytes)) {
        return {va, LeafSize::k4K, pages};
    }
    const std::uint64_t to_2m = align_up(va.raw(), kBlock2MBytes) - va.raw();
    if (to_2m != 0 || left < kBlock2MBytes) {
        return {va, LeafSize::k4K, to_2m == 0 ? pages : std::min(left, to_2m) / kPageBytes};
    }
    // A kernel that does not tell its physical addresses does not use 1 GiB blocks either (panfrost and panthor pass
    // 4K | 2M to io-pgtable).
    if ((sizes & kBlock1GBytes) != 0 && extent.known && is_aligned(phase, kBlock1GBytes)) {
        const std::uint64_t to_1g = align_up(va.raw(), kBlock1GBytes) - va.raw();
        if (to_1g == 0 && left >= kBlock1GBytes) {
            return {va, LeafSize::k1G, left / kBlock1GBytes};
        }
        if (to_1g != 0) {
            return {va, LeafSize::k2M, std::min(left, to_1g) / kBlock2MBytes};
        }
    }
    return {va, LeafSize::k2M, left / kBlock2MBytes};
}

// Calls `visitor(const LeafRun&, const Extent&)` for the leaves that mapping `shows` at `va` becomes, ascending. The
// extent is the one at the start of the run.
template <class Visitor>
void for_each_leaf_run(const VaRange& va, const Backing& shows, const BackingLayout& layout, LeafSizes sizes,
                       LeafPolicy policy, Visitor&& visitor) {
    Va at = va.start;
    while (at < va.end) {
        Extent extent = layout.extent_at(shows.advanced(at - va.start), at);
        assert(extent.bytes != 0 && is_aligned(extent.bytes, kPageBytes));
        while (extent.bytes != 0 && at < va.end) {
            const LeafRun run = next_leaf_run(at, va.end - at, extent, sizes, policy);
            visitor(run, static_cast<const Extent&>(extent));
            const std::uint64_t bytes = run.range().size();
            extent.bytes -= bytes;
            extent.pa = extent.pa + bytes;
            at = at + bytes;
        }
    }
}

}  // namespace granule
