// What a GPU's cores see of memory: bytes at a GPU VA, to read and to write, and nothing else.
//
// A renderer that is written against this runs over granule's address space (vm_memory.hpp), and over anything else that
// answers the same: so a picture can be compared with one for which no address was ever translated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <type_traits>

namespace rendering {

// An access that the memory did not answer. what() is the report, several lines.
class AccessFault : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

class GpuMemory {
public:
    virtual ~GpuMemory() = default;

    // Throws AccessFault.
    virtual void read(std::uint64_t va, std::span<std::byte> to) = 0;
    virtual void write(std::uint64_t va, std::span<const std::byte> from) = 0;

    template <class T>
    [[nodiscard]] T load(std::uint64_t va) {
        static_assert(std::is_trivially_copyable_v<T>);
        T value;
        read(va, std::as_writable_bytes(std::span<T, 1>(&value, 1)));
        return value;
    }
    template <class T>
    void store(std::uint64_t va, const T& value) {
        static_assert(std::is_trivially_copyable_v<T>);
        write(va, std::as_bytes(std::span<const T, 1>(&value, 1)));
    }
};

}  // namespace rendering
