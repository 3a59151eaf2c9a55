// What carries plans out in tests: an address space and the kernel that keeps it, as naively as possible.
//
// MappingList is the list of mappings, cut as drm_gpuvm cuts it. PlanModel is a kernel: its list of mappings and the
// blocks that it wrote; it executes operations one by one and says what it would not have survived:
//   - an unmap (explicit, or the one inside a map) that cuts a block: P1, whatever the kernel makes of it, unless the
//     block's BO is left to a kernel that splits or realigns (CutRule::kByKernel): then what remains are pages;
//   - with kOopses, an explicit unmap that leaves mappings on both of its sides, of one mapping or of two;
//   - any operation after which the kernel would look at the pages of a BO whose rule is kWholeWindow. It looks where it
//     thinks of widening the unmap: the test of Linux drivers/gpu/drm/panthor/panthor_mmu.c, unmap_hugepage_align.
#pragma once

#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "allocator/plan.hpp"
#include "tests/support/fake_layout.hpp"
#include "tests/support/plan_text.hpp"

namespace granule::test {

// Mappings that do not overlap, by start.
class MappingList {
public:
    using Map = std::map<Va, Mapping>;

    // Removes what is inside; what reaches in is cut. Returns how many more parts than before there are on the two
    // sides: 0 to 2.
    unsigned cut(const VaRange& range) {
        if (range.empty()) {
            return 0;
        }
        const unsigned parts = split_at(range.start) + split_at(range.end);
        by_start_.erase(by_start_.lower_bound(range.start), by_start_.lower_bound(range.end));
        return parts;
    }
    void add(const Mapping& mapping) { by_start_.emplace(mapping.va.start, mapping); }

    [[nodiscard]] std::optional<Mapping> at(Va va) const {
        const auto above = by_start_.upper_bound(va);
        if (above == by_start_.begin() || !std::prev(above)->second.va.contains(va)) {
            return std::nullopt;
        }
        return std::prev(above)->second;
    }

    // The mappings that overlap `range`, whole.
    [[nodiscard]] std::vector<Mapping> overlapping(const VaRange& range) const {
        std::vector<Mapping> found;
        auto next = by_start_.upper_bound(range.start);
        if (next != by_start_.begin() && std::prev(next)->second.va.end > range.start) {
            --next;
        }
        for (; next != by_start_.end() && next->first < range.end; ++next) {
            found.push_back(next->second);
        }
        return found;
    }

    // What the bytes of `range` show, without where one mapping ends and a next one goes on: what the GPU sees.
    [[nodiscard]] std::vector<Mapping> translation(const VaRange& range) const {
        std::vector<Mapping> seen;
        for (const Mapping& mapping : overlapping(range)) {
            const Mapping part = mapping.clipped(range);
            const bool goes_on = !seen.empty() && seen.back().va.end == part.va.start &&
                                 seen.back().shows.advanced(seen.back().va.size()) == part.shows;
            if (goes_on) {
                seen.back().va.end = part.va.end;
            } else {
                seen.push_back(part);
            }
        }
        return seen;
    }

    [[nodiscard]] const Map& all() const noexcept { return by_start_; }
    [[nodiscard]] std::uint64_t bytes_in(const VaRange& range) const {
        std::uint64_t bytes = 0;
        for (const Mapping& mapping : overlapping(range)) {
            bytes += mapping.va.intersection(range).size();
        }
        return bytes;
    }

private:
    unsigned split_at(Va va) {
        const std::optional<Mapping> around = at(va);
        if (!around || around->va.start == va) {
            return 0;
        }
        by_start_[around->va.start].va.end = va;
        add(around->clipped({va, around->va.end}));
        return 1;
    }

    Map by_start_;
};

class PlanModel {
public:
    using Blocks = std::map<Va, LeafSize>;

    PlanModel(const FakeLayout& layout, LeafSizes sizes, KernelBehaviour kernel)
        : layout_(&layout), sizes_(sizes), kernel_(kernel) {}

