// How a command ends, as the shell sees it, and the exception that ends one early.
#pragma once

#include <stdexcept>
#include <string>

namespace granule::cli {

enum class ExitCode : int {
    kGood = 0,
    kBroken = 1,        // a promise broken, a mismatch, a bind refused
    kBadInput = 2,      // bad usage, a bad trace, a file that cannot be written
    kInterrupted = 130  // as a shell reports a program that SIGINT ended
};

// The worse of two: the order of the numbers.
[[nodiscard]] constexpr ExitCode worse(ExitCode a, ExitCode b) noexcept {
    return static_cast<int>(a) < static_cast<int>(b) ? b : a;
}

// Ends the command: `main` prints the text and returns the code.
class CommandError : public std::runtime_error {
public:
    CommandError(ExitCode code, const std::string& what) : std::runtime_error(what), code_(code) {}
    [[nodiscard]] ExitCode code() const noexcept { return code_; }

private:
    ExitCode code_;
};

}  // namespace granule::cli
