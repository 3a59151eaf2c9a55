// Texts are what the kernels named in the test cases wrote.
#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mali/address.hpp"
#include "tests/kernel/inside/fdinfo.hpp"
#include "tests/kernel/inside/gem_debugfs.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/text_file.hpp"

namespace granule::kernel_test {
namespace {

constexpr std::string_view kGemsPanthor73 = R"(GEM state flags: imported (0x1), exported (0x2), evicted (0x4)
GEM usage flags: kernel (0x1), fw-mapped (0x2)

created-by                      global-name     refcount   evictions  size            resident-size   file-offset       state      usage       label
----------------------------------------------------------------------------------------------------------------------------------------------------
insmod/104                      0               2          0          131072          131072          0x100000          0x0        0x3         FW section
survey/117                      0               4          0          2097152         2097152         0x100020          0x0        0x0         
survey/117                      0               4          0          8388608         8388608         0x100220          0x0        0x0         a label: with, colon
survey/117                      0               2          0          16384           16384           0x100a20          0x0        0x0         
survey/117                      0               2          0          1048576         0               0x100a24          0x2        0x0         
====================================================================================================================================================
Total size: 11681792, Total resident: 10633216, Total reclaimable: 10502144
)";

constexpr std::string_view kGemsPanthor616 = R"(GEM state flags: imported (0x1), exported (0x2)
GEM usage flags: kernel (0x1), fw-mapped (0x2)

created-by                      global-name     refcount        size            resident-size   file-offset       state      usage       label
----------------------------------------------------------------------------------------------------------------------------------------------
insmod/150                      0               2               131072          131072          0x100000          0x0        0x3         FW section
survey/165                      0               2               1048576         0               0x100824          0x2        0x0         
==============================================================================================================================================
Total size: 9584640, Total resident: 8536064, Total reclaimable: 0
)";

constexpr std::string_view kGemsPanfrost618 =
    R"(GEM state flags: imported (0x1), exported (0x2), purged (0x4), purgeable (0x8)

created-by                      global-name     refcount        size            resident-size   file-offset       state       label
-----------------------------------------------------------------------------------------------------------------------------------
survey/150                      0               3               8388608         8388608         0x100000          0x0         a label: with, colon
survey/150                      0               2               4194304         0               0x100804          0x0         
===================================================================================================================================
Total size: 12599296, Total resident: 8404992, Total reclaimable: 0
)";

constexpr std::string_view kGpuvas612 = R"(DRM GPU VA space (panthor-MCU-VM) [0x0000000000000000;0x0000000100000000]
Kernel reserved node [0x0000000000000000;0x0000000000000000]

 VAs | start              | range              | end                | object             | object offset
-------------------------------------------------------------------------------------------------------------
     | 0x0000000004000000 | 0x0000000000020000 | 0x0000000004020000 | 0xffff00000829fa00 | 0x0000000000000000

DRM GPU VA space (panthor-GPU-VM) [0x0000000000000000;0x0001000000000000]
Kernel reserved node [0x0000000000000000;0x0000000000000000]

 VAs | start              | range              | end                | object             | object offset
-------------------------------------------------------------------------------------------------------------
     | 0x0000001000000000 | 0x0000000000201000 | 0x0000001000201000 | 0xffff0000085f6200 | 0x0000000000000000
     | 0x0000001000203000 | 0x00000000005fd000 | 0x0000001000800000 | 0xffff0000085f6200 | 0x0000000000203000

DRM GPU VA space (panthor-GPU-VM) [0x0000000000000000;0x0001000000000000]
Kernel reserved node [0x0000000000000000;0x0000000000000000]

 VAs | start              | range              | end                | object             | object offset
-------------------------------------------------------------------------------------------------------------

)";

constexpr std::string_view kFdInfo618 =
    "pos:\t0\nflags:\t0400002\nmnt_id:\t29\nino:\t101\ndrm-driver:\tpanthor\ndrm-client-id:\t1\n"
    "drm-maxfreq-panthor:\t500000000 Hz\npanthor-resident-memory:\t0\ndrm-total-memory:\t9232 KiB\n"
    "drm-shared-memory:\t1 MiB\n";

}  // namespace

TEST_CASE("gems of panthor in 7.3 are read by their columns, labels with blanks and empty ones too") {
    const std::vector<GemObject> objects = parse_gems(kGemsPanthor73);
    REQUIRE(objects.size() == 5);
    CHECK(objects[0] == GemObject{"insmod", 104, 2, 131072, 131072, false, false, true, "FW section"});
    CHECK(objects[1] == GemObject{"survey", 117, 4, 2097152, 2097152, false, false, false, ""});
    CHECK(objects[2] == GemObject{"survey", 117, 4, 8388608, 8388608, false, false, false, "a label: with, colon"});
    CHECK(objects[4] == GemObject{"survey", 117, 2, 1048576, 0, false, true, false, ""});
}

TEST_CASE("gems of panthor in 6.16, which has a column less, and of panfrost in 6.18, which has no usage") {
    const std::vector<GemObject> panthor = parse_gems(kGemsPanthor616);
    REQUIRE(panthor.size() == 2);
    CHECK(panthor[0] == GemObject{"insmod", 150, 2, 131072, 131072, false, false, true, "FW section"});
    CHECK(panthor[1] == GemObject{"survey", 165, 2, 1048576, 0, false, true, false, ""});

    const std::vector<GemObject> panfrost = parse_gems(kGemsPanfrost618);
    REQUIRE(panfrost.size() == 2);
    CHECK(panfrost[0] == GemObject{"survey", 150, 3, 8388608, 8388608, false, false, false, "a label: with, colon"});
    CHECK(panfrost[1].label.empty());
}

