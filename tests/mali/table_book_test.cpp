// TableBook against an array of 512 flags: every run of a table.
#include "mali/table_book.hpp"

#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <random>

namespace granule::mali {
namespace {

using Flags = std::array<bool, kTableEntries>;

// The first in the run that is `wanted`, or count.
[[nodiscard]] std::size_t first_of(const Flags& flags, std::size_t first, std::size_t count, bool wanted) {
    std::size_t i = 0;
    while (i < count && flags.at(first + i) != wanted) {
        ++i;
    }
    return i;
}

[[nodiscard]] std::size_t live_in(const TableBook& book) {
    std::size_t bits = 0;
    for (const std::uint64_t word : book.live) {
        bits += static_cast<std::size_t>(std::popcount(word));
    }
    return bits;
}

TEST_CASE("a book finds the first live entry and the first hole of every run") {
    std::mt19937_64 random(9);
    for (const std::uint64_t one_in : {2U, 40U, 400U}) {
        TableBook sparse;
        TableBook dense;
        Flags flags{};
        for (std::size_t i = 0; i < kTableEntries; ++i) {
            flags.at(i) = random() % one_in == 0;
            if (flags.at(i)) {
                sparse.set(i);
            } else {
                dense.set(i);
            }
        }
        for (std::size_t first = 0; first < kTableEntries; ++first) {
            for (std::size_t count = 1; first + count <= kTableEntries; ++count) {
                const std::size_t expected = first_of(flags, first, count, true);
                if (sparse.first_live(first, count) != expected || dense.first_hole(first, count) != expected) {
                    FAIL("of ", count, " from ", first);
                }
            }
        }
    }
}

TEST_CASE("a book sets and clears exactly the run") {
    TableBook full;
    full.set(0, kTableEntries);
    CHECK(full.is_full());
    CHECK(live_in(full) == kTableEntries);
    for (std::size_t first = 0; first < kTableEntries; ++first) {
        for (std::size_t count = 1; first + count <= kTableEntries; count += 1 + count / 7) {
            TableBook set;
            TableBook cleared = full;
            set.set(first, count);
            cleared.clear(first, count);
            const bool right = live_in(set) == count && set.first_hole(first, count) == count &&
                               live_in(cleared) == kTableEntries - count && cleared.first_live(first, count) == count;
            if (!right || set.is_full() != (count == kTableEntries) || cleared.is_empty() != set.is_full()) {
                FAIL("of ", count, " from ", first);
            }
            set.clear(first, count);
            if (set != TableBook{}) {
                FAIL("set and cleared: ", count, " from ", first);
            }
        }
    }
}

TEST_CASE("the bits of a run within a word are those that setting it sets") {
    for (std::size_t first = 0; first < kTableEntries; ++first) {
        for (std::size_t count = 1; first % TableBook::kWordBits + count <= TableBook::kWordBits; ++count) {
            TableBook book;
            TableBook wanted;
            book.word_of(first) |= TableBook::mask_of(first, count);
            wanted.set(first, count);
            if (book != wanted) {
                FAIL("of ", count, " from ", first);
            }
        }
    }
}

TEST_CASE("a book counts the entries that point to tables, which are live as any") {
    TableBook book;
    book.set(3);
    book.add_tables(60, 10);
    book.add_tables(511, 1);
    CHECK(book.tables == 11);
    CHECK(live_in(book) == 12);
    book.remove_tables(60, 10);
    CHECK(book.tables == 1);
    CHECK(book.first_live(4, 500) == 500);
    book.remove_tables(511, 1);
    book.clear(3);
    CHECK(book == TableBook{});
}

TEST_CASE("a book knows its entries one by one") {
    TableBook book;
    for (std::size_t i = 0; i < kTableEntries; ++i) {
        book.set(i);
        const bool set = book.test(i) && live_in(book) == 1;
        book.clear(i);
        if (!set || book.test(i) || !book.is_empty()) {
            FAIL("entry ", i);
        }
    }
}

}  // namespace
}  // namespace granule::mali
