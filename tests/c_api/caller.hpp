// Somebody who calls the C interface: with an allocator that counts and refuses, and a logger that remembers.
//
// Thread-safety: none, but for the allocator, which a VM's thread calls too.
#pragma once

#include <doctest/doctest.h>
#include <granule/granule.h>

#include <cstddef>
#include <mutex>
#include <string>
#include <vector>

#include "tests/support/test_memory.hpp"

namespace granule::test {

class Caller {
public:
    TestMemory memory;
    std::vector<std::string> lines;  // "E text", "W text", "I text"

    // Nothing may be left of what the library took.
    ~Caller() {
        CHECK(memory.blocks().empty());
        CHECK(memory.misuses() == 0);
    }
    Caller() = default;
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;

    [[nodiscard]] granule_allocator allocator() noexcept {
        granule_allocator functions{};
        functions.allocate = [](void* data, std::size_t size, std::size_t alignment) {
            auto& self = *static_cast<Caller*>(data);
            const std::lock_guard lock(self.allocating_);
            const NodeMemory nodes = self.memory.memory();
            return nodes.allocate(nodes.context, size, alignment);
        };
        functions.release = [](void* data, void* block, std::size_t size, std::size_t alignment) {
            auto& self = *static_cast<Caller*>(data);
            const std::lock_guard lock(self.allocating_);
            const NodeMemory nodes = self.memory.memory();
            nodes.release(nodes.context, block, size, alignment);
        };
        functions.data = this;
        return functions;
    }
    [[nodiscard]] granule_logger logger() noexcept {
        granule_logger functions{};
        functions.message = [](void* data, granule_log_level level, const char* text) {
            const char* const name = level == GRANULE_LOG_ERROR ? "E " : level == GRANULE_LOG_WARNING ? "W " : "I ";
            static_cast<Caller*>(data)->lines.push_back(std::string(name) + text);
        };
        functions.data = this;
        return functions;
    }
    [[nodiscard]] granule_device_info device_info() noexcept {
        auto info = GRANULE_SIZED(granule_device_info);
        info.allocator = allocator();
        info.logger = logger();
        return info;
    }
    [[nodiscard]] granule_device* open() {
        const granule_device_info info = device_info();
        granule_device* device = nullptr;
        REQUIRE(granule_device_open(&info, &device, nullptr) == GRANULE_STATUS_OK);
        lines.clear();
        return device;
    }

private:
    std::mutex allocating_;
};

[[nodiscard]] inline granule_bo* make_bo(granule_device* device, std::uint64_t size, const char* label = nullptr,
                                         std::uint32_t flags = 0) {
    auto info = GRANULE_SIZED(granule_bo_info);
    info.size = size;
    info.flags = flags;
    info.label = label;
    granule_bo* bo = nullptr;
    REQUIRE(granule_bo_create(device, &info, &bo, nullptr) == GRANULE_STATUS_OK);
    return bo;
}

[[nodiscard]] inline granule_timeline* make_timeline(granule_device* device) {
    granule_timeline* timeline = nullptr;
    REQUIRE(granule_timeline_create(device, &timeline, nullptr) == GRANULE_STATUS_OK);
    return timeline;
}

// What `write(char*, size)`, one of the _text functions, says.
template <class Write>
[[nodiscard]] std::string text_of(Write&& write) {
    std::string text(write(nullptr, 0), '\0');
    REQUIRE(write(text.data(), text.size() + 1) == text.size());
    return text;
}

}  // namespace granule::test
