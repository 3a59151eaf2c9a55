// Small buffers out of BOs, by examples.
#include "src/bo_pool.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <set>
#include <string_view>
#include <vector>

#include "src/cache_slab_source.hpp"
#include "tests/src/bo_pool_fixture.hpp"

namespace granule::test {
namespace {

// The buffers of `pool` over this many bytes.
std::vector<PoolBuffer> fill(BoPool& pool, std::uint64_t bytes, std::uint64_t each) {
    std::vector<PoolBuffer> buffers;
    for (std::uint64_t done = 0; done < bytes; done += each) {
        buffers.push_back(BoPoolFixture::take(pool, each));
    }
    return buffers;
}

}  // namespace

TEST_CASE_FIXTURE(BoPoolFixture, "buffers of one slab are one BO and one mapping; CPU and GPU see the same bytes") {
    const Owned<BoPool> pool = make_pool();
    std::set<BoId> bos;
    for (std::uint64_t i = 0; i < 64; ++i) {
        const PoolBuffer buffer = take(*pool, 100 + i);
        bos.insert(buffer.bo);
        const std::optional<Mapping> mapping = vm->address(buffer.va).mapping;
        REQUIRE(mapping.has_value());
        CHECK(mapping->shows.bo == buffer.bo);
        CHECK(mapping->shows.offset + (buffer.va - mapping->va.start) == buffer.offset);
        REQUIRE(buffer.cpu != nullptr);
        const std::uint64_t word = 0x1000 + i;
        std::memcpy(buffer.cpu, &word, sizeof(word));
        CHECK(gpu_read(*device, *vm, buffer.va) == word);
        CHECK(pool->find(buffer.id)->va == buffer.va);
    }
    CHECK(bos.size() == 1);
    CHECK(device->bos().live() == 1);
    CHECK(mappings_of(*vm).size() == 1);
    CHECK(vm->address(mappings_of(*vm)[0].va.start).label.view() == "slab");
}

TEST_CASE_FIXTURE(BoPoolFixture, "two buffers share no cache line, and no more than the pool's alignment says") {
    for (const std::uint64_t alignment : {std::uint64_t{64}, std::uint64_t{256}, 64 * kKiB}) {
        BoPoolConfig config;
        config.alignment = alignment;
        const Owned<BoPool> pool = make_pool(config);
        std::set<std::uint64_t> lines;
        for (std::uint64_t bytes = 1; bytes < 3 * alignment; bytes += alignment / 2) {
            const PoolBuffer buffer = take(*pool, bytes);
            CHECK(buffer.va.is_aligned(alignment));
            for (std::uint64_t at = 0; at < bytes; at += alignment) {
                CHECK(lines.insert((buffer.va + at).raw() / alignment).second);
            }
        }
    }
}

TEST_CASE_FIXTURE(BoPoolFixture, "a buffer may ask for any alignment up to 2 MiB, of its VA") {
    const Owned<BoPool> pool = make_pool();
    for (std::uint64_t alignment = 1; alignment <= 2 * kMiB; alignment *= 2) {
        take(*pool, 192, alignment);
    }
    CHECK(pool->allocate(192, 4 * kMiB).error().status == Status::kBadArgument);
    CHECK(pool->allocate(192, 3).error().status == Status::kBadArgument);
    CHECK(pool->allocate(192, 0).error().status == Status::kBadArgument);
    CHECK(pool->allocate(0).error().status == Status::kBadArgument);
    CHECK(pool->allocate(UINT64_MAX).error().status == Status::kBadArgument);
}

TEST_CASE_FIXTURE(BoPoolFixture, "slabs grow with the pool, from 256 KiB to the block of 2 MiB") {
    const Owned<BoPool> pool = make_pool();
    CHECK(device->bos().live() == 0);
    std::vector<std::uint64_t> sizes;
    std::uint64_t reserved = 0;
    while (sizes.size() < 7) {
        take(*pool, 32 * kKiB);
        const BoPoolStatistics statistics = pool->statistics();
        if (statistics.reserved_bytes != reserved) {
            sizes.push_back(statistics.reserved_bytes - reserved);
            reserved = statistics.reserved_bytes;
        }
    }
    CHECK(sizes == std::vector<std::uint64_t>{256 * kKiB, 256 * kKiB, 512 * kKiB, kMiB, 2 * kMiB, 2 * kMiB, 2 * kMiB});
    std::uint64_t blocks = 0;
    for (const Mapping& mapping : mappings_of(*vm)) {
        blocks += vm->granule_at(mapping.va.start) == LeafSize::k2M ? 1U : 0U;
    }
    CHECK(blocks == 3);
}

TEST_CASE_FIXTURE(BoPoolFixture, "what needs more than half a slab has a BO of its own, which goes with it") {
    const Owned<BoPool> pool = make_pool();
    const PoolBuffer small = take(*pool, kMiB);
    CHECK(pool->statistics().own_bos == 0);
    const PoolBuffer large = take(*pool, kMiB + 1);
    CHECK(large.bo != small.bo);
    CHECK(large.offset == BoOffset{0});
    CHECK(device->bos().find(large.bo)->size == kMiB + 4 * kKiB);
    const PoolBuffer aligned = take(*pool, 64, 2 * kMiB);
    CHECK(device->bos().find(aligned.bo)->size == 4 * kKiB);
    const BoPoolStatistics statistics = pool->statistics();
    CHECK(statistics.own_bos == 2);
    CHECK(statistics.slabs == 1);
    CHECK(statistics.live_bytes == 2 * kMiB + 1 + 64);
    free(*pool, large);
    CHECK(device->bos().find(large.bo) == nullptr);
    CHECK_FALSE(vm->address(large.va).mapping.has_value());
    CHECK_FALSE(vm->address(large.va).reserved.has_value());
    const FencePoint fence = timeline->at(1);
    free(*pool, aligned, {&fence, 1});
    CHECK(device->bos().find(aligned.bo) != nullptr);
    timeline->signal(1);
    CHECK(pool->collect() == 1);
    CHECK(device->bos().find(aligned.bo) == nullptr);
    CHECK(pool->statistics().own_bos == 0);
    CHECK(pool->statistics().peak_reserved_bytes == 3 * kMiB + 8 * kKiB);
}

TEST_CASE_FIXTURE(BoPoolFixture, "P5: bytes are nobody's until the fences they were freed with are signalled") {
    BoPoolConfig config;
    config.slab_bytes = 64 * kKiB;
    config.first_slab_bytes = 64 * kKiB;
    const Owned<BoPool> pool = make_pool(config);
    const std::vector<PoolBuffer> buffers = fill(*pool, 64 * kKiB, 32 * kKiB);
    const std::array fences{timeline->at(2), timeline->at(5)};
    free(*pool, buffers[0], fences);
    CHECK_FALSE(pool->find(buffers[0].id).has_value());
    CHECK(pool->statistics().waiting == 1);
    CHECK(pool->statistics().waiting_bytes == 32 * kKiB);
    timeline->signal(4);
    const PoolBuffer other = take(*pool, 32 * kKiB);
    CHECK(other.bo != buffers[0].bo);
    const PoolBuffer another = take(*pool, 32 * kKiB);
    timeline->signal(5);
    // No collect: who finds no room looks at the fences.
    CHECK(take(*pool, 32 * kKiB).va == buffers[0].va);
    CHECK(pool->statistics().slabs == 2);
    CHECK(another.bo == other.bo);
}

TEST_CASE_FIXTURE(BoPoolFixture,
                  "free refuses what is no live buffer and what cannot be waited for, and changes nothing") {
    const Owned<BoPool> pool = make_pool();
    const Owned<BoPool> another = make_pool();
    const PoolBuffer buffer = take(*pool, 64);
    take(*another, 64);
    CHECK(pool->free(PieceId{}) == Status::kBadArgument);
    CHECK(pool->free(PieceId{12345}) == Status::kBadArgument);
    const FencePoint never{TimelineId{4000}, 1};
    CHECK(pool->free(buffer.id, {&never, 1}) == Status::kBadArgument);
    std::vector<Owned<Timeline>> timelines;
    std::vector<FencePoint> fences;
    for (std::size_t i = 0; i <= kMaxFencePoints; ++i) {
        timelines.push_back(std::move(*device->create_timeline()));
        fences.push_back(timelines.back()->at(1));
    }
    CHECK(pool->free(buffer.id, fences) == Status::kBadArgument);
    CHECK(pool->find(buffer.id)->va == buffer.va);
    fences.pop_back();
    CHECK(pool->free(buffer.id, fences) == Status::kOk);
    CHECK(pool->free(buffer.id, fences) == Status::kBadArgument);
    CHECK(pool->free(buffer.id) == Status::kBadArgument);
    timelines.clear();  // a timeline that is gone counts as signalled
    CHECK(pool->collect() == 1);
    CHECK(pool->free(buffer.id) == Status::kBadArgument);
    CHECK(pool->validate());
}

TEST_CASE_FIXTURE(BoPoolFixture, "one idle slab stays, the others go back; trim gives all back") {
    const Owned<BoPool> pool = make_pool();
    const std::vector<PoolBuffer> buffers = fill(*pool, 6 * kMiB, 64 * kKiB);
    CHECK(device->bos().live() == 6);
    for (const PoolBuffer& buffer : buffers) {
        free(*pool, buffer);
    }
    CHECK(device->bos().live() == 1);
    CHECK(pool->statistics().idle_slabs == 1);
    CHECK(pool->trim() == pool->statistics().peak_reserved_bytes - 6 * kMiB + 2 * kMiB);
    CHECK(device->bos().live() == 0);
    CHECK(pool->statistics().reserved_bytes == 0);
    CHECK(mappings_of(*vm).empty());
    CHECK(pool->trim() == 0);
    take(*pool, 64);
    CHECK(pool->validate());
}

TEST_CASE_FIXTURE(BoPoolFixture,
                  "slabs that are idle for longer than the caller allows go back, by the caller's clock") {
    BoPoolConfig config;
    config.slab_bytes = 64 * kKiB;
    config.first_slab_bytes = 64 * kKiB;
    config.keep_idle_slabs = 3;
    const Owned<BoPool> pool = make_pool(config);
    const std::vector<PoolBuffer> buffers = fill(*pool, 160 * kKiB, 32 * kKiB);
    CHECK(pool->statistics().slabs == 3);
    free(*pool, buffers[2]);
    free(*pool, buffers[3]);
    CHECK(pool->trim(100, 1000) == 0);  // begins to count
    free(*pool, buffers[4]);
    CHECK(pool->trim(100, 1099) == 0);
    CHECK(pool->trim(100, 1100) == 64 * kKiB);
    CHECK(pool->statistics().idle_slabs == 1);
    // Used meanwhile: it begins again.
    free(*pool, take(*pool, 32 * kKiB));
    CHECK(pool->trim(100, 1250) == 0);
    CHECK(pool->trim(100, 1349) == 0);
    CHECK(pool->trim(100, 1350) == 64 * kKiB);
    CHECK(pool->statistics().slabs == 1);
    free(*pool, buffers[0]);
    free(*pool, buffers[1]);
    CHECK(pool->trim(UINT64_MAX) == 0);  // by the clock of the machine
    CHECK(pool->validate());
}

TEST_CASE_FIXTURE(BoPoolFixture, "a configuration that breaks a rule makes no pool") {
    const auto status_of = [&](const BoPoolConfig& config, const SlabKind& kind = {}) {
        VmSlabConfig slabs;
        slabs.kind = kind;
        const Result<Owned<BoPool>, Status> pool = BoPool::create(config, *device, *vm, slabs);
        return pool ? Status::kOk : pool.error();
    };
    BoPoolConfig config;
    CHECK(status_of(config) == Status::kOk);
    for (const std::uint64_t bytes : {std::uint64_t{0}, 32 * kKiB, 96 * kKiB, 128 * kMiB}) {
        config = {};
        config.slab_bytes = bytes;
        CHECK(status_of(config) == Status::kBadArgument);
        config = {};
        config.first_slab_bytes = bytes;
        CHECK(status_of(config) == Status::kBadArgument);
    }
    for (const std::uint64_t alignment : {std::uint64_t{0}, std::uint64_t{32}, std::uint64_t{96}, 4 * kMiB}) {
        config = {};
        config.alignment = alignment;
        CHECK(status_of(config) == Status::kBadArgument);
    }
    config = {};
    config.alignment = 2 * kMiB;
    CHECK(status_of(config) == Status::kOk);
    const Owned<BoPool> pool = make_pool(config);
    CHECK(take(*pool, 1).va.is_aligned(2 * kMiB));
    CHECK(pool->statistics().own_bos == 1);
    SlabKind kind;
    kind.cpu_visible = false;
    CHECK(status_of({}, kind) == Status::kOk);
    kind.cpu_cached = true;
    CHECK(status_of({}, kind) == Status::kBadArgument);
}

TEST_CASE_FIXTURE(BoPoolFixture, "buffers of different kinds share no BO and no page; one kind is one pool") {
    BoPools pools(*device, *vm, {}, {});
    SlabKind cached;
    cached.cpu_cached = true;
    SlabKind uncached_gpu;
    uncached_gpu.flags.uncached = true;
    SlabKind shaders;
    shaders.executable = true;
    shaders.flags.readonly = true;
    SlabKind invisible;
    invisible.cpu_visible = false;
    const std::array kinds{SlabKind{}, cached, uncached_gpu, shaders, invisible};
    std::array<std::set<BoId>, 5> bos;
    std::array<std::set<std::uint64_t>, 5> pages;
    for (int round = 0; round < 40; ++round) {
        for (std::size_t i = 0; i < kinds.size(); ++i) {
            const Result<BoPool*, Status> pool = pools.pool(kinds[i]);
            REQUIRE(pool.has_value());
            CHECK(*pool == *pools.pool(kinds[i]));
            const PoolBuffer buffer = take(**pool, 1000);
            bos[i].insert(buffer.bo);
            pages[i].insert(buffer.va.raw() / kPageBytes);
            CHECK((buffer.cpu != nullptr) == kinds[i].cpu_visible);
            CHECK(vm->address(buffer.va).mapping->shows.flags == kinds[i].flags);
        }
    }
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        for (std::size_t other = i + 1; other < kinds.size(); ++other) {
            for (const BoId bo : bos[i]) {
                CHECK(bos[other].count(bo) == 0);
            }
            for (const std::uint64_t page : pages[i]) {
                CHECK(pages[other].count(page) == 0);
            }
        }
    }
    std::size_t seen = 0;
    pools.for_each([&](const SlabKind& /*kind*/, BoPool& pool) {
        ++seen;
        CHECK(pool.statistics().buffers == 40);
    });
    CHECK(seen == kinds.size());
    CHECK(pools.trim() == 0);
    CHECK(pools.collect() == 0);
    SlabKind impossible;
    impossible.cpu_visible = false;
    impossible.cpu_cached = true;
    CHECK(pools.pool(impossible).error() == Status::kBadArgument);
}

