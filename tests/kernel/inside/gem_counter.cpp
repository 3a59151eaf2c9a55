#include "tests/kernel/inside/gem_counter.hpp"

#include <chrono>
#include <cstdint>
#include <thread>

namespace granule::kernel_test {

GemCounter::GemCounter() : instance_(64) {
    instance_.add_probe('p', "gem_init", "drm_gem_private_object_init");
    instance_.add_probe('p', "gem_release", "drm_gem_object_release");
    instance_.enable();
}

std::uint64_t GemCounter::created() const {
    return instance_.hits("gem_init");
}

std::uint64_t GemCounter::released() const {
    return instance_.hits("gem_release");
}

std::int64_t GemCounter::live() const {
    const std::uint64_t gone = released();  // first: an object that is made and freed in between does not look leaked
    return static_cast<std::int64_t>(created()) - static_cast<std::int64_t>(gone);
}

bool GemCounter::wait_for_live(std::int64_t expected, std::chrono::milliseconds timeout) const {
    const auto end = std::chrono::steady_clock::now() + timeout;
    while (live() != expected) {
        if (std::chrono::steady_clock::now() >= end) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    return true;
}

}  // namespace granule::kernel_test
