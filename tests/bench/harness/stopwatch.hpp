// Two clocks: the steady clock for chunks of work, the cycle counter for single operations.
//
// The cycle counter is the TSC on x86-64 and the virtual counter on AArch64; elsewhere the steady clock. What an empty
// measurement costs at least is subtracted from every single operation, so that an operation below the counter's
// resolution is 0.
#pragma once

#include <cstdint>

namespace granule::bench {

// Since some moment.
[[nodiscard]] double seconds() noexcept;

[[nodiscard]] std::uint64_t ticks() noexcept;
[[nodiscard]] double ticks_per_ns() noexcept;
// Least ticks between two calls of `ticks`.
[[nodiscard]] std::uint64_t ticks_of_nothing() noexcept;

template <class Work>
[[nodiscard]] double time_ns(Work&& work) {
    const double begin = seconds();
    work();
    return (seconds() - begin) * 1e9;
}

// Ticks of one operation, net of the counter's own.
template <class Operation>
[[nodiscard]] std::uint32_t time_once(std::uint64_t nothing, Operation&& operation) {
    const std::uint64_t begin = ticks();
    operation();
    const std::uint64_t spent = ticks() - begin;
    const std::uint64_t net = spent > nothing ? spent - nothing : 0;
    return net > UINT32_MAX ? UINT32_MAX : static_cast<std::uint32_t>(net);
}

}  // namespace granule::bench
