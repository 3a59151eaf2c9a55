// Section memory: what granule takes for what it keeps, counted where it asks for it (NodeMemory), and the page tables of the
// soft device beside the fewest that the format allows for the same leaves.
#include <algorithm>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "allocator/va_heap.hpp"
#include "tests/bench/harness/random.hpp"
#include "tests/bench/harness/sections.hpp"
#include "tests/bench/va/requests.hpp"
#include "tests/bench/vm/counted_memory.hpp"
#include "tests/bench/vm/soft_vm.hpp"

namespace granule::bench {
namespace {

constexpr std::uint32_t kItems = 100'000;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

void put(Records& records, const std::string& test, const char* metric, double value) {
    records.put(test, Role::kOurs, "granule", metric, value);
}

void of_bos(Records& records) {
    constexpr std::uint32_t kBos = 10'000;
    CountedMemory memory;
    SoftVms vms(memory.nodes());
    const std::size_t before = memory.bytes();
    for (std::uint32_t i = 0; i < kBos; ++i) {
        vms.keep(vms.make_bo(kTileBytes));
    }
    put(records, "BO", "bytes", static_cast<double>(memory.bytes() - before) / kBos);
}

// Filled, and after 2 N pairs of churn: what the heap asked for, and what of it was ever written to. A heap asks for address
// space ahead of what it needs, which the machine backs with memory where it is touched.
void of_va_ranges(Records& records) {
    CountedMemory memory;
    VaHeapConfig config;
    config.zones[static_cast<std::size_t>(VaZone::kMain)] = {Va{std::uint64_t{1} << 32}, Va{kMaxVaEnd / 2}};
    config.memory = memory.nodes();
    auto heap = VaHeap::create(config);
    if (!heap) {
        wrong("granule", "no VA heap");
    }
    Random random(5);
    const auto allocate = [&] {
        const UnitRequest drawn = draw(Mix::kM, random);
        VaRequest request;
        request.size = std::uint64_t{drawn.units} * kPageBytes;
        request.alignment = std::uint64_t{drawn.alignment} * kPageBytes;
        const auto range = heap->allocate(request);
        if (!range) {
            wrong("granule", "no VA");
        }
        return *range;
    };
    const auto of_heap = [&](const char* test) {
        put(records, test, "bytes", static_cast<double>(memory.bytes()) / kItems);
        put(records, test, "touched_bytes", static_cast<double>(heap->touched_bytes()) / kItems);
    };
    std::vector<VaRange> ranges;
    for (std::uint32_t i = 0; i < kItems; ++i) {
        ranges.push_back(allocate());
    }
    of_heap("VA range");
    for (std::uint32_t i = 0; i < 2 * kItems; ++i) {
        VaRange& range = ranges[random.below(kItems)];
        heap->release(range);
        range = allocate();
    }
    of_heap("VA range, churned");
}

// The fewest tables for what a VM shows: the root, and one for each part of a level that has something below it.
std::uint64_t fewest_tables(const Vm& vm) {
    std::set<std::uint64_t> tables;
    vm.for_each_leaf_run({Va{0}, Va{kMaxVaEnd}}, [&](const LeafRun& run) {
        const unsigned lowest = run.size == LeafSize::k4K ? 21 : (run.size == LeafSize::k2M ? 30 : 39);
        const std::uint64_t last = run.range().end.raw() - 1;
        for (unsigned shift = lowest; shift <= 39; shift += 9) {
            for (std::uint64_t part = run.start.raw() >> shift; part <= last >> shift; ++part) {
                tables.insert((std::uint64_t{shift} << 56) | part);
            }
        }
        return true;
    });
    return tables.size() + 1;
}

// What the VM in `vms` took since `before` bytes and `before_tables` of tables.
void report_vm(Records& records, const std::string& test, SoftVms& vms, const Vm& vm, std::uint64_t tables_before) {
    const VmStatistics statistics = vm.statistics();
    const std::uint64_t tables = vms.device().table_bytes() - tables_before;
    const double gib = static_cast<double>(statistics.mapped_bytes) / static_cast<double>(kGiB);
    put(records, test, "mappings", static_cast<double>(statistics.mappings));
    put(records, test, "node_bytes_per_mapping",
        static_cast<double>(statistics.node_bytes) / static_cast<double>(statistics.mappings));
    put(records, test, "table_bytes_per_gib", static_cast<double>(tables) / gib);
    put(records, test, "node_bytes_per_gib", static_cast<double>(statistics.node_bytes) / gib);
    put(records, test, "set_aside_per_gib", static_cast<double>(statistics.set_aside_bytes) / gib);
    put(records, test, "tables_of_fewest",
        static_cast<double>(tables) / static_cast<double>(fewest_tables(vm) * kPageBytes));
}

void of_buffers(Records& records, LeafPolicy leaves, const std::string& test) {
    SoftVms vms;
    const std::uint64_t tables_before = vms.device().table_bytes();
    const Owned<Vm> vm = vms.make_vm();
    for (std::uint64_t at = 0; at < kGiB; at += SoftVms::kBoBytes) {
        const Va start = kFirstWindow + at;
        BindRequest request = vms.bind_of({start, start + SoftVms::kBoBytes},
                                          static_cast<std::uint32_t>(at / kTileBytes % SoftVms::kTiles));
        request.leaves = leaves;
        SoftVms::run(*vm, request);
    }
    report_vm(records, test, vms, *vm, tables_before);
}

void of_tiles(Records& records) {
    SoftVms vms;
    const std::uint64_t tables_before = vms.device().table_bytes();
    const Owned<Vm> vm = vms.make_vm();
    Random random(8);
    for (std::uint32_t i = 0; i < kItems; ++i) {
        SoftVms::run(*vm, vms.bind_of(SoftVms::tile(random.below(4 * kItems)), random.below(SoftVms::kTiles)));
    }
    report_vm(records, "tiles at random", vms, *vm, tables_before);
}

}  // namespace

void run_memory_section(const Options& /*options*/, Records& records) {
    static_cast<void>(std::fprintf(stderr, "memory\n"));
    of_bos(records);
    of_va_ranges(records);
    of_buffers(records, LeafPolicy::kPage, "1 GiB of 4 MiB BOs, pages");
    of_buffers(records, LeafPolicy::kLargest, "1 GiB of 4 MiB BOs, blocks");
    of_tiles(records);
}

}  // namespace granule::bench
