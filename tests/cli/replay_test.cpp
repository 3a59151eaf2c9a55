// granule replay: the table, the notes below it, the JSON, the exit code.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/cli/program.hpp"
#include "tests/cli/small_trace.hpp"

namespace granule::test {
namespace {

using Json = nlohmann::json;

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

std::size_t longest_line(const std::string& text) {
    std::size_t longest = 0;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        longest = std::max(longest, line.size());
    }
    return longest;
}

// What every object of "traces" has, with its type.
void check_members(const Json& trace) {
    for (const char* name : {"calls",
                             "binds",
                             "maps",
                             "sparse_maps",
                             "unmaps",
                             "overmaps",
                             "partial_unmaps",
                             "granules_remapped",
                             "granules_cut",
                             "operations",
                             "residual_bytes",
                             "exposed_bytes",
                             "enlarged_bytes",
                             "bos",
                             "vms",
                             "peak_mapped_bytes",
                             "leaves_2m",
                             "leaves_4k",
                             "tables_peak",
                             "peak_mappings",
                             "pages_verified",
                             "mismatches",
                             "faults",
                             "stale_hits",
                             "allocations_in_unmap",
                             "ns_per_bind_p50",
                             "ns_per_bind_p999",
                             "driver_ioctls",
                             "driver_operations",
                             "ioctls",
                             "kernel_operations",
                             "residual_operations",
                             "isolating_operations",
                             "piece_operations",
                             "moved_bos"}) {
        CAPTURE(name);
        REQUIRE(trace.contains(name));
        CHECK(trace[name].is_number_unsigned());
    }
    for (const char* name :
         {"trace", "verdict", "mesa", "kernel", "unmap_policy", "leaves", "memory", "end_state", "end_mappings"}) {
        CAPTURE(name);
        REQUIRE(trace.contains(name));
        CHECK(trace[name].is_string());
    }
    CHECK(trace.at("end_state").get<std::string>().starts_with("0x"));
    CHECK(trace.at("good").is_boolean());
    CHECK(trace.at("verify").is_boolean());
    CHECK(trace.at("killed").is_boolean());
    CHECK(trace.at("whole").is_boolean());
    CHECK(trace.contains("device"));
    CHECK(trace.at("findings").is_array());
    CHECK(trace.at("leftovers").is_array());
    CHECK(trace.contains("gpu"));
    CHECK(trace.contains("error"));
}

TEST_CASE("the shipped traces are good, and their table is one that fits") {
    const TemporaryDirectory files;
    const std::string json_path = files.file("result.json");
    const std::vector<std::string> names{"glmark2-g52-v26", "multiclient-g610-v26-clients", "sparse-arena-g610-v26-k19",
                                         "sparse-vtex-g610-v26-k12"};
    std::vector<std::string> arguments{"replay", "--json", json_path};
    for (const std::string& name : names) {
        arguments.push_back(shipped_trace(name + ".jsonl.xz"));
    }
    const Outcome outcome = run(arguments);
    CHECK(outcome.code == 0);
    CHECK_MESSAGE(outcome.err.empty(), outcome.err);  // no progress where there is no terminal
    CHECK(longest_line(outcome.out) <= 120);
    for (const char* part : {"granules", "residual", "exposed", "p50/p99.9", "see --json"}) {
        CHECK_MESSAGE(has(outcome.out, part), part, " is not in: ", outcome.out);
    }

    const Json json = Json::parse(read_file(json_path));
    REQUIRE(json.at("traces").size() == names.size());
    for (std::size_t i = 0; i < names.size(); ++i) {
        CAPTURE(names[i]);
        const Json& trace = json["traces"][i];
        check_members(trace);
        CHECK(trace["trace"] == shipped_trace(names[i] + ".jsonl.xz"));
        CHECK(trace["verdict"] == "good");
        CHECK(trace["good"] == true);
        CHECK(trace["error"].is_null());
        CHECK(trace["mismatches"] == 0);
        CHECK(trace["granules_cut"] == 0);
        CHECK(has(outcome.out, names[i]));
    }
    // As tests/traces says of them.
    CHECK(json["traces"][0]["calls"] == 216205);
    CHECK(json["traces"][1]["calls"] == 126465);
    CHECK(json["traces"][1]["killed"] == true);
    CHECK(json["traces"][3]["maps"] == 37570);
    CHECK(json["traces"][3]["gpu"] == "Mali-G610");
}

TEST_CASE("what the program left behind is named in the text and in the JSON") {
    const std::string trace = shipped_trace("sparse-vtex-g610-v26-k12.jsonl.xz");
    const Outcome outcome = run({"replay", trace});
    CHECK(outcome.code == 0);
    CHECK(has(outcome.out, "left behind by the program"));
    CHECK(has(outcome.out, "[0xffe80000, 0xfff00000)"));

    const Outcome as_json = run({"replay", "--json", "-", trace});
    CHECK(as_json.code == 0);
    const Json leftovers = Json::parse(as_json.out)["traces"][0]["leftovers"];
    REQUIRE_FALSE(leftovers.empty());
    for (const Json& leftover : leftovers) {
        CHECK(leftover.at("kind").is_string());
        CHECK(leftover.at("line").is_number_unsigned());
        CHECK(leftover.at("bytes").is_number_unsigned());
        CHECK(leftover.at("sentence").is_string());
        CHECK(leftover.at("va").at("start") == "0xffe80000");
    }
}

TEST_CASE("the numbers of a small trace are those that were counted by hand") {
    const TemporaryDirectory files;
    const Outcome outcome = run({"replay", "--verify", "--json", "-", files.write("small.jsonl", kSmallTrace)});
    REQUIRE(outcome.code == 0);
    const Json trace = Json::parse(outcome.out)["traces"][0];
    CHECK(trace["calls"] == 10);
    CHECK(trace["whole"] == true);
    CHECK(trace["device"].is_null());  // the soft one: no kernel was asked anything
    CHECK(trace["driver_ioctls"] == 3);
    CHECK(trace["driver_operations"] == 3);
    CHECK(trace["ioctls"] == 0);
    CHECK(trace["binds"] == 3);
    CHECK(trace["maps"] == 2);
    CHECK(trace["sparse_maps"] == 1);
    CHECK(trace["unmaps"] == 1);
    CHECK(trace["overmaps"] == 1);
    CHECK(trace["partial_unmaps"] == 1);
    CHECK(trace["granules_remapped"] == 1);
    CHECK(trace["residual_bytes"] == (2 << 20) - (64 << 10));
    CHECK(trace["peak_mapped_bytes"] == 4 << 20);
    CHECK(trace["leaves_2m"] == 2);
    CHECK(trace["leaves_4k"] == 0);
    CHECK(trace["bos"] == 1);
    CHECK(trace["vms"] == 1);
    CHECK(trace["kernel"] == "refuses");
    CHECK(trace["unmap_policy"] == "split");
    CHECK(trace["verify"] == true);
    CHECK(trace["pages_verified"] > 0);
    CHECK(trace["leftovers"].empty());
    CHECK(trace["findings"].empty());
}

TEST_CASE(
    "so many calls of a trace are played as were asked for, and what it did not get to give back is not its fault") {
    const TemporaryDirectory files;
    const std::string path = files.write("small.jsonl", kSmallTrace);
    const Outcome outcome = run({"replay", "--calls", "5", "--json", "-", path});
    REQUIRE(outcome.code == 0);
    const Json part = Json::parse(outcome.out)["traces"][0];
    CHECK(part["calls"] == 5);
    CHECK(part["binds"] == 1);
    CHECK(part["whole"] == false);
    CHECK(part["leftovers"].empty());
    const Json all = Json::parse(run({"replay", "--calls", "10", "--json", "-", path}).out)["traces"][0];
    CHECK(all["calls"] == 10);
    CHECK(all["binds"] == 3);
}

TEST_CASE("a device that is no Mali's is told, in words and as a row") {
    const TemporaryDirectory files;
    const std::string path = files.write("small.jsonl", kSmallTrace);
    for (const std::string& device : {files.file("missing"), std::string("/dev/null")}) {
        CAPTURE(device);
        const Outcome outcome = run({"replay", "--device", device, path});
        CHECK(outcome.code == 2);
        CHECK(has(outcome.out, "small"));
        std::string where = path;
        where += ": " + device + ": ";
        for (const std::string& part : {where, std::string("granule devices")}) {
            CHECK_MESSAGE(has(outcome.err, part), part, " is not in: ", outcome.err);
        }
    }
}

TEST_CASE("the end state is the same under every kernel") {
    const TemporaryDirectory files;
    const std::string trace = files.write("small.jsonl", kSmallTrace);
    Json end_state;
    Json end_mappings;
    for (const char* kernel : {"splits", "refuses", "oopses", "realigns"}) {
        CAPTURE(kernel);
        const Outcome outcome = run({"replay", "--verify", "--kernel", kernel, "--json", "-", trace});
        REQUIRE(outcome.code == 0);
        const Json result = Json::parse(outcome.out)["traces"][0];
        CHECK(result["kernel"] == kernel);
        CHECK(result["mismatches"] == 0);
        if (end_state.is_null()) {
            end_state = result["end_state"];
            end_mappings = result["end_mappings"];
        }
        CHECK(result["end_state"] == end_state);
        CHECK(result["end_mappings"] == end_mappings);
    }
}

TEST_CASE("a refused bind is exit code 1, and names the leaf and whose it is") {
    const TemporaryDirectory files;
    const std::string trace = files.write("small.jsonl", kSmallTrace);
    const Outcome outcome = run({"replay", "--unmap-policy", "reject", trace});
    CHECK(outcome.code == 1);
    CHECK(has(outcome.out, "refused at line 7"));
    for (const std::string& part : {trace + ":7: ", std::string("[0x40000000, 0x40200000)"), std::string("Atlas")}) {
        CHECK_MESSAGE(has(outcome.err, part), part, " is not in: ", outcome.err);
    }
    const Outcome pages = run({"replay", "--unmap-policy", "reject", "--leaves", "page", trace});
    CHECK(pages.code == 0);
}

TEST_CASE("a bad trace among several does not end the run, and the exit code is the worst") {
    const TemporaryDirectory files;
    const std::string good = files.write("good.jsonl", kSmallTrace);
    const std::string bad = files.file("missing.jsonl");
    const std::string json = files.file("result.json");
    const Outcome outcome = run({"replay", "--unmap-policy", "reject", "--json", json, bad, good});
    CHECK(outcome.code == 2);
    CHECK(has(outcome.err, bad + ": "));
    CHECK(has(outcome.err, good + ":7: "));
    const Json traces = Json::parse(read_file(json)).at("traces");
    REQUIRE(traces.size() == 2);
    check_members(traces[0]);
    check_members(traces[1]);
    CHECK(traces[0]["verdict"] == "bad trace");
    CHECK(traces[0]["error"]["message"].is_string());
    CHECK(traces[1]["verdict"] == "refused");
    CHECK(traces[1]["error"]["line"] == 7);
    CHECK(traces[1]["good"] == false);
}

TEST_CASE("quiet prints nothing of what is good") {
    const TemporaryDirectory files;
    const Outcome outcome = run({"replay", "--quiet", files.write("small.jsonl", kSmallTrace)});
    CHECK(outcome.code == 0);
    CHECK(outcome.out.empty());
    CHECK(outcome.err.empty());
}

TEST_CASE("the JSON takes the place of an older one, keeps its permissions, and follows a link") {
    const TemporaryDirectory files;
    const std::string trace = files.write("small.jsonl", kSmallTrace);
    const std::string old = files.write("old.json", std::string(1 << 20, 'x'));
    REQUIRE(chmod(old.c_str(), 0640) == 0);
    std::filesystem::create_symlink("old.json", files.file("link.json"));
    REQUIRE(run({"replay", "--json", files.file("link.json"), trace}).code == 0);
    CHECK(Json::accept(read_file(old)));
    struct stat status {};
    REQUIRE(stat(old.c_str(), &status) == 0);
    CHECK((status.st_mode & 0777U) == 0640U);
    CHECK(std::filesystem::is_symlink(files.file("link.json")));
    CHECK(files.names() == std::vector<std::string>{"link.json", "old.json", "small.jsonl"});
    CHECK(run({"replay", "--json", "/dev/null", trace}).code == 0);
    CHECK_FALSE(std::filesystem::is_regular_file("/dev/null"));
}

TEST_CASE("standard output that cannot be written is not passed over") {
    if (!std::filesystem::exists("/dev/full")) {
        MESSAGE("skipped: there is no /dev/full");
        return;
    }
    const TemporaryDirectory files;
    Program program({"replay", files.write("small.jsonl", kSmallTrace)}, "/dev/full");
    const Outcome outcome = program.wait();
    CHECK(outcome.code == 2);
    CHECK(has(outcome.err, "No space left"));
}

// A trace that comes through a pipe, so that the program is in the middle of it for as long as the test likes.
TEST_CASE("an interrupt prints what was done so far, and leaves an older JSON as it was") {
    for (const int number : {SIGINT, SIGTERM}) {
        CAPTURE(number);
        const TemporaryDirectory files;
        const std::string pipe = files.file("pipe");
        const std::string json = files.write("result.json", "older");
        REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
        Program program({"replay", "--json", json, pipe});
        const int fd = open(pipe.c_str(), O_WRONLY | O_CLOEXEC);  // returns when the program has opened it
        REQUIRE(fd >= 0);
        const std::string_view begun =
            std::string_view(kSmallTrace).substr(0, std::string_view(kSmallTrace).find("{\"t\":8"));
        REQUIRE(write(fd, begun.data(), begun.size()) == static_cast<ssize_t>(begun.size()));
        program.signal(number);
        close(fd);
        const Outcome outcome = program.wait();
        CHECK(outcome.code == 130);
        CHECK(has(outcome.out, "interrupted"));
        CHECK(has(outcome.err, "interrupted"));
        CHECK(read_file(json) == "older");
        CHECK(files.names() == std::vector<std::string>{"pipe", "result.json"});
    }
}

}  // namespace
}  // namespace granule::test
