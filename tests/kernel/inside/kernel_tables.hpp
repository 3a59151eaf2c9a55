// The page tables of one GPU VM as they stood in the kernel's memory at one moment.
//
// `read` copies every table that hangs from a root, each once; everything after that looks at the copy. So a VM of
// thousands of leaves is compared as often as a test likes for the price of reading its few tables (8 pages of 4 KiB
// leaves a page of table), and what two questions see is the same state.
//
// - Raw words stay: `descriptor` gives what stands at (level, VA). Meaning is that of mali/descriptor.hpp, in both
//   formats.
// - Nothing is silently passed over: an entry that the format never writes is in `invalid_entries`, a table without a
//   live entry in `empty_tables` (io-pgtable keeps those when the last 4 KiB leaf goes).
//
// Nobody may change the tables while they are read: tests bind synchronously, or wait for the fence.
// Cost: `read` one pread(2) a table; `leaves` O(tables * 512); `descriptor` O(1).
// Failure: `read` throws ProbeError where an entry points to where no RAM is.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/descriptor.hpp"
#include "mali/page_table.hpp"
#include "tests/kernel/inside/table_reader.hpp"

namespace granule::kernel_test {

inline constexpr VaRange kWholeVa{Va{0}, Va{kMaxVaEnd}};

struct KernelLeaf {
    Va va;
    Pa pa;
    LeafSize size = LeafSize::k4K;
    unsigned level = mali::kLastLevel;
    std::uint64_t descriptor = 0;  // raw
    mali::LeafAttributes attributes;
    bool access_flag = true;

    [[nodiscard]] VaRange range() const noexcept { return {va, va + bytes_of(size)}; }
    bool operator==(const KernelLeaf&) const = default;
};

// "0x200000 2M -> 0x45a00000 rw- cached 0x60000045a00f45"
[[nodiscard]] std::string to_string(const KernelLeaf& leaf);

// An entry of a table: where it stands and what it holds.
struct KernelEntry {
    unsigned level = 0;
    Va va;  // the first that it spans
    std::uint64_t descriptor = 0;

    bool operator==(const KernelEntry&) const = default;
};

class KernelTables {
public:
    struct Table {
        unsigned level = 0;
        Va va;  // the first that it translates
        TableWords words{};
        // Where an entry points to a table that was read: its index in tables(). 0, the root, is nobody's child: none.
        std::array<std::uint32_t, mali::kTableEntries> children{};

        [[nodiscard]] Va entry_va(std::size_t index) const noexcept { return va + (index << mali::shift_at(level)); }
    };

    // The tables under `root` that translate some of `range`. `va_bits` says at which level `root` stands.
    [[nodiscard]] static KernelTables read(const TableReader& memory, mali::Format format, unsigned va_bits, Pa root,
                                           VaRange range = kWholeVa);

    [[nodiscard]] mali::Format format() const noexcept { return format_; }
    [[nodiscard]] unsigned start_level() const noexcept { return start_level_; }
    [[nodiscard]] Pa root() const noexcept { return root_; }
    // Parents before children, ascending by VA: the root is the first.
    [[nodiscard]] const std::vector<Table>& tables() const noexcept { return tables_; }

    // Calls `visitor(const KernelLeaf&)` for the leaves that overlap `range`, ascending; whole leaves, not clipped.
    template <class Visitor>
    void visit(VaRange range, Visitor&& visitor) const {
        visit_table(0, range, visitor);
    }
    [[nodiscard]] std::vector<KernelLeaf> leaves(VaRange range = kWholeVa) const;
    // The leaf that translates `va`.
    [[nodiscard]] std::optional<KernelLeaf> leaf_at(Va va) const;

    [[nodiscard]] mali::LeafCounts leaf_counts(VaRange range = kWholeVa) const;
    [[nodiscard]] std::size_t table_count() const noexcept { return tables_.size(); }  // the root included
    [[nodiscard]] std::size_t table_count(unsigned level) const noexcept;

    // What stands at (level, VA); nullopt where no table of that level is.
    [[nodiscard]] std::optional<std::uint64_t> descriptor(unsigned level, Va va) const noexcept;
    // The entries that point to tables.
    [[nodiscard]] std::vector<KernelEntry> table_entries() const;
    // The entries that point to a table without a live entry.
    [[nodiscard]] std::vector<KernelEntry> empty_tables() const;
    // The entries that are neither empty nor anything that the format writes at their level.
    [[nodiscard]] std::vector<KernelEntry> invalid_entries() const;

private:
    KernelTables(mali::Format format, unsigned start_level, Pa root) noexcept
        : format_(format), start_level_(start_level), root_(root) {}

    void read_table(const TableReader& memory, Pa pa, unsigned level, Va va, VaRange range);
    [[nodiscard]] std::optional<KernelLeaf> leaf_of(const Table& table, std::size_t index) const noexcept;

    template <class Visitor>
    void visit_table(std::size_t at, VaRange range, Visitor& visitor) const {
        const Table& table = tables_[at];
        for (std::size_t index = 0; index < mali::kTableEntries; ++index) {
            if (table.words[index] == 0) {
                continue;
            }
            const Va va = table.entry_va(index);
            if (!range.overlaps({va, va + mali::span_at(table.level)})) {
                continue;
            }
            if (table.children[index] != 0) {
                visit_table(table.children[index], range, visitor);
            } else if (const std::optional<KernelLeaf> leaf = leaf_of(table, index)) {
                visitor(*leaf);
            }
        }
    }

    mali::Format format_;
    unsigned start_level_;
    Pa root_;
    std::vector<Table> tables_;
};

}  // namespace granule::kernel_test
