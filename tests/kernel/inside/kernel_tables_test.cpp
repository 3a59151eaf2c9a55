// The reader of tables against mali::PageTable, which wrote them, and against words written by hand.
#include "tests/kernel/inside/kernel_tables.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/page_table.hpp"
#include "tests/kernel/inside/mirror_tables.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/table_reader.hpp"

namespace granule::kernel_test {
namespace {

constexpr mali::PageTableConfig kPanthor{mali::Format::kAarch64_4k, 48, 40, kLeaves4K2M, false};
constexpr mali::PageTableConfig kPanfrost{mali::Format::kMaliLpae, 48, 40, kLeaves4K2M, false};
constexpr mali::LeafAttributes kReadOnly{true, false, false, false, mali::MemoryType::kUncached};

std::vector<Pa> run_of(std::uint64_t first, std::uint64_t pages) {
    std::vector<Pa> run;
    run.reserve(pages);
    for (std::uint64_t page = 0; page < pages; ++page) {
        run.emplace_back(first + page * kPageBytes);
    }
    return run;
}

// Eight tables, at 0x1000 to 0x8000.
class MadeUpTables final : public TableReader {
public:
    void set(std::uint64_t table, std::size_t index, std::uint64_t word) {
        tables_.at(table / kPageBytes - 1).at(index) = word;
    }
    void read_table(Pa table, TableWords& words) const override {
        const std::uint64_t index = table.raw() / kPageBytes - 1;
        if (index >= tables_.size()) {
            throw ProbeError("no table there");
        }
        words = tables_.at(index);
    }

private:
    std::array<TableWords, 8> tables_{};
};

}  // namespace

TEST_CASE("leaves are those that were mapped, ascending, with their raw words, in both formats") {
    for (const mali::PageTableConfig& config : {kPanthor, kPanfrost}) {
        MirrorTables ours(config);
        ours.map(Va{0x5000}, run_of(0x4123'4000, 2), kReadOnly);
        ours.map(Va{0x40'0000}, run_of(0x4660'0000, 1024 + 1), {});
        const KernelTables tables = ours.tables();
        const std::vector<KernelLeaf> leaves = tables.leaves();
        REQUIRE(leaves.size() == 5);
        const bool is_mali = config.format == mali::Format::kMaliLpae;
        CHECK(leaves[0] == KernelLeaf{Va{0x5000}, Pa{0x4123'4000}, LeafSize::k4K, 3,
                                      is_mali ? 0x0060'0000'4123'4241U : 0x0060'0000'4123'4ec3U, kReadOnly, true});
        CHECK(leaves[1].va == Va{0x6000});
        CHECK(leaves[2] == KernelLeaf{Va{0x40'0000},
                                      Pa{0x4660'0000},
                                      LeafSize::k2M,
                                      2,
                                      is_mali ? 0x0060'0000'4660'02c5U : 0x0060'0000'4660'0f45U,
                                      {},
                                      true});
        CHECK(leaves[3].range() == VaRange{Va{0x60'0000}, Va{0x80'0000}});
        CHECK(leaves[4].size == LeafSize::k4K);
        CHECK(tables.leaf_counts() == mali::LeafCounts{3, 2, 0});
        CHECK(tables.table_count() == 5);
        CHECK(tables.table_count(3) == 2);
        CHECK(tables.invalid_entries().empty());
        CHECK(tables.empty_tables().empty());
        CHECK(tables.table_entries().size() == 4);
    }
}

TEST_CASE("a range shows the leaves that overlap it, whole, and only their tables are read") {
    MirrorTables ours(kPanthor);
    ours.map(Va{0x40'0000}, run_of(0x4660'0000, 1024), {});
    ours.map(Va{0x100'0000}, run_of(0x4123'4000, 2), {});
    const KernelTables tables = ours.tables();
    const std::vector<KernelLeaf> leaves = tables.leaves({Va{0x5f'f000}, Va{0x60'1000}});
    REQUIRE(leaves.size() == 2);
    CHECK(leaves[0].va == Va{0x40'0000});
    CHECK(leaves[1].va == Va{0x60'0000});
    CHECK(tables.leaves({Va{0x80'0000}, Va{0x100'0000}}).empty());
    CHECK(tables.leaf_counts({Va{0x100'1000}, Va{kMaxVaEnd}}) == mali::LeafCounts{1, 0, 0});
    CHECK(tables.leaf_at(Va{0x7f'ffff})->pa == Pa{0x4680'0000});
    CHECK(tables.leaf_at(Va{0x3f'ffff}) == std::nullopt);
}

TEST_CASE("a descriptor is what stands at a level, and none where there is no table") {
    MirrorTables ours(kPanthor);
    ours.map(Va{0x40'0000}, run_of(0x4660'0000, 512), {});
    const KernelTables tables = ours.tables();
    CHECK(tables.descriptor(2, Va{0x40'0000}) == 0x0060'0000'4660'0f45U);
    CHECK(tables.descriptor(2, Va{0x60'0000}) == 0U);
    CHECK(tables.descriptor(3, Va{0x40'0000}) == std::nullopt);
    CHECK((*tables.descriptor(1, Va{0}) & ~mali::bits::kAddressMask) == 0x0080'0000'0000'0003U);
    CHECK(tables.descriptor(1, Va{0x80'0000'0000}) == std::nullopt);
    CHECK(tables.descriptor(4, Va{0}) == std::nullopt);
}

TEST_CASE("where VAs have 39 bits the root stands at level 1, in AArch64 only") {
    constexpr mali::PageTableConfig kSmall{mali::Format::kAarch64_4k, 39, 40, kLeaves4K2M, true};
    MirrorTables ours(kSmall);
    ours.map(Va{0x1000}, run_of(0x4123'4000, 1), {});
    const KernelTables tables = ours.tables();
    CHECK(tables.start_level() == 1);
    CHECK(tables.table_count() == 3);
    CHECK(tables.descriptor(0, Va{0}) == std::nullopt);
    CHECK(tables.leaves().size() == 1);
}

TEST_CASE("empty tables and words that the format never writes are shown, not passed over") {
    MadeUpTables memory;
    memory.set(0x1000, 0, 0x2003);
    memory.set(0x2000, 0, 0x3003);
    memory.set(0x3000, 0, 0x4003);  // nothing in it
    memory.set(0x3000, 1, 0x5003);
    memory.set(0x3000, 2, 0x12'3001);    // a block whose address is none of a block
    memory.set(0x5000, 7, 0x4000'0f41);  // a page of AArch64 has type 3
    memory.set(0x5000, 8, 0x4000'0f47);
    const KernelTables tables = KernelTables::read(memory, mali::Format::kAarch64_4k, 48, Pa{0x1000});
    CHECK(tables.empty_tables() == std::vector<KernelEntry>{{2, Va{0}, 0x4003}});
    CHECK(tables.invalid_entries() ==
          std::vector<KernelEntry>{{2, Va{0x40'0000}, 0x12'3001}, {3, Va{0x20'7000}, 0x4000'0f41}});
    CHECK(tables.leaves().size() == 1);
}

TEST_CASE("an entry that points to no memory is named with its way down") {
    MadeUpTables memory;
    memory.set(0x1000, 0, 0x2003);
    memory.set(0x2000, 1, 0x7'7000'0003);
    CHECK_THROWS_WITH_AS(static_cast<void>(KernelTables::read(memory, mali::Format::kAarch64_4k, 48, Pa{0x1000})),
                         doctest::Contains("level 1 entry of VA 0x40000000, 0x770000003"), ProbeError);
    // Not looked at: outside of the range.
    CHECK(
        KernelTables::read(memory, mali::Format::kAarch64_4k, 48, Pa{0x1000}, {Va{0}, Va{0x4000'0000}}).table_count() ==
        2);
}

TEST_CASE("a leaf is told in a line") {
    MirrorTables ours(kPanfrost);
    ours.map(Va{0x20'0000}, run_of(0x4660'0000, 512), kReadOnly);
    CHECK(to_string(ours.tables().leaves().front()) == "0x200000 2M -> 0x46600000 r-- uncached 0x60000046600241");
}

}  // namespace granule::kernel_test
