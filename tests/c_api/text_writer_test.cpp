// The writer behind every _text function (src/c_api/text.hpp).
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "src/c_api/text.hpp"

namespace granule::c_api {
namespace {

template <class Write>
std::string written(Write&& write) {
    std::array<char, 256> place{};
    TextWriter out(place.data(), place.size());
    write(out);
    const std::size_t length = out.finish();
    CHECK(std::strlen(place.data()) == length);
    return place.data();
}

TEST_CASE("numbers are written whole") {
    CHECK(written([](TextWriter& out) { out.number(0).text(" ").number(UINT64_MAX); }) == "0 18446744073709551615");
    CHECK(written([](TextWriter& out) { out.hex(0).text(" ").hex(0x1f000).text(" ").hex(UINT64_MAX); }) ==
          "0x0 0x1f000 0xffffffffffffffff");
    CHECK(written([](TextWriter& out) { out.range({0x1000, 0x3000}); }) == "[0x1000, 0x3000)");
}

TEST_CASE("sizes are exact, in the largest unit that divides them") {
    const auto size = [](std::uint64_t bytes) { return written([&](TextWriter& out) { out.bytes(bytes); }); };
    CHECK(size(0) == "0 bytes");
    CHECK(size(1) == "1 byte");
    CHECK(size(4097) == "4097 bytes");
    CHECK(size(12 << 10) == "12 KiB");
    CHECK(size(2 << 20) == "2 MiB");
    CHECK(size(std::uint64_t{3} << 30) == "3 GiB");
    CHECK(size(std::uint64_t{1} << 48) == "256 TiB");
    CHECK(size(std::uint64_t{1} << 62) == "4194304 TiB");
}

TEST_CASE("a label cannot break the line that it is in") {
    CHECK(written([](TextWriter& out) { out.quoted("a\nb\tc\x7f!"); }) == "'a?b?c?!'");
    CHECK(written([](TextWriter& out) { out.quoted("größer"); }) == "'größer'");
    CHECK(written([](TextWriter& out) { out.bo(7, "atlas").text(", ").bo(8, "").text(", ").bo(0, "x"); }) ==
          "BO 7 'atlas', BO 8, a sparse mapping");
}

TEST_CASE("errors of the system are named") {
    CHECK(written([](TextWriter& out) { out.os_error(22); }) == "EINVAL (Invalid argument)");
    CHECK(written([](TextWriter& out) { out.os_error(123456); }) == "error 123456");
    CHECK(written([](TextWriter& out) { out.os_error(-5); }) == "error -5");
}

TEST_CASE("what does not fit is cut off between characters, and counted") {
    constexpr std::string_view kText = "aö";  // three bytes
    for (std::size_t size = 0; size <= 5; ++size) {
        CAPTURE(size);
        std::array<char, 6> place{};
        place.fill('#');
        TextWriter out(place.data(), size);
        CHECK(out.text(kText).finish() == kText.size());
        if (size != 0) {
            CHECK(std::string_view(place.data()) == (size == 1 ? "" : size <= 3 ? "a" : kText));
        }
        // Behind the place nothing was touched.
        for (std::size_t i = size; i < place.size(); ++i) {
            CHECK(place[i] == '#');
        }
    }
    TextWriter nowhere(nullptr, 100);
    CHECK(nowhere.text(kText).finish() == kText.size());
}

}  // namespace
}  // namespace granule::c_api
