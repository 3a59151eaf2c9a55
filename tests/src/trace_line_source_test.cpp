// Lines out of plain and xz files: numbers, bounds, damage.
#include <doctest/doctest.h>
#include <lzma.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "src/trace/line_source.hpp"
#include "tests/src/trace_text.hpp"

using namespace granule;
using namespace granule::trace;
using trace_text::bytes_of;
using trace_text::xz;

namespace {

constexpr const char* kTraces = GRANULE_TRACES_DIR;

// All lines, and then what ended them: "" is the end of the file.
struct Lines {
    std::vector<std::string> lines;
    std::string error;
};

Lines lines_of(Result<LineSource, TraceError> source) {
    Lines all;
    if (!source) {
        all.error = source.error().message();
        return all;
    }
    while (true) {
        const auto line = source->next();
        if (!line) {
            all.error = line.error().message();
            return all;
        }
        if (!line->has_value()) {
            return all;
        }
        all.lines.emplace_back(**line);
    }
}

Lines lines_of(std::string_view bytes, const std::string& name = "x") {
    return lines_of(LineSource::from_bytes(name, bytes_of(bytes)));
}

}  // namespace

TEST_CASE("a line ends with a newline or with the file") {
    CHECK(lines_of("").lines.empty());
    CHECK(lines_of("a").lines == std::vector<std::string>{"a"});
    CHECK(lines_of("a\n").lines == std::vector<std::string>{"a"});
    CHECK(lines_of("\n").lines == std::vector<std::string>{""});
    CHECK(lines_of("a\n\nb").lines == std::vector<std::string>{"a", "", "b"});
    CHECK(lines_of("a\r\nb\n").lines == std::vector<std::string>{"a\r", "b"});
    CHECK(lines_of(std::string_view("a\0b\nc", 5)).lines == std::vector<std::string>{{"a\0b", 3}, "c"});
}

TEST_CASE("lines of every length around the buffer's come out whole, with their numbers") {
    std::string text;
    std::vector<std::size_t> lengths;
    for (const std::size_t around :
         {std::size_t{0}, std::size_t{1} << 16, std::size_t{1} << 17, std::size_t{3} << 16}) {
        for (std::size_t length = around < 9 ? 0 : around - 9; length < around + 9; ++length) {
            lengths.push_back(length);
            text.append(length, static_cast<char>('a' + length % 26));
            text += '\n';
        }
    }
    for (const std::string& bytes : {text, xz(text)}) {
        auto source = LineSource::from_bytes("x", bytes_of(bytes));
        REQUIRE(source);
        CHECK(source->bytes_total() == bytes.size());
        for (std::size_t i = 0; i < lengths.size(); ++i) {
            const auto line = source->next();
            REQUIRE(line);
            REQUIRE(line->has_value());
            if (**line != std::string(lengths[i], static_cast<char>('a' + lengths[i] % 26)) ||
                source->line_number() != i + 1) {
                FAIL("line ", i + 1, " of length ", lengths[i]);
            }
            // The padding can be read: the sanitizer says if not.
            volatile char last = (*line)->data()[(*line)->size() + LineSource::kPadding - 1];
            static_cast<void>(last);
        }
        const auto end = source->next();
        REQUIRE(end);
        CHECK(!end->has_value());
        CHECK(source->bytes_consumed() == bytes.size());
        CHECK(!source->next()->has_value());
    }
}

TEST_CASE("a line of 16 MiB is read, one byte more is an error") {
    const std::string text(LineSource::kMaxLineBytes, 'x');
    const Lines longest = lines_of("first\n" + text + "\nlast");
    CHECK(longest.error.empty());
    REQUIRE(longest.lines.size() == 3);
    CHECK(longest.lines[1] == text);

    const std::string expected = "x:2: line is longer than 16777216 bytes: one call is one line";
    CHECK(lines_of("first\n" + text + "x\nlast").error == expected);
    CHECK(lines_of("first\n" + text + "x").error == expected);
    CHECK(lines_of(xz("first\n" + text + text)).error == expected);
}

TEST_CASE("xz is known by its first bytes, not by its name, and a name that lies is an error") {
    CHECK(lines_of(xz("a\nb\n"), "x.jsonl").lines == std::vector<std::string>{"a", "b"});
    CHECK(lines_of(xz("a\nb\n"), "x.jsonl.xz").lines == std::vector<std::string>{"a", "b"});
    const std::string expected = "x.jsonl.xz: no xz data at byte 0: xz data begins with FD 37 7A 58 5A 00";
    CHECK(lines_of("a\nb\n", "x.jsonl.xz").error == expected);
    CHECK(lines_of("", "x.jsonl.xz").error == expected);
    CHECK(lines_of(std::string_view("\xFD\x37\x7A\x58\x5A\x00", 5), "x.jsonl.xz").error == expected);
}

TEST_CASE("xz streams one after the other, with padding, are one text") {
    const std::string both =
        xz("a\nb") + std::string(8, '\0') + xz("c\n", LZMA_CHECK_SHA256) + xz("d", LZMA_CHECK_NONE);
    const Lines all = lines_of(both);
    CHECK(all.error.empty());
    CHECK(all.lines == std::vector<std::string>{"a", "bc", "d"});
}

