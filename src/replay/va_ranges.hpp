// The VA ranges that a program's own heap must have given out, from what it maps and unmaps.
//
// What is mapped where nothing was reserved is reserved, at exactly that address; what is unmapped whole is given back.
// Both go through the VM's VA heap, which finds what overlaps or is given back twice. Differences are reported in words.
//
// Thread-safety: none.
#pragma once

#include "src/replay/options.hpp"
#include "src/replay/traced.hpp"

namespace granule::replay {

void reserve_va(TracedVm& vm, const VaRange& range, std::uint64_t line, const Report& report);
// Ranges that only partly lie in `range` stay.
void release_va(TracedVm& vm, const VaRange& range, const Report& report);

}  // namespace granule::replay