TEST_CASE_FIXTURE(BoPoolFixture, "P4: a slab that cannot be given back stays in the pool, and goes later") {
    FlakySource::Switch knob;
    const Owned<BoPool> pool = make_flaky_pool(knob);
    const PoolBuffer small = take(*pool, 64);
    const PoolBuffer own = take(*pool, 4 * kMiB);
    knob.takes_back = false;
    free(*pool, own);
    CHECK(pool->statistics().own_bos == 0);
    CHECK(pool->statistics().slabs == 2);
    CHECK(pool->statistics().idle_slabs == 1);
    CHECK(take(*pool, kMiB).bo == own.bo);  // it is a slab as any other
    free(*pool, small);
    CHECK(pool->trim() == 0);
    knob.takes_back = true;
    CHECK(pool->trim() == 256 * kKiB);
    CHECK(knob.given_back == 1);
    CHECK(pool->validate());
}

TEST_CASE_FIXTURE(BoPoolFixture, "short of memory, a pool gives its idle slabs back before it fails") {
    BoPoolConfig config;
    config.keep_idle_slabs = 8;
    const Owned<BoPool> pool = make_pool(config);
    const PoolBuffer small = take(*pool, 64);
    const std::vector<PoolBuffer> buffers = fill(*pool, 4 * kMiB, kMiB);
    for (const PoolBuffer& buffer : buffers) {
        free(*pool, buffer);
    }
    const std::uint64_t reserved = pool->statistics().reserved_bytes;
    device->set_memory_limit(reserved);
    // More than all that is idle.
    CHECK(pool->allocate(64 * kMiB).error().status == Status::kOverBudget);
    CHECK(pool->validate());
    CHECK(pool->statistics().idle_slabs == 0);
    CHECK(take(*pool, reserved - pool->statistics().reserved_bytes).bytes >= 2 * kMiB);
    CHECK(pool->allocate(2 * kMiB).error().status == Status::kOverBudget);
    CHECK(take(*pool, 64).bo == small.bo);
}

