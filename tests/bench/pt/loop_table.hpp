// Page tables as one writes them without thinking twice, in the Mali format: a walk from the root for every table, then a
// loop that looks at each entry and writes it. Nothing is counted beside a table, nothing is cached between calls.
//
// And the null subject. Thread-safety: none.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "tests/bench/harness/subject.hpp"
#include "tests/bench/harness/table_pool.hpp"

namespace granule::bench {

class LoopTable {
public:
    static constexpr const char* name = "plain loop";
    static constexpr Role kRole = Role::kPeer;
    static constexpr bool keeps_tables = true;

    explicit LoopTable(TablePool& pool) : pool_(pool), root_(static_cast<std::uint64_t*>(pool.take_zeroed())) {}

    bool map(std::uint64_t va, std::uint64_t pa, std::uint64_t page_size, std::uint64_t count) {
        const unsigned level = page_size == kPageSize ? 3 : 2;
        const std::uint64_t type = level == 3 ? kPage : kBlock;
        while (count > 0) {
            std::uint64_t* const table = table_at(va, level, true);
            for (std::size_t i = index(va, level); i < kEntries && count > 0; ++i, --count) {
                if (table[i] != 0) {
                    return false;
                }
                table[i] = pa | kAttributes | type;
                va += page_size;
                pa += page_size;
            }
        }
        return true;
    }

    bool unmap(std::uint64_t va, std::uint64_t page_size, std::uint64_t count) {
        const unsigned level = page_size == kPageSize ? 3 : 2;
        while (count > 0) {
            std::uint64_t* const table = table_at(va, level, false);
            if (table == nullptr) {
                return false;
            }
            for (std::size_t i = index(va, level); i < kEntries && count > 0; ++i, --count) {
                if (table[i] == 0) {
                    return false;
                }
                table[i] = 0;
                va += page_size;
            }
        }
        return true;
    }

    // Whole regions of 2 MiB, mapped or not; their tables go back.
    bool unmap_free(std::uint64_t va, std::uint64_t length) {
        for (const std::uint64_t end = va + length; va < end; va += kBlockSize) {
            std::uint64_t* const table = table_at(va, 2, false);
            if (table != nullptr) {
                std::uint64_t& entry = table[index(va, 2)];
                if ((entry & kTypeMask) == kTable) {
                    pool_.give(below(entry));
                }
                entry = 0;
            }
        }
        return true;
    }

    [[nodiscard]] std::uint64_t iova_to_phys(std::uint64_t va) const {
        const std::uint64_t* table = root_;
        for (unsigned level = 0; level < 4; ++level) {
            const std::uint64_t entry = table[index(va, level)];
            if (entry == 0) {
                return 0;
            }
            if (level == 3 || (entry & kTypeMask) == kBlock) {
                const std::uint64_t inside = (std::uint64_t{1} << shift(level)) - 1;
                return (entry & kAddress & ~inside) | (va & inside);
            }
            table = below(entry);
        }
        return 0;
    }

private:
    static constexpr std::uint64_t kPageSize = 4096;
    static constexpr std::uint64_t kBlockSize = std::uint64_t{2} << 20;
    static constexpr std::size_t kEntries = 512;
    static constexpr std::uint64_t kTypeMask = 3;
    static constexpr std::uint64_t kBlock = 1;
    static constexpr std::uint64_t kPage = 1;
    static constexpr std::uint64_t kTable = 3;
    static constexpr std::uint64_t kAttributes = 0x740;
    static constexpr std::uint64_t kAddress = 0xffff'ffff'f000;

    static constexpr unsigned shift(unsigned level) { return 39 - 9 * level; }
    static constexpr std::size_t index(std::uint64_t va, unsigned level) { return (va >> shift(level)) & 511; }
    // A table's physical address is its virtual one.
    static std::uint64_t* below(std::uint64_t entry) { return std::bit_cast<std::uint64_t*>(entry & kAddress); }

    // The table of `level` that `va` is in; nullptr if there is none and none is wanted.
    std::uint64_t* table_at(std::uint64_t va, unsigned level, bool make) {
        std::uint64_t* table = root_;
        for (unsigned above = 0; above < level; ++above) {
            std::uint64_t& entry = table[index(va, above)];
            if (entry == 0) {
                if (!make) {
                    return nullptr;
                }
                entry = reinterpret_cast<std::uint64_t>(pool_.take_zeroed()) | kTable;
            }
            table = below(entry);
        }
        return table;
    }

    TablePool& pool_;
    std::uint64_t* root_;
};

// The loop with nothing in it.
class NullTable {
public:
    static constexpr const char* name = "NULL";
    static constexpr Role kRole = Role::kNull;
    static constexpr bool keeps_tables = true;

    explicit NullTable(TablePool& /*pool*/) {}
    bool map(std::uint64_t va, std::uint64_t /*pa*/, std::uint64_t /*page_size*/, std::uint64_t /*count*/) {
        asm volatile("" : : "r"(va) : "memory");
        return true;
    }
    bool unmap(std::uint64_t va, std::uint64_t /*page_size*/, std::uint64_t /*count*/) {
        asm volatile("" : : "r"(va) : "memory");
        return true;
    }
    bool unmap_free(std::uint64_t /*va*/, std::uint64_t /*length*/) { return true; }
    [[nodiscard]] std::uint64_t iova_to_phys(std::uint64_t va) const { return va; }
};

}  // namespace granule::bench
