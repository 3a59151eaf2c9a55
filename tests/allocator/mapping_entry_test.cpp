#include "allocator/mapping_entry.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstdint>

using granule::BindSerial;
using granule::BoId;
using granule::BoOffset;
using granule::kMaxVaEnd;
using granule::kPageBytes;
using granule::Mapping;
using granule::MappingEntry;
using granule::PackedShownPages;
using granule::Va;

namespace {

constexpr std::uint64_t kLastPage = kMaxVaEnd / kPageBytes - 1;

constexpr Mapping mapping_of(std::uint64_t start, std::uint64_t pages, std::uint64_t offset_page, std::uint32_t bo) {
    return {{Va{start * kPageBytes}, Va{(start + pages) * kPageBytes}},
            {BoId{bo}, BoOffset{bo == 0 ? 0 : offset_page * kPageBytes}, {}, BindSerial{7}}};
}

}  // namespace

TEST_CASE("an entry unpacks to the mapping that it was packed from, at the edges of every field") {
    constexpr std::array<std::uint64_t, 5> kStarts = {0, 1, kLastPage / 2, kLastPage - 1, kLastPage};
    constexpr std::uint64_t kLastOffset = UINT64_MAX / kPageBytes;
    constexpr std::array<std::uint64_t, 7> kOffsets = {
        0, 1, (std::uint64_t{1} << 28) - 1, std::uint64_t{1} << 28, kLastPage, kLastOffset - 1, kLastOffset};
    for (const std::uint64_t start : kStarts) {
        for (const std::uint64_t pages : {std::uint64_t{1}, kLastPage + 1 - start}) {
            for (const std::uint64_t offset : kOffsets) {
                for (const std::uint32_t bo : {0U, 1U, UINT32_MAX}) {
                    for (unsigned bits = 0; bits < 8; ++bits) {
                        Mapping mapping = mapping_of(start, pages, offset, bo);
                        mapping.shows.flags = {(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0};
                        mapping.shows.serial = BindSerial{UINT32_MAX - bits};
                        const MappingEntry entry = MappingEntry::pack(mapping);
                        REQUIRE(entry.unpack() == mapping);
                        PackedShownPages packed;
                        packed.pack(entry.shown);
                        REQUIRE(packed.unpack() == entry.shown);
                        REQUIRE(entry.start == start);
                        REQUIRE(entry.end() == start + pages);
                    }
                }
            }
        }
    }
}

TEST_CASE("cutting an entry at either end changes its pages alone, and the offset follows its start") {
    for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{5}, std::uint64_t{1} << 40}) {
        const Mapping mapping = mapping_of(100, 50, offset, 3);
        const MappingEntry entry = MappingEntry::pack(mapping);
        CHECK(MappingEntry{120, 30, entry.shown}.unpack() ==
              mapping.clipped({Va{120 * kPageBytes}, Va{150 * kPageBytes}}));
        CHECK(MappingEntry{120, 10, entry.shown}.unpack() ==
              mapping.clipped({Va{120 * kPageBytes}, Va{130 * kPageBytes}}));
    }
    const MappingEntry sparse = MappingEntry::pack(mapping_of(100, 50, 0, 0));
    CHECK(MappingEntry{149, 1, sparse.shown}.unpack() == mapping_of(149, 1, 0, 0));
}
