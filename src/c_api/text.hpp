// Text for people, written into a place of fixed size: what the `_text` functions of the C interface are made of.
//
// As snprintf: `length` is that of the whole text, whatever fits. What does not fit is cut off between UTF-8 characters,
// and the place always ends with a zero byte, unless it has no room for one. Nothing is allocated.
//
// Thread-safety: none.
#pragma once

#include <granule/base.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace granule::c_api {

class TextWriter {
public:
    // `to` may be nullptr where `size` is 0.
    TextWriter(char* to, std::size_t size) noexcept : to_(to), size_(to == nullptr ? 0 : size) {}
    TextWriter(const TextWriter&) = delete;
    TextWriter& operator=(const TextWriter&) = delete;

    TextWriter& text(std::string_view text) noexcept;
    TextWriter& number(std::uint64_t value) noexcept;  // decimal
    TextWriter& signed_number(std::int64_t value) noexcept;
    TextWriter& hex(std::uint64_t value) noexcept;                      // 0x1f000
    TextWriter& bytes(std::uint64_t count) noexcept;                    // "2 MiB", "12 KiB", "4097 bytes": exact
    TextWriter& range(const granule_range& range) noexcept;             // [0x1000, 0x3000)
    TextWriter& quoted(std::string_view text) noexcept;                 // 'text', without control characters
    TextWriter& bo(std::uint32_t id, std::string_view label) noexcept;  // "BO 7 'texture atlas'", "a sparse mapping"
    TextWriter& os_error(int error) noexcept;                           // "ENOMEM (Cannot allocate memory)"

    // Writes the zero byte. Returns the length of the whole text without it. Last.
    std::size_t finish() noexcept;

private:
    void put(char character) noexcept;

    char* const to_;
    const std::size_t size_;
    std::size_t length_ = 0;
};

}  // namespace granule::c_api
