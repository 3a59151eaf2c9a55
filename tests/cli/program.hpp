// Runs the built program as a shell would, and directories for its files.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace granule::test {

// A directory that goes with its contents.
class TemporaryDirectory {
public:
    TemporaryDirectory();
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    ~TemporaryDirectory();

    // The path of a file in it, which need not be there.
    [[nodiscard]] std::string file(const std::string& name) const { return path_ / name; }
    // Writes a file and returns its path.
    [[nodiscard]] std::string write(const std::string& name, std::string_view content) const;
    // The names of what is in it, sorted.
    [[nodiscard]] std::vector<std::string> names() const;

private:
    std::filesystem::path path_;
};

[[nodiscard]] std::string read_file(const std::string& path);
// A trace that the project comes with.
[[nodiscard]] std::string shipped_trace(const std::string& name);

struct Outcome {
    int code = -1;  // the exit code; -1 where a signal ended it
    std::string out;
    std::string err;
};

// `granule` with these arguments, while it runs. Standard output and error go to files, so neither is a terminal.
class Program {
public:
    // Standard output goes to the file named, if one is; then `Outcome::out` is empty.
    explicit Program(const std::vector<std::string>& arguments, const std::string& standard_output = {});
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    ~Program() = default;

    void signal(int number) const;
    [[nodiscard]] Outcome wait();

private:
    TemporaryDirectory directory_;
    std::string out_;  // empty where the caller named the file
    pid_t pid_ = -1;
};

// For messages.
[[nodiscard]] std::string joined(const std::vector<std::string>& arguments);
[[nodiscard]] Outcome run(const std::vector<std::string>& arguments);

}  // namespace granule::test
