// Bad usage and bad input: exit code 2, and words that say where, what, and what would be right.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/cli/program.hpp"
#include "tests/cli/small_trace.hpp"

namespace granule::test {
namespace {

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

// Exit code 2, nothing on standard output, and all of `parts` on standard error.
void check_refused(const std::vector<std::string>& arguments, const std::vector<std::string>& parts) {
    const Outcome outcome = run(arguments);
    INFO(joined(arguments));
    CHECK(outcome.code == 2);
    CHECK(outcome.out.empty());
    for (const std::string& part : parts) {
        CHECK_MESSAGE(has(outcome.err, part), "'", part, "' is not in: ", outcome.err);
    }
}

TEST_CASE("help and version are good") {
    for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{{"--help"},
                                                                                           {"replay", "--help"},
                                                                                           {"explain", "--help"},
                                                                                           {"dump", "--help"},
                                                                                           {"gpus", "--help"},
                                                                                           {"devices", "--help"}}) {
        INFO(joined(arguments));
        const Outcome outcome = run(arguments);
        CHECK(outcome.code == 0);
        CHECK(has(outcome.out, "Example:\n  granule "));
        CHECK(outcome.err.empty());
    }
    const Outcome version = run({"--version"});
    CHECK(version.code == 0);
    CHECK(version.out.starts_with("granule "));
}

TEST_CASE("gpus lists what --gpu takes") {
    const Outcome outcome = run({"gpus"});
    CHECK(outcome.code == 0);
    CHECK(has(outcome.out, "Mali-G610"));
    CHECK(has(outcome.out, "0xa867"));
}

TEST_CASE("bad usage is told, with what would be right") {
    const std::string trace = shipped_trace("sample.jsonl");
    check_refused({}, {"subcommand", "granule --help"});
    check_refused({"play"}, {"granule --help"});
    check_refused({"replay"}, {"TRACE is required", "granule replay --help"});
    check_refused({"replay", "--kernal", "refuses", trace}, {"--kernal", "granule replay --help"});
    check_refused({"replay", "--kernel", "fast", trace}, {"--kernel", "'fast'", "splits, refuses, oopses, realigns"});
    check_refused({"replay", "--unmap-policy", "no", trace}, {"--unmap-policy", "'no'", "reject, split, enlarge"});
    check_refused({"replay", "--leaves", "1G", trace}, {"--leaves", "largest, page"});
    check_refused({"replay", "--memory", "x", trace}, {"--memory", "huge, contiguous, scattered"});
    check_refused({"replay", "--gpu", "G9000", trace}, {"--gpu", "'G9000'", "G610", "0xa867", "granule gpus"});
    check_refused({"replay", "--device", "/dev/dri/renderD128", "--gpu", "G610", trace},
                  {"--gpu is for the soft device", "/dev/dri/renderD128", "leave out --gpu"});
    check_refused({"replay", "--device", "/dev/dri/renderD128", "--memory", "huge", trace},
                  {"--memory is for the soft device", "leave out --memory"});
    check_refused({"replay", "--device", "", trace}, {"--device"});
    check_refused({"replay", "--calls", "few", trace}, {"--calls", "'few'"});
    check_refused({"explain", "--at", "3", "--device", "/dev/dri/renderD128", trace}, {"--device"});
    check_refused({"explain", trace}, {"--at is required"});
    check_refused({"explain", "--at", "x", trace}, {"--at", "'x'", "0x1000"});
    check_refused({"explain", "--at", "3", "--unmap", "12", trace}, {"--unmap", "'12'", "VA+SIZE"});
    check_refused({"explain", "--at", "3", "--unmap", "0+4K", "--map", "0+4K", trace}, {"--unmap", "--map"});
    check_refused({"explain", "--at", "3", "--unmap", "0+4K", "--bo", "1", trace}, {"--bo", "--map"});
    check_refused({"dump", "--at", "3", "--what", "tables,all", trace},
                  {"--what", "'all'", "tables, mappings, granules"});
}

TEST_CASE("a file that is no trace is told with its name") {
    const TemporaryDirectory files;
    const std::string missing = files.file("missing.jsonl");
    check_refused({"explain", "--at", "2", missing}, {missing + ": "});
    const std::string text = files.write("text.jsonl", "hello\n");
    check_refused({"dump", "--at", "2", text}, {text + ":1: "});
    const std::string empty = files.write("empty.jsonl", "");
    check_refused({"dump", "--at", "2", empty}, {empty});
}

TEST_CASE("--at is the line of a call, or the one after the last") {
    const TemporaryDirectory files;
    const std::string trace = files.write("small.jsonl", kSmallTrace);
    check_refused({"dump", "--at", "13", trace}, {trace, "ends with line 11", "2 to 12"});
    check_refused({"explain", "--at", "4000000", trace}, {trace, "ends with line 11", "2 to 12"});
    check_refused({"dump", "--at", "1", trace}, {trace, "line 2"});
    check_refused({"dump", "--at", "12", trace}, {trace + ":12: ", "no VM is alive"});
}

TEST_CASE("explain says what is missing") {
    const TemporaryDirectory files;
    const std::string trace = files.write("small.jsonl", kSmallTrace);
    check_refused({"explain", "--at", "5", trace}, {trace + ":5: ", "panthor.bo_set_label", "panthor.vm_bind"});
    check_refused({"explain", "--at", "12", trace}, {trace + ":12: ", "ended", "--unmap"});
    check_refused({"explain", "--at", "7", "--vm", "9", "--unmap", "0+4K", trace},
                  {trace + ":7: ", "no such VM", "--file 1 --vm 1"});
    check_refused({"explain", "--at", "7", "--map", "0x1000+4K", "--bo", "77", trace}, {trace + ":7: ", "BO 77"});
}

TEST_CASE("a bad trace is told with line, reason and what would be right, and has a row in the table") {
    const TemporaryDirectory files;
    const std::string whole = read_file(shipped_trace("sparse-vtex-g610-v26-k12.jsonl.xz"));
    std::string flipped = whole;
    flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 0x10);
    const std::string unknown_gpu =
        std::string(kSmallTrace).replace(std::string(kSmallTrace).find("0xa867"), 6, "0x1234");
    const std::string second_open =
        std::string(kSmallTrace) + "{\"t\":12,\"th\":1,\"f\":1,\"c\":\"drm.gem_close\",\"h\":1}\n";
    struct Case {
        std::string path;
        std::vector<std::string> parts;
    };
    const std::vector<Case> cases{
        {files.write("truncated.jsonl.xz", whole.substr(0, whole.size() / 2)), {"truncated.jsonl.xz:"}},
        {files.write("flipped.jsonl.xz", flipped), {"flipped.jsonl.xz:"}},
        {files.write("not.jsonl", "{\"hello\": 1}\n"), {"not.jsonl:1: "}},
        {files.write("gpu.jsonl", unknown_gpu), {"gpu.jsonl:1: ", "--gpu"}},
        {files.write("closed.jsonl", second_open), {"closed.jsonl:12: ", "file 1", "drm.open"}},
        {shipped_trace("sample.jsonl"), {"sample.jsonl:20: ", "handle 7", "creates"}},
    };
    for (const Case& bad : cases) {
        CAPTURE(bad.path);
        const Outcome outcome = run({"replay", bad.path});
        CHECK(outcome.code == 2);
        CHECK(has(outcome.out, "bad trace"));
        CHECK(has(outcome.err, bad.path));
        for (const std::string& part : bad.parts) {
            CHECK_MESSAGE(has(outcome.err, part), "'", part, "' is not in: ", outcome.err);
        }
    }
}

TEST_CASE("a place that cannot be written is told before anything is replayed") {
    const TemporaryDirectory files;
    const std::string trace = files.write("small.jsonl", kSmallTrace);
    const std::string nowhere = files.file("missing/result.json");
    for (const std::string& command : {std::string("replay"), std::string("dump"), std::string("explain")}) {
        std::vector<std::string> arguments{command, "--json", nowhere, trace};
        if (command != "replay") {
            arguments.insert(arguments.begin() + 1, {"--at", "7"});
        }
        check_refused(arguments, {nowhere, "No such file or directory", "--json"});
    }
    check_refused({"replay", "--json", files.file("."), trace}, {"Is a directory"});
    CHECK(files.names() == std::vector<std::string>{"small.jsonl"});
}

}  // namespace
}  // namespace granule::test
