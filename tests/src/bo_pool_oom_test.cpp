// The k-th allocation of node memory fails, or the k-th step of the device, for every k until none does: an error with a
// type, and nothing changed. And P4: without any memory, everything is given back.
#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "tests/src/bo_pool_fixture.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test {
namespace {

bool says_what_ran_out(Status status) {
    return status == Status::kOutOfHostMemory || status == Status::kOutOfTableMemory ||
           status == Status::kOutOfDeviceMemory || status == Status::kBackendFailed;
}

// What a program asks of pools. Returns how many of its requests failed; checks that those changed nothing.
std::uint64_t run(const BoPoolFixture& fixture) {
    std::uint64_t failures = 0;
    BoPoolConfig config;
    config.slab_bytes = 64 * kKiB;
    config.first_slab_bytes = 64 * kKiB;
    BoPools pools(*fixture.device, *fixture.vm, config, {});
    std::vector<PoolBuffer> live;
    for (std::uint64_t i = 0; i < 60; ++i) {
        const Result<BoPool*, Status> pool = pools.pool({});
        if (!pool) {
            CHECK(says_what_ran_out(pool.error()));
            ++failures;
            continue;
        }
        const VmState before = state_of(*fixture.device, *fixture.vm);
        const BoPoolStatistics statistics = (*pool)->statistics();
        const Result<PoolBuffer, OsError> buffer = (*pool)->allocate(i % 7 == 6 ? 100 * kKiB : 5 * kKiB, 256);
        if (buffer) {
            live.push_back(*buffer);
            continue;
        }
        ++failures;
        CHECK(says_what_ran_out(buffer.error().status));
        CHECK((*pool)->validate());
        CHECK(state_of(*fixture.device, *fixture.vm) == before);
        const BoPoolStatistics after = (*pool)->statistics();
        CHECK(after.buffers == statistics.buffers);
        CHECK(after.slabs == statistics.slabs);
        CHECK(after.own_bos == statistics.own_bos);
        CHECK(after.reserved_bytes == statistics.reserved_bytes);
        CHECK(after.free_bytes == statistics.free_bytes);
        for (const PoolBuffer& each : live) {
            CHECK((*pool)->find(each.id)->va == each.va);
        }
    }
    return failures;
}

}  // namespace

TEST_CASE("P3: a pool whose k-th allocation of host memory fails says so and has changed nothing") {
    std::uint64_t failures = 1;
    std::uint64_t k = 0;
    for (; failures != 0; ++k) {
        CAPTURE(k);
        TestMemory memory;
        SoftDeviceConfig config = device_config();
        config.nodes = memory.memory();
        const BoPoolFixture fixture(config);
        memory.refuse_after(k);
        failures = run(fixture);
        CHECK(failures == memory.refusals());
        memory.refuse_nothing();
        CHECK(fixture.device->bos().live() == 0);
    }
    CHECK(k > 10);
}

TEST_CASE("P3: a pool whose k-th step of the device fails says so and has changed nothing") {
    for (const Injection::Site site :
         {Injection::Site::kDeviceMemory, Injection::Site::kTableMemory, Injection::Site::kOperation}) {
        std::uint64_t k = 0;
        for (bool failed = true; failed; ++k) {
            CAPTURE(k);
            Failing failing;
            SoftDeviceConfig config = device_config();
            config.injection = &failing;
            const BoPoolFixture fixture(config);
            failing.fail_after(site, k);
            const std::uint64_t failures = run(fixture);
            failed = failing.failed();
            // The end of the pool unmaps: there a failure is nobody's request.
            CHECK(failures <= 1);
            CHECK((failed || failures == 0));
        }
        // Tables are asked for only where one is missing.
        CHECK(k > (site == Injection::Site::kTableMemory ? 1U : 5U));
    }
}

TEST_CASE("P4: with no memory at all everything is freed, collected and given back") {
    TestMemory memory;
    Failing failing;
    SoftDeviceConfig config = device_config();
    config.nodes = memory.memory();
    config.injection = &failing;
    const BoPoolFixture fixture(config);
    Owned<BoPool> pool = fixture.make_pool();
    std::vector<PoolBuffer> live;
    for (std::uint64_t i = 0; i < 500; ++i) {
        live.push_back(fixture.take(*pool, 64 + 512 * i));
    }
    live.push_back(fixture.take(*pool, 8 * kMiB));
    memory.refuse_everything();
    failing.fail_all(Injection::Site::kDeviceMemory);
    for (std::uint64_t i = 0; i < live.size(); ++i) {
        const FencePoint fence = fixture.timeline->at(i);
        const bool waits = i % 3 != 0;
        REQUIRE(pool->free(live[i].id, {&fence, waits ? 1U : 0U}) == Status::kOk);
    }
    fixture.timeline->signal(live.size());
    pool->collect();
    pool->trim();
    CHECK(pool->statistics().reserved_bytes == 0);
    CHECK(fixture.device->bos().live() == 0);
    CHECK(reserved_in(*fixture.vm).empty());
    pool = {};
    CHECK(memory.refusals() == 0);
}

}  // namespace granule::test
