// One line of a trace to one typed value. Knows the calls and their fields; knows nothing of files.
//
// Complexity: linear in the line. Memory: the JSON parser's, for the longest line so far, kept between lines.
// Thread-safety: none. Failure: the first problem of the line; the call is then in part filled, and of no use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "mali/result.hpp"
#include "src/trace/call.hpp"
#include "src/trace/trace_error.hpp"

namespace granule::trace {

class LineParser {
public:
    // Readable bytes that must follow a line.
    static constexpr std::size_t kPadding = 64;

    LineParser();
    LineParser(LineParser&&) noexcept;
    LineParser& operator=(LineParser&&) noexcept;
    ~LineParser();

    // {"meta":{...}}: the first line.
    [[nodiscard]] Result<Meta, Problem> meta(std::string_view line);
    // What is wrong with a file that has no first line.
    [[nodiscard]] static Result<Meta, Problem> no_meta();
    // Any other line. `processes` is how many the meta line promised. All of `out` but its line number is replaced.
    [[nodiscard]] Result<void, Problem> call(std::string_view line, std::uint32_t processes, Call& out);

private:
    struct Json;  // keeps simdjson out of this header

    std::unique_ptr<Json> json_;
};

}  // namespace granule::trace
