#include "src/trace/xz_decoder.hpp"

#include <lzma.h>

#include <algorithm>
#include <array>
#include <new>
#include <optional>
#include <utility>

namespace granule::trace {
namespace {

// "Header Magic Bytes", The .xz File Format, section 2.1.1.1.
constexpr std::array kMagic{std::byte{0xFD}, std::byte{0x37}, std::byte{0x7A},
                            std::byte{0x58}, std::byte{0x5A}, std::byte{0x00}};

XzError error_of(lzma_ret status) noexcept {
    switch (status) {
        case LZMA_FORMAT_ERROR:
            return XzError::kNotXz;
        case LZMA_OPTIONS_ERROR:
        case LZMA_UNSUPPORTED_CHECK:
            return XzError::kUnsupported;
        case LZMA_MEMLIMIT_ERROR:
            return XzError::kMemoryLimit;
        case LZMA_MEM_ERROR:
            return XzError::kOutOfMemory;
        case LZMA_BUF_ERROR:
            return XzError::kTruncated;
        default:
            return XzError::kCorrupt;
    }
}

}  // namespace

struct XzDecoder::Stream {
    lzma_stream lzma = LZMA_STREAM_INIT;
    std::optional<XzError> failed;

    Stream() = default;
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream() { lzma_end(&lzma); }
};

XzDecoder::XzDecoder(std::unique_ptr<Stream> stream) noexcept : stream_(std::move(stream)) {}
XzDecoder::XzDecoder(XzDecoder&&) noexcept = default;
XzDecoder& XzDecoder::operator=(XzDecoder&&) noexcept = default;
XzDecoder::~XzDecoder() = default;

bool XzDecoder::looks_like_xz(std::span<const std::byte> start) noexcept {
    return start.size() >= kMagic.size() && std::equal(kMagic.begin(), kMagic.end(), start.begin());
}

Result<XzDecoder, XzError> XzDecoder::create() noexcept {
    std::unique_ptr<Stream> stream(new (std::nothrow) Stream);
    if (!stream) {
        return fail(XzError::kOutOfMemory);
    }
    const lzma_ret status =
        lzma_stream_decoder(&stream->lzma, kMemoryLimit, LZMA_CONCATENATED | LZMA_TELL_UNSUPPORTED_CHECK);
    if (status != LZMA_OK) {
        return fail(error_of(status));
    }
    return XzDecoder(std::move(stream));
}

Result<XzDecoder::Step, XzError> XzDecoder::decode(std::span<const std::byte> in, std::span<std::byte> out,
                                                   bool last) noexcept {
    if (stream_->failed) {
        return fail(*stream_->failed);
    }
    lzma_stream& lzma = stream_->lzma;
    lzma.next_in = reinterpret_cast<const std::uint8_t*>(in.data());
    lzma.avail_in = in.size();
    lzma.next_out = reinterpret_cast<std::uint8_t*>(out.data());
    lzma.avail_out = out.size();
    const lzma_ret status = lzma_code(&lzma, last ? LZMA_FINISH : LZMA_RUN);
    const Step step{in.size() - lzma.avail_in, out.size() - lzma.avail_out, status == LZMA_STREAM_END};
    if (status == LZMA_OK || status == LZMA_STREAM_END) {
        return step;
    }
    // liblzma says "buffer" where it could do nothing: an error only if it was given all there is and room to write.
    if (status == LZMA_BUF_ERROR && (!last || out.empty())) {
        return step;
    }
    stream_->failed = error_of(status);
    if (step.produced != 0) {
        return step;
    }
    return fail(*stream_->failed);
}

std::uint64_t XzDecoder::position() const noexcept {
    return stream_->lzma.total_in;
}

}  // namespace granule::trace
