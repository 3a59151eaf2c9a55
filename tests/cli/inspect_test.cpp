// granule explain and granule dump, on a trace whose page tables are known by heart (small_trace.hpp).
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/cli/program.hpp"
#include "tests/cli/small_trace.hpp"

namespace granule::test {
namespace {

using Json = nlohmann::json;

// `command` with --json - and the small trace.
Json json_of(std::vector<std::string> arguments, int code = 0) {
    const TemporaryDirectory files;
    arguments.insert(arguments.end(), {"--json", "-", files.write("small.jsonl", kSmallTrace)});
    const Outcome outcome = run(arguments);
    INFO(joined(arguments));
    INFO(outcome.err);
    REQUIRE(outcome.code == code);
    return Json::parse(outcome.out);
}

void check_va(const Json& object, const std::string& start, const std::string& end) {
    CHECK(object.at("va").at("start") == start);
    CHECK(object.at("va").at("end") == end);
}

void check_contains(const std::string& text, const std::string& part) {
    CHECK_MESSAGE(text.find(part) != std::string::npos, "'", part, "' is not in: ", text);
}

TEST_CASE("explain plans a bind that cuts a leaf: the whole leaf goes, its rest comes back") {
    const Json json = json_of({"explain", "--at", "7", "--kernel", "refuses"});
    CHECK(json.at("at") == 7);
    CHECK(json.at("gpu") == "Mali-G610");
    CHECK(json.at("vm").at("line") == 3);
    REQUIRE(json.at("operations").size() == 1);
    const Json& operation = json["operations"][0];
    CHECK(operation.at("request").at("kind") == "map");
    CHECK(operation.at("request").at("shows").at("sparse") == true);
    CHECK(operation.at("refused").is_null());
    const Json& ops = operation.at("ops");
    REQUIRE(ops.size() == 4);
    CHECK(ops[0].at("purpose") == "granule");
    CHECK(ops[0].at("kind") == "unmap");
    check_va(ops[0], "0x40000000", "0x40200000");
    CHECK(ops[1].at("purpose") == "residual");
    check_va(ops[1], "0x40000000", "0x40010000");
    CHECK(ops[1].at("shows").at("bo") == 1);
    CHECK(ops[1].at("shows").at("label") == "Atlas");
    CHECK(ops[1].at("shows").at("offset") == 0);
    CHECK(ops[1].at("shows").at("noexec") == true);
    CHECK(ops[1].at("shows").at("line") == 6);
    CHECK(ops[2].at("purpose") == "requested");
    check_va(ops[2], "0x40010000", "0x40020000");
    CHECK(ops[2].at("shows").at("line").is_null());
    CHECK(ops[3].at("purpose") == "residual");
    check_va(ops[3], "0x40020000", "0x40200000");
    CHECK(ops[3].at("shows").at("offset") == 0x20000);
    CHECK(operation.at("cost").at("granules") == 1);
    CHECK(operation.at("cost").at("residual_bytes") == (2 << 20) - (64 << 10));
    CHECK(operation.at("cost").at("locked").is_object());
}

TEST_CASE("explain says the same in words") {
    const TemporaryDirectory files;
    const std::string trace = files.write("small.jsonl", kSmallTrace);
    const Outcome outcome = run({"explain", "--at", "7", trace});
    CHECK(outcome.code == 0);
    for (const char* part :
         {":7\n", "VM 1 of file 1, made at line 3, on Mali-G610, kernel refuses, policy split",
          "map [0x40010000, 0x40020000) 64 KiB: sparse, noexec", "whole leaves, because the request cuts one",
          "BO 1 \"Atlas\" + 0x20000, noexec (mapped at line 6)", "residual   1.94 MiB", "granules          1"}) {
        check_contains(outcome.out, part);
    }
}

TEST_CASE("explain plans what the command line asks for, and does not do it") {
    const Json unmap = json_of({"explain", "--at", "7", "--unmap", "0x40000000+2M"})["operations"][0];
    REQUIRE(unmap.at("ops").size() == 1);
    CHECK(unmap["ops"][0]["purpose"] == "requested");
    CHECK(unmap["cost"]["residual_bytes"] == 0);

    const Json hole = json_of({"explain", "--at", "7", "--unmap", "0x50000000+64K"})["operations"][0];
    CHECK(hole.at("ops").empty());

    const Json map = json_of({"explain", "--at", "7", "--map", "0x60000000+4K", "--bo", "1", "--offset", "8K"});
    REQUIRE(map["operations"][0]["ops"].size() == 1);
    CHECK(map["operations"][0]["ops"][0]["shows"]["bo"] == 1);
    CHECK(map["operations"][0]["ops"][0]["shows"]["offset"] == 8192);

    const Json new_bo = json_of({"explain", "--at", "7", "--map", "0x60000000+2M"})["operations"][0];
    REQUIRE(new_bo["ops"].size() == 1);
    CHECK(new_bo["ops"][0]["shows"]["bo"].is_null());
    CHECK(new_bo["ops"][0]["shows"]["sparse"] == false);

    const Json sparse = json_of({"explain", "--at", "7", "--sparse", "0x60000000+64K"})["operations"][0];
    REQUIRE(sparse["ops"].size() == 1);
    CHECK(sparse["ops"][0]["shows"]["sparse"] == true);
}

TEST_CASE("explain follows the policy: reject names the leaf, enlarge takes it") {
    const Json refused =
        json_of({"explain", "--at", "7", "--unmap", "0x40000000+64K", "--unmap-policy", "reject"}, 1)["operations"][0];
    CHECK(refused.at("ops").is_null());
    CHECK(refused.at("refused").at("granule").at("start") == "0x40000000");
    CHECK(refused.at("refused").at("granule").at("end") == "0x40200000");
    CHECK(refused.at("refused").at("label") == "Atlas");

    const Json enlarged =
        json_of({"explain", "--at", "7", "--unmap", "0x40000000+64K", "--unmap-policy", "enlarge"})["operations"][0];
    CHECK(enlarged.at("cost").at("enlarged_bytes") == (2 << 20) - (64 << 10));

    const Json too_far = json_of(
        {"explain", "--at", "7", "--map", "0x60000000+8K", "--bo", "1", "--offset", "0x3ff000"}, 1)["operations"][0];
    CHECK(too_far.at("refused").at("message").is_string());
}

TEST_CASE("dump shows page tables, mappings and granules before and after a cut") {
    const Json before = json_of({"dump", "--at", "7"});
    REQUIRE(before.at("vms").size() == 1);
    const Json& vm = before["vms"][0];
    CHECK(vm.at("format") == "AArch64 4K");
    CHECK(vm.at("tables").at("leaves_2m") == 2);
    CHECK(vm.at("tables").at("leaves_4k") == 0);
    CHECK(vm.at("tables").at("count") == 3);  // levels 0, 1 and 2
    CHECK(vm.at("mappings").size() == 1);
    check_va(vm["mappings"][0], "0x40000000", "0x40400000");
    CHECK(vm["mappings"][0]["shows"]["label"] == "Atlas");
    CHECK(vm["mappings"][0]["shows"]["line"] == 6);
    REQUIRE(vm.at("granules").size() == 1);
    CHECK(vm["granules"][0]["leaf_bytes"] == 2 << 20);
    CHECK(vm["granules"][0]["leaves"] == 2);
    for (const Json& run : vm["tables"]["runs"]) {
        CHECK(run.at("level") == 2);
        CHECK(run.at("read") == true);
        CHECK(run.at("write") == true);
        CHECK(run.at("execute") == false);
        CHECK(run.at("descriptor").get<std::string>().starts_with("0x"));
        CHECK(run.at("pa").get<std::string>().starts_with("0x"));
    }

    const Json after = json_of({"dump", "--at", "8"})["vms"][0];
    CHECK(after["tables"]["leaves_2m"] == 1);
    CHECK(after["tables"]["leaves_4k"] == 512);
    CHECK(after["tables"]["count"] == 4);
    CHECK(after["mappings"].size() == 3);
    REQUIRE(after["granules"].size() == 2);
    check_va(after["granules"][0], "0x40000000", "0x40200000");
    CHECK(after["granules"][0]["leaf_bytes"] == 4096);
    CHECK(after["granules"][0]["leaves"] == 512);
    check_va(after["granules"][1], "0x40200000", "0x40400000");
    CHECK(after["granules"][1]["leaf_bytes"] == 2 << 20);

    const Json empty = json_of({"dump", "--at", "9"})["vms"][0];
    CHECK(empty["tables"]["runs"].empty());
    CHECK(empty["tables"]["count"] == 1);
    CHECK(empty["mappings"].empty());
    CHECK(empty["granules"].empty());
}

TEST_CASE("dump shows only the parts and the VMs that were asked for") {
    const Json vm = json_of({"dump", "--at", "7", "--what", "mappings,granules", "--file", "1", "--vm", "1"})["vms"][0];
    CHECK_FALSE(vm.contains("tables"));
    CHECK(vm.contains("mappings"));
    CHECK(vm.contains("granules"));

    const TemporaryDirectory files;
    const Outcome text = run({"dump", "--at", "7", files.write("small.jsonl", kSmallTrace)});
    CHECK(text.code == 0);
    for (const char* part : {"VM 1 of file 1, made at line 3", "leaves: 0 x 4K, 2 x 2M, 0 x 1G", "level 2",
                             "rw- cached", "BO 1 \"Atlas\" + 0x0, noexec, line 6", "2 x 2M"}) {
        check_contains(text.out, part);
    }
}

TEST_CASE("dump of a real panfrost trace agrees with itself: leaves, granules and mappings are the same bytes") {
    const Outcome outcome = run({"dump", "--at", "20000", "--json", "-", shipped_trace("glmark2-g52-v26.jsonl.xz")});
    REQUIRE(outcome.code == 0);
    const Json json = Json::parse(outcome.out);
    REQUIRE_FALSE(json["vms"].empty());
    for (const Json& vm : json["vms"]) {
        CHECK(vm["format"] == "ARM_MALI_LPAE");
        std::uint64_t in_tables = 0;
        std::uint64_t in_granules = 0;
        std::uint64_t in_mappings = 0;
        for (const Json& run : vm["tables"]["runs"]) {
            in_tables += run["va"]["bytes"].get<std::uint64_t>();
        }
        for (const Json& run : vm["granules"]) {
            in_granules += run["va"]["bytes"].get<std::uint64_t>();
        }
        for (const Json& mapping : vm["mappings"]) {
            in_mappings += mapping["va"]["bytes"].get<std::uint64_t>();
        }
        CHECK(in_tables == in_mappings);
        CHECK(in_granules == in_mappings);
    }
}

}  // namespace
}  // namespace granule::test
