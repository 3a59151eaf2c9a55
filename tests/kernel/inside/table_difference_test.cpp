#include "tests/kernel/inside/table_difference.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "allocator/leaf_layout.hpp"
#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/page_table.hpp"
#include "tests/kernel/inside/kernel_tables.hpp"
#include "tests/kernel/inside/mirror_tables.hpp"
#include "tests/kernel/inside/table_reader.hpp"

namespace granule::kernel_test {
namespace {

constexpr mali::PageTableConfig kConfig{mali::Format::kAarch64_4k, 48, 40, kLeaves4K2M, false};
constexpr Va kPages{0x1000};
constexpr Va kBlocks{0x40'0000};

struct Made {
    std::vector<Pa> pages{Pa{0x4123'4000}, Pa{0x4123'5000}, Pa{0x4999'9000}};
    mali::LeafAttributes page_attributes;
    mali::LeafAttributes block_attributes;
    LeafPolicy policy = LeafPolicy::kLargest;
    mali::PageTableConfig config = kConfig;

    [[nodiscard]] KernelTables tables() const {
        MirrorTables made(config);
        std::vector<Pa> block;
        for (std::uint64_t page = 0; page < 1024; ++page) {
            block.emplace_back(0x4660'0000 + page * kPageBytes);
        }
        made.map(kBlocks, block, block_attributes, policy);
        made.map(kPages, pages, page_attributes, policy);
        return made.tables();
    }
};

// Where the difference is that `change` makes.
template <class Change>
std::optional<std::pair<unsigned, Va>> after(Change&& change) {
    Made wrong;
    std::forward<Change>(change)(wrong);
    const std::optional<TableDifference> difference = first_difference(Made{}.tables(), wrong.tables());
    return difference ? std::optional(std::pair(difference->level, difference->va)) : std::nullopt;
}

using At = std::pair<unsigned, Va>;

}  // namespace

TEST_CASE("trees that say the same are the same, wherever their tables lie") {
    CHECK(first_difference(Made{}.tables(), Made{}.tables()) == std::nullopt);
    MirrorTables other(kConfig);
    // Maps in another order: other addresses of tables, the same tree.
    const Made made;
    other.map(kPages, made.pages, {});
    std::vector<Pa> block;
    for (std::uint64_t page = 0; page < 1024; ++page) {
        block.emplace_back(0x4660'0000 + page * kPageBytes);
    }
    other.map(kBlocks, block, {});
    CHECK(first_difference(made.tables(), other.tables()) == std::nullopt);
}

TEST_CASE("every bit of a leaf counts") {
    CHECK(after([](Made& made) { made.page_attributes.write = false; }) == At{3, kPages});
    CHECK(after([](Made& made) { made.page_attributes.execute = true; }) == At{3, kPages});
    CHECK(after([](Made& made) { made.page_attributes.privileged = true; }) == At{3, kPages});
    CHECK(after([](Made& made) { made.page_attributes.memory = mali::MemoryType::kUncached; }) == At{3, kPages});
    CHECK(after([](Made& made) { made.block_attributes.memory = mali::MemoryType::kDevice; }) == At{2, kBlocks});
    CHECK(after([](Made& made) { made.pages[2] = Pa{0x4999'8000}; }) == At{3, kPages + 2 * kPageBytes});
}

TEST_CASE("a leaf too many, a leaf too few and other leaf sizes are differences") {
    CHECK(after([](Made& made) { made.pages.pop_back(); }) == At{3, kPages + 2 * kPageBytes});
    CHECK(after([](Made& made) { made.pages.emplace_back(0x1000); }) == At{3, kPages + 3 * kPageBytes});
    CHECK(after([](Made& made) { made.policy = LeafPolicy::kPage; }) == At{2, kBlocks});
}

TEST_CASE("table entries differ in every bit but the address") {
    CHECK(after([](Made& made) { made.config.coherent_walk = true; }) == At{0, Va{0}});
}

TEST_CASE("other formats and other start levels differ at the root") {
    CHECK(after([](Made& made) { made.config.format = mali::Format::kMaliLpae; }) == At{0, Va{0}});
    CHECK(after([](Made& made) { made.config.va_bits = 39; }) == At{0, Va{0}});
}

TEST_CASE("the picture names the way down and the fields that differ") {
    const KernelTables right = Made{}.tables();
    Made made;
    made.page_attributes.write = false;
    made.page_attributes.execute = true;
    const KernelTables wrong = made.tables();
    const std::string seen = picture(first_difference(right, wrong).value(), right, wrong);
    CHECK(seen.find("level 3, VA 0x1000\n") != std::string::npos);
    CHECK(seen.find("L2[0]  kernel 0x8000008000") != std::string::npos);
    CHECK(seen.find("kernel 0x60000041234f47  leaf of 0x1000 at 0x41234000\n") != std::string::npos);
    CHECK(seen.find("bits 54:53 (execute never): kernel 0x3, ours 0x0\n") != std::string::npos);
    CHECK(seen.find("bit 7 (access: write, or read-only): kernel 0x0, ours 0x1\n") != std::string::npos);
    CHECK(seen.find("bit 6") == std::string::npos);
}

}  // namespace granule::kernel_test
