// A file that is there whole or not at all: written beside its place, then renamed into it.
//
// Opening it first tells a place that cannot be written before the work is done, not after. What is no regular file (a
// pipe, /dev/null) is written directly; "-" is standard output.
//
// And what goes to standard output and standard error, which may fail too.
//
// Failure: CommandError, kBadInput. Thread-safety: none.
#pragma once

#include <string>
#include <string_view>

namespace granule::cli {

class OutputFile {
public:
    explicit OutputFile(const std::string& path);
    OutputFile(const OutputFile&) = delete;
    OutputFile& operator=(const OutputFile&) = delete;
    ~OutputFile();  // without `write`: leaves nothing

    // Once: the whole content.
    void write(std::string_view content);

private:
    [[noreturn]] void fail_with(int error) const;

    std::string path_;       // for messages
    std::string place_;      // where it belongs: path_ with symbolic links followed
    std::string temporary_;  // beside it; empty where written directly
    int fd_ = -1;
};

// Writes to standard output. A failure shows in `finish_output`.
void print(std::string_view text);
// Writes to standard error, at once. Nobody is left to tell where that fails.
void print_error(std::string_view text);
// Everything printed has arrived, or CommandError.
void finish_output();

}  // namespace granule::cli
