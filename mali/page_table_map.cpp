// PageTable::map: a first pass proves that every leaf of the run stands over a hole and counts the tables that are
// missing, then their pages are made sure of, then a second pass writes. Only the first two can refuse.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/descriptor.hpp"
#include "mali/entry_run.hpp"
#include "mali/page_table.hpp"
#include "mali/page_table_inside.hpp"
#include "mali/page_table_path.hpp"
#include "mali/result.hpp"

namespace granule::mali {

namespace {

// Tables of `level` that hold some of [start, end), which is not empty.
[[nodiscard]] constexpr std::uint64_t tables_touched(Va start, Va end, unsigned level) noexcept {
    const unsigned shift = shift_at(level - 1);
    return ((end.raw() - 1) >> shift) - (start.raw() >> shift) + 1;
}

// Tables below an entry of level `from` down to `to`, for leaves of level `to` in [start, end).
[[nodiscard]] constexpr std::uint64_t tables_below(Va start, Va end, unsigned from, unsigned to) noexcept {
    std::uint64_t tables = 0;
    for (unsigned level = from + 1; level <= to; ++level) {
        tables += tables_touched(start, end, level);
    }
    return tables;
}

}  // namespace

std::uint64_t PageTable::most_tables_for(const LeafRun& run) noexcept {
    if (run.count == 0) {
        return 0;
    }
    const VaRange range = run.range();
    return tables_below(range.start, range.end, 0, leaf_level(run.size)) + run.count * tables_behind(run.size);
}

Result<void, TableError> PageTable::check_run(const LeafRun& run) const noexcept {
    const auto refuse = [&run](TableError::Code code) { return fail(TableError{code, run.start, run.size}); };
    const std::uint64_t leaf_bytes = bytes_of(run.size);
    if ((config_.leaf_sizes & leaf_bytes) == 0) {
        return refuse(TableError::Code::kBadLeafSize);
    }
    if (run.count == 0) {
        return refuse(TableError::Code::kEmpty);
    }
    if (!run.start.is_aligned(leaf_bytes)) {
        return refuse(TableError::Code::kMisaligned);
    }
    const std::uint64_t space = std::uint64_t{1} << config_.va_bits;
    if (run.start.raw() >= space || run.count > (space - run.start.raw()) / leaf_bytes) {
        return refuse(TableError::Code::kOutOfRange);
    }
    return {};
}

// Level by level, because a table that is not kept has a leaf somewhere: only tables of pages are kept.
bool PageTable::first_leaf_below(std::uint64_t descriptor, Va va, unsigned level, TableError& leaf) const noexcept {
    va = va.align_down(span_at(level));
    while (points_to_table(level, descriptor)) {
        const TablePage table = page_at(table_pa(descriptor));
        ++level;
        const auto is_kept = [&](std::size_t i) {
            return points_to_table(level, table.entries[i]) && page_at(table_pa(table.entries[i])).book->is_empty();
        };
        std::size_t i = 0;
        while (i < kTableEntries && (!table.book->test(i) || is_kept(i))) {
            ++i;
        }
        if (i == kTableEntries) {
            return false;
        }
        va = va + i * span_at(level);
        descriptor = table.entries[i];
    }
    leaf.at = va;
    leaf.leaf = leaf_size_at(level);
    return true;
}

// The tables that are missing.
Result<std::uint64_t, TableError> PageTable::check_holes(const LeafRun& run) noexcept {
    Path path(*this);
    const unsigned target = leaf_level(run.size);
    const Va end = run.range().end;
    std::uint64_t missing = 0;
    for (Va va = run.start; va < end;) {
        const unsigned level = path.seek(va, target);
        if (level < target) {
            if (path.entry() != 0) {
                return fail(
                    TableError{TableError::Code::kAlreadyMapped, va.align_down(span_at(level)), leaf_size_at(level)});
            }
            const Va stop = std::min(end, va.align_down(span_at(level)) + span_at(level));
            missing += tables_below(va, stop, level, target);
            va = stop;
            continue;
        }
        const Va stop = std::min(end, table_end(va, level));
        const std::size_t first = index_at(va, level);
        const std::size_t count = (stop - va) / span_at(level);
        for (std::size_t free = 0; free < count; ++free) {
            free += config_.fast_paths ? path.book().first_live(first + free, count - free)
                                       : first_not_zero(path.entries() + first + free, count - free);
            if (free == count) {
                break;
            }
            const std::uint64_t there = path.entries()[first + free];
            TableError error;
            error.code =
                points_to_table(level, there) ? TableError::Code::kTableInTheWay : TableError::Code::kAlreadyMapped;
            if (first_leaf_below(there, va + free * span_at(level), level, error)) {
                return fail(error);
            }
        }
        va = stop;
    }
    return missing;
}

Result<void, TableError> PageTable::check_map(const LeafRun& run, Pa pa,
                                              const LeafAttributes& attributes) const noexcept {
    if (Result<void, TableError> possible = check_run(run); !possible) {
        return possible;
    }
    const std::uint64_t leaf_bytes = bytes_of(run.size);
    if (!pa.is_aligned(leaf_bytes)) {
        return fail(TableError{TableError::Code::kMisaligned, run.start, run.size});
    }
    const std::uint64_t pa_space = std::uint64_t{1} << config_.pa_bits;
    if (pa.raw() >= pa_space || run.count * leaf_bytes > pa_space - pa.raw()) {
        return fail(TableError{TableError::Code::kOutOfRange, run.start, run.size});
    }
    if (!attributes.read && !attributes.write) {
        return fail(TableError{TableError::Code::kBadAttributes, run.start, run.size});
    }
    return {};
}

// Whether the run is holes, and what it takes is held.
Result<void, TableError> PageTable::prepare_map(const LeafRun& run) noexcept {
    const Result<std::uint64_t, TableError> missing = check_holes(run);
    if (!missing) {
        return fail(missing.error());
    }
    if (std::uint64_t shortage = 0; !secure(*missing + run.count * tables_behind(run.size), shortage)) {
        return fail(TableError{TableError::Code::kOutOfTableMemory, run.start, run.size, shortage});
    }
    if (run.size != LeafSize::k4K) {
        // The tables that the blocks will stand in stay, because they span more than the run: a walker that comes from
        // outside of the locked range may still have pointers to them, and this map may put what is taken out to use again.
        static_cast<void>(prune_below(leaf_level(run.size), run.range()));
    }
    return {};
}

Result<void, TableError> PageTable::map_long(const LeafRun& run, Pa pa, const LeafAttributes& attributes) noexcept {
    if (Result<void, TableError> possible = check_map(run, pa, attributes); !possible) {
        return possible;
    }
    if (Result<void, TableError> possible = prepare_map(run); !possible) {
        return possible;
    }
    Path path(*this);
    path.write(run, encode_leaf(config_.format, run.size, pa, attributes));
    path.finish();
    count_of(run.size) += run.count;
    return {};
}

// The segments are one run for what is in the way, and runs of their own for what is written.
Result<void, TableError> PageTable::map_segments(Va start, LeafSize size, std::span<const PaSegment> segments,
                                                 const LeafAttributes& attributes) noexcept {
    const std::uint64_t leaf_bytes = bytes_of(size);
    LeafRun whole{start, size, 0};
    for (const PaSegment& segment : segments) {
        const Va at = start + whole.count * leaf_bytes;
        if (segment.bytes % leaf_bytes != 0) {
            return fail(TableError{TableError::Code::kMisaligned, at, size});
        }
        const LeafRun run{at, size, segment.bytes / leaf_bytes};
        if (Result<void, TableError> possible = check_map(run, segment.pa, attributes); !possible) {
            return possible;
        }
        whole.count += run.count;
    }
    if (segments.empty()) {
        return {};
    }
    if (Result<void, TableError> possible = prepare_map(whole); !possible) {
        return possible;
    }
    Path path(*this);
    const std::uint64_t leaf = leaf_bits(config_.format, size, attributes);
    Va at = start;
    for (const PaSegment& segment : segments) {
        path.write({at, size, segment.bytes / leaf_bytes}, segment.pa.raw() | leaf);
        at = at + segment.bytes;
    }
    path.finish();
    count_of(size) += whole.count;
    return {};
}

}  // namespace granule::mali
