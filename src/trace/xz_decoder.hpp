// xz data to bytes, a piece at a time, within bounded memory.
//
// One or more xz streams one after the other, with stream padding between, as `xz` itself reads them. Every integrity
// check in the data is verified.
//
// Thread-safety: none (one thread at a time). Failure: typed; a decoder that failed stays failed. Memory: what the
// data's own header asks for, at most kMemoryLimit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "mali/result.hpp"

namespace granule::trace {

enum class XzError : std::uint8_t {
    kNotXz,        // the data does not start as xz data does
    kTruncated,    // the input ended inside a stream
    kCorrupt,      // a checksum or a structure is wrong
    kUnsupported,  // filters or checks that liblzma does not know
    kMemoryLimit,  // decoding needs more than kMemoryLimit
    kOutOfMemory,
};

class XzDecoder {
public:
    // `xz -9` asks for 65 MiB.
    static constexpr std::uint64_t kMemoryLimit = std::uint64_t{128} << 20;

    [[nodiscard]] static bool looks_like_xz(std::span<const std::byte> start) noexcept;

    [[nodiscard]] static Result<XzDecoder, XzError> create() noexcept;
    XzDecoder(XzDecoder&&) noexcept;
    XzDecoder& operator=(XzDecoder&&) noexcept;
    ~XzDecoder();

    struct Step {
        std::size_t consumed = 0;
        std::size_t produced = 0;
        bool finished = false;  // nothing will ever follow
    };
    // Decodes from the front of `in` to the front of `out`, until one of them is used up or the data ends. `last` says
    // that no input follows after `in`. What comes before damage is delivered before the error.
    [[nodiscard]] Result<Step, XzError> decode(std::span<const std::byte> in, std::span<std::byte> out,
                                               bool last) noexcept;
    // Bytes of input used so far: where an error was met.
    [[nodiscard]] std::uint64_t position() const noexcept;

private:
    struct Stream;
    explicit XzDecoder(std::unique_ptr<Stream> stream) noexcept;

    std::unique_ptr<Stream> stream_;
};

}  // namespace granule::trace
