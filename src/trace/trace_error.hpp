// The one error of the trace reader: where, what is wrong, and what would be right.
//
// Thread-safety: values.
#pragma once

#include <cstdint>
#include <string>

namespace granule::trace {

// What is wrong with one line, before anybody knows which line of which file it is.
struct Problem {
    std::string what;            // field "size" of op 3 of panthor.vm_bind is 4097
    std::string would_be_right;  // sizes are multiples of 4096

    bool operator==(const Problem&) const noexcept = default;
};

struct TraceError {
    std::string file;
    std::uint64_t line = 0;  // from 1; 0 where the whole file is wrong
    std::string what;
    std::string would_be_right;

    // "x.jsonl.xz:412: field "size" of op 3 of panthor.vm_bind is 4097: sizes are multiples of 4096"
    [[nodiscard]] std::string message() const {
        const std::string place = line == 0 ? file : file + ":" + std::to_string(line);
        return place + ": " + what + ": " + would_be_right;
    }
    bool operator==(const TraceError&) const noexcept = default;
};

}  // namespace granule::trace
