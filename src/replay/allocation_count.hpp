// Counts what the library allocates, for the promise that an unmap allocates nothing (P4).
//
// A count for each thread: a commit allocates on the thread that runs it. Thread-safety: any thread.
#pragma once

#include <cstdint>

#include "allocator/node_memory.hpp"
#include "src/backend/injection.hpp"

namespace granule::replay {

// mimalloc's, counted.
[[nodiscard]] NodeMemory counting_node_memory() noexcept;
// Lets everything succeed; reservations of page-table pages and allocations of device memory count as allocations.
[[nodiscard]] Injection& counting_injection() noexcept;

// Allocations of the calling thread since it asked last, or since it began.
[[nodiscard]] std::uint64_t take_allocations_of_this_thread() noexcept;

}  // namespace granule::replay
