// What arrays of VM_BIND and operations of plans do to an address space, cell by cell, for comparing the two.
//
// A cell is a run of VA that no operation of a test has an edge in (4 KiB, or more where the test's steps are larger). It
// shows nothing, or a GEM object at an offset. Sparse mappings show the dummy, or, where the driver has MAP_SPARSE, a mark
// of their own. A window of 2 MiB that one map has whole may be a block, until something else has an edge in it.
//
// Thread-safety: none.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "src/drm/bind_array.hpp"
#include "src/drm/panthor_uapi.hpp"
#include "tests/drm/gem_table.hpp"

namespace granule::test {

inline std::string text(const drm_panthor_vm_bind_op& op) {
    if ((op.flags & panthor::kOpTypeMask) == panthor::kOpUnmap) {
        return fmt::format("unmap {:#x}+{:#x}", op.va, op.size);
    }
    if ((op.flags & panthor::kOpTypeMask) == panthor::kOpSyncOnly) {
        return "sync";
    }
    const char* const ro = (op.flags & panthor::kOpReadonly) != 0 ? " ro" : "";
    const char* const nx = (op.flags & panthor::kOpNoexec) != 0 ? " nx" : "";
    const char* const uncached = (op.flags & panthor::kOpUncached) != 0 ? " uc" : "";
    const std::string what =
        (op.flags & panthor::kOpSparse) != 0 ? "sparse" : fmt::format("{}+{:#x}", op.bo_handle, op.bo_offset);
    return fmt::format("map {:#x}+{:#x} {}{}{}{}", op.va, op.size, what, ro, nx, uncached);
}

inline std::string text(std::span<const drm_panthor_vm_bind_op> ops) {
    std::string all;
    for (const drm_panthor_vm_bind_op& op : ops) {
        all += (all.empty() ? "" : "; ") + text(op);
    }
    return all;
}

class BindModel {
public:
    static constexpr std::uint32_t kSparse = UINT32_MAX;  // in place of a handle

    struct Cell {
        std::uint32_t gem = 0;  // 0: nothing
        std::uint32_t flags = 0;
        std::uint64_t offset = 0;
        bool operator==(const Cell&) const = default;
    };

    BindModel(std::uint64_t bytes, std::uint64_t step)
        : step_(step), cells_(bytes / step), blocks_(bytes / kBlock2MBytes) {}

    void apply(const drm_panthor_vm_bind_op& op) {
        const bool unmaps = (op.flags & panthor::kOpTypeMask) == panthor::kOpUnmap;
        const bool sparse = (op.flags & panthor::kOpSparse) != 0;
        const std::uint32_t flags = op.flags & ~(panthor::kOpTypeMask | panthor::kOpSparse);
        for (std::uint64_t done = 0; done < op.size; done += step_) {
            cell(op.va + done) = unmaps   ? Cell{}
                                 : sparse ? Cell{kSparse, flags, 0}
                                          : Cell{op.bo_handle, flags, op.bo_offset + done};
        }
        replace({Va{op.va}, Va{op.va + op.size}}, !unmaps);
    }

    void apply(const PlanOp& op, const GemTable& bos, const BindArrayRules& rules) {
        const MapFlags& asked = op.shows.flags;
        const std::uint32_t flags = (asked.readonly ? panthor::kOpReadonly : 0U) |
                                    (asked.noexec || op.shows.sparse() ? panthor::kOpNoexec : 0U) |
                                    (asked.uncached ? panthor::kOpUncached : 0U);
        for (std::uint64_t done = 0; done < op.va.size(); done += step_) {
            const std::uint64_t va = op.va.start.raw() + done;
            if (op.kind == PlanOp::Kind::kUnmap) {
                cell(va) = {};
            } else if (!op.shows.sparse()) {
                cell(va) = {bos.gem(op.shows.bo), flags, op.shows.offset.raw() + done};
            } else if (rules.sparse) {
                cell(va) = {kSparse, flags, 0};
            } else {
                cell(va) = {rules.dummy_gem, flags, va % kBlock2MBytes};
            }
        }
        replace(op.va, op.kind == PlanOp::Kind::kMap && op.leaves == LeafPolicy::kLargest);
    }

    // Whether they show the same; what could be blocks is another question.
    bool operator==(const BindModel& other) const noexcept { return cells_ == other.cells_; }
    // Whether every window that can be a block here can be one in `ledger`.
    [[nodiscard]] bool has_only_blocks_of(const BindModel& ledger) const noexcept {
        for (std::size_t window = 0; window < blocks_.size(); ++window) {
            if (blocks_[window] && !ledger.blocks_[window]) {
                return false;
            }
        }
        return true;
    }
    // Edges that were inside what could be a block, so far.
    [[nodiscard]] std::uint64_t cuts() const noexcept { return cuts_; }

private:
    [[nodiscard]] Cell& cell(std::uint64_t va) { return cells_[va / step_]; }

    void replace(const VaRange& range, bool with_blocks) {
        for (std::size_t window = 0; window < blocks_.size(); ++window) {
            const Va start{window * kBlock2MBytes};
            const VaRange whole{start, start + kBlock2MBytes};
            if (range.contains(whole)) {
                blocks_[window] = with_blocks;
            } else if (range.overlaps(whole)) {
                cuts_ += blocks_[window] ? 1U : 0U;
                blocks_[window] = false;
            }
        }
    }

    std::uint64_t step_;
    std::vector<Cell> cells_;
    std::vector<bool> blocks_;  // windows that may be blocks
    std::uint64_t cuts_ = 0;
};

}  // namespace granule::test
