// A dump of a VM as text and as JSON.
#pragma once

#include <string>

#include "src/cli/json.hpp"
#include "src/cli/vm_dump.hpp"

namespace granule::cli {

struct DumpParts {
    bool tables = false;
    bool mappings = false;
    bool granules = false;
};

[[nodiscard]] std::string dump_text(const replay::Replay& replay, const VmDump& dump, const DumpParts& parts);
[[nodiscard]] Json dump_json(const replay::Replay& replay, const VmDump& dump, const DumpParts& parts);

}  // namespace granule::cli
