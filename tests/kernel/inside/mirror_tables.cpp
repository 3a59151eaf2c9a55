#include "tests/kernel/inside/mirror_tables.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "allocator/leaf_layout.hpp"
#include "allocator/mapping.hpp"
#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/page_table.hpp"
#include "mali/result.hpp"
#include "tests/kernel/inside/kernel_tables.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/table_reader.hpp"
#include "tests/kernel/inside/text_file.hpp"
#include "tests/support/table_arena.hpp"

namespace granule::kernel_test {
namespace {

// Pages one by one, seen as physically contiguous runs. The one BO there is has offset 0 where the mapping starts.
class PageRuns final : public BackingLayout {
public:
    explicit PageRuns(const std::vector<Pa>& pages) : pages_(pages) {}

    [[nodiscard]] Extent extent_at(const Backing& shows, Va /*va*/) const noexcept override {
        const auto first = static_cast<std::size_t>(shows.offset.raw() / kPageBytes);
        std::size_t end = first + 1;
        while (end < pages_.size() && pages_[end] == pages_[end - 1] + kPageBytes) {
            ++end;
        }
        return {pages_[first], (end - first) * kPageBytes, true};
    }

private:
    const std::vector<Pa>& pages_;
};

class ArenaReader final : public TableReader {
public:
    explicit ArenaReader(const test::TableArena& arena) : arena_(arena) {}

    void read_table(Pa table, TableWords& words) const override {
        const mali::TablePage page = arena_.table_at(table);
        std::copy_n(page.entries, words.size(), words.begin());
    }

private:
    const test::TableArena& arena_;
};

}  // namespace

MirrorTables::MirrorTables(const mali::PageTableConfig& config) {
    Result<mali::PageTable, mali::TableError> table = mali::PageTable::create(config, arena_);
    if (!table) {
        throw ProbeError(std::string("a page table of our own: ") + to_string(table.error().code));
    }
    table_ = std::move(*table);
}

void MirrorTables::map(Va va, const std::vector<Pa>& pages, const mali::LeafAttributes& attributes, LeafPolicy policy) {
    constexpr BoId kTheBo{1};
    const PageRuns runs(pages);
    const VaRange range{va, va + pages.size() * kPageBytes};
    for_each_leaf_run(
        range, {kTheBo, BoOffset{}, {}, {}}, runs, table_->config().leaf_sizes, policy,
        [&](const LeafRun& run, const Extent& extent) {
            const Result<void, mali::TableError> mapped = table_->map(run, extent.pa, attributes);
            if (!mapped) {
                throw ProbeError("our own map at " + hex(run.start.raw()) + ": " + to_string(mapped.error().code));
            }
        });
}

KernelTables MirrorTables::tables() const {
    return KernelTables::read(ArenaReader(arena_), table_->config().format, table_->config().va_bits, table_->root());
}

}  // namespace granule::kernel_test
