// The same program leaves the same behind on every kernel: mappings, leaves, translations, and what is counted of it.
#include <random>

#include "tests/src/soft_fixture.hpp"

namespace granule::test {
namespace {

struct EndState {
    std::vector<Mapping> mappings;
    std::vector<LeafState> leaves;
    std::uint64_t tables = 0;
    std::uint64_t unmapped_bytes = 0;
    std::uint64_t granules = 0;
    std::uint64_t refused = 0;
    bool operator==(const EndState&) const = default;
};

// 400 seeded binds and transactions around a GiB boundary, the same for everybody.
EndState end_state(KernelBehaviour kernel, LeafSizes sizes, BoMemory memory, UnmapPolicy policy) {
    SoftDeviceConfig config = device_config(kernel);
    config.leaf_sizes = sizes;
    config.bo_memory = memory;
    const Owned<SoftDevice> device = make_device(config);
    Owned<Vm> vm = make_vm(*device);
    const std::array bos{make_bo(*device, 16 * kMiB), make_bo(*device, 8 * kMiB)};
    const BoId large = make_bo(*device, memory == BoMemory::kScattered ? 16 * kMiB : kGiB);
    std::mt19937_64 random(7);
    const auto below = [&](std::uint64_t end) { return random() % end; };
    EndState state;
    const std::uint64_t large_bytes = device->bos().find(large)->size;
    REQUIRE(vm->bind(map_request(range_at(kGiB, large_bytes), large)).has_value());
    for (int i = 0; i < 400; ++i) {
        Transaction transaction;
        const std::uint64_t requests = i % 5 == 0 ? 1 + below(8) : 1;
        for (std::uint64_t j = 0; j < requests; ++j) {
            const std::uint64_t bytes = below(4) == 0 ? (1 + below(2)) * kBlock2MBytes : (1 + below(64)) * kPageBytes;
            const std::uint64_t start = kGiB - 8 * kMiB + below(12 * kMiB / kPageBytes) * kPageBytes;
            const VaRange va = range_at(start, bytes);
            BindRequest request = unmap_request(va, policy);
            const std::uint64_t kind = below(4);
            if (kind == 1) {
                request = sparse_request(va, policy);
            } else if (kind > 1) {
                request = map_request(va, bos[kind - 2], start % kBlock2MBytes, policy);
            }
            REQUIRE(transaction.add(request) == Status::kOk);
        }
        if (const Result<BindReport, BindError> done = vm->commit(transaction)) {
            state.unmapped_bytes += done->unmapped_bytes;
            state.granules += done->granules;
        } else {
            REQUIRE(done.error().status == Status::kGranuleCut);
            ++state.refused;
        }
    }
    CHECK(disagreement(*device, *vm) == "");
    CHECK(SoftDevice::address_space(*vm).leaf_cuts() == 0);
    state.mappings = mappings_of(*vm);
    state.leaves = leaves_of(*vm);
    state.tables = SoftDevice::address_space(*vm).table().table_count();
    for (const LeafState& leaf : state.leaves) {
        REQUIRE(gpu_access(*device, *vm, leaf.start).pa == leaf.pa);
    }
    return state;
}

TEST_CASE("the end state is the same on all four kernels") {
    for (const LeafSizes sizes : {kLeaves4K2M, kLeaves4K2M1G}) {
        for (const BoMemory memory : kBoMemories) {
            for (const UnmapPolicy policy : {UnmapPolicy::kSplit, UnmapPolicy::kReject, UnmapPolicy::kEnlarge}) {
                CAPTURE(sizes);
                CAPTURE(static_cast<int>(memory));
                CAPTURE(std::string(to_string(policy)));
                const EndState expected = end_state(KernelBehaviour::kSplits, sizes, memory, policy);
                CHECK(expected.mappings.size() > 10);
                CHECK((expected.refused != 0) == (policy == UnmapPolicy::kReject));
                for (const KernelBehaviour kernel : kKernels) {
                    CAPTURE(std::string(to_string(kernel)));
                    const bool same = end_state(kernel, sizes, memory, policy) == expected;
                    CHECK(same);
                }
            }
        }
    }
}

// What kernels up to 6.12 leave behind where they are simply asked for the range: the end state that P2 names.
TEST_CASE("P2: a split leaves what a kernel that splits leaves by itself, page by page and leaf by leaf") {
    for (const LeafSizes sizes : {kLeaves4K2M, kLeaves4K2M1G}) {
        for (const VaRange& hole : {range_at(kGiB + 0x5000, 0x1000), range_at(kGiB, 0x1000),
                                    range_at(kGiB + 0x3ff000, 0x2000), range_at(kGiB + 0x1ff000, 4 * kMiB),
                                    range_at(kGiB + 6 * kMiB, 2 * kMiB), range_at(2 * kGiB - 0x1000, 0x1000)}) {
            SoftDeviceConfig config = device_config(KernelBehaviour::kSplits);
            config.leaf_sizes = sizes;
            config.bo_memory = BoMemory::kContiguous;
            const Owned<SoftDevice> device = make_device(config);
            const BoId bo = make_bo(*device, kGiB);
            Owned<Vm> old_way = make_vm(*device);
            Owned<Vm> new_way = make_vm(*device);
            for (Owned<Vm>& vm : {std::ref(old_way), std::ref(new_way)}) {
                REQUIRE(vm->bind(map_request(range_at(kGiB, kGiB), bo)).has_value());
            }
            REQUIRE(new_way->unmap(hole, UnmapPolicy::kSplit).has_value());

            Plan plan;
            plan.touched = hole;
            plan.push({PlanOp::Kind::kUnmap, PlanOp::Purpose::kRequested, hole, {}, LeafPolicy::kLargest});
            SoftAddressSpace& kernel = SoftDevice::address_space(*old_way);
            REQUIRE(kernel.execute({&plan, 1}).has_value());
            kernel.settle();
            CHECK((kernel.leaf_cuts() != 0) == (new_way->statistics().blocks_1g + new_way->statistics().blocks_2m !=
                                                (sizes == kLeaves4K2M ? 512 - hole.size() / kBlock2MBytes : 1)));
            const bool same = leaves_of(*old_way) == leaves_of(*new_way);
            CHECK(same);
        }
    }
}

}  // namespace
}  // namespace granule::test
