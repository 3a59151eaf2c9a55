// One line on a terminal that says how far a replay has come, rewritten ten times a second and removed at the end.
//
// Nothing is written where standard error is no terminal. Thread-safety: none.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace granule::cli {

class Progress {
public:
    explicit Progress(bool wanted);
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    ~Progress() { remove(); }

    // Whether it is time for a new line; cheap enough to ask after every call.
    [[nodiscard]] bool due();
    void show(const std::string& line);
    void remove();

private:
    using Clock = std::chrono::steady_clock;

    bool on_ = false;
    bool shown_ = false;
    std::uint32_t asked_ = 0;
    Clock::time_point next_{};
};

}  // namespace granule::cli
