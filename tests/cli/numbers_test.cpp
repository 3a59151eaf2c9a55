#include "src/cli/numbers.hpp"

#include <doctest/doctest.h>

#include <string>

#include "src/cli/units.hpp"

namespace granule::cli {
namespace {

TEST_CASE("a number is decimal or hexadecimal, with K, M and G for powers of 1024") {
    CHECK(parse_number("0") == 0U);
    CHECK(parse_number("4096") == 4096U);
    CHECK(parse_number("0x7fff00000000") == 0x7fff'0000'0000U);
    CHECK(parse_number("64K") == 65536U);
    CHECK(parse_number("64KiB") == 65536U);
    CHECK(parse_number("2m") == 2U << 20);
    CHECK(parse_number("0x10G") == std::uint64_t{16} << 30);
    CHECK(parse_number("0xffffffffffffffff") == UINT64_MAX);
}

TEST_CASE("what is no number, or too large a one, is refused") {
    for (const char* text : {"", "0x", "-1", "+1", " 1", "1 ", "12q", "1Ki", "1KB", "K", "1.5", "0xg", "1K1",
                             "18446744073709551616", "0x10000000000000000", "17179869184G", "18014398509481984K"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_number(text).has_value());
    }
}

TEST_CASE("a range is VA+SIZE below 2^48") {
    CHECK(parse_range("0x1000+64K") == VaRange{Va{0x1000}, Va{0x11000}});
    CHECK(parse_range("0+0") == VaRange{Va{0}, Va{0}});
    CHECK(parse_range("0+0x1000000000000") == VaRange{Va{0}, Va{kMaxVaEnd}});
    for (const char* text : {"", "0x1000", "+4K", "0x1000+", "0x1000-4K", "1+2+3", "0x1000+0x1000000000000",
                             "0x1000000000000+1", "0xffffffffffffffff+0xffffffffffffffff"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_range(text).has_value());
    }
}

TEST_CASE("bytes are told in three digits and the unit that fits") {
    CHECK(bytes_text(0) == "0");
    CHECK(bytes_text(1) == "1 B");
    CHECK(bytes_text(1023) == "1023 B");
    CHECK(bytes_text(4096) == "4 KiB");
    CHECK(bytes_text((2U << 20) - (64U << 10)) == "1.94 MiB");
    CHECK(bytes_text(395 * (std::uint64_t{1} << 20)) == "395 MiB");
    CHECK(bytes_text((std::uint64_t{1} << 30) - 1) == "1024 MiB");
    CHECK(bytes_text(UINT64_MAX) == "16.0 EiB");
}

TEST_CASE("counts are exact below a million") {
    CHECK(count_text(999'999) == "999999");
    CHECK(count_text(1'234'567) == "1.23M");
    CHECK(count_text(12'345'678'901) == "12.3G");
}

TEST_CASE("control characters of a label do not reach the terminal") {
    CHECK(printable("Tiler \x1b[2Jheap\n\x7f") == "Tiler \\x1b[2Jheap\\x0a\\x7f");
    CHECK(printable("Größe") == "Größe");
}

TEST_CASE("text is wrapped between words") {
    CHECK(wrapped("one two three", 2, 9) == "  one two\n  three\n");
    CHECK(wrapped("one two three", 2, 8) == "  one\n  two\n  three\n");
    CHECK(wrapped("a word-that-is-too-long b", 0, 6) == "a\nword-that-is-too-long\nb\n");
    CHECK(wrapped("", 2, 9) == "\n");
}

}  // namespace
}  // namespace granule::cli
