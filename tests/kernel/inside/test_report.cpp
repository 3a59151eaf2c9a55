#include "tests/kernel/inside/test_report.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace granule::kernel_test {
namespace {

using Json = nlohmann::ordered_json;

void print(const Json& object) {
    static_cast<void>(std::fflush(stdout));  // what the program printed before stands before
    const std::string line = report_line(object) + '\n';
    std::string_view rest = line;
    while (!rest.empty()) {
        const ssize_t written = write(STDOUT_FILENO, rest.data(), rest.size());
        if (written < 0 && errno != EINTR) {
            return;
        }
        rest.remove_prefix(written < 0 ? 0 : static_cast<std::size_t>(written));
    }
}

}  // namespace

std::string report_line(const Json& object) {
    // Bytes that are no UTF-8 (labels of a failing test) are replaced: a line is always JSON.
    return "@granule " + object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void report_test(std::string_view name, bool passed, std::string_view what) {
    print({{"test", name}, {"passed", passed}, {"what", what}});
}

void report_row(std::string_view table, const Json& row) {
    print({{"table", table}, {"row", row}});
}

void report_same(std::string_view name, const Json& value) {
    print({{"same", name}, {"value", value}});
}

void report_expected(Expected expected) {
    print({{"expect", expected == Expected::kOops ? "oops" : "warnings"}});
}

}  // namespace granule::kernel_test
