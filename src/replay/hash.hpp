// FNV-1a over 64-bit words: to tell two states apart.
#pragma once

#include <cstdint>

namespace granule::replay {

class Hash {
public:
    void add(std::uint64_t word) noexcept { value_ = (value_ ^ word) * 0x100000001b3U; }
    [[nodiscard]] std::uint64_t value() const noexcept { return value_; }

private:
    std::uint64_t value_ = 0xcbf29ce484222325U;
};

}  // namespace granule::replay
