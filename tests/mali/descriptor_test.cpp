#include "mali/descriptor.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

using namespace granule;
using namespace granule::mali;

constexpr std::array kFormats{Format::kMaliLpae, Format::kAarch64_4k};
constexpr std::array kSizes{LeafSize::k4K, LeafSize::k2M, LeafSize::k1G};

std::vector<LeafAttributes> all_attributes() {
    std::vector<LeafAttributes> all;
    for (unsigned bits = 0; bits < 16; ++bits) {
        for (const MemoryType memory : {MemoryType::kUncached, MemoryType::kCached, MemoryType::kDevice}) {
            all.push_back({(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0, memory});
        }
    }
    return all;
}

// The formats written down a second time, bit by bit, as arm_lpae_prot_to_pte and the formats' documents list them.
std::uint64_t expected_bits(Format format, LeafSize size, const LeafAttributes& a) {
    std::uint64_t d = 0;
    const auto set = [&d](unsigned bit, bool on) { d |= std::uint64_t{on} << bit; };
    const bool mali = format == Format::kMaliLpae;
    set(0, true);                                      // leaf
    set(1, !mali && size == LeafSize::k4K);            // AArch64's page is type 3
    set(2, a.memory == MemoryType::kCached);           // ATTRINDX 1
    set(3, a.memory == MemoryType::kDevice);           // ATTRINDX 2
    set(6, mali ? a.read : !a.privileged);             // HAP_READ; AP_UNPRIV
    set(7, mali ? a.write : !a.write);                 // HAP_WRITE; AP_RDONLY
    set(8, !mali && a.memory == MemoryType::kCached);  // inner, else
    set(9, true);                                      // outer
    set(10, !mali);                                    // AF
    set(11, !mali);                                    // nG
    set(53, !a.execute);
    set(54, !a.execute);
    return d;
}

}  // namespace

TEST_CASE("each leaf size has its level, and the spans of the levels are the leaf sizes") {
    CHECK(leaf_level(LeafSize::k4K) == 3);
    CHECK(leaf_level(LeafSize::k2M) == 2);
    CHECK(leaf_level(LeafSize::k1G) == 1);
    for (const LeafSize size : kSizes) {
        CHECK(span_at(leaf_level(size)) == bytes_of(size));
        CHECK(leaf_size_at(leaf_level(size)) == size);
    }
    CHECK(span_at(0) == std::uint64_t{1} << 39);
}

TEST_CASE("the four indices and the page offset are the VA, nothing lost and nothing twice") {
    for (const std::uint64_t va : {std::uint64_t{0}, kMaxVaEnd - 1, std::uint64_t{0x123456789abc},
                                   std::uint64_t{0x7fffffffe000}, std::uint64_t{0x1ffe00000}}) {
        CAPTURE(va);
        std::uint64_t rebuilt = va & (kPageBytes - 1);
        for (unsigned level = 0; level <= kLastLevel; ++level) {
            CHECK(index_at(Va{va}, level) < 512);
            rebuilt += index_at(Va{va}, level) * span_at(level);
        }
        CHECK(rebuilt == va);
    }
}

TEST_CASE("Mali's format walks four levels whatever the VA bits; AArch64 only those that the bits fill") {
    for (unsigned va_bits = 13; va_bits <= kMaxVaBits; ++va_bits) {
        CAPTURE(va_bits);
        CHECK(start_level(Format::kMaliLpae, va_bits) == 0);
        CHECK(root_entries(Format::kMaliLpae, va_bits) == (va_bits <= 39 ? 1 : std::size_t{1} << (va_bits - 39)));

        const unsigned level = start_level(Format::kAarch64_4k, va_bits);
        const std::size_t entries = root_entries(Format::kAarch64_4k, va_bits);
        CHECK(entries >= 2);
        CHECK(entries <= 512);
        CHECK(entries * span_at(level) == std::uint64_t{1} << va_bits);
    }
    CHECK(start_level(Format::kAarch64_4k, 48) == 0);
    CHECK(start_level(Format::kAarch64_4k, 40) == 0);
    CHECK(start_level(Format::kAarch64_4k, 39) == 1);
    CHECK(start_level(Format::kAarch64_4k, 30) == 2);
    CHECK(start_level(Format::kAarch64_4k, 21) == 3);
}

TEST_CASE("a leaf of any attributes is exactly the bits of its format, and decodes to what the format can express") {
    for (const Format format : kFormats) {
        for (const LeafSize size : kSizes) {
            for (const LeafAttributes& attributes : all_attributes()) {
                for (const Pa pa : {Pa{0}, Pa{kBlock1GBytes}, Pa{kMaxVaEnd - bytes_of(size)}}) {
                    CAPTURE(static_cast<int>(format));
                    CAPTURE(static_cast<int>(size));
                    CAPTURE(pa.raw());
                    const std::uint64_t descriptor = encode_leaf(format, size, pa, attributes);
                    const Entry entry = decode(format, leaf_level(size), descriptor);
                    CHECK(descriptor == (pa.raw() | expected_bits(format, size, expressible(format, attributes))));
                    CHECK(entry == Entry{EntryKind::kLeaf, pa, size, expressible(format, attributes), true, false});
                }
            }
        }
    }
}

