// Lines are what the kernels named in the test cases wrote.
#include "tests/kernel/inside/table_probe.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mali/address.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/trace_instance.hpp"

namespace granule::kernel_test {
namespace {

using Kind = PageTableCall::Kind;

constexpr std::string_view kTrace73 =
    R"(# tracer: nop
#
# entries-in-buffer/entries-written: 4/4   #P:1
#
#                                _-----=> irqs-off/BH-disabled
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
         capture-106     [000] d..1.     3.355349: granule_map_106_0: (panthor_vm_map_pages+0x1c8/0x398 [panthor] <- arm_lpae_map_pages) iova=0x1000000000 pa=0x46600000 size=0x200000 count=0x4 prot=0x7 mapped=0x800000 ret=0 root=0xffff0000065b3000
         capture-106     [000] d..1.     3.358385: granule_unmap_106_0: (panthor_vm_unmap_pages+0xe8/0x2c0 [panthor] <- arm_lpae_unmap_pages) iova=0x1000200000 size=0x200000 count=0x1 ret=0x200000 root=0xffff0000065b3000
   kworker/u5:2-41      [000] d..1.     3.358516: granule_map_106_0: (panthor_vm_map_pages+0x1c8/0x398 [panthor] <- arm_lpae_map_pages) iova=0x1000200000 pa=0x46800000 size=0x1000 count=0x1fd prot=0xf mapped=0x1000 ret=-17 root=0xffff0000065b4000
)";

constexpr std::string_view kTrace612 =
    R"(         capture-150     [000] d....     5.437855: granule_map_150_0: (mmu_map_sg.isra.0+0xe0/0x200 [panfrost] <- arm_lpae_map_pages) iova=0x2000000 pa=0x45a00000 size=0x200000 count=0x4 prot=0xb mapped=0x800000 ret=0 root=0xffff0000083ae000
         capture-150     [000] d....     5.444185: granule_unmap_150_0: (panthor_vm_unmap_pages+0xb4/0x1b8 [panthor] <- arm_lpae_unmap_pages) iova=0x1000201000 size=0x1000 count=0x2 ret=0x2000 root=0xffff0000083ae000
)";

std::string line_with(std::string_view from, std::string_view to) {
    std::string line(kTrace612.substr(0, kTrace612.find('\n') + 1));
    return line.replace(line.find(from), from.size(), to);
}

// GRANULE_PGD_OFFSET, as it was afterwards.
class OffsetVariable {
public:
    OffsetVariable() {
        const char* const value = std::getenv(kName);
        before_ = value == nullptr ? std::nullopt : std::optional<std::string>(value);
    }
    OffsetVariable(const OffsetVariable&) = delete;
    OffsetVariable& operator=(const OffsetVariable&) = delete;
    OffsetVariable(OffsetVariable&&) = delete;
    OffsetVariable& operator=(OffsetVariable&&) = delete;
    ~OffsetVariable() {
        if (before_) {
            set(before_->c_str());
        } else {
            unset();
        }
    }
    static void set(const char* value) { setenv(kName, value, 1); }
    static void unset() { unsetenv(kName); }

private:
    static constexpr const char* kName = "GRANULE_PGD_OFFSET";
    std::optional<std::string> before_;
};

}  // namespace

