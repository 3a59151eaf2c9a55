// What a program leaves behind, in sentences that its author understands.
//
// Thread-safety: none; works on the replay's state.
#pragma once

#include <vector>

#include "src/replay/result.hpp"
#include "src/replay/traced.hpp"

namespace granule::replay {

// How something came to its end: what the sentences say "when ..." of.
enum class End : std::uint8_t { kVmDestroyed, kFileClosed, kTraceEnded };

// Mappings and VA ranges that are there when `vm` ends.
void add_vm_leftovers(std::vector<Leftover>& out, const TracedVm& vm, const std::vector<TracedBo>& bos, End end,
                      std::uint64_t line);
// The VM itself, where the program did not destroy it.
void add_vm(std::vector<Leftover>& out, const TracedVm& vm, End end);
void add_bo(std::vector<Leftover>& out, const TracedBo& bo, End end);
// A map of `range` at `line` that lands on `under`, whose BO's handle is closed.
void add_mapped_over(std::vector<Leftover>& out, const TracedVm& vm, const Mapping& under, const TracedBo& bo,
                     const VaRange& range, std::uint64_t line);

}  // namespace granule::replay
