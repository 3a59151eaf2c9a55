#include "tests/kernel/inside/kernel_tables.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/descriptor.hpp"
#include "mali/page_table.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/table_reader.hpp"
#include "tests/kernel/inside/text_file.hpp"

namespace granule::kernel_test {
namespace {

const char* name_of(LeafSize size) {
    switch (size) {
        case LeafSize::k4K:
            return "4K";
        case LeafSize::k2M:
            return "2M";
        case LeafSize::k1G:
            return "1G";
    }
    return "?";
}

const char* name_of(mali::MemoryType memory) {
    switch (memory) {
        case mali::MemoryType::kUncached:
            return "uncached";
        case mali::MemoryType::kCached:
            return "cached";
        case mali::MemoryType::kDevice:
            return "device";
    }
    return "?";
}

}  // namespace

std::string to_string(const KernelLeaf& leaf) {
    const mali::LeafAttributes& allows = leaf.attributes;
    std::string text = hex(leaf.va.raw()) + ' ' + name_of(leaf.size) + " -> " + hex(leaf.pa.raw()) + ' ';
    text += allows.read ? 'r' : '-';
    text += allows.write ? 'w' : '-';
    text += allows.execute ? 'x' : '-';
    text += ' ';
    text += name_of(allows.memory);
    text += allows.privileged ? " privileged " : " ";
    return text + hex(leaf.descriptor);
}

KernelTables KernelTables::read(const TableReader& memory, mali::Format format, unsigned va_bits, Pa root,
                                VaRange range) {
    KernelTables tables(format, mali::start_level(format, va_bits), root);
    tables.read_table(memory, root, tables.start_level_, Va{0}, range);
    return tables;
}

void KernelTables::read_table(const TableReader& memory, Pa pa, unsigned level, Va va, VaRange range) {
    const std::size_t at = tables_.size();
    tables_.emplace_back();
    tables_[at].level = level;
    tables_[at].va = va;
    memory.read_table(pa, tables_[at].words);
    for (std::size_t index = 0; index < mali::kTableEntries; ++index) {
        const std::uint64_t word = tables_[at].words[index];
        const Va start = tables_[at].entry_va(index);
        if (word == 0 || !range.overlaps({start, start + mali::span_at(level)})) {
            continue;
        }
        const mali::Entry entry = mali::decode(format_, level, word);
        if (entry.kind != mali::EntryKind::kTable) {
            continue;
        }
        const std::size_t child = tables_.size();
        try {
            read_table(memory, entry.pa, level + 1, start, range);
        } catch (const ProbeError& error) {
            throw ProbeError("level " + std::to_string(level) + " entry of VA " + hex(start.raw()) + ", " + hex(word) +
                             ": " + error.what());
        }
        tables_[at].children[index] = static_cast<std::uint32_t>(child);
    }
}

std::optional<KernelLeaf> KernelTables::leaf_of(const Table& table, std::size_t index) const noexcept {
    const std::uint64_t word = table.words[index];
    const mali::Entry entry = mali::decode(format_, table.level, word);
    if (entry.kind != mali::EntryKind::kLeaf) {
        return std::nullopt;
    }
    return KernelLeaf{table.entry_va(index), entry.pa,         entry.size, table.level, word,
                      entry.attributes,      entry.access_flag};
}

std::vector<KernelLeaf> KernelTables::leaves(VaRange range) const {
    std::vector<KernelLeaf> found;
    visit(range, [&found](const KernelLeaf& leaf) { found.push_back(leaf); });
    return found;
}

std::optional<KernelLeaf> KernelTables::leaf_at(Va va) const {
    std::optional<KernelLeaf> found;
    visit({va, va + 1}, [&found](const KernelLeaf& leaf) { found = leaf; });
    return found;
}

mali::LeafCounts KernelTables::leaf_counts(VaRange range) const {
    mali::LeafCounts counts;
    visit(range, [&counts](const KernelLeaf& leaf) {
        switch (leaf.size) {
            case LeafSize::k4K:
                ++counts.pages_4k;
                break;
            case LeafSize::k2M:
                ++counts.blocks_2m;
                break;
            case LeafSize::k1G:
                ++counts.blocks_1g;
                break;
        }
    });
    return counts;
}

std::size_t KernelTables::table_count(unsigned level) const noexcept {
    return static_cast<std::size_t>(
        std::count_if(tables_.begin(), tables_.end(), [level](const Table& table) { return table.level == level; }));
}

std::optional<std::uint64_t> KernelTables::descriptor(unsigned level, Va va) const noexcept {
    if (level < start_level_ || level > mali::kLastLevel) {
        return std::nullopt;
    }
    std::size_t at = 0;
    while (tables_[at].level < level) {
        at = tables_[at].children[mali::index_at(va, tables_[at].level)];
        if (at == 0) {
            return std::nullopt;
        }
    }
    return tables_[at].words[mali::index_at(va, level)];
}

std::vector<KernelEntry> KernelTables::table_entries() const {
    std::vector<KernelEntry> entries;
    for (const Table& table : tables_) {
        for (std::size_t index = 0; index < mali::kTableEntries; ++index) {
            if (table.children[index] != 0) {
                entries.push_back({table.level, table.entry_va(index), table.words[index]});
            }
        }
    }
    return entries;
}

std::vector<KernelEntry> KernelTables::empty_tables() const {
    std::vector<KernelEntry> entries;
    for (const Table& table : tables_) {
        for (std::size_t index = 0; index < mali::kTableEntries; ++index) {
            if (table.children[index] == 0) {
                continue;
            }
            const TableWords& words = tables_[table.children[index]].words;
            if (std::all_of(words.begin(), words.end(), [](std::uint64_t word) { return word == 0; })) {
                entries.push_back({table.level, table.entry_va(index), table.words[index]});
            }
        }
    }
    return entries;
}

std::vector<KernelEntry> KernelTables::invalid_entries() const {
    std::vector<KernelEntry> entries;
    for (const Table& table : tables_) {
        for (std::size_t index = 0; index < mali::kTableEntries; ++index) {
            if (mali::decode(format_, table.level, table.words[index]).kind == mali::EntryKind::kInvalid) {
                entries.push_back({table.level, table.entry_va(index), table.words[index]});
            }
        }
    }
    return entries;
}

}  // namespace granule::kernel_test