TEST_CASE("the name of a task may hold blanks and slashes") {
    std::string text(kGemsPanthor616);
    const std::string_view name = "kworker/u5:2 x/7/165 ";
    text.replace(text.find("survey/165           "), name.size(), name);
    const std::vector<GemObject> objects = parse_gems(text);
    REQUIRE(objects.size() == 2);
    CHECK(objects[1].size == 1048576);
    CHECK(objects[1].pid == 165);
}

TEST_CASE("a gems file that ends before its table does is refused") {
    CHECK_THROWS_AS(static_cast<void>(parse_gems("")), ProbeError);
    CHECK_THROWS_AS(static_cast<void>(parse_gems(kGemsPanthor73.substr(0, kGemsPanthor73.find("====")))), ProbeError);
    std::string text(kGemsPanthor73);
    text.replace(text.find("2097152"), 7, "two MiB");
    CHECK_THROWS_WITH_AS(static_cast<void>(parse_gems(text)), doctest::Contains("size cannot be read"), ProbeError);
}

TEST_CASE("gpuvas are the VMs, each with its mappings, and a VM without any is there") {
    const std::vector<GpuVaSpace> spaces = parse_gpuvas(kGpuvas612);
    REQUIRE(spaces.size() == 3);
    CHECK(spaces[0].name == "panthor-MCU-VM");
    REQUIRE(spaces[1].vas.size() == 2);
    CHECK(spaces[1].vas[0] == GpuVa{{Va{0x10'0000'0000}, Va{0x10'0020'1000}}, 0xffff'0000'085f'6200, 0});
    CHECK(spaces[1].vas[1] == GpuVa{{Va{0x10'0020'3000}, Va{0x10'0080'0000}}, 0xffff'0000'085f'6200, 0x20'3000});
    CHECK(spaces[2].name == "panthor-GPU-VM");
    CHECK(spaces[2].vas.empty());
    CHECK(parse_gpuvas("").empty());
}

TEST_CASE("a mapping that cannot be read is refused") {
    std::string text(kGpuvas612);
    SUBCASE("a size that does not lead to the end") {
        text.replace(text.find("5fd000"), 6, "5fe000");
    }
    SUBCASE("no number") {
        text.replace(text.find("0x0000000004020000"), 18, "(____ptrval____)  ");
    }
    SUBCASE("a column too few") {
        text.erase(text.find(" | 0xffff0000085f6200"), 21);
    }
    SUBCASE("before any VM") {
        text.erase(0, text.find("     | 0x"));
    }
    CHECK_THROWS_AS(static_cast<void>(parse_gpuvas(text)), ProbeError);
}

TEST_CASE("what a kernel does not have is no error, and is not empty either") {
    CHECK(read_gems("/no/such/directory") == std::nullopt);
    CHECK(read_own_gems("/no/such/directory") == std::nullopt);
    CHECK(read_gpuvas("/no/such/directory") == std::nullopt);
}

TEST_CASE("fdinfo has values by key, and bytes with and without a unit") {
    const FdInfo info = FdInfo::parse(kFdInfo618);
    CHECK(info.driver() == "panthor");
    CHECK(info.total_memory() == std::uint64_t{9232} * 1024);
    CHECK(info.bytes("drm-shared-memory") == std::uint64_t{1} << 20);
    CHECK(info.bytes("panthor-resident-memory") == 0U);
    CHECK(info.bytes("drm-resident-memory") == std::nullopt);
    CHECK_THROWS_AS(static_cast<void>(info.bytes("drm-maxfreq-panthor")), ProbeError);
    CHECK_THROWS_AS(static_cast<void>(FdInfo::parse("pos:\t0\nnonsense\n")), ProbeError);
}

TEST_CASE("this process's own files have an fdinfo") {
    const FdInfo info = FdInfo::of(1);
    CHECK(info.value("pos"));
    CHECK(info.total_memory() == std::nullopt);
}

TEST_CASE("lines, words and numbers are split and read") {
    CHECK(split_lines("a\n\nb") == std::vector<std::string_view>{"a", "", "b"});
    CHECK(split_lines("a\n") == std::vector<std::string_view>{"a"});
    CHECK(split_lines("").empty());
    CHECK(split_words("  a \t b ") == std::vector<std::string_view>{"a", "b"});
    CHECK(split_words("   ").empty());
    CHECK(hex(0) == "0x0");
    CHECK(hex(~std::uint64_t{0}) == "0xffffffffffffffff");
    CHECK(hex_value("0xffffffffffffffff") == ~std::uint64_t{0});
    CHECK(hex_value("45a00") == 0x45a00U);
    CHECK(hex_value("0x") == std::nullopt);
    CHECK(hex_value("12g") == std::nullopt);
    CHECK(hex_value("0x10000000000000000") == std::nullopt);
    CHECK(decimal_value("4096") == 4096U);
    CHECK(decimal_value("-1") == std::nullopt);
    CHECK(decimal_value("") == std::nullopt);
}

TEST_CASE("files are read whole, and a missing one is told from an unreadable one") {
    CHECK(read_text("/proc/self/comm").ends_with('\n'));
    CHECK(read_text_if_there("/no/such/file") == std::nullopt);
    CHECK_THROWS_WITH_AS(static_cast<void>(read_text("/no/such/file")), doctest::Contains("/no/such/file"), ProbeError);
    CHECK_THROWS_AS(static_cast<void>(read_text_if_there("/proc")), ProbeError);
    CHECK_THROWS_AS(write_text("/no/such/file", "1"), ProbeError);
}

}  // namespace granule::kernel_test
