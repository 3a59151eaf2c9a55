#include "src/bo_size_class.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <set>

namespace granule::test {
namespace {

constexpr std::uint64_t kPages = 1 << 17;  // 512 MiB

TEST_CASE("a size class holds what was asked for, with less than an eighth more than its whole pages") {
    std::uint64_t worst = 0;
    for (std::uint64_t pages = 1; pages <= kPages; ++pages) {
        const std::uint64_t given = size_class_of(pages * kPageBytes);
        const std::uint64_t more = given / kPageBytes - pages;
        if (given % kPageBytes != 0 || given < pages * kPageBytes || (more != 0 && 8 * more >= pages)) {
            CAPTURE(pages);
            FAIL("not a class of it");
        }
        worst = std::max(worst, 1000 * more / pages);
    }
    CHECK(worst >= 120);  // the bound is tight: 12.5 %
}

TEST_CASE("bytes that begin a page count as the whole page") {
    for (const std::uint64_t pages : {1U, 7U, 8U, 9U, 100U, 4096U}) {
        CHECK(size_class_of(pages * kPageBytes - 1) == size_class_of(pages * kPageBytes));
        CHECK(size_class_of((pages - 1) * kPageBytes + 1) == size_class_of(pages * kPageBytes));
    }
    CHECK(size_class_of(1) == kPageBytes);
}

TEST_CASE("size classes ascend, a class is its own, and an octave has eight of them") {
    std::uint64_t last = 0;
    std::set<std::uint64_t> classes;
    for (std::uint64_t pages = 1; pages <= kPages; ++pages) {
        const std::uint64_t given = size_class_of(pages * kPageBytes);
        if (given < last || size_class_of(given) != given) {
            CAPTURE(pages);
            FAIL("not in order");
        }
        last = given;
        classes.insert(given);
    }
    // 1 to 8 pages, then eight for each doubling up to 2^17.
    CHECK(classes.size() == 8 + 8 * 14);
}

TEST_CASE("powers of two are classes, up to the largest address space") {
    for (unsigned log2 = 12; log2 <= kMaxVaBits; ++log2) {
        CHECK(size_class_of(std::uint64_t{1} << log2) == std::uint64_t{1} << log2);
    }
    CHECK(size_class_of(kMaxVaEnd - 1) == kMaxVaEnd);
}

}  // namespace
}  // namespace granule::test
