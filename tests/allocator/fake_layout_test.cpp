// The fake layout answers one question in three ways: the tests of the planner lean on the three being the same.
#include "tests/support/fake_layout.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>

namespace granule::test {
namespace {

using Kind = FakeLayout::Kind;

constexpr std::initializer_list<Kind> kKinds = {Kind::kContiguous, Kind::kFolios, Kind::kScattered, Kind::kOffPhase,
                                                Kind::kUnknown};
constexpr std::uint64_t kPages = 8 * kBlock2MBytes / kPageBytes;  // beyond the folios

Backing backing_at(bool sparse, std::uint64_t page) {
    Backing shows;
    shows.bo = sparse ? kNoBo : BoId{3};
    shows.offset = BoOffset{sparse ? 0 : page * kPageBytes};
    return shows;
}

TEST_CASE("the extents of a fake layout end where the next page is elsewhere") {
    for (const Kind kind : kKinds) {
        for (const bool sparse : {false, true}) {
            const FakeLayout layout(kind);
            for (std::uint64_t page = 0; page < kPages; ++page) {
                const std::uint64_t va = 0x7'0000'0000 + page * kPageBytes;
                const Extent extent = layout.extent_at(backing_at(sparse, page), Va{va});
                const auto pa = layout.pa_of(backing_at(sparse, page), va);
                const auto next = layout.pa_of(backing_at(sparse, page + 1), va + kPageBytes);
                const bool goes_on = pa.has_value() ? next == *pa + kPageBytes : true;
                if (extent.known != pa.has_value() || extent.pa.raw() != pa.value_or(0) ||
                    (extent.bytes > kPageBytes) != goes_on) {
                    CAPTURE(static_cast<int>(kind));
                    CAPTURE(sparse);
                    FAIL("page ", page);
                }
            }
        }
    }
}

TEST_CASE("a window of a fake layout may be a block where its pages lie in order from a multiple of its size") {
    for (const Kind kind : kKinds) {
        for (const bool sparse : {false, true}) {
            const FakeLayout layout(kind);
            for (const std::uint64_t phase :
                 {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{511}, std::uint64_t{512}}) {
                for (std::uint64_t window = 0; window < 7; ++window) {
                    const std::uint64_t first = window * 512 + phase;  // its BO page
                    const std::uint64_t va = 0x7'0000'0000 + window * kBlock2MBytes;
                    bool in_order = true;
                    bool known = true;
                    for (std::uint64_t page = 0; page < 512; ++page) {
                        const auto pa = layout.pa_of(backing_at(sparse, first + page), va + page * kPageBytes);
                        known = known && pa.has_value();
                        in_order = in_order && pa.value_or(0) % kBlock2MBytes == page * kPageBytes &&
                                   pa.value_or(0) - page * kPageBytes ==
                                       layout.pa_of(backing_at(sparse, first), va).value_or(0);
                    }
                    CHECK(layout.may_be_block(backing_at(sparse, first), va, LeafSize::k2M) == (!known || in_order));
                }
            }
        }
    }
}

}  // namespace
}  // namespace granule::test
