// Records are what the kernels named in the test cases wrote.
#include "tests/kernel/inside/kmsg.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/kernel/inside/probe_error.hpp"

namespace granule::kernel_test {
namespace {

std::vector<KernelRecord> records_of(const std::vector<std::string_view>& texts) {
    std::vector<KernelRecord> records;
    records.reserve(texts.size());
    for (const std::string_view text : texts) {
        records.push_back(parse_record(text));
    }
    return records;
}

constexpr std::string_view kDriverWarning618 =
    "4,301,4540561,-;WARNING: CPU: 0 PID: 151 at drivers/gpu/drm/panthor/panthor_mmu.c:930 "
    "panthor_vm_unmap_pages+0x15c/0x1e0 [panthor]\n";
constexpr std::string_view kDriverError618 =
    "3,341,4543600,-;panthor 7fe00000.gpu: [drm] *ERROR* failed to unmap range 1000201000-1000203000 (requested range "
    "1000201000-1000203000)\n SUBSYSTEM=platform\n DEVICE=+platform:7fe00000.gpu\n";
// As lib/bug.c of newer kernels words it.
constexpr std::string_view kNewerWarning =
    "4,2,11,-;WARNING: drivers/gpu/drm/panthor/panthor_mmu.c:951 at panthor_vm_unmap_pages+0x1c0/0x2c0 [panthor], "
    "CPU#0: km/151\n";

// 6.18.15: panthor refuses to unmap a part of a leaf.
std::vector<KernelRecord> refusal_618() {
    return records_of({
        "12,255,4490779,-;granule mark 1\n",
        "4,256,4533361,-;------------[ cut here ]------------\n",
        "4,257,4533538,-;Unmap of a partial large IOPTE is not allowed\n",
        "4,258,4533736,-;WARNING: CPU: 0 PID: 151 at drivers/iommu/io-pgtable-arm.c:677 __arm_lpae_unmap+0x464/0x600\n",
        "4,259,4534570,-;Modules linked in: panthor drm_gpuvm gpu_sched drm_exec drm_shmem_helper drm fixed\n",
        "4,277,4537282,-; __arm_lpae_unmap+0x464/0x600 (P)\n",
        "4,298,4539684,-;---[ end trace 0000000000000000 ]---\n",
        "4,299,4540425,-;------------[ cut here ]------------\n",
        "4,300,4540488,-;panthor 7fe00000.gpu: [drm] drm_WARN_ON(unmapped_sz != pgsize * pgcount)\n",
        kDriverWarning618,
        "4,340,4543561,-;---[ end trace 0000000000000000 ]---\n",
        kDriverError618,
    });
}

}  // namespace

TEST_CASE("a record has level, origin, number, time and text, without the dictionary") {
    CHECK(parse_record("3,341,4543600,-;panthor 7fe00000.gpu: [drm] *ERROR* x; y\n SUBSYSTEM=platform\n") ==
          KernelRecord{3, false, 341, 4543600, "panthor 7fe00000.gpu: [drm] *ERROR* x; y"});
    CHECK(parse_record("12,255,4490779,-;granule mark 1\n") == KernelRecord{4, true, 255, 4490779, "granule mark 1"});
    CHECK(parse_record("6,1,0,-,caller=T1;\n") == KernelRecord{6, false, 1, 0, ""});
}

TEST_CASE("what is no record is refused") {
    for (const std::string_view text : {"", "hello", "6,1,0", "6,1;text", "six,1,0,-;text", "6,1,,-;text"}) {
        CAPTURE(text);
        CHECK_THROWS_AS(static_cast<void>(parse_record(text)), ProbeError);
    }
}

TEST_CASE("warnings of 6.18 have text, place, function and module") {
    const std::vector<KernelWarning> warnings = find_warnings(refusal_618());
    REQUIRE(warnings.size() == 2);
    CHECK(warnings[0] == KernelWarning{"Unmap of a partial large IOPTE is not allowed",
                                       "drivers/iommu/io-pgtable-arm.c:677", "__arm_lpae_unmap", "", 4533361});
    CHECK(warnings[1] == KernelWarning{"panthor 7fe00000.gpu: [drm] drm_WARN_ON(unmapped_sz != pgsize * pgcount)",
                                       "drivers/gpu/drm/panthor/panthor_mmu.c:930", "panthor_vm_unmap_pages", "panthor",
                                       4540425});
}

TEST_CASE("the first line of a warning in newer kernels: place, then function, then task; or the condition before") {
    const std::vector<KernelWarning> warnings = find_warnings(records_of({
        "4,1,10,-;------------[ cut here ]------------\n",
        kNewerWarning,
        "4,3,12,-;---[ end trace 0000000000000000 ]---\n",
        "4,4,20,-;------------[ cut here ]------------\n",
        "4,5,21,-;WARNING: [ptr == 0 && 1] kernel/sched/core.c:8511 at sched_init+0x20/0x410, CPU#0: swapper/0\n",
        "4,6,22,-;---[ end trace 0000000000000000 ]---\n",
    }));
    REQUIRE(warnings.size() == 2);
    CHECK(warnings[0] ==
          KernelWarning{"", "drivers/gpu/drm/panthor/panthor_mmu.c:951", "panthor_vm_unmap_pages", "panthor", 10});
    CHECK(warnings[1] == KernelWarning{"ptr == 0 && 1", "kernel/sched/core.c:8511", "sched_init", "", 20});
}

TEST_CASE("a warning that is cut off by the end of what was read is a warning") {
    std::vector<KernelRecord> records = refusal_618();
    records.resize(2);
    CHECK(find_warnings(records).size() == 1);
}

TEST_CASE("programs that write the words of a warning into the log do not warn") {
    CHECK(find_warnings(records_of({
                            "12,1,1,-;------------[ cut here ]------------\n",
                            "12,2,2,-;WARNING: CPU: 0 PID: 1 at nowhere.c:1 nothing+0x0/0x4\n",
                        }))
              .empty());
}

TEST_CASE("a driver's errors are those outside of warnings") {
    const std::vector<KernelRecord> errors = find_errors(refusal_618());
    REQUIRE(errors.size() == 1);
    CHECK(errors[0].sequence == 341);
}

TEST_CASE("an oops is seen by its first lines") {
    const std::vector<KernelRecord> oopses = find_oopses(records_of({
        "1,400,5000000,-;Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008\n",
        "1,401,5000100,-;Mem abort info:\n",
        "0,410,5000900,-;Internal error: Oops: 0000000096000006 [#1]  SMP\n",
        "0,450,5001900,-;Kernel panic - not syncing: Oops: Fatal exception\n",
        "14,451,5001900,-;Kernel panic: says a program\n",
    }));
    REQUIRE(oopses.size() == 3);
    CHECK(oopses[2].sequence == 450);
    CHECK(find_oopses(refusal_618()).empty());
}

TEST_CASE("a log that cannot be opened is told so") {
    CHECK_THROWS_WITH_AS(KernelLog("/no/such/kmsg"), doctest::Contains("/no/such/kmsg"), ProbeError);
}

}  // namespace granule::kernel_test