TEST_CASE("a trace of 7.3 gives each call with its arguments and result, of workers too") {
    const std::vector<PageTableCall> calls = parse_page_table_calls(kTrace73);
    REQUIRE(calls.size() == 3);
    PageTableCall map;
    map.iova = Va{0x10'0000'0000};
    map.pa = Pa{0x4660'0000};
    map.leaf_bytes = kBlock2MBytes;
    map.count = 4;
    map.prot = prot::kRead | prot::kWrite | prot::kCache;
    map.mapped = 4 * kBlock2MBytes;
    map.root = 0xffff'0000'065b'3000;
    map.pid = 106;
    map.caller = "panthor_vm_map_pages";
    CHECK(calls[0] == map);
    CHECK(calls[0].range() == VaRange{Va{0x10'0000'0000}, Va{0x10'0080'0000}});

    CHECK(calls[1].kind == Kind::kUnmap);
    CHECK(calls[1].result == 0x20'0000);

    CHECK(calls[2].pid == 41);
    CHECK(calls[2].result == -EEXIST);
    CHECK(calls[2].mapped == kPageBytes);
    CHECK(calls[2].count == 509);
    CHECK(to_string(calls[2]) ==
          "map 0x1000200000 509 x 0x1000 -> 0x46800000 prot 0xf = -17, mapped 0x1000 (panthor_vm_map_pages)");
}

TEST_CASE("a trace of 6.12, whose compiler gave functions suffixes") {
    const std::vector<PageTableCall> calls = parse_page_table_calls(kTrace612);
    REQUIRE(calls.size() == 2);
    CHECK(calls[0].caller == "mmu_map_sg.isra.0");
    CHECK(calls[0].prot == (prot::kRead | prot::kWrite | prot::kNoExecute));
    CHECK(to_string(calls[1]) == "unmap 0x1000201000 2 x 0x1000 = 0x2000 (panthor_vm_unmap_pages)");
}

TEST_CASE("an unmap's result that is an errno in a size_t is negative") {
    std::string unmap = line_with("granule_map_150_0", "granule_unmap_150_0");
    unmap.replace(unmap.find("ret=0 "), 6, "ret=0xfffffffffffffffe ");
    CHECK(parse_page_table_calls(unmap).at(0).result == -ENOENT);
}

TEST_CASE("other events and comments are passed over") {
    CHECK(parse_page_table_calls("").empty());
    CHECK(parse_page_table_calls("# tracer: nop\n").empty());
    CHECK(parse_page_table_calls(line_with("granule_map_150_0", "gptmap")).empty());
    CHECK(parse_page_table_calls("  x-1 [000] ..... 1.0: sched_switch: prev_comm=x\n").empty());
}

TEST_CASE("a call that cannot be read is refused with its line") {
    CHECK_THROWS_WITH_AS(static_cast<void>(parse_page_table_calls(line_with("iova=0x2000000", "iova=(fault)"))),
                         doctest::Contains("iova cannot be read"), ProbeError);
    CHECK_THROWS_AS(static_cast<void>(parse_page_table_calls(line_with("mapped=0x800000 ", ""))), ProbeError);
    CHECK_THROWS_AS(static_cast<void>(parse_page_table_calls(line_with("ret=0", "ret=zero"))), ProbeError);
    CHECK_THROWS_AS(static_cast<void>(parse_page_table_calls(line_with("-150 ", "     "))), ProbeError);
}

TEST_CASE("one root is one root, and none or two are none") {
    std::vector<PageTableCall> calls = parse_page_table_calls(kTrace612);
    CHECK(only_root(calls) == 0xffff'0000'083a'e000);
    calls.back().root += kPageBytes;
    CHECK(only_root(calls) == std::nullopt);
    CHECK(only_root({}) == std::nullopt);
}

TEST_CASE("where the root's pointer lies is known by the kernel's release, or said") {
    const OffsetVariable variable;
    OffsetVariable::unset();
    CHECK(root_pointer_offset("6.12.117+deb13-arm64") == 0x30);
    CHECK(root_pointer_offset("6.1.0") == 0x30);
    CHECK(root_pointer_offset("5.10.0-28") == 0x30);
    CHECK(root_pointer_offset("6.16.12+deb13-arm64") == 0x38);
    CHECK(root_pointer_offset("7.3.4+deb13-arm64") == 0x38);
    CHECK(root_pointer_offset("7.4-rc1") == 0x38);
    CHECK_THROWS_AS(static_cast<void>(root_pointer_offset("")), ProbeError);
    OffsetVariable::set("0x40");
    CHECK(root_pointer_offset("6.12.117") == 0x40);
    OffsetVariable::set("near the end");
    CHECK_THROWS_AS(static_cast<void>(root_pointer_offset("6.12.117")), ProbeError);
}

TEST_CASE("a kprobe_profile gives hits and misses") {
    CHECK(parse_probe_profile("  gem_init_117_1                                             5               0\n"
                              "  granule_map_117_0                                         10               2\n") ==
          std::vector<ProbeHits>{{"gem_init_117_1", 5, 0}, {"granule_map_117_0", 10, 2}});
    CHECK(parse_probe_profile("").empty());
    CHECK_THROWS_AS(static_cast<void>(parse_probe_profile("  gem_init 5\n")), ProbeError);
}

TEST_CASE("lost events are those that overran the buffer or were dropped") {
    CHECK(lost_events("entries: 4\noverrun: 0\ncommit overrun: 0\nbytes: 320\noldest event ts:     3.355349\n"
                      "now ts:     3.393774\ndropped events: 0\nread events: 0\n") == 0);
    CHECK(lost_events("entries: 4\noverrun: 7\ncommit overrun: 1\nbytes: 320\ndropped events: 2\n") == 10);
    CHECK_THROWS_AS(static_cast<void>(lost_events("overrun: many\n")), ProbeError);
}

TEST_CASE("a machine whose tracefs cannot be written is told so") {
    CHECK_THROWS_AS(TraceInstance(64, "/no/such/tracefs"), ProbeError);
}

}  // namespace granule::kernel_test
