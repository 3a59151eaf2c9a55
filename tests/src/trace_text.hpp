// What the tests of the trace reader share: bytes out of text, xz out of bytes, a trace out of lines.
#pragma once

#include <lzma.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace granule::trace_text {

inline constexpr std::string_view kMeta =
    R"json({"meta":{"format":"pan-mm-trace/1","gpu":"Mali-G610 (0xa867, panthor)","mesa":"26.2.6",)json"
    R"json("kernel_uapi":"panthor 1.9","name":"a","processes":2}})json"
    "\n";

inline std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

// One xz stream.
inline std::string xz(std::string_view text, lzma_check check = LZMA_CHECK_CRC64) {
    std::vector<std::uint8_t> out(lzma_stream_buffer_bound(text.size()));
    std::size_t size = 0;
    const auto* const in = reinterpret_cast<const std::uint8_t*>(text.data());
    if (lzma_easy_buffer_encode(1, check, nullptr, in, text.size(), out.data(), &size, out.size()) != LZMA_OK) {
        std::abort();
    }
    return {reinterpret_cast<const char*>(out.data()), size};
}

}  // namespace granule::trace_text
