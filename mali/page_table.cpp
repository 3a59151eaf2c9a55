// The page table's own state: configuration, the pages that it owns, and its end.
#include "mali/page_table.hpp"

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/descriptor.hpp"
#include "mali/entry_run.hpp"
#include "mali/page_table_inside.hpp"
#include "mali/page_table_traversal.hpp"
#include "mali/result.hpp"
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
      last_va_((std::uint64_t{1} << config.va_bits) - 1),
      last_pa_((std::uint64_t{1} << config.pa_bits) - 1),
      start_level_(start_level(config.format, config.va_bits)),
      config_(config),
      root_(root),
      tables_(1) {
    if (!config.fast_paths) {
        config_.kept_tables = 0;
    }
    table_bits_ = encode_table(config.format, Pa{}, config.coherent_walk);
    const TableWindow window = memory.window();
    if (config.fast_paths && window.exists()) {
        has_window_ = true;
        is_coherent_ = window.coherent;
        entries_base_ = reinterpret_cast<std::uintptr_t>(window.entries) - window.first.raw();
        books_base_ =
            reinterpret_cast<std::uintptr_t>(window.books) - window.first.raw() / kPageBytes * sizeof(TableBook);
        walk_base_ = entries_base_ - table_bits_;
        walk_end_ = last_va_ + 1;
    }
}

Result<PageTable, TableError> PageTable::create(const PageTableConfig& config, TableMemory& memory) noexcept {
    if (!is_supported(config)) {
        return fail(TableError{TableError::Code::kBadConfig, Va{}, LeafSize::k4K, 0});
    }
    if (!memory.reserve(1)) {
        return fail(TableError{TableError::Code::kOutOfTableMemory, Va{}, LeafSize::k4K, 1});
    }
    const TablePage root = memory.take();
    // The GPU may walk it as soon as TRANSTAB names it: holes, then.
    clear_around(root, 0, 0);
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
        has_window_ = other.has_window_;
        is_coherent_ = other.is_coherent_;
        entries_base_ = other.entries_base_;
        books_base_ = other.books_base_;
        table_bits_ = other.table_bits_;
        walk_base_ = other.walk_base_;
        walk_end_ = std::exchange(other.walk_end_, {});
        last_va_ = other.last_va_;
        last_pa_ = other.last_pa_;
        config_ = other.config_;
        root_ = std::exchange(other.root_, {});
        start_level_ = other.start_level_;
        tables_ = std::exchange(other.tables_, 0);
        kept_ = std::exchange(other.kept_, 0);
        leaves_ = std::exchange(other.leaves_, {});
        reserved_ = std::exchange(other.reserved_, 0);
        emptied_ = std::exchange(other.emptied_, 0);
        last_emptied_ = std::exchange(other.last_emptied_, {});
        passed_ = std::exchange(other.passed_, {});
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
        memory_->give_back(page_at(pop_emptied()));
        ++reserved_;
    }
    assert(reserved_ >= credit());
    if (const std::uint64_t spare = reserved_ - credit(); spare != 0) {
        memory_->unreserve(spare);
        reserved_ -= spare;
    }
}

void PageTable::release() noexcept {
    if (memory_ == nullptr) {
        return;
    }
    leaves_ = {};  // and with them their credit
    for_each_table(*memory_, root_, start_level_, [this](const TablePage& table, unsigned /*level*/, Va /*start*/) {
        const bool zeros = table.book->is_empty();
        *table.book = {};
        if (config_.fast_paths) {
            table.book->stale = !zeros;
        } else {
            clear_entries(table.entries, kTableEntries);
        }
        memory_->give_back(table);
        ++reserved_;
    });
    settle();
    memory_ = nullptr;
}

}  // namespace granule::mali
