// What PageTable keeps beside a table, so that it need not read the table's 512 entries back.
//
//      entries  [ leaf | leaf |  0  | table |  0  |  0  | ... ]      4 KiB, what the GPU reads
//      live        1      1      0     1       0     0               512 bits: one line of the CPU's caches
//
// Whether a run is all holes or all leaves, and whether a table has become empty, are questions to eight words. They also
// tell what the entries cannot yet: which pages a batch has claimed before it writes anything (page_table_batch.cpp).
//
// While a table is in the tree, bit i is set exactly where entry i is not 0. Outside of it `live` is empty, and `tables` 0.
//
// Pure functions, one caller at a time; readers of the tables on other threads don't look here.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "mali/address.hpp"

namespace granule::mali {

inline constexpr std::size_t kTableEntries = 512;

// 128 bytes a page of 4 KiB; all zeros are a default one. The second line is touched when tables come and go, and where
// blocks are unmapped.
struct alignas(64) TableBook {
    static constexpr std::size_t kWordBits = 64;

    std::array<std::uint64_t, kTableEntries / kWordBits> live{};

    std::uint16_t tables = 0;  // entries that are not leaves, but point to tables
    Pa next;                   // of a table in one of PageTable's lists: the next one
    Va start;                  // of a table that a batch has added and not yet published: what it spans
    unsigned level = 0;        // and at which level
    // Of a table that a batch has added: it comes from the list of emptied tables.
    bool was_emptied = false;
    // The page does not read as zeros: who puts it to use overwrites all of it first. The one thing that outlives the
    // time in the tree.
    bool stale = false;

    constexpr bool operator==(const TableBook&) const noexcept = default;

    [[nodiscard]] constexpr bool is_empty() const noexcept {
        return (live[0] | live[1] | live[2] | live[3] | live[4] | live[5] | live[6] | live[7]) == 0;
    }
    [[nodiscard]] constexpr bool is_full() const noexcept {
        return (live[0] & live[1] & live[2] & live[3] & live[4] & live[5] & live[6] & live[7]) == ~std::uint64_t{0};
    }

    [[nodiscard]] constexpr bool test(std::size_t index) const noexcept {
        return (live[index / kWordBits] >> (index % kWordBits) & 1) != 0;
    }
    // Entries that point to tables.
    constexpr void add_tables(std::size_t first, std::size_t count) noexcept {
        set(first, count);
        tables = static_cast<std::uint16_t>(tables + count);
    }
    constexpr void remove_tables(std::size_t first, std::size_t count) noexcept {
        clear(first, count);
        tables = static_cast<std::uint16_t>(tables - count);
    }
    constexpr void set(std::size_t index) noexcept { live[index / kWordBits] |= bit(index); }
    constexpr void clear(std::size_t index) noexcept { live[index / kWordBits] &= ~bit(index); }

    // For a caller who knows that the run is not empty and lies within one word: that word, and the bits of the run in it.
    [[nodiscard]] constexpr std::uint64_t& word_of(std::size_t index) noexcept { return live[index / kWordBits]; }
    [[nodiscard]] static constexpr std::uint64_t mask_of(std::size_t first, std::size_t count) noexcept {
        assert(count > 0 && first % kWordBits + count <= kWordBits);
        return ~std::uint64_t{0} >> (kWordBits - count) << (first % kWordBits);
    }

    // Runs [first, first + count) that are not empty and lie within the table.
    constexpr void set(std::size_t first, std::size_t count) noexcept {
        each_word(first, count, [this](std::size_t word, std::uint64_t mask) {
            live[word] |= mask;
            return true;
        });
    }
    constexpr void clear(std::size_t first, std::size_t count) noexcept {
        each_word(first, count, [this](std::size_t word, std::uint64_t mask) {
            live[word] &= ~mask;
            return true;
        });
    }
    // The first of the run that is live, or `count`.
    [[nodiscard]] constexpr std::size_t first_live(std::size_t first, std::size_t count) const noexcept {
        return first_of(first, count, 0);
    }
    // The first of the run that is not, or `count`.
    [[nodiscard]] constexpr std::size_t first_hole(std::size_t first, std::size_t count) const noexcept {
        return first_of(first, count, ~std::uint64_t{0});
    }

private:
    [[nodiscard]] static constexpr std::uint64_t bit(std::size_t index) noexcept {
        return std::uint64_t{1} << (index % kWordBits);
    }

    // The words that hold the run, with a mask of its bits there, until `visit` returns false. Mostly it is one.
    template <class Visit>
    static constexpr void each_word(std::size_t first, std::size_t count, Visit visit) noexcept {
        assert(count > 0 && first + count <= kTableEntries);
        const std::size_t end = first + count;
        std::size_t word = first / kWordBits;
        const std::size_t last = (end - 1) / kWordBits;
        std::uint64_t mask = ~std::uint64_t{0} << (first % kWordBits);
        const std::uint64_t last_mask = ~std::uint64_t{0} >> (kWordBits - 1 - (end - 1) % kWordBits);
        while (word != last) {
            if (!visit(word, mask)) {
                return;
            }
            mask = ~std::uint64_t{0};
            ++word;
        }
        visit(word, mask & last_mask);
    }

    [[nodiscard]] constexpr std::size_t first_of(std::size_t first, std::size_t count,
                                                 std::uint64_t flip) const noexcept {
        std::size_t found = count;
        each_word(first, count, [&](std::size_t word, std::uint64_t mask) {
            const std::uint64_t hits = (live[word] ^ flip) & mask;
            if (hits != 0) {
                found = word * kWordBits + static_cast<std::size_t>(std::countr_zero(hits)) - first;
            }
            return hits == 0;
        });
        return found;
    }
};

}  // namespace granule::mali
