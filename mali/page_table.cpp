// The page table's own state: configuration, the pages that it owns, and its end.
#include "mali/page_table.hpp"

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/descriptor.hpp"
#include "mali/page_table_traversal.hpp"
#include "mali/result.hpp"
#include "mali/table_entry.hpp"
#include "mali/table_memory.hpp"

namespace granule::mali {

namespace {

// The least that any Mali has. Below it the AArch64 tree would begin at level 2, and 1 GiB blocks would not exist.
constexpr unsigned kMinVaBits = 32;
constexpr unsigned kMinPaBits = 32;
constexpr unsigned kMaxPaBitsMali = 40;  // Linux: ARM_MALI_LPAE takes oas up to 40
constexpr unsigned kMaxPaBitsAarch64 = 48;

[[nodiscard]] bool is_supported(const PageTableConfig& config) noexcept {
    const bool mali = config.format == Format::kMaliLpae;
    if (!mali && config.format != Format::kAarch64_4k) {
        return false;
    }
    const unsigned max_pa_bits = mali ? kMaxPaBitsMali : kMaxPaBitsAarch64;
    return config.va_bits >= kMinVaBits && config.va_bits <= kMaxVaBits && config.pa_bits >= kMinPaBits &&
           config.pa_bits <= max_pa_bits && (config.leaf_sizes & kPageBytes) != 0 &&
           (config.leaf_sizes & ~kLeaves4K2M1G) == 0;
}

}  // namespace

const char* to_string(TableError::Code code) noexcept {
    switch (code) {
        case TableError::Code::kBadConfig:
            return "no such page-table configuration";
        case TableError::Code::kBadLeafSize:
            return "leaf size is not configured";
        case TableError::Code::kMisaligned:
            return "address is not a multiple of the leaf size";
        case TableError::Code::kOutOfRange:
            return "run leaves the address space";
        case TableError::Code::kBadAttributes:
            return "neither read nor write";
        case TableError::Code::kEmpty:
            return "run is empty";
        case TableError::Code::kAlreadyMapped:
            return "a leaf is mapped there";
        case TableError::Code::kTableInTheWay:
            return "smaller leaves are mapped where the block would stand";
        case TableError::Code::kNotMapped:
            return "nothing is mapped there";
        case TableError::Code::kLeafWouldBeCut:
            return "the leaf there is larger than the request";
        case TableError::Code::kSmallerLeaves:
            return "the leaves there are smaller than the request";
        case TableError::Code::kOutOfTableMemory:
            return "out of page-table memory";
    }
    return "unknown page-table error";
}

PageTable::PageTable(const PageTableConfig& config, TableMemory& memory, TablePage root) noexcept
    : memory_(&memory),
      config_(config),
      root_(root),
      start_level_(start_level(config.format, config.va_bits)),
      tables_(1) {}

Result<PageTable, TableError> PageTable::create(const PageTableConfig& config, TableMemory& memory) noexcept {
    if (!is_supported(config)) {
        return fail(TableError{TableError::Code::kBadConfig, Va{}, LeafSize::k4K, 0});
    }
    if (!memory.reserve(1)) {
        return fail(TableError{TableError::Code::kOutOfTableMemory, Va{}, LeafSize::k4K, 1});
    }
    const TablePage root = memory.take();
    // The GPU may walk it as soon as TRANSTAB names it: holes, then.
    memory.make_visible(root.entries, kTableEntries);
    return PageTable(config, memory, root);
}

PageTable::PageTable(PageTable&& other) noexcept {
    *this = std::move(other);
}

PageTable& PageTable::operator=(PageTable&& other) noexcept {
    if (this != &other) {
        release();
        memory_ = std::exchange(other.memory_, nullptr);
        config_ = other.config_;
        root_ = std::exchange(other.root_, {});
        start_level_ = other.start_level_;
        tables_ = std::exchange(other.tables_, 0);
        leaves_ = std::exchange(other.leaves_, {});
        reserved_ = std::exchange(other.reserved_, 0);
        emptied_ = std::exchange(other.emptied_, 0);
        last_emptied_ = std::exchange(other.last_emptied_, {});
    }
    return *this;
}

PageTable::~PageTable() {
    release();
}

Result<void, TableError> PageTable::hold(std::uint64_t pages) noexcept {
    if (pages == 0) {
        return {};
    }
    if (!memory_->reserve(pages)) {
        return fail(TableError{TableError::Code::kOutOfTableMemory, Va{}, LeafSize::k4K, pages});
    }
    reserved_ += pages;
    return {};
}

void PageTable::settle() noexcept {
    while (emptied_ != 0) {
        memory_->give_back(pop_emptied());
        ++reserved_;
    }
    assert(reserved_ >= credit());
    if (const std::uint64_t spare = reserved_ - credit(); spare != 0) {
        memory_->unreserve(spare);
        reserved_ -= spare;
    }
}

// Emptied tables come last: until the caller's invalidation a walker of the GPU may still pass through them.
TablePage PageTable::take_table() noexcept {
    ++tables_;
    if (reserved_ != 0) {
        --reserved_;
        return memory_->take();
    }
    return pop_emptied();
}

void PageTable::put_emptied(const TablePage& table) noexcept {
    assert(table.book->live == 0);
    table.book->next_emptied = last_emptied_;
    last_emptied_ = table.pa;
    ++emptied_;
    --tables_;
}

TablePage PageTable::pop_emptied() noexcept {
    assert(emptied_ != 0);
    const TablePage table = memory_->table_at(last_emptied_);
    last_emptied_ = std::exchange(table.book->next_emptied, Pa{});
    --emptied_;
    return table;
}

std::uint64_t& PageTable::count_of(LeafSize size) noexcept {
    switch (size) {
        case LeafSize::k1G:
            return leaves_.blocks_1g;
        case LeafSize::k2M:
            return leaves_.blocks_2m;
        case LeafSize::k4K:
            break;
    }
    return leaves_.pages_4k;
}

void PageTable::release() noexcept {
    if (memory_ == nullptr) {
        return;
    }
    leaves_ = {};  // and with them their credit
    for_each_table(*memory_, root_, start_level_, [this](const TablePage& table, unsigned /*level*/, Va /*start*/) {
        for (std::size_t i = 0; i < kTableEntries; ++i) {
            store_entry(table.entries[i], 0);
        }
        *table.book = {};
        memory_->give_back(table);
        ++reserved_;
    });
    settle();
    memory_ = nullptr;
}

}  // namespace granule::mali
