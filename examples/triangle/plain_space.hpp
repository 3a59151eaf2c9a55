// The same without any GPU memory: VAs are counted up, bytes are in vectors, nothing is translated. What the picture of the
// VM is compared with.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "triangle/gpu_space.hpp"

namespace triangle {

class PlainSpace final : public GpuSpace, private rendering::GpuMemory {
public:
    Place buffer(const std::string& name, std::uint64_t bytes) override { return surface(name, bytes); }
    Place surface(const std::string& /*name*/, std::uint64_t bytes) override {
        constexpr std::uint64_t kApart = 0x10000;  // and so, what goes beyond its end is found
        std::vector<std::byte>& memory = places_[next_];
        memory.resize(bytes);
        const Place place{next_, memory};
        next_ += (bytes + 2 * kApart) / kApart * kApart;
        return place;
    }
    rendering::GpuMemory& memory() noexcept override { return *this; }

private:
    void read(std::uint64_t va, std::span<std::byte> to) override { std::ranges::copy(at(va, to.size()), to.begin()); }
    void write(std::uint64_t va, std::span<const std::byte> from) override {
        std::ranges::copy(from, at(va, from.size()).begin());
    }
    std::span<std::byte> at(std::uint64_t va, std::size_t size) {
        auto place = places_.upper_bound(va);
        if (place != places_.begin()) {
            --place;
            const std::uint64_t offset = va - place->first;
            if (offset + size <= place->second.size()) {
                return std::span(place->second).subspan(offset, size);
            }
        }
        throw rendering::AccessFault("nothing is at " + std::to_string(va));
    }

    std::map<std::uint64_t, std::vector<std::byte>> places_;
    std::uint64_t next_ = 0x10000;
};

}  // namespace triangle
