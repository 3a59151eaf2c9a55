// PageTable::validate: the invariants of page_table.hpp and table_memory.hpp, read off the tables themselves.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "mali/address.hpp"
#include "mali/descriptor.hpp"
#include "mali/page_table.hpp"
#include "mali/page_table_inside.hpp"
#include "mali/page_table_traversal.hpp"
#include "mali/table_memory.hpp"

namespace granule::mali {

namespace {

// Whether this is an entry that the page table writes at this level: the inverse of the encoders.
[[nodiscard]] bool is_well_formed(const PageTableConfig& config, unsigned level, std::uint64_t descriptor) noexcept {
    const Entry entry = decode(config.format, level, descriptor);
    switch (entry.kind) {
        case EntryKind::kEmpty:
            return true;
        case EntryKind::kTable:
            return descriptor == encode_table(config.format, entry.pa, config.coherent_walk);
        case EntryKind::kLeaf:
            return (config.leaf_sizes & bytes_of(entry.size)) != 0 &&
                   descriptor == encode_leaf(config.format, entry.size, entry.pa, entry.attributes) &&
                   ((entry.pa.raw() + (bytes_of(entry.size) - 1)) >> config.pa_bits) == 0;
        case EntryKind::kInvalid:
            break;
    }
    return false;
}

[[nodiscard]] bool is_zero(const TablePage& table) noexcept {
    return std::all_of(table.entries, table.entries + kTableEntries, [](std::uint64_t entry) { return entry == 0; });
}

}  // namespace

bool PageTable::validate() const noexcept {
    bool valid = true;
    std::uint64_t tables = 0;
    std::uint64_t kept = 0;
    LeafCounts leaves;
    std::ptrdiff_t passed = 0;
    const std::uint64_t space = std::uint64_t{1} << config_.va_bits;
    for_each_table(*memory_, root_, start_level_, [&](const TablePage& table, unsigned level, Va start) {
        ++tables;
        if (level > start_level_ && passed_[level].table == table.pa &&
            passed_[level].prefix == table_prefix(start, level)) {
            ++passed;
        }
        TableBook live;
        for (std::size_t i = 0; i < kTableEntries; ++i) {
            const std::uint64_t descriptor = table.entries[i];
            if (descriptor == 0) {
                continue;
            }
            live.set(i);
            live.tables = static_cast<std::uint16_t>(live.tables + (points_to_table(level, descriptor) ? 1U : 0U));
            valid = valid && is_well_formed(config_, level, descriptor);
            valid = valid && (start + i * span_at(level)).raw() < space;
            if (level > 0 && !points_to_table(level, descriptor)) {
                std::uint64_t& count =
                    level == 1 ? leaves.blocks_1g : (level == 2 ? leaves.blocks_2m : leaves.pages_4k);
                ++count;
            }
        }
        valid = valid && *table.book == live;
        if (live.is_empty() && level != start_level_) {
            valid = valid && level == kLastLevel;
            ++kept;
        }
    });
    valid = valid && tables == tables_ && leaves == leaves_ && kept == kept_ && kept <= config_.kept_tables;
    valid = valid && passed == std::count_if(passed_.begin(), passed_.end(),
                                             [](const Passed& one) { return one.prefix != UINT64_MAX; });

    Pa next = last_emptied_;
    for (std::uint64_t i = 0; i < emptied_; ++i) {
        const TablePage table = page_at(next);
        valid = valid && table.book->is_empty() && (table.book->stale || is_zero(table));
        next = table.book->next;
    }
    valid = valid && next == Pa{};
    return valid && reserved_ + emptied_ >= credit();
}

}  // namespace granule::mali
