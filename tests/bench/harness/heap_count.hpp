// Bytes that operator new has given out in this program: what the containers of the C++ library and absl take.
//
// Linking heap_count.cpp replaces the global operator new and delete by ones that count what malloc really set aside for
// each block. Thread-safety: any thread; the count is one relaxed atomic.
#pragma once

#include <cstddef>

namespace granule::bench {

[[nodiscard]] std::size_t heap_bytes() noexcept;

}  // namespace granule::bench
