#include "tests/kernel/inside/table_difference.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "mali/address.hpp"
#include "mali/descriptor.hpp"
#include "tests/kernel/inside/kernel_tables.hpp"
#include "tests/kernel/inside/text_file.hpp"

namespace granule::kernel_test {
namespace {

using Table = KernelTables::Table;

class Comparison {
public:
    Comparison(const KernelTables& kernel, const KernelTables& ours) : kernel_(kernel), ours_(ours) {}

    [[nodiscard]] std::optional<TableDifference> of(std::size_t kernel_at, std::size_t ours_at) const {
        const Table& kernel = kernel_.tables()[kernel_at];
        const Table& ours = ours_.tables()[ours_at];
        for (std::size_t index = 0; index < mali::kTableEntries; ++index) {
            const bool both_tables = kernel.children[index] != 0 && ours.children[index] != 0;
            const std::uint64_t compared = both_tables ? ~mali::bits::kAddressMask : ~std::uint64_t{0};
            if (((kernel.words[index] ^ ours.words[index]) & compared) != 0) {
                return TableDifference{kernel.level, kernel.entry_va(index), kernel.words[index], ours.words[index]};
            }
            if (both_tables) {
                if (const auto below = of(kernel.children[index], ours.children[index])) {
                    return below;
                }
            }
        }
        return std::nullopt;
    }

private:
    const KernelTables& kernel_;
    const KernelTables& ours_;
};

struct Field {
    std::uint64_t mask;
    std::string_view name;
};

// Of both formats; what they mean in each is drawn in mali/descriptor.hpp.
constexpr std::array<Field, 13> kFields{{
    {std::uint64_t{0xff} << 56, "bits 63:56"},
    {mali::bits::kSoftwareSync, "bit 55 (software sync)"},
    {mali::bits::kExecuteNever, "bits 54:53 (execute never)"},
    {std::uint64_t{0x1f} << 48, "bits 52:48"},
    {mali::bits::kAddressMask, "bits 47:12 (address)"},
    {mali::bits::kNotGlobal, "bit 11 (nG)"},
    {mali::bits::kAccessFlag, "bit 10 (AF)"},
    {mali::bits::kInnerShareable, "bits 9:8 (shareability)"},
    {mali::bits::kMaliWrite, "bit 7 (access: write, or read-only)"},
    {mali::bits::kMaliRead, "bit 6 (access: read, or unprivileged)"},
    {std::uint64_t{1} << 5, "bit 5"},
    {mali::bits::kAttrIndexMask, "bits 4:2 (memory attributes)"},
    {mali::bits::kTypeMask, "bits 1:0 (type)"},
}};

std::string in_words(mali::Format format, unsigned level, std::uint64_t word) {
    const mali::Entry entry = mali::decode(format, level, word);
    switch (entry.kind) {
        case mali::EntryKind::kEmpty:
            return "empty";
        case mali::EntryKind::kTable:
            return "table at " + hex(entry.pa.raw());
        case mali::EntryKind::kLeaf:
            return "leaf of " + hex(bytes_of(entry.size)) + " at " + hex(entry.pa.raw());
        case mali::EntryKind::kInvalid:
            return "nothing that the format knows at this level";
    }
    return "?";
}

std::string word_of(const std::optional<std::uint64_t>& word) {
    return word ? hex(*word) : "no table";
}

}  // namespace

std::optional<TableDifference> first_difference(const KernelTables& kernel, const KernelTables& ours) {
    if (kernel.format() != ours.format() || kernel.start_level() != ours.start_level()) {
        const Table& theirs = kernel.tables().front();
        return TableDifference{theirs.level, theirs.va, theirs.words.front(), ours.tables().front().words.front()};
    }
    return Comparison(kernel, ours).of(0, 0);
}

std::string picture(const TableDifference& difference, const KernelTables& kernel, const KernelTables& ours) {
    std::string text =
        "first difference at level " + std::to_string(difference.level) + ", VA " + hex(difference.va.raw()) + '\n';
    for (unsigned level = kernel.start_level(); level < difference.level; ++level) {
        text += "  L" + std::to_string(level) + '[' + std::to_string(mali::index_at(difference.va, level)) +
                "]  kernel " + word_of(kernel.descriptor(level, difference.va)) + "  ours " +
                word_of(ours.descriptor(level, difference.va)) + '\n';
    }
    text += "  L" + std::to_string(difference.level) + '[' +
            std::to_string(mali::index_at(difference.va, difference.level)) + "]\n";
    text += "      kernel " + hex(difference.kernel) + "  " +
            in_words(kernel.format(), difference.level, difference.kernel) + '\n';
    text += "      ours   " + hex(difference.ours) + "  " + in_words(ours.format(), difference.level, difference.ours) +
            '\n';
    const std::uint64_t differs = difference.kernel ^ difference.ours;
    for (const Field& field : kFields) {
        if ((differs & field.mask) != 0) {
            const auto shift = static_cast<unsigned>(std::countr_zero(field.mask));
            text += "      " + std::string(field.name) + ": kernel " + hex((difference.kernel & field.mask) >> shift) +
                    ", ours " + hex((difference.ours & field.mask) >> shift) + '\n';
        }
    }
    return text;
}

}  // namespace granule::kernel_test
