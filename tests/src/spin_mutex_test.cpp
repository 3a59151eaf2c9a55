#include "src/spin_mutex.hpp"

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <thread>

namespace granule::test {
namespace {

constexpr std::uint32_t kRounds = 20'000;
constexpr std::uint32_t kLong = 1'000;  // every so many rounds a section lasts until the others sleep

TEST_CASE("a spin mutex is one thread's at a time, and who sleeps for it is woken") {
    SpinMutex mutex;
    std::uint64_t entered = 0;  // guarded by mutex: not atomic, so that a second thread inside would lose some
    std::array<std::thread, 4> threads;
    for (std::thread& thread : threads) {
        thread = std::thread([&] {
            for (std::uint32_t round = 0; round < kRounds; ++round) {
                const std::lock_guard lock(mutex);
                ++entered;
                if (round % kLong == 0) {
                    std::this_thread::sleep_for(std::chrono::microseconds(200));
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(entered == std::uint64_t{kRounds} * threads.size());
}

TEST_CASE("a spin mutex that is locked is not locked again, and one that was given back is") {
    SpinMutex mutex;
    REQUIRE(mutex.try_lock());
    CHECK_FALSE(mutex.try_lock());
    mutex.unlock();
    CHECK(mutex.try_lock());
    mutex.unlock();
}

}  // namespace
}  // namespace granule::test
