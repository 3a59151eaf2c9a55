// Caches and pools in a VM, as the soft device's GPU sees what they hand out.
#include <doctest/doctest.h>
#include <granule/granule.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include "tests/c_api/caller.hpp"

namespace granule::test {
namespace {

struct Fixture {
    Caller caller;
    granule_device* device = caller.open();
    granule_vm* vm = nullptr;
    Fixture() { REQUIRE(granule_vm_create(device, nullptr, &vm, nullptr) == GRANULE_STATUS_OK); }
    Fixture(const Fixture&) = delete;
    Fixture& operator=(const Fixture&) = delete;
    ~Fixture() {
        granule_vm_destroy(vm);
        CHECK(granule_device_close(device) == 0);
    }

    [[nodiscard]] granule_pool* make_pool(const granule_pool_info* info) const {
        granule_pool* pool = nullptr;
        REQUIRE(granule_pool_create(vm, info, &pool, nullptr) == GRANULE_STATUS_OK);
        return pool;
    }
    [[nodiscard]] std::uint32_t gpu_reads(std::uint64_t va) const {
        std::uint32_t value = 0;
        CHECK(granule_soft_read(vm, va, &value, sizeof(value), nullptr) == GRANULE_STATUS_OK);
        return value;
    }
};

granule_buffer allocate(granule_pool* pool, std::uint64_t size, std::uint64_t alignment = 0) {
    granule_buffer buffer{};
    REQUIRE(granule_pool_alloc(pool, size, alignment, &buffer, nullptr) == GRANULE_STATUS_OK);
    return buffer;
}

granule_pool_statistics statistics_of(const granule_pool* pool) {
    auto statistics = GRANULE_SIZED(granule_pool_statistics);
    REQUIRE(granule_pool_get_statistics(pool, &statistics) == GRANULE_STATUS_OK);
    return statistics;
}

TEST_CASE_FIXTURE(Fixture, "a buffer is at its VA, in its BO, and where the CPU sees it") {
    granule_pool* const pool = make_pool(nullptr);
    const granule_buffer buffer = allocate(pool, 100, 256);
    CHECK(buffer.size == 100);
    CHECK(buffer.va % 256 == 0);
    const std::uint32_t value = 0xcafe;
    std::memcpy(buffer.cpu, &value, sizeof(value));
    CHECK(gpu_reads(buffer.va) == 0xcafe);
    granule_bo* shown = nullptr;
    std::uint64_t offset = 0;
    CHECK(granule_vm_lookup(vm, buffer.va, &shown, &offset) == GRANULE_STATUS_OK);
    CHECK(shown == buffer.bo);
    CHECK(offset == buffer.bo_offset);
    granule_bo_unref(shown);
    CHECK(statistics_of(pool).buffers == 1);
    CHECK(statistics_of(pool).asked_bytes == 100);
    CHECK(statistics_of(pool).used_bytes == 128);
    granule_pool* const other = make_pool(nullptr);
    const granule_buffer of_other = allocate(other, 100, 256);
    CHECK(of_other.handle == buffer.handle);
    CHECK(granule_pool_free(pool, &of_other, nullptr, 0) == GRANULE_STATUS_BAD_ARGUMENT);
    granule_pool_destroy(other);
    CHECK(granule_pool_free(pool, &buffer, nullptr, 0) == GRANULE_STATUS_OK);
    CHECK(granule_pool_free(pool, &buffer, nullptr, 0) == GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(statistics_of(pool).buffers == 0);
    granule_pool_destroy(pool);
}

TEST_CASE_FIXTURE(Fixture, "P5: a freed buffer's place is nobody's before its fence") {
    auto info = GRANULE_SIZED(granule_pool_info);
    info.slab_size = 65536;
    granule_pool* const pool = make_pool(&info);
    granule_timeline* const timeline = make_timeline(device);
    const granule_buffer first = allocate(pool, 32768);
    const granule_sync fence{timeline, 1};
    CHECK(granule_pool_free(pool, &first, &fence, 1) == GRANULE_STATUS_OK);
    CHECK(statistics_of(pool).waiting_bytes == 32768);
    CHECK(statistics_of(pool).buffers == 1);
    const granule_buffer second = allocate(pool, 32768);
    const granule_buffer third = allocate(pool, 32768);
    const granule_buffer fourth = allocate(pool, 32768);
    for (const std::uint64_t va : {second.va, third.va, fourth.va}) {
        CHECK(va != first.va);
    }
    CHECK(granule_timeline_signal(timeline, 1, nullptr) == GRANULE_STATUS_OK);
    CHECK(allocate(pool, 32768).va == first.va);
    granule_pool_destroy(pool);
    granule_timeline_unref(timeline);
}

TEST_CASE_FIXTURE(Fixture, "slabs come from a cache and go back to it, mapped as they are") {
    granule_bo_cache* cache = nullptr;
    REQUIRE(granule_bo_cache_create(device, vm, nullptr, &cache, nullptr) == GRANULE_STATUS_OK);
    auto info = GRANULE_SIZED(granule_pool_info);
    info.cache = cache;
    info.label = "uniforms";
    std::uint64_t va = 0;
    for (int round = 0; round < 2; ++round) {
        CAPTURE(round);
        granule_pool* const pool = make_pool(&info);
        const granule_buffer buffer = allocate(pool, 64);
        CHECK((round == 0 || buffer.va == va));
        va = buffer.va;
        auto report = GRANULE_SIZED(granule_address_report);
        CHECK(granule_vm_describe(vm, va, &report) == GRANULE_STATUS_OK);
        CHECK(std::string(report.label) == "uniforms");
        granule_pool_destroy(pool);
        auto statistics = GRANULE_SIZED(granule_bo_cache_statistics);
        CHECK(granule_bo_cache_get_statistics(cache, &statistics) == GRANULE_STATUS_OK);
        CHECK(statistics.cached_bos == 1);
        CHECK(statistics.out_bytes == 0);
        CHECK(statistics.hits == static_cast<std::uint64_t>(round));
    }
    granule_bo_cache_destroy(cache);
}

TEST_CASE_FIXTURE(Fixture, "a pool takes slabs from a cache of its own VM only") {
    granule_vm* other = nullptr;
    REQUIRE(granule_vm_create(device, nullptr, &other, nullptr) == GRANULE_STATUS_OK);
    granule_bo_cache* cache = nullptr;
    REQUIRE(granule_bo_cache_create(device, other, nullptr, &cache, nullptr) == GRANULE_STATUS_OK);
    auto info = GRANULE_SIZED(granule_pool_info);
    info.cache = cache;
    granule_pool* pool = nullptr;
    CHECK(granule_pool_create(vm, &info, &pool, nullptr) == GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(pool == nullptr);
    granule_bo_cache_destroy(cache);
    granule_vm_destroy(other);
}

TEST_CASE_FIXTURE(Fixture, "a cache's BO is shown by its VM from when it is taken until it is let go of") {
    granule_bo_cache* cache = nullptr;
    REQUIRE(granule_bo_cache_create(device, vm, nullptr, &cache, nullptr) == GRANULE_STATUS_OK);
    auto info = GRANULE_SIZED(granule_cached_bo_info);
    info.size = 4096;
    granule_cached_bo got{};
    REQUIRE(granule_bo_cache_get(cache, &info, &got, nullptr) == GRANULE_STATUS_OK);
    const std::uint32_t value = 0xbeef;
    CHECK(granule_soft_write(vm, got.va, &value, sizeof(value), nullptr) == GRANULE_STATUS_OK);
    std::uint32_t seen = 0;
    std::memcpy(&seen, got.cpu, sizeof(seen));
    CHECK(seen == 0xbeef);
    CHECK(granule_bo_cache_put(cache, got.bo, nullptr, 0) == GRANULE_STATUS_OK);
    CHECK(gpu_reads(got.va) == 0xbeef);
    // Zeroed on request only.
    info.flags = GRANULE_CACHE_ZEROED;
    granule_cached_bo again{};
    REQUIRE(granule_bo_cache_get(cache, &info, &again, nullptr) == GRANULE_STATUS_OK);
    CHECK(again.bo == got.bo);
    CHECK(gpu_reads(again.va) == 0);
    CHECK(granule_bo_cache_put(cache, again.bo, nullptr, 0) == GRANULE_STATUS_OK);
    CHECK(granule_bo_cache_evict_all(cache) == 4096);
    auto fault = GRANULE_SIZED(granule_gpu_fault);
    CHECK(granule_soft_read(vm, got.va, &seen, sizeof(seen), &fault) == GRANULE_STATUS_OUT_OF_RANGE);
    CHECK(fault.kind == GRANULE_FAULT_TRANSLATION);
    CHECK(fault.va == got.va);
    CHECK(fault.write == 0);
    granule_bo_cache_destroy(cache);
}

TEST_CASE_FIXTURE(Fixture, "a fault is said in words, with Linux's name for it") {
    const std::uint32_t value = 0;
    auto fault = GRANULE_SIZED(granule_gpu_fault);
    CHECK(granule_soft_write(vm, 0x12345000, &value, sizeof(value), &fault) == GRANULE_STATUS_OUT_OF_RANGE);
    CHECK(fault.write == 1);
    const std::string text =
        text_of([&](char* at, std::size_t size) { return granule_gpu_fault_text(&fault, at, size); });
    CHECK(text.find("a write at 0x12345000 (TRANSLATION_FAULT_") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "a failure that was asked for comes once, after as many successes as were asked for") {
    auto info = GRANULE_SIZED(granule_bo_info);
    info.size = 4096;
    CHECK(granule_soft_fail(device, GRANULE_SOFT_DEVICE_MEMORY, 1, ENOMEM) == GRANULE_STATUS_OK);
    granule_bo* const first = make_bo(device, 4096);
    granule_bo* bo = nullptr;
    CHECK(granule_bo_create(device, &info, &bo, nullptr) == GRANULE_STATUS_OUT_OF_DEVICE_MEMORY);
    CHECK(bo == nullptr);
    granule_bo_unref(make_bo(device, 4096));
    CHECK(granule_soft_fail(device, GRANULE_SOFT_DEVICE_MEMORY, 0, ENOMEM) == GRANULE_STATUS_OK);
    CHECK(granule_soft_fail(device, GRANULE_SOFT_DEVICE_MEMORY, 0, 0) == GRANULE_STATUS_OK);
    granule_bo_unref(make_bo(device, 4096));
    granule_bo_unref(first);
}

TEST_CASE_FIXTURE(Fixture, "page tables are counted while they are there, and no leaf was ever cut") {
    auto usage = GRANULE_SIZED(granule_memory_usage);
    CHECK(granule_device_get_memory_usage(device, &usage) == GRANULE_STATUS_OK);
    const std::uint64_t before = usage.table_bytes;
    granule_pool* const pool = make_pool(nullptr);
    static_cast<void>(allocate(pool, 64));
    CHECK(granule_device_get_memory_usage(device, &usage) == GRANULE_STATUS_OK);
    CHECK(usage.table_bytes > before);
    CHECK(usage.bos == 1);
    granule_pool_destroy(pool);
    CHECK(granule_device_get_memory_usage(device, &usage) == GRANULE_STATUS_OK);
    CHECK(usage.bos == 0);
    CHECK(usage.bo_bytes == 0);
    CHECK(usage.bo_bytes_peak > 0);
    auto statistics = GRANULE_SIZED(granule_soft_statistics);
    CHECK(granule_soft_get_statistics(device, &statistics) == GRANULE_STATUS_OK);
    CHECK(statistics.leaf_cuts == 0);
    CHECK(statistics.stale == 0);
}

TEST_CASE("a VM that leaked is told with its label, its activity is not told apart") {
    Caller caller;
    granule_device* const device = caller.open();
    auto info = GRANULE_SIZED(granule_vm_info);
    info.flags = GRANULE_VM_TRACK_ACTIVITY;
    info.label = "main context";
    granule_vm* vm = nullptr;
    REQUIRE(granule_vm_create(device, &info, &vm, nullptr) == GRANULE_STATUS_OK);
    CHECK(granule_device_close(device) == 1);
    REQUIRE(caller.lines.size() == 1);
    CHECK(caller.lines[0] == "E not given back when the device was closed: VM 'main context'");
    granule_vm_destroy(vm);
}

}  // namespace
}  // namespace granule::test
