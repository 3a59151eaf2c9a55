#include "src/device.hpp"

#include <array>
#include <cstdint>
#include <string_view>

#include "tests/src/soft_fixture.hpp"
#include "tests/support/reserved_range.hpp"

namespace granule::test {
namespace {

TEST_CASE("the soft device says what it is and can") {
    for (const std::string_view gpu : {"T860", "G52", "G610", "G720"}) {
        CAPTURE(gpu);
        for (const KernelBehaviour kernel : kKernels) {
            SoftDeviceConfig config = device_config(kernel, gpu);
            config.bo_memory = BoMemory::kScattered;
            const Owned<SoftDevice> soft = make_device(config);
            const Device& device = *soft;
            const DeviceProperties& properties = device.properties();
            CHECK(properties.kind == DeviceProperties::Kind::kSoft);
            CHECK(std::string_view(to_string(properties.kind)) == "soft");
            CHECK(properties.gpu == config.gpu);
            CHECK(mali::find_gpu_model(properties.gpu_id) == config.gpu);
            CHECK(mali::decode_mmu_features(properties.mmu_features) ==
                  mali::MmuFeatures{properties.va_bits, properties.pa_bits});
            CHECK(properties.behaviour == kernel);
            CHECK(properties.kernel_facts == nullptr);
            CHECK(properties.heap_bytes == config.memory_bytes);
            CHECK(properties.vm_space == VaRange{Va{0}, Va{std::uint64_t{1} << config.gpu->va_bits}});
            CHECK(properties.vm_space.contains(properties.default_vm_space));
            CHECK(properties.coherent);
            CHECK(properties.cpu_cached_bos);
            CHECK(properties.sparse);
            CHECK(properties.native_sparse);
            CHECK(properties.labels);
            CHECK_FALSE(properties.huge_pages);
            CHECK_FALSE(properties.kernel_queue);
            CHECK_FALSE(properties.kernel_places_bos);
            CHECK_FALSE(properties.evictable_bos);
            CHECK_FALSE(properties.bo_wait);
        }
    }
}

TEST_CASE("a VM without a space of its own has the default, and one may have the widest") {
    for (const std::string_view gpu : {"G52", "G610"}) {
        CAPTURE(gpu);
        const Owned<SoftDevice> soft = make_device(device_config(KernelBehaviour::kSplits, gpu));
        Device& device = *soft;
        const DeviceProperties& properties = device.properties();
        const Result<Owned<Vm>, OsError> usual = device.create_vm({});
        REQUIRE(usual.has_value());
        CHECK((*usual)->config().space == properties.default_vm_space);
        VmConfig config;
        config.space = properties.vm_space;
        CHECK(device.create_vm(config).has_value());
        config.space.end = config.space.end + kPageBytes;
        CHECK(device.create_vm(config).error().status == Status::kOutOfRange);
        config.space = {Va{2 * kGiB}, Va{kGiB}};
        CHECK(device.create_vm(config).error().status == Status::kBadArgument);
    }
}

TEST_CASE("what the soft device does not know it says, and its caches need nothing but arguments that are right") {
    const Owned<SoftDevice> soft = make_device(device_config());
    Device& device = *soft;
    BoRequest request;
    request.bytes = 8192;
    const Result<BoId, OsError> id = device.create_bo(request);
    REQUIRE(id.has_value());
    Bo& bo = *device.bos().find(*id);
    CHECK(device.wait_bo(bo, 0).error().status == Status::kNotSupported);
    CHECK(device.set_evictable(bo, true).error().status == Status::kNotSupported);

    const std::array parts{CacheSync{&bo, BoOffset{0}, 8192, CacheOp::kFlush},
                           CacheSync{&bo, BoOffset{8192}, 0, CacheOp::kFlushAndInvalidate}};
    CHECK(device.sync_caches(parts).has_value());
    CHECK(device.sync_caches({}).has_value());
    const std::array outside{parts[0], CacheSync{&bo, BoOffset{8191}, 2, CacheOp::kFlush}};
    CHECK(device.sync_caches(outside).error().status == Status::kOutOfRange);
    const std::array nobody{parts[0], CacheSync{nullptr, BoOffset{0}, 0, CacheOp::kFlush}};
    CHECK(device.sync_caches(nobody).error().status == Status::kBadArgument);

    const Owned<Vm> vm = make_vm(*soft);
    CHECK(device.show_bo(*vm, *id).error().status == Status::kNotSupported);
    CHECK(device.create_mapped_bo(*vm, request).error().status == Status::kNotSupported);
    CHECK(device.bos().live() == 1);
    device.bos().release(bo, 1);
}

TEST_CASE("a BO without a CPU view has none, and is not cached for a CPU that does not see it") {
    const Owned<SoftDevice> soft = make_device(device_config());
    BoRequest request;
    request.bytes = 4096;
    request.cpu_visible = false;
    Device& device = *soft;
    Bo& bo = *device.bos().find(device.create_bo(request).value());
    const ReservedRange range(bo.size);
    CHECK(device.bos().map_cpu(bo).error() == Status::kNotSupported);
    CHECK(device.bos().map_cpu_at(bo, range.start()) == Status::kNotSupported);
    device.bos().release(bo, 1);
    request.cpu_cached = true;
    CHECK(device.create_bo(request).error().status == Status::kBadArgument);
}

TEST_CASE("a timeline of the soft device is in its table") {
    const Owned<SoftDevice> soft = make_device(device_config());
    Device& device = *soft;
    const Result<Owned<Timeline>, OsError> timeline = device.create_timeline();
    REQUIRE(timeline.has_value());
    (*timeline)->signal(3);
    CHECK(device.timelines().value((*timeline)->id()) == 3);
}

TEST_CASE("a BO leads to its table, the table to its owner, and both keep what their user left there") {
    const Owned<SoftDevice> device = make_device(device_config());
    int owner = 0;
    int user = 0;
    CHECK(device->bos().owner() == nullptr);
    device->bos().set_owner(&owner);
    const BoId id = make_bo(*device, 1);
    Bo& bo = *device->bos().find(id);
    CHECK(&bo.table == &device->bos());
    CHECK(bo.table.owner() == &owner);
    CHECK(bo.user.load() == nullptr);
    bo.user = &user;
    CHECK(device->bos().find(id)->user.load() == &user);
    device->bos().release(bo, 1);
    const BoId next = make_bo(*device, 1);
    CHECK(device->bos().find(next)->user.load() == nullptr);
    device->bos().release(*device->bos().find(next), 1);
}

}  // namespace
}  // namespace granule::test
