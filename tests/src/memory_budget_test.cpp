#include "src/memory_budget.hpp"

#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <limits>
#include <string_view>
#include <thread>

#include "src/device.hpp"
#include "tests/src/soft_fixture.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();

TEST_CASE("a budget admits up to its limit, to the byte, and what is given back may be taken again") {
    MemoryBudget budget;
    CHECK(budget.reserve(10));  // no limit yet
    budget.set_limit(15);
    CHECK_FALSE(budget.reserve(6));
    CHECK(budget.reserve(5));
    CHECK_FALSE(budget.reserve(1));
    CHECK_FALSE(budget.reserve(kMost));
    CHECK(budget.reserve(0));
    budget.give_back(10);
    CHECK(budget.reserve(10));
    CHECK(budget.usage().bytes == 15);
    CHECK(budget.usage().peak_bytes == 15);
    CHECK(budget.usage().limit_bytes == 15);
}

TEST_CASE("a limit below what is taken takes nothing away, and admits nothing until enough is given back") {
    MemoryBudget budget;
    REQUIRE(budget.reserve(100));
    budget.set_limit(40);
    CHECK_FALSE(budget.reserve(1));
    budget.give_back(59);
    CHECK_FALSE(budget.reserve(1));
    budget.give_back(11);
    CHECK(budget.reserve(10));
    CHECK_FALSE(budget.reserve(1));
    budget.set_limit(0);
    CHECK(budget.reserve(1000));
    CHECK(budget.usage().peak_bytes == 1040);
}

