// What a program of the kernel tier expects, one by one, and what it found.
//
//     Expectations expect("VM_BIND");
//     expect.equal("a map of more than the BO is refused", gpu.bind(...), -EINVAL);
//     return expect.finish();     // the exit code
//
// Each failure is a test of its own (test_report.hpp); what held is counted and told as one test at the end, so that
// thousands of expectations stay readable.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "tests/kernel/cases/test_run.hpp"

namespace granule::kernel_test {

class Expectations {
public:
    explicit Expectations(std::string subject) : subject_(std::move(subject)) {}

    template <class Found, class Wanted>
    bool equal(std::string_view sentence, const Found& found, const Wanted& wanted) {
        return note(sentence, found == wanted, [&] { return fmt::format("found {}, expected {}", found, wanted); });
    }
    bool holds(std::string_view sentence, bool held, std::string_view otherwise = {}) {
        return note(sentence, held, [&] { return std::string(otherwise); });
    }

    [[nodiscard]] std::uint64_t failed() const { return failed_; }
    // The last line of the subject, and the exit code of the program.
    [[nodiscard]] int finish() {
        run_.check(subject_, failed_ == 0 && held_ != 0,
                   fmt::format("{} of {} expectations failed", failed_, held_ + failed_));
        return run_.exit_code();
    }
    [[nodiscard]] int give_up(const std::string& why) {
        run_.check(subject_, false, why);
        return run_.exit_code();
    }

private:
    template <class Explain>
    bool note(std::string_view sentence, bool held, Explain&& explain) {
        if (held) {
            ++held_;
        } else {
            ++failed_;
            run_.check(fmt::format("{}: {}", subject_, sentence), false, explain());
        }
        return held;
    }

    std::string subject_;
    TestRun run_;
    std::uint64_t held_ = 0;
    std::uint64_t failed_ = 0;
};

}  // namespace granule::kernel_test
