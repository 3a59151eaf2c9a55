// PageTable::walk and visit: what stands in the tables, read as the GPU reads them. Other threads may be in here while
// the one writer writes.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "mali/address.hpp"
#include "mali/descriptor.hpp"
#include "mali/page_table.hpp"
#include "mali/page_table_inside.hpp"
#include "mali/table_entry.hpp"
#include "mali/table_memory.hpp"

namespace granule::mali {

namespace {

struct Reached {
    TablePage table;
    unsigned level = 0;
    std::uint64_t descriptor = 0;  // no pointer to a table
};

// `va` is in the space. `table_at(Pa)` says where a table is.
template <class TableAt>
[[nodiscard]] Reached reach(TableAt table_at, const TablePage& root, unsigned start_level, Va va) noexcept {
    Reached at{root, start_level, load_entry(root.entries[index_at(va, start_level)])};
    while (points_to_table(at.level, at.descriptor)) {
        at.table = table_at(table_pa(at.descriptor));
        ++at.level;
        at.descriptor = load_entry(at.table.entries[index_at(va, at.level)]);
    }
    return at;
}

}  // namespace

Walk PageTable::walk(Va va) const noexcept {
    Walk result;
    result.level = start_level_;
    result.leaf_start = va;
    if ((va.raw() >> config_.va_bits) != 0) {
        return result;
    }
    const Reached at = reach([this](Pa pa) { return page_at(pa); }, root_, start_level_, va);
    result.level = at.level;
    result.descriptor = at.descriptor;
    result.span = span_at(at.level);
    result.leaf_start = va.align_down(result.span);
    const Entry entry = decode(config_.format, at.level, at.descriptor);
    if (entry.kind == EntryKind::kLeaf) {
        result.mapped = true;
        result.leaf = entry.size;
        result.leaf_pa = entry.pa;
        result.pa = entry.pa + (va - result.leaf_start);
        result.attributes = entry.attributes;
    }
    return result;
}

Translated PageTable::translate_by_calls(Va va) const noexcept {
    if (va > last_va_) {
        return {};
    }
    const Reached at = reach([this](Pa pa) { return page_at(pa); }, root_, start_level_, va);
    return leaf_target(va, at.descriptor, span_at(at.level));
}

void PageTable::visit_erased(VaRange range, VisitFunction visitor, void* context) const {
    const Va end = std::min(range.end, Va{std::uint64_t{1} << config_.va_bits});
    for (Va va = range.start; va < end;) {
        Reached at = reach([this](Pa pa) { return page_at(pa); }, root_, start_level_, va);
        const std::uint64_t span = span_at(at.level);
        const Va stop = std::min(end, table_end(va, at.level));
        va = va.align_down(span);
        // Along this table, until it ends or points down to another.
        while (va < stop && !points_to_table(at.level, at.descriptor)) {
            const Va start = va;
            const std::uint64_t first = at.descriptor;
            std::uint64_t count = 0;
            do {
                ++count;
                va = va + span;
                at.descriptor = va < stop ? load_entry(at.table.entries[index_at(va, at.level)]) : 0;
            } while (va < stop && first != 0 && at.descriptor == first + count * span);
            const Entry entry = decode(config_.format, at.level, first);
            if (entry.kind == EntryKind::kLeaf) {
                visitor(context, VisitedRun{LeafRun{start, entry.size, count}, entry.pa, entry.attributes});
            }
        }
    }
}

}  // namespace granule::mali
