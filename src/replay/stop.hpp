// Why a replay stopped, and what went wrong, in sentences.
#pragma once

#include <cstdint>
#include <string>

#include "mali/address.hpp"
#include "src/status.hpp"

namespace granule::replay {

struct Stop {
    enum class Kind : std::uint8_t {
        kBadTrace,  // a call that makes no sense after those before it, or on this device
        kRefused,   // the library refused a bind: policy reject, or a failure of the device
    };
    Kind kind = Kind::kBadTrace;
    std::uint64_t line = 0;
    std::string what;
    std::string would_be_right;  // kBadTrace
    BindError error;             // kRefused
};

// What a BindError says, in a sentence: which granule, whose BO, what to do.
[[nodiscard]] std::string describe(const BindError& error);
[[nodiscard]] std::string describe(const VaRange& range);
// "512 KiB"
[[nodiscard]] std::string describe_bytes(std::uint64_t bytes);

}  // namespace granule::replay
