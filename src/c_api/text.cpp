#include "src/c_api/text.hpp"

#include <array>
#include <cstring>

#include "src/status.hpp"

namespace granule::c_api {

void TextWriter::put(char character) noexcept {
    if (length_ < size_) {
        to_[length_] = character;
    }
    ++length_;
}

TextWriter& TextWriter::text(std::string_view text) noexcept {
    for (const char character : text) {
        put(character);
    }
    return *this;
}

TextWriter& TextWriter::number(std::uint64_t value) noexcept {
    std::array<char, 20> digits{};  // as many as 2^64 - 1 has
    std::size_t count = 0;
    do {
        digits[count++] = static_cast<char>('0' + value % 10);
        value /= 10;
    } while (value != 0);
    while (count != 0) {
        put(digits[--count]);
    }
    return *this;
}

TextWriter& TextWriter::signed_number(std::int64_t value) noexcept {
    if (value >= 0) {
        return number(static_cast<std::uint64_t>(value));
    }
    put('-');
    return number(std::uint64_t{0} - static_cast<std::uint64_t>(value));
}

TextWriter& TextWriter::hex(std::uint64_t value) noexcept {
    constexpr std::string_view kDigits = "0123456789abcdef";
    text("0x");
    unsigned shift = 60;
    while (shift != 0 && (value >> shift) == 0) {
        shift -= 4;
    }
    for (;; shift -= 4) {
        put(kDigits[(value >> shift) & 0xfU]);
        if (shift == 0) {
            return *this;
        }
    }
}

TextWriter& TextWriter::bytes(std::uint64_t count) noexcept {
    constexpr std::array<std::string_view, 5> kUnits = {" bytes", " KiB", " MiB", " GiB", " TiB"};
    std::size_t unit = 0;
    while (count != 0 && count % 1024 == 0 && unit + 1 < kUnits.size()) {
        count /= 1024;
        ++unit;
    }
    return number(count).text(count == 1 && unit == 0 ? " byte" : kUnits[unit]);
}

TextWriter& TextWriter::range(const granule_range& range) noexcept {
    return text("[").hex(range.start).text(", ").hex(range.end).text(")");
}

TextWriter& TextWriter::quoted(std::string_view text) noexcept {
    constexpr char kFirstPrinted = ' ';
    constexpr char kDelete = '\x7f';
    put('\'');
    for (const char character : text) {
        const bool control = static_cast<unsigned char>(character) < kFirstPrinted || character == kDelete;
        put(control ? '?' : character);
    }
    put('\'');
    return *this;
}

TextWriter& TextWriter::bo(std::uint32_t id, std::string_view label) noexcept {
    if (id == 0) {
        return text("a sparse mapping");
    }
    text("BO ").number(id);
    return label.empty() ? *this : text(" ").quoted(label);
}

TextWriter& TextWriter::os_error(int error) noexcept {
#ifdef __GLIBC__  // others have nothing that neither allocates nor depends on the locale
    if (const char* const name = ::strerrorname_np(error)) {
        return text(name).text(" (").text(::strerrordesc_np(error)).text(")");
    }
#endif
    return text("error ").signed_number(error);
}

std::size_t TextWriter::finish() noexcept {
    if (size_ != 0) {
        const std::size_t end = length_ < size_ ? length_ : utf8_prefix({to_, size_}, size_ - 1);
        to_[end] = '\0';
    }
    return length_;
}

}  // namespace granule::c_api
