// Who keeps a device, and what is told of what leaked.
#include <doctest/doctest.h>
#include <granule/granule.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "tests/c_api/bind_array.hpp"
#include "tests/c_api/caller.hpp"

namespace granule::test {
namespace {

bool told(const Caller& caller, const std::string& line) {
    return std::find(caller.lines.begin(), caller.lines.end(), line) != caller.lines.end();
}

granule_cached_bo take_from(granule_bo_cache* cache, const char* label = nullptr) {
    auto info = GRANULE_SIZED(granule_cached_bo_info);
    info.size = 65536;
    info.label = label;
    granule_cached_bo got{};
    REQUIRE(granule_bo_cache_get(cache, &info, &got, nullptr) == GRANULE_STATUS_OK);
    return got;
}

TEST_CASE("a device that has nothing left ends when it is closed, with all its memory") {
    Caller caller;
    granule_device* const device = caller.open();
    granule_bo_unref(make_bo(device, 4096, "short-lived"));
    granule_timeline_unref(make_timeline(device));
    CHECK(!caller.memory.blocks().empty());
    CHECK(granule_device_close(device) == 0);
    CHECK(caller.lines.empty());
    CHECK(caller.memory.blocks().empty());
}

TEST_CASE("what leaked is told with its label, and stays good") {
    Caller caller;
    granule_device* const device = caller.open();
    granule_bo* const bo = make_bo(device, 65536, "texture atlas");
    granule_timeline* const timeline = make_timeline(device);
    CHECK(granule_device_close(device) == 2);
    CHECK(caller.lines.size() == 2);
    CHECK(told(caller, "E not given back when the device was closed: BO " + std::to_string(granule_bo_id(bo)) +
                           " 'texture atlas' of 64 KiB, 0 bytes of it mapped"));
    CHECK(told(caller, "E not given back when the device was closed: timeline"));
    // All of the device is still there for them.
    void* cpu = nullptr;
    CHECK(granule_bo_map(bo, &cpu, nullptr) == GRANULE_STATUS_OK);
    std::memset(cpu, 1, 65536);
    CHECK(granule_timeline_signal(timeline, 5, nullptr) == GRANULE_STATUS_OK);
    granule_bo_unref(bo);
    CHECK(granule_timeline_value(timeline) == 5);
    CHECK(!caller.memory.blocks().empty());
    granule_timeline_unref(timeline);
    CHECK(caller.memory.blocks().empty());
}

TEST_CASE("a BO keeps its device for each of its holders") {
    Caller caller;
    granule_device* const device = caller.open();
    granule_bo* const bo = make_bo(device, 4096);
    CHECK(granule_bo_ref(bo) == bo);
    CHECK(granule_device_close(device) == 1);
    granule_bo_unref(bo);
    CHECK(granule_bo_size(bo) == 4096);
    granule_bo_unref(bo);
    CHECK(caller.memory.blocks().empty());
}

TEST_CASE("importing what the device has gives the same handle, with one more holder") {
    Caller caller;
    granule_device* const device = caller.open();
    granule_bo* const bo = make_bo(device, 8192, "shared", GRANULE_BO_SHAREABLE);
    int fd = -1;
    REQUIRE(granule_bo_export(bo, &fd, nullptr) == GRANULE_STATUS_OK);
    granule_bo* again = nullptr;
    REQUIRE(granule_bo_import(device, fd, &again, nullptr) == GRANULE_STATUS_OK);
    CHECK(again == bo);
    granule_bo_unref(bo);
    CHECK(granule_bo_size(again) == 8192);
    granule_bo_unref(again);
    CHECK(granule_device_close(device) == 0);
    CHECK(close(fd) == 0);
}

TEST_CASE("a cache counts as one, and its BOs are the cache's while nobody has them") {
    Caller caller;
    granule_device* const device = caller.open();
    granule_bo_cache* cache = nullptr;
    REQUIRE(granule_bo_cache_create(device, nullptr, nullptr, &cache, nullptr) == GRANULE_STATUS_OK);
    granule_cached_bo got = take_from(cache, "vertices");
    CHECK(got.va == 0);
    CHECK(got.cpu != nullptr);
    CHECK(got.reused == 0);
    CHECK(granule_bo_cache_put(cache, got.bo, nullptr, 0) == GRANULE_STATUS_OK);
    CHECK(granule_bo_cache_put(cache, got.bo, nullptr, 0) == GRANULE_STATUS_BAD_ARGUMENT);

    auto usage = GRANULE_SIZED(granule_memory_usage);
    CHECK(granule_device_get_memory_usage(device, &usage) == GRANULE_STATUS_OK);
    CHECK(usage.cached_bytes == got.size);
    CHECK(usage.bo_bytes == got.size);
    std::vector<granule_bo_entry> entries;
    CHECK(granule_device_walk_bos(
              device,
              [](void* data, const granule_bo_entry* entry) {
                  static_cast<std::vector<granule_bo_entry>*>(data)->push_back(*entry);
                  return 0;
              },
              &entries) == GRANULE_STATUS_OK);
    REQUIRE(entries.size() == 1);
    CHECK(entries[0].cached == 1);
    CHECK(entries[0].holders == 1);
    CHECK(std::string(entries[0].label) == "vertices");

    got = take_from(cache, "vertices");
    CHECK(got.reused == 1);
    CHECK(granule_bo_cache_put(cache, got.bo, nullptr, 0) == GRANULE_STATUS_OK);
    granule_bo_cache_destroy(cache);
    CHECK(granule_device_close(device) == 0);
}

TEST_CASE("a BO that came from a cache can be held beyond it") {
    Caller caller;
    granule_device* const device = caller.open();
    granule_bo_cache* cache = nullptr;
    REQUIRE(granule_bo_cache_create(device, nullptr, nullptr, &cache, nullptr) == GRANULE_STATUS_OK);
    auto info = GRANULE_SIZED(granule_cached_bo_info);
    info.size = 4096;
    granule_cached_bo got{};
    REQUIRE(granule_bo_cache_get(cache, &info, &got, nullptr) == GRANULE_STATUS_OK);
    granule_bo* const kept = granule_bo_ref(got.bo);
    CHECK(granule_bo_cache_put(cache, got.bo, nullptr, 0) == GRANULE_STATUS_OK);
    granule_bo_cache_destroy(cache);
    CHECK(granule_device_close(device) == 1);
    CHECK(granule_bo_size(kept) == 4096);
    granule_bo_unref(kept);
}

TEST_CASE("fences are of one device, and no timeline comes twice") {
    Caller caller;
    granule_device* const device = caller.open();
    granule_device* const other = caller.open();
    granule_timeline* const ours = make_timeline(device);
    granule_timeline* const theirs = make_timeline(other);
    granule_bo_cache* cache = nullptr;
    REQUIRE(granule_bo_cache_create(device, nullptr, nullptr, &cache, nullptr) == GRANULE_STATUS_OK);
    auto info = GRANULE_SIZED(granule_cached_bo_info);
    info.size = 4096;
    granule_cached_bo got{};
    REQUIRE(granule_bo_cache_get(cache, &info, &got, nullptr) == GRANULE_STATUS_OK);
    const std::vector<granule_sync> twice = {{ours, 1}, {ours, 2}};
    const granule_sync foreign{theirs, 1};
    const granule_sync none{nullptr, 1};
    const std::vector<granule_sync> many(GRANULE_MAX_FENCES + 1, granule_sync{ours, 1});
    CHECK(granule_bo_cache_put(cache, got.bo, twice.data(), 2) == GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(granule_bo_cache_put(cache, got.bo, &foreign, 1) == GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(granule_bo_cache_put(cache, got.bo, &none, 1) == GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(granule_bo_cache_put(cache, got.bo, nullptr, 1) == GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(granule_bo_cache_put(cache, got.bo, many.data(), GRANULE_MAX_FENCES + 1) == GRANULE_STATUS_BAD_ARGUMENT);
    // It is not used again before its fence.
    const granule_sync fence{ours, 1};
    CHECK(granule_bo_cache_put(cache, got.bo, &fence, 1) == GRANULE_STATUS_OK);
    granule_cached_bo second{};
    REQUIRE(granule_bo_cache_get(cache, &info, &second, nullptr) == GRANULE_STATUS_OK);
    CHECK(second.bo != got.bo);
    CHECK(granule_timeline_signal(ours, 1, nullptr) == GRANULE_STATUS_OK);
    granule_cached_bo third{};
    REQUIRE(granule_bo_cache_get(cache, &info, &third, nullptr) == GRANULE_STATUS_OK);
    CHECK(third.bo == got.bo);
    CHECK(granule_bo_cache_put(cache, second.bo, nullptr, 0) == GRANULE_STATUS_OK);
    CHECK(granule_bo_cache_put(cache, third.bo, nullptr, 0) == GRANULE_STATUS_OK);
    granule_bo_cache_destroy(cache);
    granule_timeline_unref(ours);
    granule_timeline_unref(theirs);
    CHECK(granule_device_close(device) == 0);
    CHECK(granule_device_close(other) == 0);
}

TEST_CASE("a VM that leaked counts once, and its activity timeline once it is held beyond the VM") {
    Caller caller;
    granule_device* const device = caller.open();
    granule_vm* const vm = make_vm(device, GRANULE_VM_TRACK_ACTIVITY);
    granule_timeline* const activity = granule_timeline_ref(granule_vm_activity(vm).timeline);
    CHECK(granule_device_close(device) == 1);
    CHECK(caller.lines == std::vector<std::string>{"E not given back when the device was closed: VM 'test'"});
    granule_vm_destroy(vm);
    granule_timeline_unref(activity);

    granule_device* const next = caller.open();
    granule_vm* const gone = make_vm(next, GRANULE_VM_TRACK_ACTIVITY);
    granule_timeline* const held = granule_timeline_ref(granule_vm_activity(gone).timeline);
    granule_vm_destroy(gone);
    CHECK(granule_device_close(next) == 1);
    CHECK(told(caller, "E not given back when the device was closed: timeline"));
    granule_timeline_unref(held);
}

TEST_CASE("a BO for one VM is for that one alone, and for none once it is gone") {
    Caller caller;
    granule_device* const device = caller.open();
    granule_vm* const vm = make_vm(device);
    granule_vm* const other = make_vm(device);
    auto info = GRANULE_SIZED(granule_bo_info);
    info.size = 4096;
    info.only_for = vm;
    granule_bo* bo = nullptr;
    REQUIRE(granule_bo_create(device, &info, &bo, nullptr) == GRANULE_STATUS_OK);
    std::vector<granule_bind_op> map = {map_of(bo, GRANULE_VA_AUTO, 4096)};
    auto error = GRANULE_SIZED(granule_error);
    CHECK(bind(other, map, GRANULE_BIND_IMMEDIATE, &error) == GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(std::string(error.why) == "the BO is only for another VM");
    CHECK(bind(other, map, GRANULE_BIND_ASYNC, &error) == GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(bind(vm, map) == GRANULE_STATUS_OK);
    granule_vm_destroy(vm);
    // Perhaps at the address of the one before.
    granule_vm* const next = make_vm(device);
    map[0].va = GRANULE_VA_AUTO;
    CHECK(bind(next, map) == GRANULE_STATUS_BAD_ARGUMENT);
    granule_vm_destroy(next);
    granule_vm_destroy(other);
    granule_bo_unref(bo);
    CHECK(granule_device_close(device) == 0);
}

TEST_CASE("who accesses a BO that a cache has is told of it by name") {
    Caller caller;
    granule_device* const device = caller.open();
    granule_vm* const vm = make_vm(device);
    granule_bo_cache* cache = nullptr;
    REQUIRE(granule_bo_cache_create(device, vm, nullptr, &cache, nullptr) == GRANULE_STATUS_OK);
    const granule_cached_bo got = take_from(cache, "vertices");
    const char* const verdict = "nobody's: whoever accesses it gave it back before";
    for (const bool given_back : {false, true}) {
        CAPTURE(given_back);
        if (given_back) {
            REQUIRE(granule_bo_cache_put(cache, got.bo, nullptr, 0) == GRANULE_STATUS_OK);
        }
        auto report = GRANULE_SIZED(granule_address_report);
        REQUIRE(granule_vm_describe(vm, got.va + 4, &report) == GRANULE_STATUS_OK);
        CHECK(report.condition == GRANULE_ADDRESS_MAPPED);
        CHECK(report.cached == (given_back ? 1 : 0));
        const std::string text =
            text_of([&](char* to, std::size_t size) { return granule_address_report_text(&report, to, size); });
        CHECK((text.find(verdict) != std::string::npos) == given_back);
    }
    granule_bo_cache_destroy(cache);
    granule_vm_destroy(vm);
    CHECK(granule_device_close(device) == 0);
}

// A device with a BO out of a cache and a buffer out of a pool.
struct Shop {
    explicit Shop(Caller& caller) : device(caller.open()), vm(make_vm(device)) {
        REQUIRE(granule_bo_cache_create(device, vm, nullptr, &cache, nullptr) == GRANULE_STATUS_OK);
        REQUIRE(granule_pool_create(vm, nullptr, &pool, nullptr) == GRANULE_STATUS_OK);
        bo = take_from(cache);
        REQUIRE(granule_pool_alloc(pool, 100, 0, &buffer, nullptr) == GRANULE_STATUS_OK);
    }
    Shop(const Shop&) = delete;
    Shop& operator=(const Shop&) = delete;
    ~Shop() {
        CHECK(granule_pool_free(pool, &buffer, nullptr, 0) == GRANULE_STATUS_OK);
        CHECK(granule_bo_cache_put(cache, bo.bo, nullptr, 0) == GRANULE_STATUS_OK);
        granule_pool_destroy(pool);
        granule_bo_cache_destroy(cache);
        granule_vm_destroy(vm);
        CHECK(granule_device_close(device) == 0);
    }

    granule_device* device;
    granule_vm* vm;
    granule_bo_cache* cache = nullptr;
    granule_pool* pool = nullptr;
    granule_cached_bo bo{};
    granule_buffer buffer{};
};

TEST_CASE("caches and pools take back only what is theirs, though another device's has the same numbers") {
    Caller caller;
    Caller other_caller;
    const Shop shop(caller);
    const Shop other(other_caller);
    REQUIRE(granule_bo_id(shop.bo.bo) == granule_bo_id(other.bo.bo));
    REQUIRE(shop.buffer.handle == other.buffer.handle);
    REQUIRE(shop.buffer.va == other.buffer.va);
    CHECK(granule_bo_cache_put(shop.cache, other.bo.bo, nullptr, 0) == GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(granule_pool_free(shop.pool, &other.buffer, nullptr, 0) == GRANULE_STATUS_BAD_ARGUMENT);
}

TEST_CASE("an allocator is given whole") {
    Caller caller;
    granule_device* device = nullptr;
    auto error = GRANULE_SIZED(granule_error);
    granule_device_info info = caller.device_info();
    info.allocator.release = nullptr;
    CHECK(granule_device_open(&info, &device, &error) == GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(device == nullptr);
    CHECK(std::string(error.why) == "allocator has one of its two functions only");
}

TEST_CASE("holders may come and go on many threads, also the last of a closed device") {
    auto info = GRANULE_SIZED(granule_device_info);
    granule_device* device = nullptr;
    REQUIRE(granule_device_open(&info, &device, nullptr) == GRANULE_STATUS_OK);
    granule_bo* const bo = make_bo(device, 4096);
    granule_timeline* const timeline = make_timeline(device);
    constexpr unsigned kThreads = 4;
    std::vector<std::thread> threads;
    threads.reserve(kThreads);
    for (unsigned i = 0; i < kThreads; ++i) {
        granule_bo_ref(bo);
        granule_timeline_ref(timeline);
        threads.emplace_back([&] {
            for (unsigned round = 0; round < 1000; ++round) {
                granule_bo_unref(granule_bo_ref(bo));
                granule_timeline_unref(granule_timeline_ref(timeline));
            }
            granule_bo_unref(bo);
            granule_timeline_unref(timeline);
        });
    }
    granule_bo_unref(bo);
    granule_timeline_unref(timeline);
    CHECK(granule_device_close(device) <= 2);
    for (std::thread& thread : threads) {
        thread.join();
    }
}

}  // namespace
}  // namespace granule::test
