#include "src/cli/progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include "src/cli/write_file.hpp"

namespace granule::cli {
namespace {

constexpr std::chrono::milliseconds kPeriod{100};
// The clock is looked at once in so many questions: calls are replayed in well under a microsecond.
constexpr std::uint32_t kQuestions = 32;
constexpr std::size_t kUsualColumns = 80;

std::size_t terminal_columns() {
    winsize size{};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col != 0 ? size.ws_col : kUsualColumns;
}

}  // namespace

Progress::Progress(bool wanted) : on_(wanted && isatty(STDERR_FILENO) == 1), next_(Clock::now() + kPeriod) {}

bool Progress::due() {
    if (!on_ || ++asked_ % kQuestions != 0) {
        return false;
    }
    const Clock::time_point now = Clock::now();
    if (now < next_) {
        return false;
    }
    next_ = now + kPeriod;
    return true;
}

void Progress::show(const std::string& line) {
    // A line that fills the last column would wrap, and could not be rewritten.
    const std::string text = "\r" + line.substr(0, terminal_columns() - 1) + "\x1b[K";
    print_error(text);
    shown_ = true;
}

void Progress::remove() {
    if (shown_) {
        print_error("\r\x1b[K");
        shown_ = false;
    }
}

}  // namespace granule::cli
