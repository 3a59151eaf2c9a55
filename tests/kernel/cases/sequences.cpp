// Sequences of binds that drivers and test suites make of huge pages, through the library on a real panthor: the huge-page
// cases of IGT's panthor_vm and the pictures in the documentation of Linux drivers/gpu/drm/drm_gpuvm.c. Every step
// succeeds, and afterwards the kernel's tables are those that were asked for, page for page. What the first maps make, and
// the others cut, are leaves of 2 MiB wherever a BO's own blocks allow: that is looked for too.

#include <fmt/format.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "src/drm/drm_device.hpp"
#include "tests/kernel/cases/test_run.hpp"
#include "tests/kernel/cases/watched_vm.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/test_report.hpp"

namespace granule::kernel_test {
namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::uint64_t kVa = 0x200000;
constexpr VaRange kLooked{Va{0}, Va{32 * kMiB}};
constexpr Va kScratch{std::uint64_t{8} << 30U};

// Which of the two BOs, both 8 MiB, a step maps; or that it unmaps.
enum class What { kUnmap, kMapA, kMapB };

struct Step {
    What what;
    std::uint64_t va;
    std::uint64_t bytes;
    std::uint64_t offset = 0;
};

struct Sequence {
    std::string name;
    std::vector<Step> steps;
};

std::vector<Sequence> huge_pages() {
    return {
        {"IGT: bind and unbind 2M", {{What::kMapA, kVa, 2 * kMiB}, {What::kUnmap, kVa, 2 * kMiB}}},
        {"IGT: bind and unbind 4M", {{What::kMapA, kVa, 4 * kMiB}, {What::kUnmap, kVa, 4 * kMiB}}},
        {"IGT: bind and unbind 6M", {{What::kMapA, kVa, 6 * kMiB}, {What::kUnmap, kVa, 6 * kMiB}}},
        {"IGT: bind 4M at offset 2M, unbind 6M",
         {{What::kMapA, kVa, 4 * kMiB, 2 * kMiB}, {What::kUnmap, kVa, 6 * kMiB}}},
        {"IGT: unbind the left 8K of 4M", {{What::kMapA, kVa, 4 * kMiB}, {What::kUnmap, kVa, 8 * kKiB}}},
        {"IGT: unbind the right 8K of 4M",
         {{What::kMapA, kVa, 4 * kMiB}, {What::kUnmap, kVa + 4 * kMiB - 8 * kKiB, 8 * kKiB}}},
        {"IGT: unbind more than there is", {{What::kMapA, kVa, 2 * kMiB}, {What::kUnmap, 0x100000, 5 * kMiB}}},
        {"IGT: unbind 8K inside, twice",
         {{What::kMapA, kVa, 4 * kMiB},
          {What::kUnmap, kVa + kMiB, 8 * kKiB},
          {What::kUnmap, kVa + 2 * kMiB + 4 * kKiB, 8 * kKiB}}},
        {"IGT: one unbind after the other of 6M",
         {{What::kMapA, kVa, 6 * kMiB},
          {What::kUnmap, 0x3fc000, 0x208000},
          {What::kUnmap, 0x3fc000, 0x208000},
          {What::kUnmap, 0x200000, 0x4000},
          {What::kUnmap, 0x401000, 0x4000},
          {What::kUnmap, 0x4fb000, 0xa000},
          {What::kUnmap, 0x3fb000, 0xa000},
          {What::kUnmap, 0x3fc000, 0x4000},
          {What::kUnmap, 0x200000, 0x1000}}},
        {"a mapping that begins inside a window",
         {{What::kMapA, 0x210000, 6 * kMiB, 0x10000},
          {What::kUnmap, 0x300000, 4 * kKiB},
          {What::kUnmap, 0x500000, 4 * kKiB},
          {What::kUnmap, 0x210000, 4 * kKiB}}},
        {"a mapping whose VA and offset do not agree modulo 2M",
         {{What::kMapA, kVa, 6 * kMiB, 64 * kKiB}, {What::kUnmap, kVa + 3 * kMiB, 4 * kKiB}}},
    };
}

// drm_gpuvm.c, "Split and Merge": mapping `a` is there, `b` is asked for. Here in whole 2 MiB windows, and once more with
// edges that cut leaves.
std::vector<Sequence> pictures(std::uint64_t unit, std::uint64_t shift, const char* note) {
    const std::uint64_t base = 4 * kMiB + shift;
    const auto at = [&](std::uint64_t units) { return base + units * unit; };
    const auto picture = [&](const char* name, Step first, Step second) {
        return Sequence{fmt::format("gpuvm: {}, {}", name, note), {first, second}};
    };
    return {
        picture("the same again", {What::kMapA, at(0), unit}, {What::kMapA, at(0), unit}),
        picture("another offset", {What::kMapA, at(0), unit}, {What::kMapA, at(0), unit, unit}),
        picture("another BO", {What::kMapA, at(0), unit}, {What::kMapB, at(0), unit}),
        picture("the left of it, contiguous", {What::kMapA, at(0), 2 * unit}, {What::kMapA, at(0), unit}),
        picture("the left of it, another BO", {What::kMapA, at(0), 2 * unit}, {What::kMapB, at(0), unit}),
        picture("the middle of it, contiguous", {What::kMapA, at(0), 3 * unit}, {What::kMapA, at(1), unit, unit}),
        picture("the middle of it, another BO", {What::kMapA, at(0), 3 * unit}, {What::kMapB, at(1), unit}),
        picture("the right of it, contiguous", {What::kMapA, at(0), 2 * unit}, {What::kMapA, at(1), unit, unit}),
        picture("the right of it, another BO", {What::kMapA, at(0), 2 * unit}, {What::kMapB, at(1), unit}),
        picture("over its end, contiguous", {What::kMapA, at(0), 2 * unit}, {What::kMapA, at(1), 2 * unit, unit}),
        picture("over its end, another BO", {What::kMapA, at(0), 2 * unit}, {What::kMapB, at(1), 2 * unit}),
        picture("over its beginning, contiguous", {What::kMapA, at(1), 2 * unit, unit}, {What::kMapA, at(0), 2 * unit}),
        picture("over its beginning, another BO", {What::kMapA, at(1), 2 * unit}, {What::kMapB, at(0), 2 * unit}),
        picture("more on the right", {What::kMapA, at(0), unit}, {What::kMapA, at(0), 2 * unit}),
        picture("more on the left", {What::kMapA, at(1), unit, unit}, {What::kMapA, at(0), 2 * unit}),
        picture("more on both sides", {What::kMapA, at(1), unit}, {What::kMapB, at(0), 3 * unit}),
        picture("unmap: all of it", {What::kMapA, at(0), 2 * unit}, {What::kUnmap, at(0), 2 * unit}),
        picture("unmap: the left", {What::kMapA, at(0), 2 * unit}, {What::kUnmap, at(0), unit}),
        picture("unmap: the right", {What::kMapA, at(0), 2 * unit}, {What::kUnmap, at(1), unit}),
        picture("unmap: the middle", {What::kMapA, at(0), 3 * unit}, {What::kUnmap, at(1), unit}),
        picture("unmap: a hole", {What::kMapA, at(0), unit}, {What::kUnmap, at(2), unit}),
    };
}

// Over several mappings at once, whose parts remain on both sides.
std::vector<Sequence> spanning() {
    return {
        {"unmap across three mappings",
         {{What::kMapA, 4 * kMiB, 4 * kMiB},
          {What::kMapB, 8 * kMiB, 2 * kMiB},
          {What::kMapA, 10 * kMiB, 4 * kMiB, 4 * kMiB},
          {What::kUnmap, 5 * kMiB, 7 * kMiB}}},
        {"map across three mappings",
         {{What::kMapA, 4 * kMiB, 4 * kMiB},
          {What::kMapB, 8 * kMiB, 2 * kMiB},
          {What::kMapA, 10 * kMiB, 4 * kMiB, 4 * kMiB},
          {What::kMapB, 5 * kMiB + 4 * kKiB, 7 * kMiB}}},
    };
}

// The windows of 2 MiB that a map covers whole, if the blocks of the BO, which begin at offset 0, lie in windows too.
std::uint64_t windows_of_huge_pages(const Step& step) {
    if (step.va % kBlock2MBytes != step.offset % kBlock2MBytes) {
        return 0;
    }
    const Va first = Va{step.va + kBlock2MBytes - 1}.align_down(kBlock2MBytes);
    const Va last = Va{step.va + step.bytes}.align_down(kBlock2MBytes);
    return first < last ? (last - first) / kBlock2MBytes : 0;
}

class Sequences {
public:
    explicit Sequences(DrmDevice& device) : device_(device), bos_(device, kcore_), a_(bo()), b_(bo()) {}

