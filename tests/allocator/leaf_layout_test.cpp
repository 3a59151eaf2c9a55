// Which leaves a mapping becomes: examples whose answers are known from the kernel.
#include "allocator/leaf_layout.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <string>

#include "tests/support/fake_layout.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kMi = std::uint64_t{1} << 20;

// "4Kx3 2Mx1", with neighbouring runs of one size counted together.
std::string leaves(std::uint64_t start, std::uint64_t bytes, std::uint64_t offset, FakeLayout::Kind kind,
                   LeafSizes sizes = kLeaves4K2M1G, LeafPolicy policy = LeafPolicy::kLargest) {
    const FakeLayout layout(kind);
    Backing shows;
    shows.bo = BoId{1};
    shows.offset = BoOffset{offset};
    std::string out;
    std::uint64_t count = 0;
    LeafSize size = LeafSize::k4K;
    const auto finish = [&] {
        constexpr std::array<const char*, 3> kNames = {"4Kx", "2Mx", "1Gx"};
        if (count != 0) {
            out += (out.empty() ? "" : " ") + (kNames[static_cast<unsigned>(size)] + std::to_string(count));
        }
        count = 0;
    };
    Va next{start};
    for_each_leaf_run({Va{start}, Va{start + bytes}}, shows, layout, sizes, policy,
                      [&](const LeafRun& run, const Extent& extent) {
                          const Backing here = shows.advanced(run.start.raw() - start);
                          const auto pa = layout.pa_of(here, run.start.raw());
                          const bool pa_right = pa.has_value() ? extent.pa == Pa{*pa} : !extent.known;
                          const bool in_order = run.start == next && run.count != 0 && pa_right;
                          if (!in_order) {
                              FAIL_CHECK("a run at ", run.start.raw(), " with an extent at ", extent.pa.raw());
                          }
                          next = run.range().end;
                          if (run.size != size) {
                              finish();
                              size = run.size;
                          }
                          count += run.count;
                      });
    finish();
    CHECK(next == Va{start + bytes});
    return out;
}

TEST_CASE("a contiguous run becomes pages up to a 2 MiB boundary, blocks, and pages again") {
    using Kind = FakeLayout::Kind;
    // The example of the drivers' own comments on get_pgsize: 0x1fd000 + 0x604000.
    CHECK(leaves(0x1fd000, 0x604000, 0x1fd000, Kind::kContiguous) == "4Kx3 2Mx3 4Kx1");
    CHECK(leaves(0x3fe00000, 0x800000, 0x3fe00000, Kind::kContiguous, kLeaves4K2M) == "2Mx4");
    // The mixed range of the kernel's generic_pt tests.
    CHECK(leaves(0x3fe400000, 0x4c0600000 - 0x3fe400000, 0x3fe400000, Kind::kContiguous) == "2Mx14 1Gx3 2Mx3");
    CHECK(leaves(0, 2 * kMi - kPageBytes, 0, Kind::kContiguous) == "4Kx511");
}

TEST_CASE("memory that does not agree with the VA modulo a block's size has no such blocks") {
    using Kind = FakeLayout::Kind;
    CHECK(leaves(0, 4 * kMi, kPageBytes, Kind::kContiguous) == "4Kx1024");
    CHECK(leaves(0, 4 * kMi, 0, Kind::kOffPhase) == "4Kx1024");
    CHECK(leaves(0, 4 * kMi, 0, Kind::kScattered) == "4Kx1024");
    CHECK(leaves(kBlock1GBytes, kBlock1GBytes, 2 * kMi, Kind::kContiguous) == "2Mx512");
    CHECK(leaves(kPageBytes, 2 * kMi, 2 * kMi - kPageBytes, Kind::kContiguous) == "4Kx512");
}

TEST_CASE("folios become a block each, and what follows them pages") {
    CHECK(leaves(8 * kMi, 12 * kMi, 0, FakeLayout::Kind::kFolios) == "2Mx5 4Kx512");
    CHECK(leaves(9 * kMi, 4 * kMi, kMi, FakeLayout::Kind::kFolios) == "4Kx256 2Mx1 4Kx256");
}

TEST_CASE("memory that nobody knows is taken for blocks of 2 MiB, and never of 1 GiB") {
    CHECK(leaves(kMi, kBlock1GBytes + 2 * kMi, kPageBytes, FakeLayout::Kind::kUnknown) == "4Kx256 2Mx512 4Kx256");
}

TEST_CASE("the page policy, and a device without blocks, make pages of everything") {
    using Kind = FakeLayout::Kind;
    CHECK(leaves(0, 4 * kMi, 0, Kind::kContiguous, kLeaves4K2M1G, LeafPolicy::kPage) == "4Kx1024");
    CHECK(leaves(0, 4 * kMi, 0, Kind::kUnknown, kLeaves4K2M, LeafPolicy::kPage) == "4Kx1024");
    CHECK(leaves(0, 4 * kMi, 0, Kind::kContiguous, kLeaves4K) == "4Kx1024");
}

}  // namespace
}  // namespace granule::test
