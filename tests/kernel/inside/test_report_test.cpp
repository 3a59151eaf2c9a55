#include "tests/kernel/inside/test_report.hpp"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace granule::kernel_test {

TEST_CASE("a line is a marker and JSON, with columns in their order") {
    CHECK(report_line({{"test", "a \"name\""}, {"passed", true}, {"what", ""}}) ==
          R"(@granule {"test":"a \"name\"","passed":true,"what":""})");
    CHECK(report_line({{"table", "t"}, {"row", {{"z", 1}, {"a", "two\nlines"}}}}) ==
          R"(@granule {"table":"t","row":{"z":1,"a":"two\nlines"}})");
}

TEST_CASE("bytes that are no UTF-8 do not break the line") {
    const std::string line = report_line({{"what", "label \xff\xfe"}});
    CHECK(nlohmann::json::accept(line.substr(line.find(' ') + 1)));
}

}  // namespace granule::kernel_test