    // Empty where all went well, else what went wrong.
    [[nodiscard]] std::string execute(const PlanOp& op) {
        for (const Mapping& vma : vmas_.overlapping(op.va)) {
            if (layout_->cut_rule(vma.shows) == CutRule::kWholeWindow && looks_at_pages(vma.va, op.va)) {
                return "looks at pages: " + text(op) + " leaves a part of " + text(vma);
            }
        }
        for (const Va edge : {op.va.start, op.va.end}) {
            const VaRange block = granule_at(edge);
            if (block.start == edge) {
                continue;
            }
            const std::optional<Mapping> vma = vmas_.at(block.start);
            const bool can = kernel_ == KernelBehaviour::kSplits || kernel_ == KernelBehaviour::kRealigns;
            if (!can || !vma || layout_->cut_rule(vma->shows) != CutRule::kByKernel) {
                return "P1: " + text(op) + " cuts the leaf " + text(block);
            }
            if (block.size() != kBlock2MBytes || !vma->va.contains(block)) {
                return "P1: " + text(op) + " cuts " + text(block) + ", which the kernel would not see whole";
            }
            blocks_.erase(block.start);
        }
        const unsigned parts = vmas_.cut(op.va);
        if (kernel_ == KernelBehaviour::kOopses && op.kind == PlanOp::Kind::kUnmap && parts > 1) {
            return "oops: " + text(op) + " leaves mappings on both sides";
        }
        blocks_.erase(blocks_.lower_bound(op.va.start), blocks_.lower_bound(op.va.end));
        if (op.kind == PlanOp::Kind::kMap) {
            vmas_.add({op.va, op.shows});
            if (op.leaves == LeafPolicy::kLargest) {
                write_blocks(op.va, op.shows);
            }
        }
        return {};
    }

    // The leaf that contains `va`; a page where there is no block.
    [[nodiscard]] VaRange granule_at(Va va) const {
        const auto above = blocks_.upper_bound(va);
        if (above != blocks_.begin()) {
            const auto [start, size] = *std::prev(above);
            if (va < start + bytes_of(size)) {
                return {start, start + bytes_of(size)};
            }
        }
        return {va, va + kPageBytes};
    }
    [[nodiscard]] VaRange whole_granules(const VaRange& range) const {
        const Va end = granule_at(range.end - kPageBytes).end;
        return {granule_at(range.start).start, end};
    }

    // A state to start from.
    void set(const MappingList& vmas, const Blocks& blocks) {
        vmas_ = vmas;
        blocks_ = blocks;
    }
    [[nodiscard]] const MappingList& vmas() const noexcept { return vmas_; }
    [[nodiscard]] const Blocks& blocks() const noexcept { return blocks_; }
    [[nodiscard]] const FakeLayout& layout() const noexcept { return *layout_; }
    [[nodiscard]] LeafSizes leaf_sizes() const noexcept { return sizes_; }
    [[nodiscard]] KernelBehaviour kernel() const noexcept { return kernel_; }

private:
    // Whether the kernel, which unmaps `range` out of its mapping `vma`, tests if a part that it leaves begins or ends
    // inside a huge page.
    [[nodiscard]] static bool looks_at_pages(const VaRange& vma, const VaRange& range) {
        const bool prev = vma.start < range.start;
        const bool next = vma.end > range.end;
        const Va start = prev ? range.start : vma.start;
        const Va end = next ? range.end : vma.end;
        const Va aligned_start = start.align_down(kBlock2MBytes);
        const Va aligned_end = end.align_up(kBlock2MBytes);
        const bool at_start = prev && aligned_start < start && vma.start <= aligned_start;
        const bool at_end = next && aligned_end > end && vma.end >= aligned_end;
        return at_start || at_end;
    }

    // Window by window: one that is wholly inside and can be a block is one.
    void write_blocks(const VaRange& va, const Backing& shows) {
        std::uint64_t window = align_up(va.start.raw(), kBlock2MBytes);
        while (window + kBlock2MBytes <= va.end.raw()) {
            const Backing here = shows.advanced(window - va.start.raw());
            LeafSize size = LeafSize::k4K;
            for (const LeafSize larger : {LeafSize::k2M, LeafSize::k1G}) {
                const bool fits = window % bytes_of(larger) == 0 && window + bytes_of(larger) <= va.end.raw();
                if (fits && (sizes_ & bytes_of(larger)) != 0 && layout_->may_be_block(here, window, larger)) {
                    size = larger;
                }
            }
            if (size != LeafSize::k4K) {
                blocks_.emplace(Va{window}, size);
            }
            window += size == LeafSize::k1G ? kBlock1GBytes : kBlock2MBytes;
        }
    }

    const FakeLayout* layout_;
    LeafSizes sizes_;
    KernelBehaviour kernel_;
    MappingList vmas_;
    Blocks blocks_;
};

}  // namespace granule::test
