// Reads a trace of memory traffic: a file of JSON Lines, plain or .xz, call by call.
//
//     auto reader = trace::Reader::open("x.jsonl.xz");
//     trace::Call call;
//     for (;;) {
//         const auto more = reader->next(call);
//         if (!more) { report(more.error().message()); break; }
//         if (!*more) { break; }
//         replay(call);
//     }
//
// - Every line is checked when it is read: fields that are missing, of the wrong type, too large, not in whole pages,
//   ranges that leave 2^48, unknown calls, flags and letters. Fields that no call has are ignored.
// - Lines are not checked against each other: whether a handle or a VM exists is for those who replay.
// - Times need not increase: threads finish their calls in one order and get the file in another.
//
// Memory: the longest line and what it takes to decode it, whatever the length of the trace.
// Thread-safety: none (one thread at a time); two readers of one file are independent.
// Failure: typed, with file, line and what would be right; and final: after an error `next` fails with it again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "mali/result.hpp"
#include "src/trace/call.hpp"
#include "src/trace/line_parser.hpp"
#include "src/trace/line_source.hpp"
#include "src/trace/trace_error.hpp"

namespace granule::trace {

class Reader {
public:
    // Opens the file and reads its first line, which says that it is a trace.
    [[nodiscard]] static Result<Reader, TraceError> open(const std::string& path);
    // The same over bytes in memory, which the caller keeps alive. `name` stands in errors where a path would.
    [[nodiscard]] static Result<Reader, TraceError> from_bytes(std::string name, std::span<const std::byte> bytes);

    [[nodiscard]] const Meta& meta() const noexcept { return meta_; }

    // Fills `out` with the next call: true; or false after the last, with `out` as it was. An error leaves `out` half
    // filled.
    [[nodiscard]] Result<bool, TraceError> next(Call& out);

    // Progress, in bytes of the file as it is: read so far, and in all (0 where unknown: a pipe).
    [[nodiscard]] std::uint64_t bytes_consumed() const noexcept { return lines_.bytes_consumed(); }
    [[nodiscard]] std::uint64_t bytes_total() const noexcept { return lines_.bytes_total(); }

private:
    explicit Reader(LineSource&& lines) noexcept : lines_(std::move(lines)) {}

    [[nodiscard]] static Result<Reader, TraceError> begin(Result<LineSource, TraceError>&& lines);
    [[nodiscard]] TraceError located(Problem&& problem) const;

    LineSource lines_;
    LineParser parser_;
    Meta meta_;
    std::optional<TraceError> failed_;
};

}  // namespace granule::trace