TEST_CASE_FIXTURE(BoPoolFixture, "P3: where there is no slab to be had, nothing changed") {
    FlakySource::Switch knob;
    const Owned<BoPool> pool = make_flaky_pool(knob);
    knob.acquires = false;
    CHECK(pool->allocate(64).error().status == Status::kOutOfDeviceMemory);
    CHECK(pool->allocate(8 * kMiB).error().status == Status::kOutOfDeviceMemory);
    CHECK(pool->statistics().buffers == 0);
    CHECK(pool->statistics().slabs == 0);
    CHECK(pool->validate());
    knob.acquires = true;
    const PoolBuffer buffer = take(*pool, 64);
    knob.acquires = false;
    const VmState before = state_of(*device, *vm);
    CHECK(pool->allocate(kMiB).error().status == Status::kOutOfDeviceMemory);
    CHECK(state_of(*device, *vm) == before);
    CHECK(pool->find(buffer.id).has_value());
    CHECK(take(*pool, 64).bo == buffer.bo);
}

TEST_CASE_FIXTURE(BoPoolFixture, "the end of a pool gives everything back, and abandons what it cannot") {
    const std::uint64_t used = device->memory().used();
    {
        const Owned<BoPool> pool = make_pool();
        fill(*pool, 3 * kMiB, 64 * kKiB);
        const FencePoint fence = timeline->at(1);
        free(*pool, take(*pool, 5 * kMiB), {&fence, 1});
    }
    CHECK(device->bos().live() == 0);
    CHECK(mappings_of(*vm).empty());
    CHECK(reserved_in(*vm).empty());
    CHECK(device->memory().used() <= used + 4 * kPageBytes);  // tables that the VM keeps
    FlakySource::Switch knob;
    {
        const Owned<BoPool> pool = make_flaky_pool(knob);
        take(*pool, 64);
        knob.takes_back = false;
    }
    CHECK(knob.abandoned == 1);
    CHECK(device->bos().live() == 1);  // the mapping holds it
    vm = {};
    CHECK(device->bos().live() == 0);
}

