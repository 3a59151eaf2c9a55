// Where the CPU puts things for the GPU: a name, a size, and then a GPU VA and the same bytes for the CPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "rendering/gpu_memory.hpp"
#include "triangle/gpu_structs.hpp"

namespace triangle {

struct Place {
    GpuVa va = 0;
    std::span<std::byte> cpu;

    template <class T>
    void put(std::size_t offset, std::span<const T> values) const {
        std::memcpy(cpu.subspan(offset, values.size_bytes()).data(), values.data(), values.size_bytes());
    }
};

class GpuSpace {
public:
    virtual ~GpuSpace() = default;

    // A small one: vertices, descriptors, jobs.
    [[nodiscard]] virtual Place buffer(const std::string& name, std::uint64_t bytes) = 0;
    // A large one, with memory of its own: textures, the framebuffer.
    [[nodiscard]] virtual Place surface(const std::string& name, std::uint64_t bytes) = 0;
    // What the GPU sees of it.
    [[nodiscard]] virtual rendering::GpuMemory& memory() noexcept = 0;

    template <class T>
    [[nodiscard]] Place put(const std::string& name, std::span<const T> values) {
        const Place place = buffer(name, values.size_bytes());
        place.put(0, values);
        return place;
    }
    template <class T>
    [[nodiscard]] GpuVa put(const std::string& name, const T& value) {
        return put(name, std::span<const T>(&value, 1)).va;
    }
};

}  // namespace triangle
