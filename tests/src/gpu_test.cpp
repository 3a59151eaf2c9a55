// The soft GPU: what reads and writes see, faults, stale translations, slots, stalls.
#include <thread>

#include "tests/src/soft_fixture.hpp"

namespace granule::test {
namespace {

struct Gpu {
    explicit Gpu(mali::MmuProtocol protocol = mali::MmuProtocol::kJobManager, std::string_view model = "G610") {
        SoftDeviceConfig config = device_config(KernelBehaviour::kRefuses, model);
        config.protocol = protocol;
        device = make_device(config);
        vm = make_vm(*device);
    }
    [[nodiscard]] SoftGpu& gpu() { return device->gpu(); }
    [[nodiscard]] static SoftGpu::Context& context(Vm& of) { return SoftDevice::address_space(of).gpu_context(); }

    Owned<SoftDevice> device;
    Owned<Vm> vm;
};

TEST_CASE("the GPU reads and writes across leaves of both sizes, and the CPU sees it in the BO") {
    for (const std::string_view model : {"G610", "G52", "T860"}) {
        CAPTURE(model);
        Gpu g(mali::MmuProtocol::kJobManager, model);
        const BoId bo = make_bo(*g.device, 8 * kMiB);
        // Page, block, pages; the VA runs the other way than the BO.
        REQUIRE(g.vm->bind(map_request(range_at(kGiB - 0x1000, 0x1000), bo, 7 * kMiB)).has_value());
        REQUIRE(g.vm->bind(map_request(range_at(kGiB, 2 * kMiB), bo, 2 * kMiB)).has_value());
        REQUIRE(g.vm->bind(map_request(range_at(kGiB + 2 * kMiB, 0x3000), bo, 0x1000)).has_value());
        std::vector<std::byte> out(2 * kMiB + 0x4000);
        for (std::size_t i = 0; i < out.size(); ++i) {
            out[i] = static_cast<std::byte>(i * 7 + i / 4096);
        }
        std::vector<std::byte> in(out.size());
        const Va start{kGiB - 0x1000};
        REQUIRE(g.gpu().write(Gpu::context(*g.vm), start, out).has_value());
        REQUIRE(g.gpu().read(Gpu::context(*g.vm), start, in).has_value());
        CHECK(in == out);
        const Result<std::byte*, Status> cpu = g.device->bos().map_cpu(*g.device->bos().find(bo));
        REQUIRE(cpu.has_value());
        CHECK(std::equal(out.begin(), out.begin() + 0x1000, *cpu + 7 * kMiB));
        CHECK(std::equal(out.begin() + 0x1000, out.begin() + 0x1000 + 2 * kMiB, *cpu + 2 * kMiB));
        CHECK(std::equal(out.end() - 0x3000, out.end(), *cpu + 0x1000));
        CHECK(g.gpu().counters().stale == 0);
    }
}

TEST_CASE("a read stops at the first fault and says where and what; the bytes before it were read") {
    Gpu g;
    const BoId bo = make_bo(*g.device, kMiB);
    REQUIRE(g.vm->bind(map_request(range_at(kGiB, 0x1000), bo)).has_value());
    REQUIRE(gpu_write(*g.device, *g.vm, Va{kGiB + 0xff8}, 0x1122334455667788));
    std::array<std::byte, 16> bytes{};
    const Result<void, GpuFault> done = g.gpu().read(Gpu::context(*g.vm), Va{kGiB + 0xff8}, bytes);
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().va == Va{kGiB + 0x1000});
    const mali::FaultStatus status = mali::decode_fault_status(done.error().status);
    CHECK(mali::fault_class(status.exception) == mali::FaultClass::kTranslation);
    CHECK(mali::fault_level(status.exception) == 3);
    CHECK(status.access == mali::AccessKind::kRead);
    CHECK(bytes[0] == std::byte{0x88});
    CHECK(g.gpu().counters().faults == 1);
    CHECK_FALSE(gpu_write(*g.device, *g.vm, Va{std::uint64_t{1} << 48}, 1));
}

TEST_CASE("a change that nobody invalidates is noticed: the TLB goes on translating, and the access is called stale") {
    Gpu g;
    const BoId bo = make_bo(*g.device, 2 * kMiB);
    const VaRange va = range_at(kGiB, 2 * kMiB);
    REQUIRE(g.vm->bind(map_request(va, bo)).has_value());
    REQUIRE(translates(*g.device, *g.vm, va.start));
    // Behind the GPU's back, as no driver may do it. The tables are the address space's: it gets them back as they
    // were.
    auto& table = const_cast<mali::PageTable&>(SoftDevice::address_space(*g.vm).table());  // NOLINT
    const mali::Walk walk = table.walk(va.start);
    REQUIRE(table.unmap({va.start, LeafSize::k2M, 1}).has_value());
    const mali::Access access = gpu_access(*g.device, *g.vm, va.start + 0x1234);
    CHECK(access.outcome == mali::Access::Outcome::kDone);
    CHECK(access.stale);
    CHECK(g.gpu().counters().stale == 1);
    // The invalidation that was left out.
    g.gpu().end_update(Gpu::context(*g.vm), va);
    CHECK_FALSE(translates(*g.device, *g.vm, va.start));
    CHECK(g.gpu().counters().stale == 1);
    REQUIRE(table.map({va.start, LeafSize::k2M, 1}, walk.leaf_pa, walk.attributes).has_value());
    table.settle();
}

TEST_CASE(
    "more VMs than slots: each gets one when it needs it, the longest idle gives one up, none sees another's memory") {
    for (const mali::MmuProtocol protocol :
         {mali::MmuProtocol::kJobManager, mali::MmuProtocol::kCsfFlush, mali::MmuProtocol::kCsfAtomic}) {
        Gpu g(protocol);
        const std::size_t slots = g.device->config().gpu->address_spaces - 1;  // 0 is the microcontroller's
        std::vector<Owned<Vm>> vms;
        const std::size_t count = slots + 3;
        for (std::size_t i = 0; i < count; ++i) {
            vms.push_back(make_vm(*g.device));
            const BoId bo = make_bo(*g.device, 0x1000);
            REQUIRE(vms.back()->bind(map_request(range_at(kGiB, 0x1000), bo)).has_value());
            REQUIRE(gpu_write(*g.device, *vms.back(), Va{kGiB}, 1000 + i));
        }
        CHECK(g.gpu().counters().activations == count);
        for (std::size_t round = 0; round < 2; ++round) {
            for (std::size_t i = 0; i < count; ++i) {
                REQUIRE(gpu_read(*g.device, *vms[i], Va{kGiB}) == 1000 + i);
            }
        }
        CHECK(g.gpu().counters().activations == 3 * count);
        // The last one has a slot: nothing more is activated. What a VM without a slot unmaps, it does not see later.
        REQUIRE(gpu_read(*g.device, *vms[count - 1], Va{kGiB}).has_value());
        CHECK(g.gpu().counters().activations == 3 * count);
        REQUIRE(vms[0]->unmap(range_at(kGiB, 0x1000), UnmapPolicy::kReject).has_value());
        CHECK_FALSE(translates(*g.device, *vms[0], Va{kGiB}));
        CHECK(g.gpu().counters().stale == 0);
    }
}

// A GPU thread that reads one place once; `stalled` waits until it hangs in the stall.
class Reader {
public:
    Reader(Gpu& g, Vm& vm, Va va)
        : g_(g),
          stalls_(g.gpu().counters().stalls),
          thread_([&g, &vm, va, this] { value_ = gpu_read(*g.device, vm, va).value_or(0); }) {}
    void stalled() {
        while (g_.gpu().counters().stalls == stalls_) {
            std::this_thread::yield();
        }
    }
    std::uint64_t join() {
        thread_.join();
        return value_;
    }

private:
    Gpu& g_;
    std::uint64_t value_ = 0;
    std::uint64_t stalls_;
    std::thread thread_;
};

TEST_CASE("an access to a region that is being changed stalls until the change is over, and goes on then") {
    Gpu g(mali::MmuProtocol::kCsfAtomic);
    const BoId bo = make_bo(*g.device, 4 * kMiB);
    REQUIRE(g.vm->bind(map_request(range_at(kGiB, 4 * kMiB), bo)).has_value());
    SUBCASE("it had its slot before") {
        REQUIRE(gpu_write(*g.device, *g.vm, Va{kGiB + 2 * kMiB}, 1));
    }
    SUBCASE("it gets its slot during the change") {}
    g.gpu().begin_update(Gpu::context(*g.vm), range_at(kGiB, 0x8000));
    // Outside the region nothing stalls.
    CHECK(gpu_read(*g.device, *g.vm, Va{kGiB + 2 * kMiB}).has_value());
    Reader reader(g, *g.vm, Va{kGiB + 0x1000});
    reader.stalled();
    *g.device->memory().host(pa_in(*g.device, bo, 0x1000)) = std::byte{9};
    g.gpu().end_update(Gpu::context(*g.vm), range_at(kGiB, 0x8000));
    CHECK(reader.join() == 9);
}

TEST_CASE("the lock of a change goes with its VM when another VM takes the slot, and comes back with it") {
    Gpu g(mali::MmuProtocol::kCsfAtomic);
    const BoId bo = make_bo(*g.device, kMiB);
    REQUIRE(g.vm->bind(map_request(range_at(kGiB, kMiB), bo)).has_value());
    REQUIRE(gpu_write(*g.device, *g.vm, Va{kGiB}, 5));
    g.gpu().begin_update(Gpu::context(*g.vm), range_at(kGiB, kMiB));
    // As many others as there are slots: one of them gets the slot of the VM that is being changed.
    std::vector<Owned<Vm>> others;
    for (unsigned i = 1; i < g.device->config().gpu->address_spaces; ++i) {
        others.push_back(make_vm(*g.device));
        REQUIRE(others.back()->bind(map_request(range_at(kGiB, kMiB), bo)).has_value());
        REQUIRE(gpu_read(*g.device, *others.back(), Va{kGiB}) == 5);  // it does not stall for ever
    }
    Reader reader(g, *g.vm, Va{kGiB});
    reader.stalled();
    g.gpu().end_update(Gpu::context(*g.vm), range_at(kGiB, kMiB));
    CHECK(reader.join() == 5);
    CHECK(g.gpu().counters().stale == 0);
}

TEST_CASE("a context that is unmapped for good faults at every access") {
    Gpu g;
    const BoId bo = make_bo(*g.device, kMiB);
    REQUIRE(g.vm->bind(map_request(range_at(kGiB, kMiB), bo)).has_value());
    REQUIRE(translates(*g.device, *g.vm, Va{kGiB}));
    g.gpu().unmap_all(Gpu::context(*g.vm));
    CHECK_FALSE(translates(*g.device, *g.vm, Va{kGiB}));
    CHECK_FALSE(translates(*g.device, *g.vm, Va{kGiB}));
}

}  // namespace
}  // namespace granule::test