TEST_CASE("threads never have more than the limit between them") {
    MemoryBudget budget;
    constexpr std::uint64_t kLimit = 64;
    budget.set_limit(kLimit);
    std::atomic<std::uint64_t> taken{0};
    std::atomic<int> over{0};
    const auto work = [&](std::uint64_t bytes) {
        for (int round = 0; round < 20000; ++round) {
            if (budget.reserve(bytes)) {
                over += taken.fetch_add(bytes) + bytes > kLimit ? 1 : 0;
                taken.fetch_sub(bytes);
                budget.give_back(bytes);
            }
        }
    };
    std::array<std::thread, 3> threads;
    for (std::size_t i = 0; i < threads.size(); ++i) {
        threads[i] = std::thread(work, std::uint64_t{24} + i);
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(over == 0);
    CHECK(budget.usage().bytes == 0);
    CHECK(budget.usage().peak_bytes <= kLimit);
}

TEST_CASE("a device makes BOs up to its limit, counted in whole pages, and says what it has and had") {
    const Owned<SoftDevice> soft = make_device(device_config());
    Device& device = *soft;
    const std::uint64_t memory_before = soft->memory().used();
    CHECK(device.memory_usage().limit_bytes == 0);
    CHECK(device.memory_usage().heap_bytes == soft->memory().size());
    device.set_memory_limit(3 * kPageBytes);
    const BoId two = make_bo(*soft, kPageBytes + 1);
    const BoId one = make_bo(*soft, 1);
    CHECK(device.memory_usage().bytes == 3 * kPageBytes);
    const std::uint64_t memory_then = soft->memory().used();
    BoRequest request;
    request.bytes = 1;
    const Result<BoId, OsError> over = device.create_bo(request);
    REQUIRE_FALSE(over.has_value());
    CHECK(over.error().status == Status::kOverBudget);
    CHECK(static_cast<int>(over.error().status) == 17);
    CHECK(std::string_view(to_string(over.error().status)) == "over the memory limit");
    CHECK(soft->memory().used() == memory_then);
    CHECK(device.bos().live() == 2);
    device.bos().release(*device.bos().find(two), 1);
    CHECK(device.memory_usage().bytes == kPageBytes);
    CHECK(device.create_bo(request).has_value());
    CHECK(device.memory_usage().peak_bytes == 3 * kPageBytes);
    static_cast<void>(one);
    device.set_memory_limit(0);
    CHECK(soft->memory().used() > memory_before);
}

TEST_CASE("what a BO took is given back when the last page of it is unmapped, and when making it fails") {
    Failing failing;
    SoftDeviceConfig config = device_config();
    config.injection = &failing;
    const Owned<SoftDevice> soft = make_device(config);
    Device& device = *soft;
    device.set_memory_limit(2 * kMiB);
    const BoId id = make_bo(*soft, 2 * kMiB);
    const Owned<Vm> vm = make_vm(*soft);
    BindRequest request;
    request.kind = BindRequest::Kind::kMap;
    request.va = {Va{kGiB}, Va{kGiB + 2 * kMiB}};
    request.shows.bo = id;
    REQUIRE(vm->bind(request).has_value());
    device.bos().release(*device.bos().find(id), 1);
    CHECK(device.memory_usage().bytes == 2 * kMiB);
    CHECK(soft->create_bo(1).error().status == Status::kOverBudget);
    REQUIRE(vm->unmap(request.va, UnmapPolicy::kReject).has_value());
    CHECK(device.memory_usage().bytes == 0);

    failing.fail_all(Injection::Site::kDeviceMemory);
    CHECK(soft->create_bo(2 * kMiB).error().status == Status::kOutOfDeviceMemory);
    failing.stop();
    CHECK(device.memory_usage().bytes == 0);
    const BoId again = make_bo(*soft, 2 * kMiB);
    device.bos().release(*device.bos().find(again), 1);
}

TEST_CASE("imported memory is counted apart, whatever the limit") {
    const Owned<SoftDevice> maker = make_device(device_config());
    const Owned<SoftDevice> user = make_device(device_config());
    BoRequest request;
    request.bytes = 2 * kMiB;
    request.shareable = true;
    const BoId id = maker->create_bo(request).value();
    const int file = maker->export_bo(*maker->bos().find(id)).value();
    user->set_memory_limit(kPageBytes);
    const BoId seen = user->import_bo(file).value();
    ::close(file);
    CHECK(user->memory_usage().bytes == 0);
    CHECK(user->memory_usage().imported_bytes == 2 * kMiB);
    CHECK(maker->memory_usage().bytes == 2 * kMiB);
    const BoId own = make_bo(*user, kPageBytes);
    user->bos().release(*user->bos().find(seen), 1);
    CHECK(user->memory_usage().imported_bytes == 0);
    CHECK(user->memory_usage().bytes == kPageBytes);
    user->bos().release(*user->bos().find(own), 1);
    maker->bos().release(*maker->bos().find(id), 1);
}

TEST_CASE("threads that make BOs of one device never have more than its limit, nor is any of it lost") {
    const Owned<SoftDevice> soft = make_device(device_config());
    Device& device = *soft;
    constexpr std::uint64_t kLimit = 5 * kPageBytes;
    device.set_memory_limit(kLimit);
    std::atomic<int> over{0};
    std::atomic<int> made{0};
    const auto work = [&](std::uint64_t pages) {
        for (int round = 0; round < 500; ++round) {
            const Result<BoId, OsError> id = soft->create_bo(pages * kPageBytes);
            over += device.bos().live_bytes() > kLimit || device.memory_usage().bytes > kLimit ? 1 : 0;
            if (id) {
                ++made;
                device.bos().release(*device.bos().find(*id), 1);
            }
        }
    };
    std::array<std::thread, 3> threads;
    for (std::size_t i = 0; i < threads.size(); ++i) {
        threads[i] = std::thread(work, i + 2);
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(over == 0);
    CHECK(made > 0);
    CHECK(device.memory_usage().bytes == 0);
    CHECK(device.memory_usage().peak_bytes <= kLimit);
    CHECK(device.memory_usage().peak_bytes >= 2 * kPageBytes);
}

}  // namespace
}  // namespace granule::test
