// The lines of a file, plain or xz-compressed, in order, with their numbers.
//
// - A line ends with '\n' or with the file. The '\n' is not part of it.
// - After each line at least kPadding bytes can be read (they mean nothing): vector code may run over the end.
// - Whether the data is xz is seen by its first bytes, never guessed from the name; a name that ends in ".xz" over
//   other data is an error.
// - Memory: one buffer that grows to the longest line, at most kMaxLineBytes plus a read; xz as XzDecoder says.
//
// Complexity: each byte is moved at most twice and searched once. Thread-safety: none (one thread at a time).
// Failure: typed, and final: what follows a failed `next` is that failure again. Does not: look into lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mali/result.hpp"
#include "src/trace/trace_error.hpp"
#include "src/trace/xz_decoder.hpp"

namespace granule::trace {

class LineSource {
public:
    static constexpr std::size_t kMaxLineBytes = std::size_t{16} << 20;
    static constexpr std::size_t kPadding = 64;

    [[nodiscard]] static Result<LineSource, TraceError> open(const std::string& path);
    // The same over bytes in memory, which the caller keeps alive. `name` stands in errors where a path would.
    [[nodiscard]] static Result<LineSource, TraceError> from_bytes(std::string name, std::span<const std::byte> bytes);

    // The next line, or nullopt after the last. It stays valid until the next call.
    [[nodiscard]] Result<std::optional<std::string_view>, TraceError> next();

    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    // Number of the line that `next` returned last, from 1.
    [[nodiscard]] std::uint64_t line_number() const noexcept { return line_number_; }
    // Progress, in bytes of the file as it is (compressed, if it is): read so far, and in all (0 where unknown: a
    // pipe).
    [[nodiscard]] std::uint64_t bytes_consumed() const noexcept { return bytes_consumed_; }
    [[nodiscard]] std::uint64_t bytes_total() const noexcept { return bytes_total_; }

private:
    // An open file; closes it.
    class Descriptor {
    public:
        Descriptor() noexcept = default;
        explicit Descriptor(int fd) noexcept : fd_(fd) {}
        Descriptor(Descriptor&& other) noexcept;
        Descriptor& operator=(Descriptor&& other) noexcept;
        ~Descriptor();
        [[nodiscard]] int get() const noexcept { return fd_; }

    private:
        int fd_ = -1;
    };

    explicit LineSource(std::string name) : name_(std::move(name)), text_(kPadding) {}

    // The rest of opening: looks at the first bytes and sets up decoding where they are xz.
    [[nodiscard]] static Result<LineSource, TraceError> begin(LineSource&& source);
    [[nodiscard]] Result<void, Problem> detect_format();
    // Replaces `input_`, which is used up; leaves it empty, and sets `input_ended_`, at the end of the file.
    [[nodiscard]] Result<void, Problem> read_input();
    // Makes room in `text_` and adds what comes next to it; sets `text_ended_` where nothing comes.
    [[nodiscard]] Result<void, Problem> read_text();
    // At least one byte of text to the front of `room`; none at the end of the text.
    [[nodiscard]] Result<std::size_t, Problem> decode_into(std::span<std::byte> room);

    std::string name_;
    Descriptor file_;
    std::optional<XzDecoder> xz_;
    std::optional<TraceError> failed_;

    std::vector<std::byte> input_buffer_;  // empty where the input is the caller's
    std::span<const std::byte> input_;     // read from the file, not used yet
    bool input_ended_ = false;
    std::uint64_t bytes_consumed_ = 0;
    std::uint64_t bytes_total_ = 0;

    //  text_:  | returned lines | begin_ .. searched_ no '\n' | .. end_ not searched | room | kPadding |
    std::vector<char> text_;
    std::size_t begin_ = 0;
    std::size_t searched_ = 0;
    std::size_t end_ = 0;
    bool text_ended_ = false;
    std::uint64_t line_number_ = 0;
};

}  // namespace granule::trace
