#include "mali/lock_region.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cstdint>
#include <random>

using namespace granule;
using namespace granule::mali;

namespace {

// The least naturally aligned power of two, from `smallest_log2` up, that covers the request: by trying them all.
VaRange naive(VaRange request, unsigned smallest_log2) {
    for (unsigned log2 = smallest_log2; log2 < kMaxVaBits; ++log2) {
        const std::uint64_t bytes = std::uint64_t{1} << log2;
        const std::uint64_t start = request.start.raw() / bytes * bytes;
        if (request.end.raw() <= start + bytes) {
            return {Va{start}, Va{start + bytes}};
        }
    }
    return {Va{0}, Va{kMaxVaEnd}};
}

void check(VaRange request, unsigned smallest_log2) {
    const LockRegion region = lock_region(request, smallest_log2);
    const bool right = region.locked == naive(request, smallest_log2) && region.locked.contains(request) &&
                       locked_by(region.lockaddr) == region.locked && std::has_single_bit(region.locked.size()) &&
                       region.locked.is_aligned(region.locked.size());
    if (!right) {
        CAPTURE(request.start.raw());
        CAPTURE(request.end.raw());
        CAPTURE(smallest_log2);
        CAPTURE(region.lockaddr);
        CAPTURE(region.locked.start.raw());
        CAPTURE(region.locked.end.raw());
        FAIL("not the least aligned region that covers the request");
    }
}

}  // namespace

TEST_CASE("the region is the least naturally aligned one that covers the request: every run of 64 pages") {
    for (const unsigned smallest : {kSmallestLockMidgardHardware, kSmallestLockLog2}) {
        for (std::uint64_t start = 0; start < 64; ++start) {
            for (std::uint64_t end = start + 1; end <= 64; ++end) {
                check({Va{start * kPageBytes}, Va{end * kPageBytes}}, smallest);
            }
        }
    }
}

TEST_CASE("the region is the least naturally aligned one that covers the request: random ranges of all magnitudes") {
    constexpr std::uint64_t kSeed = 20;
    std::mt19937_64 random(kSeed);
    CAPTURE(kSeed);
    for (int i = 0; i < 20000; ++i) {
        const std::uint64_t start = random() >> (16 + random() % 36) & ~(kPageBytes - 1);
        const std::uint64_t room = (kMaxVaEnd - start) / kPageBytes;
        const std::uint64_t pages = 1 + (random() >> (random() % 63)) % room;
        check({Va{start}, Va{start + pages * kPageBytes}}, random() % 2 == 0 ? 12 : 15);
    }
}

TEST_CASE("a whole space is one region, and so is everything") {
    const VaRange all{Va{0}, Va{kMaxVaEnd}};
    CHECK(lock_region(all).locked == all);
    CHECK(lock_region(all).lockaddr == 0x2f);
    CHECK(kLockEverything.lockaddr == 0x3f);
    CHECK(locked_by(kLockEverything.lockaddr) == all);
    CHECK(lock_region({Va{kMaxVaEnd - kPageBytes}, Va{kMaxVaEnd}}).locked.end == Va{kMaxVaEnd});
}

TEST_CASE("a page that straddles the middle of the space locks all of it") {
    const Va middle{kMaxVaEnd / 2};
    CHECK(lock_region({middle - kPageBytes, middle + kPageBytes}).locked.size() == kMaxVaEnd);
}

TEST_CASE("the hardware ignores address bits inside the region") {
    CHECK(locked_by(0x200400e) == VaRange{Va{0x2000000}, Va{0x2008000}});
    CHECK(locked_by(0x200000e) == VaRange{Va{0x2000000}, Va{0x2008000}});
}

TEST_CASE("Midgard's hardware locks a single page where the kernel locks eight") {
    const VaRange page{Va{0x2003000}, Va{0x2004000}};
    CHECK(lock_region(page, kSmallestLockMidgardHardware).locked == page);
    CHECK(lock_region(page, kSmallestLockMidgardHardware).lockaddr == 0x200300b);
    CHECK(lock_region(page).locked == VaRange{Va{0x2000000}, Va{0x2008000}});
}