    // Empty, or what differs.
    std::string run(const Sequence& sequence) {
        Result<Owned<Vm>, OsError> vm = device_.create_vm({});
        if (!vm) {
            return fmt::format("no VM: {}", to_string(vm.error().status));
        }
        const WatchedVm watched(**vm, kcore_, probe_, bos_, a_, kScratch, device_.facts().va_bits);
        PageOracle oracle;
        std::uint64_t blocks = 0;
        bool fresh = true;  // so far there are only maps, each where nothing was
        for (std::size_t i = 0; i < sequence.steps.size(); ++i) {
            const Step& step = sequence.steps[i];
            BindRequest request;
            request.va = {Va{step.va}, Va{step.va + step.bytes}};
            request.policy = UnmapPolicy::kSplit;
            if (step.what != What::kUnmap) {
                request.kind = BindRequest::Kind::kMap;
                request.shows.bo = step.what == What::kMapA ? a_ : b_;
                request.shows.offset = BoOffset{step.offset};
            }
            if (const Result<BindReport, BindError> done = (*vm)->bind(request); !done) {
                return fmt::format("step {}: {} (errno {})", i, to_string(done.error().status), done.error().error);
            }
            const std::size_t pages_before = oracle.pages().size();
            oracle.unmap(request.va);
            fresh = fresh && step.what != What::kUnmap && oracle.pages().size() == pages_before;
            if (request.kind == BindRequest::Kind::kMap) {
                oracle.map(request.va, request.shows);
            }
            std::string difference = watched.compare(oracle, kLooked);
            if (difference.empty()) {
                difference = watched.compare_ledger(kLooked);
            }
            if (difference.empty() && fresh) {
                const std::uint64_t more = blocks_of(bos_.of(request.shows.bo), request.va, step.offset);
                if (guest_has_huge_pages() && more != windows_of_huge_pages(step)) {
                    return fmt::format("step {}: {} blocks of 2 MiB of a BO of huge pages", i, more);
                }
                blocks += more;
                if (const std::uint64_t found = watched.tables().leaf_counts(kLooked).blocks_2m; found != blocks) {
                    difference = fmt::format("{} leaves of 2 MiB, and should be {}", found, blocks);
                }
            }
            if (!difference.empty()) {
                return fmt::format("after step {}: {}", i, difference);
            }
        }
        return (*vm)->check() == Status::kOk ? std::string{} : "the VM is lost";
    }

private:
    BoId bo() {
        BoRequest request;
        request.bytes = 8 * kMiB;
        const Result<BoId, OsError> made = device_.create_bo(request);
        if (!made) {
            throw ProbeError("no BO of 8 MiB");
        }
        bos_.of(*made);
        return *made;
    }

    DrmDevice& device_;
    Kcore kcore_;
    TableProbe probe_;
    BoPages bos_;
    BoId a_;
    BoId b_;
};

}  // namespace
}  // namespace granule::kernel_test

int main() {
    using namespace granule;
    using namespace granule::kernel_test;
    TestRun run;
    const Result<Owned<DrmDevice>, OsError> device = DrmDevice::open("/dev/dri/renderD128", {});
    if (!device) {
        run.check("sequences", false, fmt::format("no device: {}", to_string(device.error().status)));
        return run.exit_code();
    }
    std::vector<Sequence> all = huge_pages();
    for (std::vector<Sequence> more :
         {pictures(2 * kMiB, 0, "whole leaves"), pictures(2 * kMiB, 64 * kKiB, "leaves cut"),
          pictures(64 * kKiB, 0, "4K pages"), spanning()}) {
        all.insert(all.end(), more.begin(), more.end());
    }
    run.test("sequences: the device works", [&]() -> std::string {
        Sequences sequences(**device);
        for (const Sequence& sequence : all) {
            run.test(sequence.name, [&] { return sequences.run(sequence); });
        }
        return {};
    });
    return run.exit_code();
}
