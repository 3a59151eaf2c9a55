// granule devices: what is written of devices that this machine need not have, and that the command runs without any.
#include <doctest/doctest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "src/cli/devices_report.hpp"
#include "src/cli/json.hpp"
#include "tests/cli/program.hpp"

namespace granule::test {
namespace {

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

DrmDeviceEntry panthor_entry(KernelBehaviour behaviour, KernelFacts::From from) {
    DrmDeviceEntry entry;
    entry.path = ShortLabel("/dev/dri/renderD128");
    entry.bus = ShortLabel("platform /gpu@fb000000");
    entry.version = {1, 8, 0, ShortLabel("panthor")};
    KernelFacts facts;
    facts.driver = DrmDriver::kPanthor;
    facts.version = entry.version;
    facts.release_text = ShortLabel("7.2.13+deb14-arm64");
    facts.release = parse_release("7.2.13");
    facts.behaviour = behaviour;
    facts.behaviour_from = from;
    facts.gpu_id = 0xa8670000;
    facts.gpu = mali::find_gpu_model(facts.gpu_id);
    facts.va_bits = 48;
    facts.pa_bits = 40;
    facts.vm_space = {Va(0), Va(0xfffff0000000)};
    facts.labels = true;
    facts.sparse = true;
    entry.facts = facts;
    return entry;
}

DrmDeviceEntry panfrost_entry() {
    DrmDeviceEntry entry = panthor_entry(KernelBehaviour::kRefuses, KernelFacts::From::kRelease);
    entry.path = ShortLabel("/dev/dri/renderD129");
    entry.bus = {};
    entry.version = {1, 6, 0, ShortLabel("panfrost")};
    entry.facts->driver = DrmDriver::kPanfrost;
    entry.facts->version = entry.version;
    entry.facts->gpu_id = 0x12340000;
    entry.facts->gpu = nullptr;
    return entry;
}

DrmDeviceEntry failed_entry(const DrmVersion& version, const OsError& error) {
    DrmDeviceEntry entry;
    entry.path = ShortLabel("/dev/dri/renderD130");
    entry.version = version;
    entry.error = error;
    return entry;
}

TEST_CASE("without a device the list says what one would need") {
    const std::string text = cli::devices_text({});
    CHECK(has(text, "No DRM render node"));
    CHECK(has(text, "panthor"));
    CHECK(has(text, "granule replay"));
    CHECK(cli::devices_json({}) == cli::Json{{"devices", cli::Json::array()}});
}

TEST_CASE("a device is written with its driver, kernel, GPU, behaviour and features") {
    const std::vector<DrmDeviceEntry> devices{panthor_entry(KernelBehaviour::kRealigns, KernelFacts::From::kRelease),
                                              panfrost_entry()};
    const std::string text = cli::devices_text(devices);
    for (const char* const part :
         {"/dev/dri/renderD128, platform /gpu@fb000000\n", "panthor 1.8", "7.2.13+deb14-arm64", "Mali-G610", "48", "40",
          "realigns", "release", "labels, sparse", "panfrost 1.6", "unknown, 0x12340000", "whole BOs only"}) {
        CHECK_MESSAGE(has(text, part), "'", part, "' is not in: ", text);
    }
    CHECK_FALSE(has(text, "Known from"));

    const cli::Json json = cli::devices_json(devices)["devices"];
    REQUIRE(json.size() == 2);
    CHECK(json[0]["driver"] == "panthor");
    CHECK(json[0]["version"] == "1.8.0");
    CHECK(json[0]["kernel"] == "7.2.13+deb14-arm64");
    CHECK(json[0]["gpu"] == "Mali-G610");
    CHECK(json[0]["gpu_id"] == "0xa8670000");
    CHECK(json[0]["leaves"] == cli::Json{"4K", "2M"});
    CHECK(json[0]["vm_space"]["end"] == "0xfffff0000000");
    CHECK(json[0]["behaviour"] == "realigns");
    CHECK(json[0]["behaviour_from"] == "release");
    CHECK(json[0]["features"]["sparse"] == true);
    CHECK(json[0]["features"]["coherent"] == false);
    CHECK(json[0]["error"].is_null());
    CHECK(json[1]["gpu"].is_null());
    CHECK(json[1]["behaviour"].is_null());
}

TEST_CASE("a behaviour that was not measured, or is not the release's, is explained") {
    const std::vector<DrmDeviceEntry> unknown{panthor_entry(KernelBehaviour::kOopses, KernelFacts::From::kUnknown)};
    CHECK(has(cli::devices_text(unknown), "Known from 'unknown'"));
    const std::vector<DrmDeviceEntry> probed{panthor_entry(KernelBehaviour::kRefuses, KernelFacts::From::kProbe)};
    CHECK(has(cli::devices_text(probed), "Known from 'probe'"));
}

TEST_CASE("a device that cannot be used says why, and what would help") {
    const std::vector<DrmDeviceEntry> devices{
        failed_entry({3, 54, 0, ShortLabel("amdgpu")}, {Status::kNotSupported, "VERSION", 0}),
        failed_entry({}, {Status::kOsFailed, "open", EACCES}),
        failed_entry({1, 0, 0, ShortLabel("panthor\x1b[2J")}, {Status::kNotSupported, "VERSION", 0}),
    };
    const std::string text = cli::devices_text(devices);
    CHECK(has(text, "amdgpu 3.54: no driver that granule knows"));
    CHECK(has(text, "open: Permission denied (its group"));
    CHECK_FALSE(has(text, "\x1b"));
    const cli::Json json = cli::devices_json(devices)["devices"];
    CHECK(json[1]["error"].get<std::string>().starts_with("open: Permission denied"));
    CHECK_FALSE(json[1].contains("driver"));
}

TEST_CASE("devices runs on any machine, and both forms agree") {
    const Outcome text = run({"devices", "--no-probe"});
    CHECK(text.code == 0);
    CHECK_FALSE(text.out.empty());
    const Outcome json = run({"devices", "--no-probe", "--json", "-"});
    CHECK(json.code == 0);
    const cli::Json parsed = cli::Json::parse(json.out);
    REQUIRE(parsed["devices"].is_array());
    CHECK(parsed["devices"].empty() == has(text.out, "No DRM render node"));
}

}  // namespace
}  // namespace granule::test
