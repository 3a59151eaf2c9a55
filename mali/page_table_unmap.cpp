// PageTable::unmap: a first pass proves that the run is exactly leaves of its size, then a second pass clears them.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/descriptor.hpp"
#include "mali/entry_run.hpp"
#include "mali/page_table.hpp"
#include "mali/page_table_inside.hpp"
#include "mali/page_table_path.hpp"
#include "mali/result.hpp"

namespace granule::mali {

// The first of the entries that is no leaf of this level, or `count`. What the book knows need not be read: that an entry
// of the last level is a leaf if it is there.
std::size_t PageTable::first_other(const Path& path, unsigned level, std::size_t first,
                                   std::size_t count) const noexcept {
    if (config_.fast_paths && level == kLastLevel) {
        return path.book().first_hole(first, count);
    }
    const bool page = level == kLastLevel && config_.format == Format::kAarch64_4k;
    return first_unlike(path.entries() + first, count, bits::kTypeMask,
                        page ? bits::kTypeAarch64Page : bits::kTypeBlock);
}

Result<void, TableError> PageTable::check_leaves(Path& path, const LeafRun& run) const noexcept {
    const unsigned target = leaf_level(run.size);
    const Va end = run.range().end;
    for (Va va = run.start; va < end;) {
        const unsigned level = path.seek(va, target);
        if (level < target) {
            if (path.entry() != 0) {
                return fail(
                    TableError{TableError::Code::kLeafWouldBeCut, va.align_down(span_at(level)), leaf_size_at(level)});
            }
            return fail(TableError{TableError::Code::kNotMapped, va, run.size});
        }
        const Va stop = std::min(end, table_end(va, level));
        const std::size_t first = index_at(va, level);
        const std::size_t count = (stop - va) / span_at(level);
        path.prefetch_ahead();
        const std::size_t other = first_other(path, level, first, count);
        if (other != count) {
            const Va at = va + other * span_at(level);
            if (const std::uint64_t there = path.entries()[first + other]; there != 0) {
                return fail(first_leaf_below(TableError::Code::kSmallerLeaves, there, at, level));
            }
            return fail(TableError{TableError::Code::kNotMapped, at, run.size});
        }
        va = stop;
    }
    return {};
}

Result<void, TableError> PageTable::unmap_long(const LeafRun& run) noexcept {
    if (Result<void, TableError> possible = check_run(run); !possible) {
        return possible;
    }
    Path path(*this);
    if (Result<void, TableError> possible = check_leaves(path, run); !possible) {
        return possible;
    }
    const unsigned target = leaf_level(run.size);
    const Va end = run.range().end;
    for (Va va = run.start; va < end;) {
        path.seek(va, target);
        const Va stop = std::min(end, table_end(va, target));
        const std::size_t count = (stop - va) / bytes_of(run.size);
        if (count == kTableEntries && config_.fast_paths && target > start_level_) {
            path.drop_leaves();
        } else {
            path.clear_leaves(count);
        }
        va = stop;
    }
    path.finish();
    count_of(run.size) -= run.count;
    return {};
}

}  // namespace granule::mali