TEST_CASE_FIXTURE(BoPoolFixture, "the statistics add up") {
    const Owned<BoPool> pool = make_pool();
    std::vector<PoolBuffer> buffers;
    for (std::uint64_t bytes = 1; bytes < 100000; bytes = bytes * 3 + 1) {
        buffers.push_back(take(*pool, bytes));
    }
    const FencePoint fence = timeline->at(1);
    free(*pool, buffers[3], {&fence, 1});
    free(*pool, buffers[5]);
    const BoPoolStatistics statistics = pool->statistics();
    CHECK(statistics.buffers == buffers.size() - 2);
    CHECK(statistics.waiting == 1);
    CHECK(statistics.slabs == statistics.slabs_made);
    CHECK(statistics.live_bytes + statistics.waste_bytes + statistics.waiting_bytes + statistics.free_bytes ==
          statistics.reserved_bytes);
    CHECK(statistics.largest_free <= statistics.free_bytes);
    CHECK(statistics.largest_free >= 64 * kKiB);
    CHECK(statistics.waste_bytes < 64 * statistics.buffers);
    CHECK(statistics.node_bytes > 0);
}

TEST_CASE_FIXTURE(BoPoolFixture, "slabs out of a cache come back mapped: no BO is made and nothing is bound for them") {
    const Owned<BoCache> cache = std::move(*BoCache::create(*device, vm.get(), {}, device->nodes()));
    VmSlabConfig slabs;
    slabs.kind.flags.noexec = true;
    const Owned<BoPool> pool =
        std::move(*BoPool::create({}, make_owned<CacheSlabSource>(device->nodes(), *device, *vm, *cache, slabs),
                                  device->timelines(), device->nodes()));
    const PoolBuffer small = take(*pool, 1000);
    const PoolBuffer own = take(*pool, 3 * kMiB, 64 * kKiB);
    CHECK(vm->address(own.va).mapping->shows.flags.noexec);
    CHECK(vm->address(own.va).label.view() == "slab");
    const std::uint64_t word = 0xCAFE;
    std::memcpy(own.cpu, &word, sizeof(word));
    CHECK(gpu_read(*device, *vm, own.va) == word);
    const std::uint64_t binds = vm->statistics().binds;
    for (int round = 0; round < 10; ++round) {
        free(*pool, pool->find(own.id) ? own : take(*pool, 3 * kMiB, 64 * kKiB));
    }
    free(*pool, small);
    CHECK(pool->trim() != 0);
    CHECK(pool->statistics().reserved_bytes == 0);
    CHECK(device->bos().live() == 2);
    CHECK(take(*pool, 1000).bo == small.bo);
    CHECK(vm->statistics().binds == binds);
}

TEST_CASE("panfrost's VMs have no more than 4 GiB: slabs are where the configuration says") {
    const BoPoolFixture fixture(device_config(KernelBehaviour::kSplits, "G52"));
    VmSlabConfig slabs;
    slabs.zone = VaZone::kLow;
    const Owned<BoPool> pool = fixture.make_pool({}, slabs);
    CHECK(fixture.take(*pool, 64).va < Va{4 * kGiB});
    slabs.zone = VaZone::kMain;
    const Owned<BoPool> nowhere = fixture.make_pool({}, slabs);
    CHECK_FALSE(nowhere->allocate(64).has_value());
    CHECK(fixture.device->bos().live() == 1);
}

}  // namespace granule::test
