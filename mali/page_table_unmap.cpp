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

// The first of the entries that is no leaf of this level, or `count`. What the book knows need not be read: where there are
// no tables below, an entry that is there is a leaf.
std::size_t PageTable::first_other(const Path& path, unsigned level, std::size_t first,
                                   std::size_t count) const noexcept {
    if (config_.fast_paths && path.book().tables == 0) {
        return path.book().first_hole(first, count);
    }
    const bool page = level == kLastLevel && config_.format == Format::kAarch64_4k;
    return first_unlike(path.entries() + first, count, bits::kTypeMask,
                        page ? bits::kTypeAarch64Page : bits::kTypeBlock);
}

Result<void, TableError> PageTable::check_leaves(Path& path, const LeafRun& run) const noexcept {
    const unsigned target = leaf_level(run.size);
    const Va end = run.range().end;
    const bool whole = target == kLastLevel && config_.fast_paths;
    for (Va va = run.start; va < end;) {
        if (const std::size_t most = whole ? whole_tables(va, end) : 0;
            most != 0 && path.seek(va, kLastLevel - 1) == kLastLevel - 1) {
            const std::size_t full = path.full_tables(most);
            va = va + full * kBlock2MBytes;
            if (full == most) {
                continue;
            }
        }
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
        const std::size_t other = first_other(path, level, first, count);
        if (other != count) {
            const Va at = va + other * span_at(level);
            TableError smaller;
            smaller.code = TableError::Code::kSmallerLeaves;
            if (const std::uint64_t there = path.entries()[first + other];
                there != 0 && first_leaf_below(there, at, level, smaller)) {
                return fail(smaller);
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
    const bool whole = target == kLastLevel && config_.fast_paths;
    for (Va va = run.start; va < end;) {
        if (const std::size_t tables = whole ? whole_tables(va, end) : 0; tables != 0) {
            path.seek(va, kLastLevel - 1);
            path.drop_tables(tables);
            va = va + tables * kBlock2MBytes;
            continue;
        }
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