TEST_CASE("what follows an xz stream and is none is an error, after the lines before it") {
    const Lines all = lines_of(xz("a\nb\n") + "garbage, and not a little");
    CHECK(all.lines == std::vector<std::string>{"a", "b"});
    CHECK(all.error.starts_with("x:3: xz data is corrupt near byte "));
}

TEST_CASE("xz data that needs too much memory is refused before it is allocated") {
    std::string data = xz("a\n");
    // In the block header, from byte 12: filter LZMA2 (0x21), one byte of properties: the dictionary, 40 is 4 GiB.
    const std::size_t filter = data.find("\x21\x01", 12);
    REQUIRE(filter < 20);
    data[filter + 2] = 40;
    const std::size_t header_bytes = (static_cast<std::size_t>(data[12]) + 1) * 4;
    const std::uint32_t crc = lzma_crc32(reinterpret_cast<const std::uint8_t*>(data.data()) + 12, header_bytes - 4, 0);
    for (std::size_t i = 0; i < 4; ++i) {
        data[12 + header_bytes - 4 + i] = static_cast<char>(crc >> (8 * i));
    }
    CHECK(lines_of(data).error.starts_with("x:1: xz data needs more memory than is allowed at byte "));
}

TEST_CASE("xz data with a check that liblzma does not know is refused, not read unchecked") {
    std::string data = xz("a\n");
    // The stream flags: 0, then the kind of check, here 2, which the format reserves; then the CRC of the two.
    data[7] = 2;
    const std::uint32_t crc = lzma_crc32(reinterpret_cast<const std::uint8_t*>(data.data()) + 6, 2, 0);
    for (std::size_t i = 0; i < 4; ++i) {
        data[8 + i] = static_cast<char>(crc >> (8 * i));
    }
    CHECK(lines_of(data).error.starts_with("x:1: unsupported kind of xz data at byte "));
}

TEST_CASE("a file that cannot be read is an error that says why") {
    CHECK(lines_of(LineSource::open("/nowhere/x.jsonl")).error ==
          "/nowhere/x.jsonl: cannot open: No such file or directory: a readable trace is needed, .jsonl or .jsonl.xz");
    CHECK(lines_of(LineSource::open("/proc")).error ==
          "/proc: cannot read: Is a directory: a readable trace is needed, .jsonl or .jsonl.xz");
}

TEST_CASE("a pipe that gives a byte at a time is read like a file, of unknown length") {
    const std::string data = xz("a\nb\n");
    std::array<int, 2> ends{};
    REQUIRE(pipe(ends.data()) == 0);
    std::thread writer([&] {
        for (const char byte : data) {
            static_cast<void>(write(ends[1], &byte, 1));
            std::this_thread::yield();
        }
        close(ends[1]);
    });
    auto source = LineSource::open("/proc/self/fd/" + std::to_string(ends[0]));
    writer.join();
    REQUIRE(source);
    CHECK(source->bytes_total() == 0);
    CHECK(lines_of(std::move(source)).lines == std::vector<std::string>{"a", "b"});
    close(ends[0]);
}

TEST_CASE("an xz file cut off anywhere gives lines as they were, then an error") {
    const Lines whole = lines_of(LineSource::open(std::string(kTraces) + "/sample.jsonl"));
    REQUIRE(whole.lines.size() > 50);
    std::string text;
    for (const std::string& line : whole.lines) {
        text += line + '\n';
    }
    const std::string data = xz(text);
    REQUIRE(lines_of(data).lines == whole.lines);
    for (std::size_t length = 6; length < data.size(); ++length) {
        const Lines part = lines_of(data.substr(0, length));
        const bool prefix = part.lines.size() <= whole.lines.size() &&
                            std::equal(part.lines.begin(), part.lines.end(), whole.lines.begin());
        const std::string expected = "x:" + std::to_string(part.lines.size() + 1) + ": xz data is cut off at byte " +
                                     std::to_string(length) + ": a whole file is needed";
        if (!prefix || part.error != expected) {
            FAIL("cut to ", length, " bytes: ", part.lines.size(), " lines, ", part.error);
        }
    }
}

TEST_CASE("any flipped bit of an xz file is an error") {
    const std::string data = xz(std::string(trace_text::kMeta) + std::string(2000, 'a'));
    for (std::size_t bit = 0; bit < data.size() * 8; ++bit) {
        std::string damaged = data;
        damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
        // Damage to the magic number makes a plain file of it, but for the name.
        const Lines all = lines_of(damaged, "x.xz");
        if (all.error.empty()) {
            FAIL("bit ", bit, " flipped and not seen");
        }
    }
}

TEST_CASE("after an error comes that error again") {
    const std::string data = xz("a\nb\n");
    auto source = LineSource::from_bytes("x", bytes_of(std::string_view(data).substr(0, data.size() - 1)));
    REQUIRE(source);
    REQUIRE(source->next());
    REQUIRE(source->next());
    const auto first = source->next();
    const auto second = source->next();
    REQUIRE(!first);
    REQUIRE(!second);
    CHECK(first.error() == second.error());
}
