// What VMs, BOs and what a mapping shows are called, in text and in JSON: by the numbers that the trace has for them.
#pragma once

#include <string>

#include "allocator/mapping.hpp"
#include "src/cli/json.hpp"
#include "src/replay/replay.hpp"

namespace granule::cli {

// "VM 1 of file 2, made at line 30".
[[nodiscard]] std::string vm_text(const replay::VmView& vm);
[[nodiscard]] Json vm_json(const replay::VmView& vm);

// "BO 7 "Textures" + 0x1000, noexec", "sparse, noexec". A BO that the trace does not know is one that was made to explain.
[[nodiscard]] std::string backing_text(const replay::Replay& replay, const Backing& shows);
// `line` is that of the call that mapped it; null where it is to be mapped now.
[[nodiscard]] Json backing_json(const replay::Replay& replay, const Vm& vm, const Backing& shows);

}  // namespace granule::cli