TEST_CASE("what a format expresses is expressed once and for all, and only privilege or write-only are changed") {
    for (const Format format : kFormats) {
        for (const LeafAttributes& attributes : all_attributes()) {
            const LeafAttributes become = expressible(format, attributes);
            CHECK(expressible(format, become) == become);
            CHECK(become.write == attributes.write);
            CHECK(become.execute == attributes.execute);
            CHECK(become.memory == attributes.memory);
        }
    }
    LeafAttributes write_only;
    write_only.read = false;
    CHECK(expressible(Format::kMaliLpae, write_only) == write_only);
    CHECK(expressible(Format::kAarch64_4k, write_only) == LeafAttributes{});

    LeafAttributes neither;
    neither.read = neither.write = false;
    CHECK(expressible(Format::kMaliLpae, neither) == neither);
    CHECK_FALSE(expressible(Format::kAarch64_4k, neither).write);

    LeafAttributes privileged;
    privileged.privileged = true;
    CHECK(expressible(Format::kMaliLpae, privileged) == LeafAttributes{});
    CHECK(expressible(Format::kAarch64_4k, privileged) == privileged);
}

TEST_CASE("consecutive leaves of a run differ by the leaf size") {
    for (const Format format : kFormats) {
        for (const LeafSize size : kSizes) {
            for (const LeafAttributes& attributes : all_attributes()) {
                const std::uint64_t first = encode_leaf(format, size, Pa{kBlock1GBytes}, attributes);
                const std::uint64_t second = encode_leaf(format, size, Pa{kBlock1GBytes} + bytes_of(size), attributes);
                CHECK(second == first + bytes_of(size));
                CHECK((first & ~bits::kAddressMask) == leaf_bits(format, size, attributes));
            }
        }
    }
}

TEST_CASE("only 0 is empty, at every level of both formats") {
    for (const Format format : kFormats) {
        for (unsigned level = 0; level <= kLastLevel; ++level) {
            CHECK(decode(format, level, 0) == Entry{});
            for (unsigned bit = 0; bit < 64; ++bit) {
                CHECK(decode(format, level, std::uint64_t{1} << bit).kind != EntryKind::kEmpty);
            }
        }
    }
}

TEST_CASE("a type means leaf, table or nothing by format and level") {
    using enum EntryKind;
    using Levels = std::array<EntryKind, 4>;  // 0 to 3
    using Types = std::array<Levels, 4>;      // bits 1:0 of the descriptor
    constexpr Levels kNowhere{kInvalid, kInvalid, kInvalid, kInvalid};
    // The page is type 1, and type 3 at level 3 is neither leaf nor table.
    constexpr Types kMali{kNowhere, Levels{kInvalid, kLeaf, kLeaf, kLeaf}, kNowhere,
                          Levels{kTable, kTable, kTable, kInvalid}};
    // The page is type 3.
    constexpr Types kAarch64{kNowhere, Levels{kInvalid, kLeaf, kLeaf, kInvalid}, kNowhere,
                             Levels{kTable, kTable, kTable, kLeaf}};
    for (const Format format : kFormats) {
        for (std::uint64_t type = 0; type < 4; ++type) {
            for (unsigned level = 0; level <= kLastLevel; ++level) {
                CAPTURE(static_cast<int>(format));
                CAPTURE(type);
                CAPTURE(level);
                const std::uint64_t descriptor = bits::kAccessFlag | type;  // at PA 0: aligned for every level
                const Types& meaning = format == Format::kMaliLpae ? kMali : kAarch64;
                CHECK(decode(format, level, descriptor).kind == meaning.at(type).at(level));
            }
        }
    }
}

TEST_CASE("attribute indices that MEMATTR leaves undefined, and blocks at crooked addresses, are invalid") {
    for (const Format format : kFormats) {
        for (const LeafSize size : kSizes) {
            const unsigned level = leaf_level(size);
            for (std::uint64_t index = 0; index < 8; ++index) {
                const std::uint64_t descriptor =
                    (encode_leaf(format, size, Pa{kBlock1GBytes}, {}) & ~bits::kAttrIndexMask) | (index << 2);
                CHECK((decode(format, level, descriptor).kind == EntryKind::kLeaf) == (index <= 2));
            }
            const std::uint64_t crooked = encode_leaf(format, size, Pa{kBlock1GBytes}, {}) + kPageBytes;
            CHECK((decode(format, level, crooked).kind == EntryKind::kLeaf) == (size == LeafSize::k4K));
        }
    }
}

TEST_CASE("an AArch64 leaf without its access flag says so; Mali's format has none to lose") {
    const std::uint64_t page = encode_leaf(Format::kAarch64_4k, LeafSize::k4K, Pa{kPageBytes}, {});
    CHECK(decode(Format::kAarch64_4k, 3, page).access_flag);
    CHECK_FALSE(decode(Format::kAarch64_4k, 3, page & ~bits::kAccessFlag).access_flag);
    CHECK(decode(Format::kMaliLpae, 3, encode_leaf(Format::kMaliLpae, LeafSize::k4K, Pa{kPageBytes}, {})).access_flag);
}

TEST_CASE("a table entry keeps its address, and bit 55 says that a non-coherent walk needed it cleaned") {
    for (const Format format : kFormats) {
        for (const Pa next : {Pa{0}, Pa{kPageBytes}, Pa{kMaxVaEnd - kPageBytes}}) {
            for (const bool coherent : {true, false}) {
                const std::uint64_t descriptor = encode_table(format, next, coherent);
                CHECK(descriptor == (next.raw() | 3 | (coherent ? 0 : std::uint64_t{1} << 55)));
                for (unsigned level = 0; level < kLastLevel; ++level) {
                    const Entry entry = decode(format, level, descriptor);
                    CHECK(entry.kind == EntryKind::kTable);
                    CHECK(entry.pa == next);
                    CHECK(entry.software_sync == !coherent);
                }
            }
        }
    }
}
