// A pool on a soft device, and a source of slabs that can be told to fail.
//
// Thread-safety: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "src/bo_pool.hpp"
#include "src/bo_pools.hpp"
#include "src/vm_slab_source.hpp"
#include "tests/src/soft_fixture.hpp"

namespace granule::test {

// Slabs of a VmSlabSource, which come and go as the test says.
class FlakySource final : public SlabSource {
public:
    struct Switch {
        bool acquires = true;
        bool takes_back = true;
        std::uint64_t acquired = 0;
        std::uint64_t given_back = 0;
        std::uint64_t abandoned = 0;
    };

    FlakySource(Device& device, Vm& vm, Switch& knob) : source_(device, vm, {}), switch_(knob) {}

    [[nodiscard]] Result<SlabMemory, OsError> acquire(std::uint64_t bytes, std::uint64_t alignment) noexcept override {
        if (!switch_.acquires) {
            return fail(OsError{Status::kOutOfDeviceMemory, "", 0});
        }
        Result<SlabMemory, OsError> slab = source_.acquire(bytes, alignment);
        switch_.acquired += slab ? 1U : 0U;
        return slab;
    }
    [[nodiscard]] Status give_back(const SlabMemory& slab) noexcept override {
        if (!switch_.takes_back) {
            return Status::kBackendFailed;
        }
        ++switch_.given_back;
        return source_.give_back(slab);
    }
    void abandon(const SlabMemory& slab) noexcept override {
        ++switch_.abandoned;
        source_.abandon(slab);
    }

private:
    VmSlabSource source_;
    Switch& switch_;
};

struct BoPoolFixture {
    explicit BoPoolFixture(const SoftDeviceConfig& config = device_config())
        : device(make_device(config)), vm(make_vm(*device)) {
        Result<Owned<Timeline>, OsError> made = device->create_timeline();
        REQUIRE(made.has_value());
        timeline = std::move(*made);
    }

    [[nodiscard]] Owned<BoPool> make_pool(const BoPoolConfig& config = {}, const VmSlabConfig& slabs = {}) const {
        Result<Owned<BoPool>, Status> pool = BoPool::create(config, *device, *vm, slabs);
        REQUIRE(pool.has_value());
        return std::move(*pool);
    }
    [[nodiscard]] Owned<BoPool> make_flaky_pool(FlakySource::Switch& knob, const BoPoolConfig& config = {}) const {
        Result<Owned<BoPool>, Status> pool = BoPool::create(
            config, make_owned<FlakySource>(device->nodes(), *device, *vm, knob), device->timelines(), device->nodes());
        REQUIRE(pool.has_value());
        return std::move(*pool);
    }
    static PoolBuffer take(BoPool& pool, std::uint64_t bytes, std::uint64_t alignment = 1) {
        const Result<PoolBuffer, OsError> buffer = pool.allocate(bytes, alignment);
        REQUIRE(buffer.has_value());
        REQUIRE(buffer->bytes >= bytes);
        REQUIRE(buffer->va.is_aligned(alignment));
        return *buffer;
    }
    static void free(BoPool& pool, const PoolBuffer& buffer, std::span<const FencePoint> fences = {}) {
        REQUIRE(pool.free(buffer.id, fences) == Status::kOk);
        REQUIRE(pool.validate());
    }

    Owned<SoftDevice> device;
    Owned<Vm> vm;
    Owned<Timeline> timeline;
};

}  // namespace granule::test
