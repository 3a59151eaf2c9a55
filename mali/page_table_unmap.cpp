// PageTable::unmap: a first pass proves that the run is exactly leaves of its size, then a second pass clears them.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "mali/address.hpp"
#include "mali/descriptor.hpp"
#include "mali/page_table.hpp"
#include "mali/page_table_path.hpp"
#include "mali/result.hpp"

namespace granule::mali {

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
        const std::uint64_t* first = path.entries() + index_at(va, level);
        const std::uint64_t* last = first + (stop - va) / span_at(level);
        const std::uint64_t* other = std::find_if(first, last, [level](std::uint64_t candidate) {
            return candidate == 0 || points_to_table(level, candidate);
        });
        if (other != last) {
            const Va at = va + static_cast<std::uint64_t>(other - first) * span_at(level);
            if (*other != 0) {
                return fail(first_leaf_below(TableError::Code::kSmallerLeaves, *other, at, level));
            }
            return fail(TableError{TableError::Code::kNotMapped, at, run.size});
        }
        va = stop;
    }
    return {};
}

Result<void, TableError> PageTable::unmap(const LeafRun& run) noexcept {
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
        path.clear_leaves((stop - va) / bytes_of(run.size));
        va = stop;
    }
    path.finish();
    count_of(run.size) -= run.count;
    return {};
}

}  // namespace granule::mali
