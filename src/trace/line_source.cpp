#include "src/trace/line_source.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace granule::trace {
namespace {

// A read: large enough that the system call does not show, small enough to stay in the cache until it is searched.
constexpr std::size_t kReadBytes = std::size_t{64} << 10;

Problem cannot(std::string_view verb, int error) {
    return {"cannot " + std::string(verb) + ": " + std::generic_category().message(error),
            "a readable trace is needed, .jsonl or .jsonl.xz"};
}

Problem xz_problem(XzError error, std::uint64_t position) {
    const std::string at = " at byte " + std::to_string(position);
    switch (error) {
        case XzError::kNotXz:
            return {"no xz data" + at, "xz data begins with FD 37 7A 58 5A 00"};
        case XzError::kTruncated:
            return {"xz data is cut off" + at, "a whole file is needed"};
        case XzError::kUnsupported:
            return {"unsupported kind of xz data" + at, "LZMA2 with a CRC or SHA-256 check, as xz makes by default"};
        case XzError::kMemoryLimit:
            return {"xz data needs more memory than is allowed" + at,
                    "at most " + std::to_string(XzDecoder::kMemoryLimit >> 20) + " MiB, as xz -9 makes"};
        case XzError::kOutOfMemory:
            return {"no memory to decode xz data" + at, "decoding needs what xz --list -vv shows"};
        case XzError::kCorrupt:
            break;
    }
    return {"xz data is corrupt near byte " + std::to_string(position), "a file that passes xz --test"};
}

}  // namespace

LineSource::Descriptor::Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

LineSource::Descriptor& LineSource::Descriptor::operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
}

LineSource::Descriptor::~Descriptor() {
    if (fd_ >= 0) {
        close(fd_);  // opened for reading: nothing can be lost
    }
}

Result<LineSource, TraceError> LineSource::open(const std::string& path) {
    LineSource source(path);
    source.file_ = Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (source.file_.get() < 0) {
        Problem problem = cannot("open", errno);
        return fail(TraceError{path, 0, std::move(problem.what), std::move(problem.would_be_right)});
    }
    struct stat status {};
    if (fstat(source.file_.get(), &status) == 0 && S_ISREG(status.st_mode)) {
        source.bytes_total_ = static_cast<std::uint64_t>(status.st_size);
    }
    source.input_buffer_.resize(kReadBytes);
    return begin(std::move(source));
}

Result<LineSource, TraceError> LineSource::from_bytes(std::string name, std::span<const std::byte> bytes) {
    LineSource source(std::move(name));
    source.bytes_total_ = bytes.size();
    source.input_ = bytes;
    source.input_ended_ = bytes.empty();
    return begin(std::move(source));
}

Result<LineSource, TraceError> LineSource::begin(LineSource&& source) {
    if (auto detected = source.detect_format(); !detected) {
        Problem& problem = detected.error();
        return fail(TraceError{source.name_, 0, std::move(problem.what), std::move(problem.would_be_right)});
    }
    return std::move(source);
}

Result<void, Problem> LineSource::detect_format() {
    if (input_.empty()) {
        if (auto read = read_input(); !read) {
            return read;
        }
    }
    if (!XzDecoder::looks_like_xz(input_)) {
        if (name_.ends_with(".xz")) {
            return fail(xz_problem(XzError::kNotXz, 0));
        }
        return {};
    }
    auto decoder = XzDecoder::create();
    if (!decoder) {
        return fail(xz_problem(decoder.error(), 0));
    }
    xz_.emplace(std::move(*decoder));
    return {};
}

Result<void, Problem> LineSource::read_input() {
    input_ = {};
    if (file_.get() < 0) {
        input_ended_ = true;
        return {};
    }
    // A pipe gives less than is asked for: fill up, so that the first read holds the whole magic number.
    std::size_t filled = 0;
    while (filled < input_buffer_.size()) {
        const ssize_t got = read(file_.get(), input_buffer_.data() + filled, input_buffer_.size() - filled);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return fail(cannot("read", errno));
        }
        if (got == 0) {
            break;
        }
        filled += static_cast<std::size_t>(got);
    }
    input_ = std::span(input_buffer_).first(filled);
    input_ended_ = filled == 0;
    return {};
}

Result<std::size_t, Problem> LineSource::decode_into(std::span<std::byte> room) {
    while (true) {
        if (input_.empty() && !input_ended_) {
            if (auto read = read_input(); !read) {
                return fail(std::move(read.error()));
            }
        }
        if (!xz_) {
            const std::size_t count = std::min(input_.size(), room.size());
            std::copy_n(input_.begin(), count, room.begin());
            input_ = input_.subspan(count);
            bytes_consumed_ += count;
            return count;
        }
        const auto step = xz_->decode(input_, room, input_ended_);
        if (!step) {
            return fail(xz_problem(step.error(), xz_->position()));
        }
        input_ = input_.subspan(step->consumed);
        bytes_consumed_ += step->consumed;
        if (step->produced != 0 || step->finished) {
            return step->produced;
        }
    }
}

Result<void, Problem> LineSource::read_text() {
    std::copy(text_.begin() + static_cast<std::ptrdiff_t>(begin_), text_.begin() + static_cast<std::ptrdiff_t>(end_),
              text_.begin());
    end_ -= begin_;
    searched_ -= begin_;
    begin_ = 0;
    if (text_.size() < end_ + kReadBytes + kPadding) {
        text_.resize(std::max(2 * text_.size(), end_ + kReadBytes + kPadding));
    }
    const std::span room = std::span(text_).subspan(end_, text_.size() - kPadding - end_);
    const auto got = decode_into(std::as_writable_bytes(room));
    if (!got) {
        return fail(got.error());
    }
    end_ += *got;
    text_ended_ = *got == 0;
    return {};
}

Result<std::optional<std::string_view>, TraceError> LineSource::next() {
    if (failed_) {
        return fail(*failed_);
    }
    const auto failed = [this](Problem problem) {
        failed_ = {name_, line_number_ + 1, std::move(problem.what), std::move(problem.would_be_right)};
        return fail(*failed_);
    };
    while (true) {
        const void* found = std::memchr(text_.data() + searched_, '\n', end_ - searched_);
        searched_ = found == nullptr ? end_ : static_cast<std::size_t>(static_cast<const char*>(found) - text_.data());
        if (searched_ - begin_ > kMaxLineBytes) {
            return failed({"line is longer than " + std::to_string(kMaxLineBytes) + " bytes", "one call is one line"});
        }
        if (found != nullptr || (text_ended_ && begin_ < end_)) {
            const std::string_view line(text_.data() + begin_, searched_ - begin_);
            begin_ = std::min(searched_ + 1, end_);
            searched_ = begin_;
            ++line_number_;
            return line;
        }
        if (text_ended_) {
            return std::nullopt;
        }
        if (auto more = read_text(); !more) {
            return failed(std::move(more.error()));
        }
    }
}

}  // namespace granule::trace
