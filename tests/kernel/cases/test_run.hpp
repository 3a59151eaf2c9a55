// The tests of one program of the kernel tier, and its exit code: counts what test_report.hpp prints.
//
//     TestRun run;
//     run.check("unmap of a part of a leaf is refused", error == EINVAL, "found EPERM");
//     run.test("the device works", [&]() -> std::string { ...; return {}; });     // why it failed; or nothing
//     return run.exit_code();
//
// Thread-safety: none.
#pragma once

#include <cstddef>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "tests/kernel/inside/test_report.hpp"

namespace granule::kernel_test {

class TestRun {
public:
    bool check(std::string_view name, bool passed, std::string_view otherwise = {}) {
        ++tests_;
        failures_ += passed ? 0 : 1;
        report_test(name, passed, passed ? std::string_view{} : otherwise);
        return passed;
    }
    // A test that is what `body` does: it passes where that returns an empty text. A text that it returns, or an exception
    // that it throws, is why it failed.
    template <class Body>
    bool test(std::string_view name, Body&& body) {
        std::string why;
        try {
            why = std::forward<Body>(body)();
        } catch (const std::exception& error) {
            why = error.what();
        }
        return check(name, why.empty(), why);
    }

    // 0 where some test ran and all passed.
    [[nodiscard]] int exit_code() const { return tests_ != 0 && failures_ == 0 ? 0 : 1; }

private:
    std::size_t tests_ = 0;
    std::size_t failures_ = 0;
};

}  // namespace granule::kernel_test
