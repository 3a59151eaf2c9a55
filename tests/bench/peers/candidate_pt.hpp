// granule's page table as section B of a harness calls it, over the harness's pool (TablePool, included before this).
//
// Empty tables of pages are kept in the tree (PageTableConfig::kept_tables), as Linux's io-pgtable does and the drivers on
// top of it; the others are held until it settles, as in a transaction, and used again by the maps that follow. The pool
// hears of both in unmap_free, which prunes and settles. So there are warm rows. In rows of fresh tables every page comes out
// of the pool, with whatever stands in it.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "mali/address.hpp"
#include "mali/page_table.hpp"
#include "mali/table_memory.hpp"

// `kFastPaths`: as the page table is, or as it is with them switched off.
template <bool kFastPaths>
class GranulePageTable {
public:
    static constexpr const char* name = kFastPaths ? "granule" : "granule, plain";
    static constexpr bool keeps_tables = true;

    explicit GranulePageTable(TablePool& pool)
        : memory_(pool), table_(*granule::mali::PageTable::create(config(), memory_)) {}

    bool map(std::uint64_t va, std::uint64_t pa, std::uint64_t page_size, std::uint64_t count) {
        return table_.map(run(va, page_size, count), granule::Pa{pa}, {}).has_value();
    }
    bool unmap(std::uint64_t va, std::uint64_t page_size, std::uint64_t count) {
        return table_.unmap(run(va, page_size, count)).has_value();
    }
    bool unmap_free(std::uint64_t va, std::uint64_t length) {
        bool done = true;
        const granule::Va start{va};
        for (const std::uint64_t end = va + length; va < end; va += granule::kBlock2MBytes) {
            if (table_.unmap(run(va, granule::kPageBytes, granule::mali::kTableEntries))) {
                continue;
            }
            runs_.clear();
            table_.visit({granule::Va{va}, granule::Va{va + granule::kBlock2MBytes}},
                         [this](const granule::mali::VisitedRun& visited) { runs_.push_back(visited.leaves); });
            for (const granule::LeafRun& leaves : runs_) {
                done = table_.unmap(leaves) && done;
            }
        }
        static_cast<void>(table_.prune({start, start + length}));
        table_.settle();
        return done;
    }
    [[nodiscard]] std::uint64_t iova_to_phys(std::uint64_t va) const {
        return table_.translate(granule::Va{va}).pa.raw();
    }

    // As a driver would: out of its own lists, some thousands at a time.
    bool map_batch(const std::uint64_t* va, const std::uint64_t* pa, std::uint64_t count) {
        for (std::uint64_t first = 0; first < count; first += kBatch) {
            const std::uint64_t pages = std::min(kBatch, count - first);
            for (std::uint64_t i = 0; i < pages; ++i) {
                mappings_[i] = {granule::Va{va[first + i]}, granule::Pa{pa[first + i]}};
            }
            if (!table_.map_pages(std::span(mappings_).first(pages), {})) {
                return false;
            }
        }
        return true;
    }
    bool unmap_batch(const std::uint64_t* va, std::uint64_t count) {
        for (std::uint64_t first = 0; first < count; first += kBatch) {
            const std::uint64_t pages = std::min(kBatch, count - first);
            for (std::uint64_t i = 0; i < pages; ++i) {
                vas_[i] = granule::Va{va[first + i]};
            }
            if (!table_.unmap_pages(std::span(vas_).first(pages))) {
                return false;
            }
        }
        return true;
    }

private:
    static constexpr std::uint64_t kBatch = 4096;

    class Memory final : public granule::mali::TableMemory {
    public:
        explicit Memory(TablePool& pool) : pool_(pool), books_(make_books()) {
            void* const page = pool_.take();
            base_ = static_cast<std::uint64_t*>(page) - std::size_t{pool_.index(page)} * granule::mali::kTableEntries;
            pool_.give(page);
        }
        // The pool ends the program where it is empty. What blocks set aside (a page each) is more than it has, and is
        // not taken here.
        bool reserve(std::uint64_t /*pages*/) noexcept override { return true; }
        void unreserve(std::uint64_t /*pages*/) noexcept override {}
        granule::mali::TablePage take() noexcept override {
            const granule::mali::TablePage page = page_at(pool_.index(pool_.take()));
            page.book->stale = true;
            return page;
        }
        [[nodiscard]] granule::mali::TablePage upcoming() const noexcept override {
            if (pool_.used_bytes() == TablePool::kBytes) {
                return {};
            }
            void* const page = pool_.take();
            pool_.give(page);
            return page_at(pool_.index(page));
        }
        void give_back(granule::mali::TablePage page) noexcept override { pool_.give(page.entries); }
        [[nodiscard]] granule::mali::TablePage table_at(granule::Pa table) const noexcept override {
            return page_at((table - first()) / TablePool::kPage);
        }
        [[nodiscard]] granule::mali::TableWindow window() const noexcept override {
            return {base_, books_.get(), first(), true};
        }
        void make_visible(const std::uint64_t* /*first*/, std::size_t /*count*/) noexcept override {}

    private:
        struct Free {
            void operator()(granule::mali::TableBook* books) const noexcept { std::free(books); }
        };
        using Books = std::unique_ptr<granule::mali::TableBook, Free>;

        // In pages as large as those of the pool: as a kernel sees all of its memory.
        static Books make_books() {
            constexpr std::size_t kBooks = TablePool::kBytes / TablePool::kPage;
            constexpr std::size_t kBytes = (kBooks * sizeof(granule::mali::TableBook) + granule::kBlock2MBytes - 1) &
                                           ~(granule::kBlock2MBytes - 1);
            void* const bytes = std::aligned_alloc(granule::kBlock2MBytes, kBytes);
            if (bytes == nullptr) {
                std::abort();
            }
            madvise(bytes, kBytes, MADV_HUGEPAGE);
            auto* const books = static_cast<granule::mali::TableBook*>(bytes);
            std::uninitialized_value_construct_n(books, kBooks);
            return Books(books);
        }

        // Virtual is physical here.
        [[nodiscard]] granule::Pa first() const noexcept {
            return granule::Pa{reinterpret_cast<std::uintptr_t>(base_)};
        }
        [[nodiscard]] granule::mali::TablePage page_at(std::size_t page) const noexcept {
            return {base_ + page * granule::mali::kTableEntries, books_.get() + page,
                    first() + page * TablePool::kPage};
        }

        TablePool& pool_;
        std::uint64_t* base_ = nullptr;
        Books books_;
    };

    static granule::mali::PageTableConfig config() {
        granule::mali::PageTableConfig config;
        config.fast_paths = kFastPaths;
        config.kept_tables = UINT64_MAX;
        return config;
    }
    static granule::LeafRun run(std::uint64_t va, std::uint64_t page_size, std::uint64_t count) {
        return {granule::Va{va}, page_size == granule::kPageBytes ? granule::LeafSize::k4K : granule::LeafSize::k2M,
                count};
    }

    Memory memory_;
    granule::mali::PageTable table_;
    std::vector<granule::LeafRun> runs_;
    std::array<granule::mali::PageMapping, kBatch> mappings_;
    std::array<granule::Va, kBatch> vas_;
};

using CandidatePt = GranulePageTable<true>;
using CandidatePtPlain = GranulePageTable<false>;
